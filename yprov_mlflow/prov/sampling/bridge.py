"""The collectors of a process and its recorder: which are chosen, where what they find goes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from yprov_mlflow.prov.collectors import catalog, ranks
from yprov_mlflow.prov.collectors.base import CollectorContext, Quantity
from yprov_mlflow.prov.collectors.system import node
from yprov_mlflow.prov.errors import CollectorError
from yprov_mlflow.prov.events import (
    ContextEntered,
    Event,
    Json,
    MetricsLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
)
from yprov_mlflow.prov.ids import store_of
from yprov_mlflow.prov.journal import JournalDirectory
from yprov_mlflow.prov.sampling.claims import Claims, left_to_others
from yprov_mlflow.prov.sampling.sampler import Sampler

if TYPE_CHECKING:
    from yprov_mlflow.prov.capture.recorder import Recorder

OnSample = Callable[[str, Sequence[Quantity], Sequence[float | None]], None]
"""Takes a run's id, quantities and their values, in the sampler's thread."""

_BEGINNINGS = frozenset({RunCreated, ContextEntered})
_WORK = frozenset({MetricsLogged, ParamsLogged})


class CollectorBridge:
    """What the collectors find, handed to the recorder; the ``Output`` of ``Sampler``."""

    def __init__(self, recorder: Recorder) -> None:
        self.ranks = ranks.collect()
        self.facts: dict[str, Mapping[str, Json]] = {}
        self.on_sample: OnSample | None = None
        self._recorder = recorder
        self._measuring: Sampler | None = None
        self._of_runs: dict[str, Sampler] = {}

    def trains(self, cls: type[Event], fields: Sequence[Any]) -> bool:
        """Tell whether an event means that this process trains, and does not only look after.

        A rank logs to a run that another one began.
        """
        if cls is RunUpdated:
            return bool(fields[0] == "RUNNING")
        return cls in _BEGINNINGS or (cls in _WORK and "rank" in self.ranks)

    def choose(self, chosen: Mapping[str, Any]) -> None:
        """Use other collectors, or another interval, for runs that begin from now on."""
        settings = dataclasses.replace(self._recorder.settings, **chosen)
        if settings != self._recorder.settings:
            self._recorder.settings = settings
            self.facts = {}
            self._measuring = None  # that of the open runs goes on until these end

    # -- of the recorder ---------------------------------------------------------------

    def look(self) -> None:
        """Have the collectors look around, aside; a server's machine is not that of the run."""
        if self._measuring is None and self._recorder.side != "server":
            self._measuring = Sampler(*self._instruments(), self)
            self._measuring.look()

    def begin(self, run_id: str) -> None:
        """Measure for a run from now on."""
        if not store_of(run_id):
            self.look()
            if self._measuring is not None:
                self._of_runs[run_id] = self._measuring
                self._measuring.begin(run_id)

    def mark(self, run_id: str) -> None:
        """Sample for the bound of a context."""
        if (measuring := self._of_runs.get(run_id)) is not None:
            measuring.mark(run_id)

    def finish(self, run_id: str) -> None:
        """Take a run's last samples."""
        if (measuring := self._of_runs.pop(run_id, None)) is not None:
            measuring.finish(run_id)

    def wait(self, patience_s: float) -> None:
        """Wait for what the collectors find at first, within limits."""
        if self._measuring is not None:
            self._measuring.wait(patience_s)

    def forked(self) -> None:
        """In a child process: leave to the parent what is the parent's."""
        for measuring in self._of_runs.values():
            measuring.forked()

    def _instruments(self) -> tuple[CollectorContext, list[str]]:
        """Give what the collectors are told, and which of them are chosen."""
        chosen = self._recorder.settings
        surroundings = CollectorContext(
            interval_s=chosen.interval_s,
            country=chosen.country,
            carbon_intensity=chosen.carbon_intensity,
            cpu_tdp_w=chosen.cpu_tdp_w,
        )
        try:
            return surroundings, catalog.choose(chosen.collectors)
        except CollectorError as error:
            self.complain(f"{error} Until then the default collectors measure.")
            return surroundings, catalog.choose(("default",))

    # -- of ``Sampler`` --------------------------------------------------------------

    def write(self, run_id: str, cls: type[Event], *fields: Any) -> None:
        """Journal an event of a run, aside of what the run itself does."""
        self._recorder.write_aside(run_id, cls, *fields)

    def found(self, collector: str, facts: Mapping[str, Json]) -> None:
        """Hand facts to all runs."""
        self.facts[collector] = facts
        self._recorder.add_facts()

    def sampled(
        self, run_id: str, quantities: Sequence[Quantity], values: Sequence[float | None]
    ) -> None:
        """Hand a sample on."""
        if self.on_sample is not None:
            self.on_sample(run_id, quantities, values)

    def complain(self, message: str) -> None:
        """Say something to the user that costs nothing but what it is about."""
        self._recorder.complain(message)

    def failed(self, error: Exception) -> None:
        """Keep a fault for debugging."""
        self._recorder.note(error)

    def claims(self, run_id: str) -> Claims:
        """Give what this process may measure of a run."""
        recorder = self._recorder
        folder = JournalDirectory(recorder.directory, run_id)
        machine = node.boot_id(CollectorContext().root) or recorder.host
        return Claims(folder.path, machine, left_to_others(self.ranks))
