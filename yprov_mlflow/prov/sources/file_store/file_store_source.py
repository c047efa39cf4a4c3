"""The source that is an ``mlruns`` tree."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from yprov_mlflow.prov import ids
from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.sources.file_store import runs
from yprov_mlflow.prov.sources.file_store.artifacts import bases_of, find_artifacts
from yprov_mlflow.prov.sources.file_store.contents import Contents
from yprov_mlflow.prov.sources.file_store.experiments import (
    Experiment,
    read_experiments,
    run_folders,
)
from yprov_mlflow.prov.sources.file_store.fingerprint import fingerprint
from yprov_mlflow.prov.sources.file_store.meta import META, text_of, whole_of
from yprov_mlflow.prov.sources.file_store.owner_index import Index
from yprov_mlflow.prov.sources.file_store.root import find_root
from yprov_mlflow.prov.sources.file_store.run_inputs import Links
from yprov_mlflow.prov.sources.file_store.tree_files import Files
from yprov_mlflow.prov.sources.source import Problem, RunRef, Source

_FIRST = "0"


class TreeSource(Source):
    """Reads an ``mlruns`` tree of any MLflow version, from its files alone.

    Args:
        path: The folder ``mlruns``, or one that contains it.
        artifacts: Folder in which artifacts are looked for that are not beside their runs.
        location: Where the user said that the tree is, if not as a path.

    Raises:
        StoreError: There is no such tree.
    """

    def __init__(
        self,
        path: str,
        *,
        artifacts: str | None = None,
        location: str | None = None,
        uri: str | None = None,
    ) -> None:
        self.location = location or path
        artifacts = os.path.abspath(artifacts) if artifacts else None
        self._made_of = (os.path.abspath(path), artifacts, self.location, uri)
        self._root = self.folder = find_root(path)
        self._uri = uri or f"file://{self._root}"
        self._bases = bases_of(self._root, artifacts)
        self._files = Files(self._root, *self._bases)

    def __reduce__(self) -> Any:
        """Pickle as how it was made: a worker looks for itself."""
        return _made, self._made_of

    # -- the tree as a whole -----------------------------------------------------------

    @cached_property
    def _experiments(self) -> dict[str, Experiment]:
        return {one.place: one for one in read_experiments(self._files.quiet)}

    @cached_property
    def _index(self) -> Index:
        return Index(self._files.quiet, tuple(self._experiments.values()))

    @cached_property
    def _links(self) -> Links:
        return Links(self._files)

    @cached_property
    def _store(self) -> dict[str, str]:
        first = self._experiments.get(_FIRST) or self._experiments.get(f".trash/{_FIRST}")
        meta = first.meta if first is not None else {}
        created, location = whole_of(meta, "creation_time"), text_of(meta, "artifact_location")
        return {
            "uuid": ids.store_uuid(created, location, self._uri),
            "uri": ids.redact(self._uri),
        }

    def store(self) -> Mapping[str, str]:
        """Give ``uuid`` (see ``identity.store_uuid``) and ``uri``."""
        return self._store

    # -- runs --------------------------------------------------------------------------

    def runs(self) -> Iterator[RunRef]:
        """Give all runs by experiment and folder; tell of folders that are none."""
        for experiment in self._experiments.values():
            given: set[str] = set()
            for folder in run_folders(self._files, experiment):
                meta = runs.read_run(self._files.quiet, folder.path)
                ref = runs.reference(self._files, experiment, folder, meta, given)
                given.add(ref.run_id)
                yield ref

    def fingerprint(self, ref: RunRef) -> str:
        """Give a digest over path, size and time of change of all that belongs to the run."""
        folder = self._folder(ref)
        experiment = os.path.dirname(folder)
        paths = [folder, os.path.join(experiment, META)]
        paths += (model.path for model in self._index.models.get(ref.key, ()))
        paths += (os.path.join(m.path, "metrics") for m in self._index.measured.get(ref.key, ()))
        paths += (trace.path for trace in self._index.traces.get(ref.key, ()))
        if os.path.isdir(os.path.join(folder, "inputs")):
            paths += Links(self._files.quiet).dataset_folders(folder, experiment)
        if not os.path.isdir(os.path.join(folder, "artifacts")):
            uri = text_of(runs.read_run(self._files.quiet, folder), "artifact_uri")
            place = find_artifacts(self._files.quiet, folder, uri, self._bases)
            paths += [place.path] if place.path is not None else []
        return fingerprint(paths, self._root)

    def events(self, ref: RunRef) -> Iterator[Event]:
        """Give the events of one run."""
        contents = Contents(self._files, self._index, self._bases, ref.run_id, ref.key)
        yield from contents.of_run(ref, self._folder(ref), self._links, self._store)
        self._files.settle()

    def store_events(self) -> Iterator[Event]:
        """Give the events of what belongs to no run."""
        run_id = ids.store_id(self._store["uuid"])
        contents = Contents(self._files, self._index, self._bases, run_id, None)
        yield from contents.of_store(read_experiments(self._files), self._links)
        self._files.settle()

    def _folder(self, ref: RunRef) -> str:
        return os.path.join(self._root, *ref.key.split("/"))

    # -- faults and end ----------------------------------------------------------------

    def problems(self) -> list[Problem]:
        """Give the problems met since the last call, and forget them."""
        return self._files.problems()

    def close(self) -> None:
        """Forget what the tree looked like; no file is open between calls."""
        for name in ("_experiments", "_index", "_links", "_store"):
            self.__dict__.pop(name, None)


def _made(path: str, artifacts: str | None, location: str, uri: str | None) -> TreeSource:
    return TreeSource(path, artifacts=artifacts, location=location, uri=uri)
