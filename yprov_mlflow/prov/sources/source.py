"""The contract of a source: a store of existing runs, read as events.

A source yields the same events as live capture, all of the session ``STORE_SESSION``, so that
everything after it is shared. It never writes to the store that it reads.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from yprov_mlflow.prov import ids
from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.redaction import redact
from yprov_mlflow.prov.uris import strip_prefix


@dataclasses.dataclass(frozen=True, slots=True)
class RunRef:
    """A run of a source, with enough about it to select it and to ask for its events.

    ``key`` is unique in the source: a relative POSIX path in a file store, where two experiments
    may hold a run of the same id, and the run's id elsewhere. ``lifecycle`` is ``"active"`` or
    ``"deleted"``; ``status`` is the store's, even if MLflow does not know it.
    """

    run_id: str
    experiment_id: str
    experiment_name: str | None
    status: str | None
    start_time_ms: int | None
    lifecycle: str
    key: str


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """Content of a store that cannot be read as it should be.

    Args:
        place: Where it is: a path, or a table and a key.
        reason: The fault, as a clause.
        lost: Content that is not converted because of it; empty if nothing is lost.
        kind: ``"artifacts"`` if only artifact files are out of reach, else ``"data"``.
    """

    place: str
    reason: str
    lost: str
    kind: str = "data"

    def __post_init__(self) -> None:
        # Lines of files and messages of drivers may quote a URI.
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, redact(getattr(self, field.name)))


class Source(abc.ABC):
    """A store of runs; cheap to create, and safe to pickle at any time.

    Worker processes open the store themselves. A broken run never raises from ``events`` or
    ``store_events``: its readable part is yielded, and the rest becomes a problem.
    """

    location: str
    """Where the store is, as the user named it, without a password."""

    of_documents = False
    """Whether the runs are documents already; see ``DocumentSource``."""

    folder: str | None = None
    """Folder that belongs to the store alone, if there is one; nothing may be written to it."""

    @abc.abstractmethod
    def store(self) -> Mapping[str, str]:
        """Return the store's ``uuid`` (see ``ids.store_uuid``) and ``uri`` (password removed)."""

    @abc.abstractmethod
    def runs(self) -> Iterator[RunRef]:
        """Yield all runs, including deleted ones, in a stable order, at low cost for each."""

    @abc.abstractmethod
    def fingerprint(self, ref: RunRef) -> str:
        """Return text that changes when the run's content may have; cheaper than its events."""

    @abc.abstractmethod
    def events(self, ref: RunRef) -> Iterator[Event]:
        """Yield the events of one run, numbered from 0."""

    def artifact_folder(self, ref: RunRef) -> str | None:
        """Return the local folder of the run's artifacts, None if they are not on this machine."""
        return None

    @abc.abstractmethod
    def store_events(self) -> Iterator[Event]:
        """Yield the events of everything that belongs to no run, such as the registry."""

    @abc.abstractmethod
    def problems(self) -> list[Problem]:
        """Return the problems since the last call, and clear them."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release connections and caches; the source may be used again afterwards."""


class RemoteSource(Source):
    """A source that is opened on first use: a database or a server.

    Args:
        location: A path, or a tracking URI of MLflow.
        artifacts: Folder that is searched for artifacts first.
    """

    def __init__(self, location: str, artifacts: str | None = None) -> None:
        self._location = strip_prefix(location)
        self._artifacts_folder = artifacts
        self.location = redact(self._location)
        self._problems: list[Problem] = []
        self._store: dict[str, str] | None = None
        self._reset()

    def __reduce__(self) -> Any:
        """Pickle the arguments only; the copy opens the store itself."""
        return type(self), (self._location, self._artifacts_folder)

    @abc.abstractmethod
    def _reset(self) -> None:
        """Discard connections and everything that was read."""

    @abc.abstractmethod
    def _first_experiment(self) -> tuple[int | None, str | None, str]:
        """Return its creation time and artifact location, and the store's URI."""

    def store(self) -> dict[str, str]:
        """Return the ``uuid`` and ``uri`` that live capture of this store has, too."""
        if self._store is None:
            created, artifact_location, uri = self._first_experiment()
            self._store = {"uuid": ids.store_uuid(created, artifact_location, uri), "uri": uri}
        return self._store

    def _report(self, problem: Problem) -> None:
        self._problems.append(problem)

    def problems(self) -> list[Problem]:
        """Return the problems since the last call, and clear them."""
        problems, self._problems = self._problems, []
        return problems

    def close(self) -> None:
        """Disconnect and discard everything but the problems."""
        self._store = None
        self._reset()
