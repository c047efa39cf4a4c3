"""Translation of a run's journals into ``prov.json`` and, if needed, ``metrics.parquet``.

Meanwhile the events are reduced to the state that the run should have in its store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from yprov_mlflow.prov import events
from yprov_mlflow.prov.capture.kept_code import KeptCode
from yprov_mlflow.prov.events import JOURNAL_FACTS, Event
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.formats.metric_files import SERIES
from yprov_mlflow.prov.ids import store_of
from yprov_mlflow.prov.journal import JournalDirectory, JournalReader, merge
from yprov_mlflow.prov.layout import PROV_JSON
from yprov_mlflow.prov.model.literals import mapping, number
from yprov_mlflow.prov.settings import Settings
from yprov_mlflow.prov.translate import Options, Translator
from yprov_mlflow.prov.translate.store_calls.spans import decoded, span_key

_MAX_PROBLEMS = 20  # that a document has for each session

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
    models: set[str] = field(default_factory=set)  # whose creation the events have
    # By trace: the spans in the events, and the number that MLflow counted, None if it did not.
    spans: dict[str, set[str]] = field(default_factory=dict)
    span_counts: dict[str, int | None] = field(default_factory=dict)
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
            case events.CallRefused():
                for field, values in (("params", self.params), ("tags", self.tags)):
                    for key, value in mapping(event.content.get(field)).items():
                        if value is not None and values.get(key) == value:
                            del values[key]
            case events.InputsLogged():
                self.datasets.update((str(d["name"]), str(d["digest"])) for d in event.datasets)
                self.models_in.update(event.models)
            case events.OutputsLogged():
                self.models_out.update(model for model, _ in event.models)
            case events.ModelLogged() if event.name is not None:
                self.models.add(event.model_id)
            case events.StoreCalled():
                self._feed_call(event)
            case events.RunCreated():
                self.joined = False
                self.tags.update(event.tags)
                self.run_name = event.run_name
                self.status = self.status or "RUNNING"
            case events.RunUpdated():
                for name in ("status", "end_time_ms", "run_name", "lifecycle"):
                    setattr(self, name, getattr(event, name) or getattr(self, name))

    def _feed_call(self, event: events.StoreCalled) -> None:
        arguments = mapping(event.arguments)
        if event.method == "log_spans":
            for span in arguments.get("spans") or ():
                if isinstance(span, Mapping) and (key := span_key(span)) is not None:
                    self.spans.setdefault(key[0], set()).add(key[1])
        elif event.method == "start_trace" and (trace := event.subjects.get("trace")):
            metadata = mapping(mapping(arguments.get("trace_info")).get("trace_metadata"))
            sizes = decoded(metadata.get("mlflow.trace.sizeStats"))
            self.span_counts[trace] = number(mapping(sizes).get("num_spans"))
        elif event.method == "delete_traces":
            for trace in arguments.get("trace_ids") or ():
                self.span_counts.pop(str(trace), None)

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
    problems: tuple[str, ...]  # damage of the journals, and what was read back from the store
    damaged: bool  # whether the journals are damaged
    kept: KeptCode  # the files of the code that the document names
    ended: bool = False  # whether the run has an end in its journals


def write_document(
    folder: JournalDirectory, out: Path, settings: Settings, backfill: Backfill | None = None
) -> Written:
    """Write the document of one run into the existing folder ``out``.

    Journals are streamed, so that memory does not grow with the number of points.
    """
    # Sizes come first: events that are appended meanwhile make the document not current.
    sizes = folder.sizes()
    journals, problems = folder.readers()
    options = Options(settings.max_samples, settings.hash_user, settings.base_uri)
    translator = Translator(options, SERIES["parquet"].sink(out))
    state = ExpectedState()
    # A process that has written to other stores before keeps code in the state folder.
    kept = KeptCode(folder.directory, settings.directory)
    moved = _moved_traces(folder) if store_of(folder.run_id) else set()
    for event in merge(journals):
        if isinstance(event, events.StoreCalled) and event.subjects.get("trace") in moved:
            continue
        state.feed(event)
        translator.feed(kept.feed(event))
    problems = [*problems, *(problem for journal in journals for problem in journal.problems)]
    added: Counter[str] = Counter()
    if backfill is not None:
        complete = not any(problem.lost for problem in problems)
        for event in backfill(state, complete):
            state.event_count += 1
            added[event.kind] += 1
            translator.feed(event)
    losses = [(problem.path, str(problem.short())) for problem in problems if problem.lost]
    texts = [str(problem) for problem in problems]
    if backfill is not None and (added or state.joined):
        # Other clients may have logged it; but it may also be the lost end of a journal.
        texts.append(f"read from the store, because no journal has it: {', '.join(sorted(added))}")
        losses.extend((journal.path, texts[-1]) for journal in journals)
        losses.append((folder.file(events.STORE_SESSION), texts[-1]))
    for event in _losses(folder.run_id, losses, {j.path: j for j in journals}):
        translator.feed(event)
    document = out / PROV_JSON
    document.write_bytes(prov_json.dumps(translator.finish()))
    files = (*sorted(path for path in out.iterdir() if path != document), document)
    damaged = bool(problems)
    ended = state.status in events.TERMINAL
    return Written(
        *(files, state.joined, sizes, state.event_count, tuple(texts), damaged, kept, ended)
    )


def _losses(
    run_id: str, losses: Iterable[tuple[Path, str]], journals: Mapping[Path, JournalReader]
) -> Iterator[Event]:
    """Yield an event for each session whose journal lost events."""
    texts: dict[Path, list[str]] = {}
    for path, text in losses:
        texts.setdefault(path, []).append(text)
    for path, lines in texts.items():
        journal = journals.get(path)
        missing = [[part.start, part.stop - 1] for part in journal.missing] if journal else []
        facts = {"problems": lines[:_MAX_PROBLEMS], "missing": missing}
        session = journal.session if journal else path.stem
        yield events.FactsCollected(run_id, session, 0, 0, JOURNAL_FACTS, facts)


def _moved_traces(folder: JournalDirectory) -> set[str]:
    """Return the traces in a store's journal that turned out to belong to a run.

    A server writes spans there for as long as their trace has not named its run.
    """
    return {
        event.subjects["trace"]
        for journal in folder.readers()[0]
        for event in journal
        if isinstance(event, events.StoreCalled)
        and event.method == "start_trace"
        and "run" in event.subjects
    }


def journal_points(
    folder: JournalDirectory, keys: frozenset[str]
) -> Iterable[tuple[str, int, int, float]]:
    """Yield key, step, timestamp and value of the journaled points of some metrics."""
    for journal in folder.readers()[0]:
        for event in journal:
            if isinstance(event, events.MetricsLogged):
                rows = zip(event.keys, event.steps, event.timestamps_ms, event.values, strict=True)
                yield from (row for row in rows if row[0] in keys)
