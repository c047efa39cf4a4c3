"""The source for a file store: finds its root, and reads runs and everything else in it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any

from yprov_mlflow.prov import ids
from yprov_mlflow.prov.errors import StoreError
from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.redaction import redact
from yprov_mlflow.prov.sources.file_store import runs
from yprov_mlflow.prov.sources.file_store.artifacts import artifact_bases, find_artifacts
from yprov_mlflow.prov.sources.file_store.event_reader import EventReader, OwnerIndex
from yprov_mlflow.prov.sources.file_store.meta import META, Meta
from yprov_mlflow.prov.sources.file_store.runs import MODELS, TRASH, ExperimentFolder, RunLinks
from yprov_mlflow.prov.sources.file_store.store_files import StoreFiles, start_of
from yprov_mlflow.prov.sources.source import Problem, RunRef, Source

_MLRUNS = "mlruns"
_RUN_META = re.compile(rb"^run_(?:uu)?id:", re.MULTILINE)
_EXPERIMENT_META = re.compile(rb"^(?:experiment_id|artifact_location):", re.MULTILINE)
_RUN_FOLDER = re.compile(r"[0-9a-f]{32}\Z")
_RUN_PARTS = (META, "metrics", "params", "artifacts")
_DATABASE_SUFFIXES = (".db", ".sqlite", ".sqlite3")
# Bounds of the search for stores below a wrong folder, which is only for the error message.
_MAX_FOLDERS = 2_000
_MAX_DEPTH = 4


class FileStoreSource(Source):
    """Reads an ``mlruns`` folder of any MLflow version, without MLflow's own file store.

    Args:
        path: The folder ``mlruns``, or one that contains it.
        artifacts: Folder to search for artifacts that are not in the folders of their runs.
        location: Location of the store as the user named it, if not by its path.
        uri: Tracking URI of the store, if ``path`` is a copy of it.

    Raises:
        StoreError: The path does not lead to a file store.
    """

    def __init__(
        self,
        path: str,
        artifacts: str | None = None,
        location: str | None = None,
        uri: str | None = None,
    ) -> None:
        self.location = location or path
        artifacts = os.path.abspath(artifacts) if artifacts else None
        self._arguments = (os.path.abspath(path), artifacts, self.location, uri)
        self._root = self.folder = find_root(path)
        self._uri = uri or f"file://{self._root}"
        self._bases = artifact_bases(self._root, artifacts)
        self._files = StoreFiles(self._root, *self._bases)

    def __reduce__(self) -> Any:
        """Pickle the arguments only: each worker reads the store itself."""
        return FileStoreSource, self._arguments

    @cached_property
    def _experiments(self) -> dict[str, ExperimentFolder]:
        return {item.key: item for item in runs.read_experiments(self._files.quiet)}

    @cached_property
    def _index(self) -> OwnerIndex:
        return OwnerIndex(self._files.quiet, tuple(self._experiments.values()))

    @cached_property
    def _links(self) -> RunLinks:
        return RunLinks(self._files)

    @cached_property
    def _store(self) -> dict[str, str]:
        experiments = self._experiments
        default = experiments.get("0") or experiments.get(f"{TRASH}/0")
        meta = default.meta if default is not None else Meta()
        created, location = meta.whole("creation_time"), meta.text("artifact_location")
        uuid = ids.store_uuid(created, location, self._uri)
        return {"uuid": uuid, "uri": redact(self._uri)}

    def store(self) -> Mapping[str, str]:
        """Return ``uuid`` (see ``ids.store_uuid``) and ``uri``."""
        return self._store

    def runs(self) -> Iterator[RunRef]:
        """Yield all runs, sorted by experiment and folder; report folders that are not runs."""
        if not self._experiments and not _has_experiments(self._root):
            # A folder that is not mounted is empty, too.
            reason = "contains no experiment, run or model"
            self._files.report(self._root, reason, "all runs, if there should be any")
        for experiment in self._experiments.values():
            used: set[str] = set()
            for folder in runs.run_folders(self._files, experiment):
                ref = runs.run_ref(self._files, experiment, folder, used)
                used.add(ref.run_id)
                yield ref

    def fingerprint(self, ref: RunRef) -> str:
        """Return a digest of path, size and modification time of all files of the run."""
        index = self._index
        # Read descriptions again, and only after the digest has covered their files: if one is
        # changed meanwhile, the fingerprint is outdated and the run is converted once more.
        self._files.forget_descriptions()
        return _digest(self._paths(ref, index), self._root)

    def _paths(self, ref: RunRef, index: OwnerIndex) -> Iterator[str]:
        """Yield the files and folders that the events of a run depend on."""
        folder = self._folder(ref)
        experiment = os.path.dirname(folder)
        yield folder
        yield os.path.join(experiment, META)
        yield from (model.path for model in index.models.get(ref.key, ()))
        for model in index.measured_models.get(ref.key, ()):
            yield os.path.join(model.path, "metrics")
        yield from (trace.path for trace in index.traces.get(ref.key, ()))
        if os.path.isdir(os.path.join(folder, "inputs")):
            yield from RunLinks(self._files.quiet).dataset_folders(folder, experiment)
        if not os.path.isdir(os.path.join(folder, "artifacts")):
            uri = self._files.quiet.folder_meta(folder).text("artifact_uri")
            location = find_artifacts(self._files.quiet, folder, uri, self._bases)
            if location.path is not None:
                yield location.path

    def artifact_folder(self, ref: RunRef) -> str | None:
        """Return the local folder of the run's artifacts, None if they are not on this machine."""
        folder = self._folder(ref)
        uri = self._files.quiet.folder_meta(folder).text("artifact_uri")
        return find_artifacts(self._files.quiet, folder, uri, self._bases).path

    def events(self, ref: RunRef) -> Iterator[Event]:
        """Yield the events of one run."""
        reader = EventReader(self._files, self._index, self._bases, ref.run_id, ref.key)
        yield from reader.run_events(ref, self._folder(ref), self._links, self._store)
        self._finish()

    def store_events(self) -> Iterator[Event]:
        """Yield the events of everything that belongs to no run."""
        run_id = ids.store_id(self._store["uuid"])
        reader = EventReader(self._files, self._index, self._bases, run_id, None)
        yield from reader.store_events(runs.read_experiments(self._files), self._links)
        self._finish()

    def _finish(self) -> None:
        self._files.flush_notes()
        self._files.forget_descriptions()

    def _folder(self, ref: RunRef) -> str:
        return os.path.join(self._root, *ref.key.split("/"))

    def problems(self) -> list[Problem]:
        """Return the problems since the last call, and clear them."""
        return self._files.problems()

    def close(self) -> None:
        """Clear caches; no file is open between calls."""
        # Cached properties are stored under their names; deleting them computes them again.
        for name in ("_experiments", "_index", "_links", "_store"):
            self.__dict__.pop(name, None)
        self._files.forget_descriptions()


