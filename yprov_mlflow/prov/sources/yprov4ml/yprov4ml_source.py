"""The source for provenance folders of yProv4ML: finds the runs, and reads each as events."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from yprov_mlflow.prov import ids, state
from yprov_mlflow.prov.errors import StoreError
from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.sources.source import Problem, RunRef, Source
from yprov_mlflow.prov.sources.state_events import EventFactory
from yprov_mlflow.prov.sources.yprov4ml.run_folders import (
    RunFolder,
    find_runs,
    run_of_document,
)
from yprov_mlflow.prov.sources.yprov4ml.run_reader import RunReader

_RUNS = uuid.UUID("0d0f6ac2-6f8b-5a0b-8f0e-6a2f1f2a7d11")
"""Namespace of the ids of runs: an arbitrary constant that must never change."""


class YProv4MLSource(Source):
    """Reads the runs in a folder that yProv4ML wrote, of any version and with several ranks.

    Args:
        path: A folder of runs, the folder of one run, or the JSON file of one rank.
        location: Where it comes from, if this is a copy.

    Raises:
        StoreError: The path does not lead to a run of yProv4ML.
    """

    def __init__(self, path: str, location: str | None = None) -> None:
        self._path = os.path.abspath(path)
        self.location = location or path
        is_folder = os.path.isdir(self._path)
        self.folder = self._path if is_folder else os.path.dirname(self._path)
        self._problems: list[Problem] = []
        if not self._folders:
            what = "no run of yProv4ML"
            raise StoreError(what, self.location, "Give a folder that yProv4ML wrote")

    def __reduce__(self) -> Any:
        """Pickle the arguments only: each worker reads the folders itself."""
        return YProv4MLSource, (self._path, self.location)

    @cached_property
    def _folders(self) -> dict[str, RunFolder]:
        """The folders of runs by their paths relative to the source."""
        if os.path.isdir(self._path):
            runs = list(find_runs(Path(self._path)))
        else:
            run = run_of_document(Path(self._path))
            runs = [run] if run is not None else []
        assert self.folder is not None
        return {run.path.relative_to(self.folder).as_posix(): run for run in runs}

    def store(self) -> Mapping[str, str]:
        """Return ``uuid`` (see ``ids.store_uuid``) and ``uri``."""
        uri = f"file://{self.folder}"
        return {"uuid": ids.store_uuid(None, None, uri), "uri": uri}

    def runs(self) -> Iterator[RunRef]:
        """Yield all runs by path."""
        for key, folder in self._folders.items():
            reader = self._reader(folder)
            reader.problems.clear()  # they are reported with the events
            run = reader.run
            yield RunRef(
                run.run_id,
                run.experiment_id,
                run.experiment_name,
                run.status,
                run.start_time_ms,
                "active",
                key,
            )

    def _reader(self, folder: RunFolder) -> RunReader:
        return RunReader(folder, lambda seed: uuid.uuid5(_RUNS, seed).hex, self.store())

    def fingerprint(self, ref: RunRef) -> str:
        """Return a digest of path, size and modification time of all files of the run."""
        digest = hashlib.blake2b(digest_size=16)
        top = self._folders[ref.key].path
        for path, folders, names in os.walk(top):
            folders.sort()
            for name in sorted(names):
                status = os.lstat(os.path.join(path, name))
                line = f"{path}/{name}\0{status.st_size}\0{status.st_mtime_ns}\n"
                digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def artifact_folder(self, ref: RunRef) -> str | None:
        """Return None: artifacts of yProv4ML never include a document of this package."""
        return None

    def events(self, ref: RunRef) -> Iterator[Event]:
        """Yield the events of one run."""
        reader = self._reader(self._folders[ref.key])
        yield from reader.events()
        self._problems += reader.problems

    def store_events(self) -> Iterator[Event]:
        """Yield the experiments."""
        factory = EventFactory(ids.store_id(self.store()["uuid"]))
        experiments = {ref.experiment_id: ref.experiment_name for ref in self.runs()}
        for experiment_id, name in sorted(experiments.items()):
            yield from factory.experiment(state.Experiment(experiment_id, name))

    def problems(self) -> list[Problem]:
        """Return the problems since the last call, and clear them."""
        problems, self._problems = self._problems, []
        return problems

    def close(self) -> None:
        """Clear caches; no file is open between calls."""
        self.__dict__.pop("_folders", None)
