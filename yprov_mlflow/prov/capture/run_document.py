"""Translation of a run's journals into ``prov.json`` and, if needed, ``metrics.parquet``.

Meanwhile the events are reduced to the state that the run should have in its store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from yprov_mlflow.prov import events
from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.formats.metric_files import SERIES
from yprov_mlflow.prov.journal import JournalDirectory, JournalReader, merge
from yprov_mlflow.prov.layout import PROV_JSON
from yprov_mlflow.prov.settings import Settings
from yprov_mlflow.prov.translate import Options, Translator

Latest = tuple[int, int, float]
"""Step, timestamp in ms and value: MLflow's latest point is the greatest in this order."""


@dataclass
class ExpectedState:
    """The state that a run should have in its store after the events fed so far."""

    joined: bool = True  # the events lack the start of the run
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, Latest] = field(default_factory=dict)  # as MLflow's latest
    datasets: set[tuple[str, str]] = field(default_factory=set)  # name and digest
    models_in: set[str] = field(default_factory=set)
    models_out: set[str] = field(default_factory=set)
    status: str | None = None
    end_time_ms: int | None = None
    run_name: str | None = None
    lifecycle: str | None = None
    event_count: int = 0

    def feed(self, event: Event) -> None:
        """Apply one event."""
        self.event_count += 1
        match event:
            case events.MetricsLogged():
                self._feed_points(event)
            case events.ParamsLogged():
                self.params.update(event.params)
            case events.TagsSet():
                self.tags.update(event.tags)
            case events.TagDeleted():
                self.tags.pop(event.key, None)
            case events.InputsLogged():
                self.datasets.update((str(d["name"]), str(d["digest"])) for d in event.datasets)
                self.models_in.update(event.models)
            case events.OutputsLogged():
                self.models_out.update(model for model, _ in event.models)
            case events.RunCreated():
                self.joined = False
                self.tags.update(event.tags)
                self.run_name = event.run_name
                self.status = self.status or "RUNNING"
            case events.RunUpdated():
                for name in ("status", "end_time_ms", "run_name", "lifecycle"):
                    setattr(self, name, getattr(event, name) or getattr(self, name))

    def _feed_points(self, event: events.MetricsLogged) -> None:
        rows = zip(event.keys, event.steps, event.timestamps_ms, event.values, strict=True)
        for key, step, timestamp, value in rows:
            latest = self.metrics.get(key)
            # Compared in two steps: a NaN compares false, and must not replace an equal point.
            if (
                latest is None
                or (step, timestamp) > latest[:2]
                or ((step, timestamp) == latest[:2] and value > latest[2])
            ):
                self.metrics[key] = (step, timestamp, value)


Backfill = Callable[[ExpectedState, bool], Iterable[Event]]
"""Returns events that only the store has, given the state and whether all lines were readable."""


class Written(NamedTuple):
    """The result of ``write_document``."""

    files: tuple[Path, ...]  # the document last
    joined: bool  # the journals lack the start of the run
    sizes: dict[str, int]  # sizes of the journals that the document includes, by file name
    event_count: int
    problems: tuple[str, ...]  # lines of journals that could not be read


def write_document(
    folder: JournalDirectory, out: Path, settings: Settings, backfill: Backfill | None = None
) -> Written:
    """Write the document of one run into the existing folder ``out``.

    Journals are streamed, so that memory does not grow with the number of points.
    """
    # Sizes come first: events that are appended meanwhile make the document not current.
    sizes = folder.sizes()
    journals = [JournalReader(folder.path / name) for name in sizes]
    options = Options(settings.max_samples, settings.hash_user, settings.base_uri)
    translator = Translator(options, SERIES["parquet"].sink(out))
    state = ExpectedState()
    for event in merge(journals):
        state.feed(event)
        translator.feed(event)
    if backfill is not None:
        complete = not any(journal.gaps or journal.problems for journal in journals)
        for event in backfill(state, complete):
            state.event_count += 1
            translator.feed(event)
    document = out / PROV_JSON
    document.write_bytes(prov_json.dumps(translator.finish()))
    problems = tuple(
        f"{p.path}, line {p.line}: {p.reason}" for journal in journals for p in journal.problems
    )
    files = (*sorted(path for path in out.iterdir() if path != document), document)
    return Written(files, state.joined, sizes, state.event_count, problems)


def journal_points(
    folder: JournalDirectory, keys: frozenset[str]
) -> Iterable[tuple[str, int, int, float]]:
    """Yield key, step, timestamp and value of the journaled points of some metrics."""
    for path in folder.files():
        for event in JournalReader(path):
            if isinstance(event, events.MetricsLogged):
                rows = zip(event.keys, event.steps, event.timestamps_ms, event.values, strict=True)
                yield from (row for row in rows if row[0] in keys)