def _digest(paths: Iterable[str], root: str) -> str:
    """Return a digest of path, size and modification time of all files below these paths.

    Folders contribute their names. Links contribute themselves, not their targets.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        lines: list[str] = []
        _add_files(path, path.removeprefix(root), lines)
        digest.update("\n".join(lines).encode("utf-8", "surrogateescape"))
        digest.update(b"\0")
    return digest.hexdigest()


def _add_files(top: str, name: str, lines: list[str]) -> None:
    stack = [(top, name)]
    while stack:
        path, name = stack.pop()
        lines.append(name)
        try:
            with os.scandir(path) as scan:
                entries = sorted(scan, key=attrgetter("name"))
        except NotADirectoryError:
            lines.append(_line(name, os.lstat(path)))
            continue
        except OSError:
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                stack.append((entry.path, f"{name}/{entry.name}"))
                continue
            try:
                lines.append(_line(entry.name, entry.stat(follow_symlinks=False)))
            except OSError:
                continue


def _line(name: str, status: os.stat_result) -> str:
    return f"{name}\0{status.st_size}\0{status.st_mtime_ns}"


def find_root(location: str) -> str:
    """Return the absolute path of a store's root: the folder itself, or ``mlruns`` in it.

    Raises:
        StoreError: There are neither experiments nor an ``mlruns`` folder.
    """
    path = os.path.abspath(location)
    inner = os.path.join(path, _MLRUNS)
    # An empty store is still a store if it has the usual name.
    if os.path.basename(path) == _MLRUNS and not os.path.isdir(inner):
        return path
    if not os.path.isfile(os.path.join(path, META)) and _has_experiments(path):
        return path
    if os.path.isdir(inner):
        return inner
    if os.path.basename(path) == _MLRUNS:
        return path
    raise StoreError("no MLflow experiments and no mlruns folder", path, _suggestion(path))


def _suggestion(path: str) -> str:
    if os.path.isfile(os.path.join(path, META)):
        return "This is one experiment or run: give the mlruns folder that contains it"
    below = [os.path.relpath(folder, path) for folder in _mlruns_below(path)]
    if below:
        more = " (and others)" if len(below) > 5 else ""
        return f"Give one of the folders below it: {', '.join(below[:5])}{more}"
    files = sorted(Path(path).glob("*"))
    databases = [file.name for file in files if file.suffix in _DATABASE_SUFFIXES]
    if databases:
        return f"Give the database in it: {', '.join(databases[:5])}"
    return "Give the folder mlruns, or one that contains it"


def _mlruns_below(top: str) -> Iterator[str]:
    """Yield folders named ``mlruns`` that are not far below."""
    count = 0
    queue = [(top, 0)]
    while queue and count < _MAX_FOLDERS:
        path, depth = queue.pop(0)
        for name in _folder_names(path):
            count += 1
            if name == _MLRUNS:
                yield os.path.join(path, name)
            elif depth < _MAX_DEPTH and not name.startswith("."):
                queue.append((os.path.join(path, name), depth + 1))


def _has_experiments(path: str) -> bool:
    """Return whether a folder looks like the root of a store."""
    for name in _folder_names(path):
        inner = os.path.join(path, name)
        if name == TRASH or _is_experiment(os.path.join(inner, META)):
            return True
        folder = Path(inner)
        if name == MODELS and (any(folder.glob(f"*/{META}")) or any(folder.glob("*/version-1"))):
            return True
        names = (path.parent.name for part in _RUN_PARTS for path in folder.glob(f"*/{part}"))
        if any(map(_RUN_FOLDER.match, names)):
            return True
    return False


def _is_experiment(meta: str) -> bool:
    start = start_of(meta, 65536)
    return bool(_EXPERIMENT_META.search(start)) and not _RUN_META.search(start)


def _folder_names(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:
        return []
