"""Capture of artifact repositories: the files that a call writes, with their SHA-256 at the time.

A wrapper is called in place of a method of a repository. It calls the original itself, because
files have to be hashed before a call that may remove them.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import posixpath
import stat
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from yprov_mlflow.prov.capture import document_thread, mlflow_private, reads
from yprov_mlflow.prov.capture import session as process
from yprov_mlflow.prov.capture.session import ArtifactOwner, CaptureSession
from yprov_mlflow.prov.events import ArtifactsLogged, StoreCalled
from yprov_mlflow.prov.ids import store_id, store_of
from yprov_mlflow.prov.journal import JournalDirectory
from yprov_mlflow.prov.layout import OWN_ARTIFACT

# Files above this size are hashed in a thread while the repository copies or uploads them.
_IN_THREAD_BYTES = 1 << 20

Files = list[dict[str, Any]]  # as ``ArtifactsLogged`` has them
_Hashable = list[tuple[str, dict[str, Any]]]  # pairs of a local file and its entry in ``Files``
Targets = tuple[str, list[tuple[str, str]]]  # an artifact folder; local files, paths below it
Wrapper = Callable[..., Any]  # takes a method of a repository, and its arguments; calls it


def _start_hashing(targets: list[tuple[str, str]]) -> Callable[[], Files]:
    """Hash local files while a call copies or moves them.

    Returns:
        A function that waits and returns the files; ``sha256`` is None for unreadable ones.
    """
    files: Files = []
    small: _Hashable = []
    large: _Hashable = []
    for local, path in targets:
        entry: dict[str, Any] = {"path": path, "size": None, "sha256": None}
        files.append(entry)
        with contextlib.suppress(OSError):
            status = os.stat(local)
            # Reading a named pipe would wait for a writer; the error is MLflow's to raise.
            if stat.S_ISREG(status.st_mode):
                entry["size"] = status.st_size
                (large if status.st_size > _IN_THREAD_BYTES else small).append((local, entry))
    # Hashing releases the GIL, so it takes no time from the repository's own work.
    thread = threading.Thread(target=_hash, args=(large,), name="yprov-hash", daemon=True)
    if large:
        try:
            thread.start()
        except RuntimeError:  # too many threads, or Python 3.12 and later at exit
            small += large
    _hash(small)

    def finish() -> Files:
        if thread.ident is not None:
            thread.join()
        return files

    return finish


def _hash(files: _Hashable) -> None:
    for local, entry in files:
        with contextlib.suppress(OSError), open(local, "rb") as file:
            entry["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()


# -- files that a call is about, by its arguments ------------------------------------------


def _one_file(local_file: Any, artifact_path: str | None = None) -> Targets:
    local = os.fspath(local_file)
    return artifact_path or "", [(local, os.path.basename(local))]


def _folder(local_dir: Any, artifact_path: str | None = None) -> Targets:
    root = os.fspath(local_dir)
    files = []
    for folder, subfolders, names in os.walk(root):
        subfolders.sort()
        for name in sorted(names):
            local = os.path.join(folder, name)
            files.append((local, os.path.relpath(local, root).replace(os.sep, "/")))
    return artifact_path or "", files


def _deleted(artifact_path: str | None = None) -> Targets:
    return artifact_path or "", [("", "")]


# -- wrappers ------------------------------------------------------------------------------


def _write_files(
    targets: Callable[..., Targets],
    deleted: bool,
    original: Callable[..., Any],
    repository: Any,
    /,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Call the original, and hash the local files in its arguments meanwhile."""
    current = process.get()
    guard = current.guard.here
    if (guard.repository or guard.off) and not mlflow_private.is_called_by_client(2):
        return original(repository, *args, **kwargs)
    outer, guard.repository = guard.repository, True
    try:
        owner = finish = None
        with current.recorder.warn_only():
            folder, files = targets(*args, **kwargs)
            owner = _owner(current, repository, folder)
            _note_document(current, owner, [path for _, path in files])
            finish = _start_hashing(files) if owner is not None else None
        result = original(repository, *args, **kwargs)
        with current.recorder.warn_only():
            if owner is not None and finish is not None:
                _record(current, repository, owner, finish(), deleted=deleted)
        return result
    finally:
        guard.repository = outer


def _write_stream(
    original: Wrapper, repository: Any, stream: Any, *args: Any, **kwargs: Any
) -> Any:
    """Call the original, by which a server passes an upload on, and hash the bytes it reads."""
    hashed = _HashedStream(stream)
    _before_stream(repository, *args, **kwargs)
    result = original(repository, hashed, *args, **kwargs)
    _record_stream(repository, hashed, *args, **kwargs)
    return result


async def _write_async_stream(
    original: Wrapper, repository: Any, chunks: Any, *args: Any, **kwargs: Any
) -> Any:
    """Do as ``_write_stream`` for an asynchronous iterator."""
    hashed = _HashedStream(chunks)
    _before_stream(repository, *args, **kwargs)
    result = await original(repository, hashed, *args, **kwargs)
    _record_stream(repository, hashed, *args, **kwargs)
    return result


