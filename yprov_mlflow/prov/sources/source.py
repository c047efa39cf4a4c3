"""The contract of a source: a store of runs that exists already, read as events.

What a source yields are the events of live capture, all of the session ``STORE_SESSION``, so
that everything behind them is shared. A source never writes to what it reads.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator, Mapping

from yprov_mlflow.prov.events import Event


@dataclasses.dataclass(frozen=True, slots=True)
class RunRef:
    """A run that a source has, known well enough to choose it and to ask for it.

    ``key`` is unique in the source: a relative POSIX path, or the run's id where the store has
    each once. Two experiments of a tree may both hold a run of one id. ``lifecycle`` is
    ``"active"`` or ``"deleted"``; ``status`` is as the store has it, also one unknown to MLflow.
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
    """Something that a source has and that cannot be read as it should be.

    Args:
        place: Where: a path, or a table and a key.
        reason: What is wrong with it.
        lost: What of it is not converted; empty when all was saved.
    """

    place: str
    reason: str
    lost: str


class Source(abc.ABC):
    """A store of runs. Cheap to make; pickles until it is first asked for something.

    Worker processes open their own. No broken run raises out of ``events`` or ``store_events``:
    what can be saved is yielded, and what cannot becomes a problem.
    """

    location: str
    """Where the source is, as the user gave it, without a password."""

    folder: str | None = None
    """The folder that is all the store's own, if it is one: nobody else is to write to it."""

    @abc.abstractmethod
    def store(self) -> Mapping[str, str]:
        """Give ``uuid`` (see ``identity.store_uuid``) and ``uri`` (password removed)."""

    @abc.abstractmethod
    def runs(self) -> Iterator[RunRef]:
        """Give all runs, deleted ones too, in one stable order; cheap for each of them."""

    @abc.abstractmethod
    def fingerprint(self, ref: RunRef) -> str:
        """Give what changes when the run's content may have changed; cheaper than reading it."""

    @abc.abstractmethod
    def events(self, ref: RunRef) -> Iterator[Event]:
        """Give the events of one run, numbered from 0."""

    @abc.abstractmethod
    def store_events(self) -> Iterator[Event]:
        """Give the events of what belongs to no run: experiments, the registry, the rest."""

    @abc.abstractmethod
    def problems(self) -> list[Problem]:
        """Give the problems met since the last call, and forget them."""

    @abc.abstractmethod
    def close(self) -> None:
        """Give back what is open; the source may be asked again, and opens it anew."""
