"""Capture of artifact repositories: the files that a call writes, with their SHA-256 at the time.

A wrapper is called in place of a method of a repository. It calls the original itself, because
files have to be hashed before a call that may remove them.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import posixpath
import stat
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from yprov_mlflow.prov.capture import session as process
from yprov_mlflow.prov.capture.session import ArtifactOwner, CaptureSession
from yprov_mlflow.prov.events import ArtifactsLogged
from yprov_mlflow.prov.ids import store_id
from yprov_mlflow.prov.layout import OWN_ARTIFACT, PROVENANCE

_IN_THREAD_BYTES = 1 << 20
"""Files above this size are hashed in a thread while the repository copies or uploads them."""

Files = list[dict[str, Any]]
"""Files as ``ArtifactsLogged`` has them."""

Targets = tuple[str, list[tuple[str, str]]]
"""An artifact folder, and pairs of a local file and its path below that folder."""

Wrapper = Callable[..., Any]
"""Takes a method of a repository, the repository and the arguments; calls the method."""


class Hashes:
    """SHA-256 and size of local files, computed while a call copies or moves them."""

    def __init__(self, targets: list[tuple[str, str]]) -> None:
        """Start with pairs of a local file and its artifact path."""
        self._files: Files = []
        self._thread: threading.Thread | None = None
        large = []
        for local, path in targets:
            entry: dict[str, Any] = {"path": path, "size": None, "sha256": None}
            self._files.append(entry)
            try:
                status = os.stat(local)
            except OSError:
                continue
            if not stat.S_ISREG(status.st_mode):
                # Reading a named pipe would wait for a writer; the error is MLflow's to raise.
                continue
            entry["size"] = status.st_size
            if entry["size"] <= _IN_THREAD_BYTES:
                _hash([(local, entry)])
            else:
                large.append((local, entry))
        if large:
            # Hashing releases the GIL, so it takes no time from the repository's own work.
            self._thread = threading.Thread(
                target=_hash, args=(large,), name="yprov-hash", daemon=True
            )
            self._thread.start()

    def finish(self) -> Files:
        """Wait for all hashes and return the files; ``sha256`` is None for unreadable ones."""
        if self._thread is not None:
            self._thread.join()
        return self._files


def _hash(files: list[tuple[str, dict[str, Any]]]) -> None:
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
    if guard.repository or guard.off:
        return original(repository, *args, **kwargs)
    guard.repository = True
    try:
        owner = hashes = None
        with current.recorder.warn_only():
            folder, files = targets(*args, **kwargs)
            owner = _owner(current, repository, folder)
            hashes = Hashes(files) if owner is not None else None
        result = original(repository, *args, **kwargs)
        with current.recorder.warn_only():
            if owner is not None and hashes is not None:
                _record(current, repository, owner, hashes.finish(), deleted=deleted)
        return result
    finally:
        guard.repository = False


def _write_stream(
    original: Callable[..., Any],
    repository: Any,
    stream: Any,
    artifact_file_name: str,
    artifact_path: str | None = None,
) -> Any:
    """Call the original, by which a server passes an upload on, and hash the bytes it reads."""
    hashed = _HashedStream(stream)
    result = original(repository, hashed, artifact_file_name, artifact_path)
    _record_stream(repository, hashed, artifact_file_name, artifact_path)
    return result


async def _write_async_stream(
    original: Callable[..., Any],
    repository: Any,
    chunks: Any,
    artifact_file_name: str,
    artifact_path: str | None = None,
) -> Any:
    """Do as ``_write_stream`` for an asynchronous iterator."""
    hashed = _HashedStream(chunks)
    result = await original(repository, hashed, artifact_file_name, artifact_path)
    _record_stream(repository, hashed, artifact_file_name, artifact_path)
    return result


WRAPPERS: dict[str, Wrapper] = {
    "log_artifact": functools.partial(_write_files, _one_file, False),
    "log_artifacts": functools.partial(_write_files, _folder, False),
    "delete_artifacts": functools.partial(_write_files, _deleted, True),
    "log_artifact_from_async_stream": _write_async_stream,
    "log_artifact_from_stream": _write_stream,
}
"""Wrappers of the methods of a repository that write, by name."""


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


def _record_stream(repository: Any, stream: _HashedStream, name: str, folder: str | None) -> None:
    current = process.get()
    if current.guard.here.off:
        return
    with current.recorder.warn_only():
        owner = _owner(current, repository, folder or "")
        if owner is not None:
            path = posixpath.basename(name)
            entry = {"path": path, "size": stream.size, "sha256": stream.sha256()}
            _record(current, repository, owner, [entry], deleted=False)


def _owner(current: CaptureSession, repository: Any, folder: str) -> ArtifactOwner | None:
    return current.owner(str(getattr(repository, "artifact_uri", "")), folder)


def _record(
    current: CaptureSession, repository: Any, owner: ArtifactOwner, files: Files, *, deleted: bool
) -> None:
    for entry in files:
        entry["path"] = posixpath.join(owner.path, entry["path"]).rstrip("/")
    run_id = current.run_of(owner)
    of_users = [f for f in files if owner.kind != "run" or not OWN_ARTIFACT.match(f["path"])]
    if len(of_users) < len(files):
        # A client that delivers its own document knows more than this server does.
        if current.server and run_id is not None:
            current.delivered_by_client[run_id] = PROVENANCE
        if not of_users:
            return
    if run_id is None:
        store = current.store_behind(repository)
        if store is None:
            return
        run_id = store_id(current.store_reference(store)["uuid"])
    event_owner = None if owner.kind == "run" else (owner.kind, owner.id)
    path = current.recorder.context_path(run_id)
    current.recorder.record(run_id, ArtifactsLogged, of_users, event_owner, path, deleted)
