"""The bridge between the open runs of a process and its collectors."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from yprov_mlflow.prov import events
from yprov_mlflow.prov.collectors import catalog, notebook, ranks, workflow_threads
from yprov_mlflow.prov.collectors.base import CollectorContext, Quantity
from yprov_mlflow.prov.errors import CollectorError
from yprov_mlflow.prov.events import CODE_FACTS, NOTEBOOK_FACTS, WORKFLOW_FACTS, Event, Json
from yprov_mlflow.prov.ids import quote_key, store_of
from yprov_mlflow.prov.journal import JournalDirectory
from yprov_mlflow.prov.layout import KEPT, PEERS
from yprov_mlflow.prov.redaction import redact_event
from yprov_mlflow.prov.sampling.claims import Claims, excluded_claims
from yprov_mlflow.prov.sampling.opened_files import FileWatch, Owner
from yprov_mlflow.prov.sampling.sampler import Output, Sampler
from yprov_mlflow.prov.sampling.shares import OpenFamilies
from yprov_mlflow.prov.settings import Settings

if TYPE_CHECKING:
    from yprov_mlflow.prov.collectors.system.peers import Peers

OnSample = Callable[[str, Sequence[Quantity], Sequence[float | None]], None]
"""Receives a run id, quantities and their values, in the sampler thread."""

_STARTS = frozenset({events.RunCreated, events.ContextEntered})
_LOGS = frozenset({events.MetricsLogged, events.ParamsLogged})
_PARENT = "mlflow.parentRunId"
_FILES = "files"  # name of the collector
_MAX_NAMED = 100  # overlapping runs that a document names


@dataclasses.dataclass
class _Overlap:
    """The runs that are measured on this machine at the same time as a run."""

    runs: set[str] = dataclasses.field(default_factory=set)
    written: int = 0  # how many of them its journal has


class OpenRuns(Protocol):
    """The open runs of a process, as far as their collectors need them."""

    settings: Settings
    side: str
    host: str
    directory: Path

    def journals(self, run_id: str) -> JournalDirectory:
        """Return the journals of a run."""

    def append_if_open(self, run_id: str, cls: type[Event], *fields: Any) -> None:
        """Append an event to the journal of a run if this process writes to that run."""

    def add_facts(self) -> None:
        """Write the facts of collectors to every run that lacks them."""

    def complain(self, message: str) -> None:
        """Log a warning."""

    def note(self, error: BaseException) -> None:
        """Log an error for debugging only."""


class CollectorBridge:
    """Starts samplers for runs and passes on their results."""

    def __init__(self, open_runs: OpenRuns) -> None:
        self.ranks = ranks.collect()
        self.facts: dict[str, Mapping[str, Json]] = {}  # by collector, for all runs
        self.on_sample: OnSample | None = None
        # What the collector of files asks MLflow: the run of the calling thread, and the folders
        # of a run's stores.
        self.owner_of_files: Owner = lambda: None
        self.own_files: Callable[[str], Iterable[str]] = lambda _: ()
        # Has packages that open files past Python note these.
        self.watch_packages: Callable[[], None] = lambda: None
        self._open_runs = open_runs
        self._sampler: Sampler | None = None  # for new runs
        self._chosen: list[str] = []  # its collectors; empty in a server
        self._samplers: dict[str, Sampler] = {}  # by run
        self._families = OpenFamilies()
        self._overlaps: dict[str, _Overlap] = {}
        self._first_cells: dict[str, int] = {}  # by run, in a notebook
        self._files: FileWatch | None = None

    def is_training(self, cls: type[Event], fields: Sequence[Any]) -> bool:
        """Return whether an event shows that this process trains, rather than edits a run."""
        if cls is events.RunUpdated:
            return bool(fields[0] == "RUNNING")
        # Other ranks log to a run that the first rank started.
        return cls in _STARTS or (cls in _LOGS and "rank" in self.ranks)

    def choose(self, changes: Mapping[str, Any]) -> None:
        """Change the collectors or the interval for runs that start from now on."""
        settings = dataclasses.replace(self._open_runs.settings, **changes)
        if settings != self._open_runs.settings:
            self._open_runs.settings = settings
            self.facts = {}
            self._sampler = None  # open runs keep theirs until they end

    # -- called by the open runs -------------------------------------------------------

    def probe(self) -> None:
        """Start probing the collectors, except in a server, where no training runs."""
        if self._sampler is None and self._open_runs.side != "server":
            write, warn = self._open_runs.append_if_open, self._open_runs.complain
            debug = self._open_runs.note
            output = Output(write, self._add_facts, self._publish, warn, debug, self.claims)
            for problem in self._open_runs.settings.about.get("problems", ()):
                warn(f"In the table about the work in the project file, {problem}")
            context, self._chosen = self._selection()
            self._sampler = Sampler(context, self._chosen, output, self._families)
            self._sampler.probe()

    def begin(self, run_id: str, tags: Mapping[str, str] | None = None) -> None:
        """Start to measure for a run; the tags of one that is created name its parent."""
        if not store_of(run_id):
            self.probe()
            if parent := (tags or {}).get(_PARENT):
                self._families.set_parent(run_id, parent)
            if self._sampler is not None:
                self._samplers[run_id] = self._sampler
                self._sampler.begin(run_id)
            if CODE_FACTS in self._chosen and (cell := notebook.cell_number()) is not None:
                self._first_cells[run_id] = cell
            if WORKFLOW_FACTS in self._chosen:
                self._add_task_of_thread(run_id)
            if _FILES in self._chosen:
                self._watch_files(run_id)

    def _watch_files(self, run_id: str) -> None:
        runs, chosen = self._open_runs, self._open_runs.settings
        if self._files is None:
            self.watch_packages()
            self._files = FileWatch(runs.append_if_open, self.owner_of_files, runs.note)
        own = (f"{chosen.directory}/", *self.own_files(run_id))
        self._files.begin(run_id, chosen.files_limit, chosen.files_exclude, own)

    def _add_task_of_thread(self, run_id: str) -> None:
        # Collectors have threads of their own, which execute no task.
        if facts := workflow_threads.collect():
            name = WORKFLOW_FACTS
            self._open_runs.append_if_open(run_id, events.FactsCollected, name, facts)

    def sample_extra(self, run_id: str) -> None:
        """Take a sample soon, because a context of the run starts or ends."""
        if (sampler := self._samplers.get(run_id)) is not None:
            sampler.sample_extra(run_id)

    def finish(self, run_id: str) -> None:
        """Take a run's last samples and hash its last files, within time limits."""
        if self._files is not None:
            self._files.finish(run_id)
        if (sampler := self._samplers.pop(run_id, None)) is not None:
            sampler.finish(run_id)
        if (first := self._first_cells.pop(run_id, None)) is not None:
            facts = notebook.collect(self._open_runs.directory / KEPT, first)
            name = NOTEBOOK_FACTS
            self._open_runs.append_if_open(run_id, events.FactsCollected, name, facts)

    def wait(self, timeout_s: float) -> None:
        """Wait until the collectors are probed, within a time limit."""
        if self._sampler is not None:
            self._sampler.wait(timeout_s)

    def release_in_child(self) -> None:
        """Release the parent's claims in a forked child."""
        for sampler in self._samplers.values():
            sampler.release_in_child()
        if self._files is not None:
            self._files.forked()
        if "_peers" in vars(self):
            self._peers.close_in_child()

    def _selection(self) -> tuple[CollectorContext, list[str]]:
        settings = self._open_runs.settings
        context = CollectorContext(
            interval_s=settings.interval_s,
            country=settings.country,
            carbon_intensity=settings.carbon_intensity,
            cpu_tdp_w=settings.cpu_tdp_w,
            about=settings.about,
            files_limit=settings.files_limit,
            files_exclude=settings.files_exclude,
            keep=self._open_runs.directory / KEPT,
            children_cpu_s=lambda: self._peers.children_cpu_s(),
            children_pids=lambda: self._peers.children_pids(),
        )
        try:
            return context, catalog.choose(settings.collectors)
        except CollectorError as error:
            self._open_runs.complain(f"{error} The default collectors are used instead.")
            return context, catalog.choose(("default",))

    # -- called by the sampler, in its threads -----------------------------------------

    def _add_facts(self, collector: str, facts: Mapping[str, Json]) -> None:
        self.facts[collector] = redact_event(events.FactsCollected.kind, (collector, facts))[1]
        self._open_runs.add_facts()

    def _publish(
        self, run_id: str, quantities: Sequence[Quantity], values: Sequence[float | None]
    ) -> None:
        if self.on_sample is not None:
            self.on_sample(run_id, quantities, values)
        self._note_overlaps(run_id)

    def claims(self, run_id: str) -> Claims:
        """Return the claims of this process for a run, which it measures until their release."""
        folder = self._open_runs.journals(run_id).path
        self._peers.begin(run_id)
        self._overlaps[run_id] = _Overlap()
        release = functools.partial(self._release, run_id)
        return Claims(folder, self._machine, excluded_claims(self.ranks), release)

    def _release(self, run_id: str) -> None:
        self._note_overlaps(run_id, last=True)
        self._overlaps.pop(run_id, None)
        self._peers.end(run_id)

    def _note_overlaps(self, run_id: str, *, last: bool = False) -> None:
        """Write which runs were measured at the same time, again when their number doubles."""
        if (overlap := self._overlaps.get(run_id)) is None:
            return
        overlap.runs |= self._peers.overlapping(run_id, overlap.runs)
        count = len(overlap.runs)
        # In a sweep with a thousand trials the parent must not write a list for each of them.
        if count >= max(2 * overlap.written, 1) or (last and count > overlap.written):
            overlap.written = count
            facts = {"runs": sorted(overlap.runs)[:_MAX_NAMED], "count": count}
            name = events.OVERLAP_FACTS
            self._open_runs.append_if_open(run_id, events.FactsCollected, name, facts)

    @functools.cached_property
    def _machine(self) -> str:
        # Imports psutil, in the sampler thread rather than when the training starts.
        from yprov_mlflow.prov.collectors.system import node

        # Containers of one machine have different host names but share its boot id.
        return node.boot_id(CollectorContext().root) or self._open_runs.host

    @functools.cached_property
    def _peers(self) -> Peers:
        from yprov_mlflow.prov.collectors.system.peers import Peers

        folder = self._open_runs.directory / PEERS / quote_key(self._machine)
        return Peers(folder, CollectorContext().root)
