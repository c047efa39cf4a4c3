"""Artifact repositories: which files a call wrote, with their SHA-256 as they were then."""

from __future__ import annotations

import hashlib
import inspect
import os
import posixpath
import stat
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from yprov_mlflow.events import ArtifactsLogged
from yprov_mlflow.identity import store_id
from yprov_mlflow.plugin import capture as process
from yprov_mlflow.plugin.capture import Capture, Owner

PROVENANCE = "provenance"
"""Folder of the run's own document, of which the document does not speak."""

_ASIDE_BYTES = 1 << 20
"""Larger files are hashed in a thread while the repository copies or uploads them."""

Files = list[dict[str, Any]]


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


def _observer(
    look: Callable[..., tuple[str, list[tuple[str, str]]]], *, deleted: bool = False
) -> Callable[[type, str], Callable[..., Any]]:
    """Make the wrapper of a repository's method; ``look`` tells what the call is about."""

    def wrapper(base: type, name: str) -> Callable[..., Any]:
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            current = process.get()
            guard = current.guard
            if guard.repository or guard.off:
                return getattr(base, name)(self, *args, **kwargs)
            guard.repository = True
            try:
                hashes = owner = None
                try:
                    folder, files = look(*args, **kwargs)
                    owner = _owner(current, self, folder)
                    hashes = Hashes(files) if owner is not None else None
                except Exception as error:  # noqa: BLE001 - the upload itself must go on
                    current.recorder.warn(error)
                result = getattr(base, name)(self, *args, **kwargs)
                if owner is not None and hashes is not None:
                    _record(current, owner, hashes.finish(), deleted=deleted)
                return result
            finally:
                guard.repository = False

        return method

    return wrapper


def _one_file(local_file: Any, artifact_path: str | None = None) -> Any:
    local = os.fspath(local_file)
    return artifact_path or "", [(local, os.path.basename(local))]


def _folder(local_dir: Any, artifact_path: str | None = None) -> Any:
    root = os.fspath(local_dir)
    files = []
    for folder, names, found in os.walk(root):
        names.sort()
        for name in sorted(found):
            local = os.path.join(folder, name)
            files.append((local, os.path.relpath(local, root).replace(os.sep, "/")))
    return artifact_path or "", files


def _removed(artifact_path: str | None = None) -> Any:
    return artifact_path or "", [("", "")]


def _stream_observer(base: type, name: str) -> Callable[..., Any]:
    """Wrap an upload that a server streams through: hash what passes."""
    method = inspect.getattr_static(base, name)

    async def asynchronous(
        self: Any, stream: Any, artifact_file_name: str, artifact_path: str | None = None
    ) -> Any:
        passing = _Passing(stream)
        result = await getattr(base, name)(self, passing, artifact_file_name, artifact_path)
        _passed(self, passing, artifact_file_name, artifact_path)
        return result

    def synchronous(
        self: Any, stream: Any, artifact_file_name: str, artifact_path: str | None = None
    ) -> Any:
        passing = _Passing(stream)
        result = getattr(base, name)(self, passing, artifact_file_name, artifact_path)
        _passed(self, passing, artifact_file_name, artifact_path)
        return result

    return asynchronous if inspect.iscoroutinefunction(method) else synchronous


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
    if current.guard.off:
        return
    try:
        owner = _owner(current, repository, folder or "")
        if owner is not None:
            path = posixpath.basename(name)
            entry = {"path": path, "size": passing.size, "sha256": passing.sha256()}
            _record(current, owner, [entry], deleted=False)
    except Exception as error:  # noqa: BLE001 - the upload has succeeded
        current.recorder.warn(error)


def _owner(current: Capture, repository: Any, folder: str) -> Owner | None:
    return current.owner(str(getattr(repository, "artifact_uri", "")), folder)


def _record(current: Capture, owner: Owner, files: Files, *, deleted: bool) -> None:
    for entry in files:
        entry["path"] = posixpath.join(owner.path, entry["path"]).rstrip("/")
    run_id = current.run_of(owner)
    if owner.kind == "run" and files and files[0]["path"].split("/")[0] == PROVENANCE:
        # A client that delivers its own document knows more than this server does.
        if current.server and run_id is not None and files[0]["path"] != PROVENANCE:
            current.delivered_by_client[run_id] = files[0]["path"]
        return
    if run_id is None:
        reference = next(iter(current.references()), None)
        if reference is None:
            return
        run_id = store_id(reference["uuid"])
    whose = None if owner.kind == "run" else (owner.kind, owner.id)
    path = current.recorder.context_path(run_id)
    current.recorder.record(run_id, ArtifactsLogged, files, whose, path, deleted)


OBSERVERS: dict[str, Callable[[type, str], Callable[..., Any]]] = {
    "log_artifact": _observer(_one_file),
    "log_artifacts": _observer(_folder),
    "delete_artifacts": _observer(_removed, deleted=True),
    "log_artifact_from_async_stream": _stream_observer,
    "log_artifact_from_stream": _stream_observer,
}
"""Methods of a repository that write, with what makes the wrapper of each."""