def _write_spans(original: Wrapper, repository: Any, *args: Any, **kwargs: Any) -> Any:
    """Call the original, by which stores without spans keep those of a trace, in a file."""
    result = original(repository, *args, **kwargs)
    current = process.get()
    if not current.guard.here.off:
        with current.recorder.warn_only():
            _record_spans(current, repository, *args, **kwargs)
    return result


def _read(original: Wrapper, repository: Any, *args: Any, **kwargs: Any) -> Any:
    """Call the original after a wait for the promised document of the run."""
    current = process.get()
    if current.document_thread is not None and not current.guard.here.off:
        with current.recorder.warn_only():
            owner = _owner(current, repository, "")
            if owner is not None and owner.kind == "run":
                document_thread.wait(current, owner.id)
    return original(repository, *args, **kwargs)


def _download(original: Wrapper, repository: Any, *args: Any, **kwargs: Any) -> Any:
    """Do as ``_read``, and record the download if the program asked for it."""
    return _read(functools.partial(reads.download, original), repository, *args, **kwargs)


WRAPPERS: dict[str, Wrapper] = {
    "log_artifact": functools.partial(_write_files, _one_file, False),
    "log_artifacts": functools.partial(_write_files, _folder, False),
    "delete_artifacts": functools.partial(_write_files, _deleted, True),
    "download_artifacts": _download,
    "list_artifacts": _read,
    "log_artifact_from_async_stream": _write_async_stream,
    "log_artifact_from_stream": _write_stream,
    "upload_trace_data": _write_spans,
}
"""Wrappers of the methods of a repository that write or read files, by name."""


class _HashedStream:
    """A stream, iterator or asynchronous iterator of bytes that is hashed as it is read."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._hash = hashlib.sha256()
        self.size = 0

    def _add(self, chunk: bytes) -> bytes:
        self._hash.update(chunk)
        self.size += len(chunk)
        return chunk

    def sha256(self) -> str:
        return self._hash.hexdigest()

    def read(self, *args: Any) -> bytes:
        return self._add(self._inner.read(*args))

    def __iter__(self) -> Iterator[bytes]:
        return (self._add(chunk) for chunk in self._inner)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            yield self._add(chunk)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


# -- events --------------------------------------------------------------------------------


def _before_stream(
    repository: Any, artifact_file_name: str, artifact_path: str | None = None
) -> None:
    current = process.get()
    if not current.guard.here.off:
        with current.recorder.warn_only():
            owner = _owner(current, repository, artifact_path or "")
            _note_document(current, owner, [posixpath.basename(artifact_file_name)])


def _note_document(current: CaptureSession, owner: ArtifactOwner | None, paths: list[str]) -> None:
    """Note, before it is written, a document of a client: it knows more than this server does."""
    if not current.server or owner is None or owner.kind != "run":
        return
    if any(OWN_ARTIFACT.match(posixpath.join(owner.path, path)) for path in paths):
        root = current.recorder.settings.directory
        JournalDirectory(current.recorder.directory, owner.id, root=root).mark_by_client()


def _record_stream(
    repository: Any,
    stream: _HashedStream,
    artifact_file_name: str,
    artifact_path: str | None = None,
) -> None:
    current = process.get()
    if current.guard.here.off:
        return
    with current.recorder.warn_only():
        owner = _owner(current, repository, artifact_path or "")
        if owner is not None:
            path = posixpath.basename(artifact_file_name)
            entry = {"path": path, "size": stream.size, "sha256": stream.sha256()}
            _record(current, repository, owner, [entry], deleted=False)


def _record_spans(current: CaptureSession, repository: Any, trace_data: str) -> None:
    owner = _owner(current, repository, "")
    store = current.store_behind(repository)
    if owner is not None and owner.kind == "trace" and store is not None:
        run_id = current.run_of(owner, store)
        run_id = run_id or store_id(current.store_reference(store)["uuid"])
        spans = {"spans": json.loads(trace_data)["spans"]}
        current.recorder.record(run_id, StoreCalled, "log_spans", {"trace": owner.id}, spans, None)


def _owner(current: CaptureSession, repository: Any, folder: str) -> ArtifactOwner | None:
    return current.owner(str(getattr(repository, "artifact_uri", "")), folder)


def _record(
    current: CaptureSession, repository: Any, owner: ArtifactOwner, files: Files, *, deleted: bool
) -> None:
    for entry in files:
        entry["path"] = posixpath.join(owner.path, entry["path"]).rstrip("/")
    store = current.store_behind(repository)
    run_id = current.run_of(owner, store)
    of_users = [f for f in files if owner.kind != "run" or not OWN_ARTIFACT.match(f["path"])]
    if files and not of_users:
        return
    if not run_id:
        if store is None:
            return
        run_id = store_id(current.store_reference(store)["uuid"])
    event_owner = None if owner.kind == "run" else (owner.kind, owner.id)
    path = current.recorder.context_path(run_id)
    home = None if store_of(run_id) else store
    fields = (of_users, event_owner, path, deleted)
    current.recorder.record(run_id, ArtifactsLogged, *fields, store=home)
