"""Artifact repositories: which files a call wrote, with their SHA-256 as they were then."""

from __future__ import annotations

import functools
import hashlib
import os
import posixpath
import stat
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from yprov_mlflow.prov.capture import session as process
from yprov_mlflow.prov.capture.session import CaptureSession, Owner
from yprov_mlflow.prov.events import ArtifactsLogged
from yprov_mlflow.prov.ids import OF_CAPTURE, store_id

PROVENANCE = "provenance"
"""Folder of the run's own document; what else is in it is the user's."""

_ASIDE_BYTES = 1 << 20
"""Larger files are hashed in a thread while the repository copies or uploads them."""

Files = list[dict[str, Any]]
Found = tuple[str, list[tuple[str, str]]]
"""An artifact folder, and pairs of a local file and its path below that folder."""

Observer = Callable[..., Any]
"""Takes a method of a repository, the repository, and what it was called with; calls it."""


class Hashes:
    """SHA-256 and size of local files, begun before a call that may remove them."""

    def __init__(self, paths: list[tuple[str, str]]) -> None:
        """Take pairs of a local file and its artifact path."""
        self._files: Files = []
        self._thread: threading.Thread | None = None
        aside = []
        for local, path in paths:
            entry: dict[str, Any] = {"path": path, "size": None, "sha256": None}
            self._files.append(entry)
            try:
                status = os.stat(local)
            except OSError:
                continue
            if not stat.S_ISREG(status.st_mode):
                # Reading a pipe waits for a writer; MLflow will say itself what it thinks of it.
                continue
            entry["size"] = status.st_size
            if entry["size"] <= _ASIDE_BYTES:
                _hash(local, entry)
            else:
                aside.append((local, entry))
        if aside:
            self._thread = threading.Thread(
                target=_hash_all, args=(aside,), name="yprov-hash", daemon=True
            )
            self._thread.start()

    def finish(self) -> Files:
        """Give one mapping per file when all are hashed; what cannot be read has no hash."""
        if self._thread is not None:
            self._thread.join()
        return self._files


def _hash_all(files: list[tuple[str, dict[str, Any]]]) -> None:
    for local, entry in files:
        _hash(local, entry)


def _hash(local: str, entry: dict[str, Any]) -> None:
    try:
        with open(local, "rb") as file:
            entry["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        pass


# -- which files a call is about ---------------------------------------------------------


def _one_file(local_file: Any, artifact_path: str | None = None) -> Found:
    """Look at the arguments of a call that writes one file."""
    local = os.fspath(local_file)
    return artifact_path or "", [(local, os.path.basename(local))]


def _folder(local_dir: Any, artifact_path: str | None = None) -> Found:
    """Look at the arguments of a call that writes all files of a folder."""
    root = os.fspath(local_dir)
    files = []
    for folder, names, found in os.walk(root):
        names.sort()
        for name in sorted(found):
            local = os.path.join(folder, name)
            files.append((local, os.path.relpath(local, root).replace(os.sep, "/")))
    return artifact_path or "", files


def _removed(artifact_path: str | None = None) -> Found:
    """Look at the arguments of a call that removes a file or folder."""
    return artifact_path or "", [("", "")]


# -- observers ---------------------------------------------------------------------------


def _observe_files(
    look: Callable[..., Found],
    deleted: bool,
    original: Callable[..., Any],
    repository: Any,
    /,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Make a call, hashing meanwhile the files that ``look`` finds in its arguments."""
    current = process.get()
    guard = current.guards.here
    if guard.repository or guard.off:
        return original(repository, *args, **kwargs)
    guard.repository = True
    try:
        owner = hashes = None
        try:
            folder, files = look(*args, **kwargs)
            owner = _owner(current, repository, folder)
            hashes = Hashes(files) if owner is not None else None
        except Exception as error:  # noqa: BLE001 - the upload itself must go on
            current.recorder.warn(error)
        result = original(repository, *args, **kwargs)
        try:
            if owner is not None and hashes is not None:
                _record(current, repository, owner, hashes.finish(), deleted=deleted)
        except Exception as error:  # noqa: BLE001 - the upload has succeeded
            current.recorder.warn(error)
        return result
    finally:
        guard.repository = False


def _observe_stream(
    original: Callable[..., Any],
    repository: Any,
    stream: Any,
    artifact_file_name: str,
    artifact_path: str | None = None,
) -> Any:
    """Make the call through which a server passes an upload on, hashing what passes."""
    passing = _Passing(stream)
    result = original(repository, passing, artifact_file_name, artifact_path)
    _passed(repository, passing, artifact_file_name, artifact_path)
    return result


async def _observe_async_stream(
    original: Callable[..., Any],
    repository: Any,
    chunks: Any,
    artifact_file_name: str,
    artifact_path: str | None = None,
) -> Any:
    """Do the same for chunks that come in their own time."""
    passing = _Passing(chunks)
    result = await original(repository, passing, artifact_file_name, artifact_path)
    _passed(repository, passing, artifact_file_name, artifact_path)
    return result


OBSERVERS: dict[str, Observer] = {
    "log_artifact": functools.partial(_observe_files, _one_file, False),
    "log_artifacts": functools.partial(_observe_files, _folder, False),
    "delete_artifacts": functools.partial(_observe_files, _removed, True),
    "log_artifact_from_async_stream": _observe_async_stream,
    "log_artifact_from_stream": _observe_stream,
}
"""Methods of a repository that write, with the observer of each."""


class _Passing:
    """A stream, iterator or asynchronous iterator of bytes that is hashed as it is read."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._hash = hashlib.sha256()
        self.size = 0

    def _take(self, chunk: bytes) -> bytes:
        self._hash.update(chunk)
        self.size += len(chunk)
        return chunk

    def sha256(self) -> str:
        return self._hash.hexdigest()

    def read(self, *args: Any) -> bytes:
        return self._take(self._inner.read(*args))

    def __iter__(self) -> Iterator[bytes]:
        return (self._take(chunk) for chunk in self._inner)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            yield self._take(chunk)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def _passed(repository: Any, passing: _Passing, name: str, folder: str | None) -> None:
    current = process.get()
    if current.guards.here.off:
        return
    try:
        owner = _owner(current, repository, folder or "")
        if owner is not None:
            path = posixpath.basename(name)
            entry = {"path": path, "size": passing.size, "sha256": passing.sha256()}
            _record(current, repository, owner, [entry], deleted=False)
    except Exception as error:  # noqa: BLE001 - the upload has succeeded
        current.recorder.warn(error)


# -- events ------------------------------------------------------------------------------


def _owner(current: CaptureSession, repository: Any, folder: str) -> Owner | None:
    return current.owner(str(getattr(repository, "artifact_uri", "")), folder)


def _record(
    current: CaptureSession, repository: Any, owner: Owner, files: Files, *, deleted: bool
) -> None:
    for entry in files:
        entry["path"] = posixpath.join(owner.path, entry["path"]).rstrip("/")
    run_id = current.run_of(owner)
    theirs = [f for f in files if owner.kind != "run" or not OF_CAPTURE.match(f["path"])]
    if len(theirs) < len(files):
        # A client that delivers its own document knows more than this server does.
        if current.server and run_id is not None:
            current.delivered_by_client[run_id] = PROVENANCE
        if not theirs:
            return
    if run_id is None:
        store = current.store_behind(repository)
        if store is None:
            return
        run_id = store_id(current.store_reference(store)["uuid"])
    whose = None if owner.kind == "run" else (owner.kind, owner.id)
    path = current.recorder.context_path(run_id)
    current.recorder.record(run_id, ArtifactsLogged, theirs, whose, path, deleted)
