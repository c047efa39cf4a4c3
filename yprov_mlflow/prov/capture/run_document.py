"""Translation of a run's journals into ``prov.json`` and, if needed, ``metrics.parquet``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from yprov_mlflow.prov.capture.expected_state import ExpectedState
from yprov_mlflow.prov.events import Event, MetricsLogged
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.formats.metric_files import SERIES
from yprov_mlflow.prov.journal import JournalDirectory, JournalReader, merge
from yprov_mlflow.prov.layout import PROV_JSON
from yprov_mlflow.prov.settings import Settings
from yprov_mlflow.prov.translate import Options, Translator

Backfill = Callable[[ExpectedState, bool], Iterable[Event]]
"""Returns events that only the store has, given the state and whether all lines were readable."""


class Written(NamedTuple):
    """The result of ``write_document``."""

    files: tuple[Path, ...]  # the document last
    joined: bool  # the journals lack the start of the run
    sizes: dict[str, int]  # sizes of the journals that the document includes, by file name
    events: int
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
    options = Options(
        max_samples=settings.max_samples,
        hash_user=settings.hash_user,
        base_uri=settings.base_uri,
    )
    translator = Translator(options, SERIES["parquet"].sink(out))
    state = ExpectedState()
    for event in merge(journals):
        state.feed(event)
        translator.feed(event)
    if backfill is not None:
        complete = not any(journal.gaps or journal.problems for journal in journals)
        for event in backfill(state, complete):
            state.events += 1
            translator.feed(event)
    document = out / PROV_JSON
    document.write_bytes(prov_json.dumps(translator.finish()))
    problems = tuple(
        f"{p.path}, line {p.line}: {p.reason}" for journal in journals for p in journal.problems
    )
    files = (*sorted(path for path in out.iterdir() if path != document), document)
    return Written(files, state.joined, sizes, state.events, problems)


def journal_points(
    folder: JournalDirectory, keys: frozenset[str]
) -> Iterable[tuple[str, int, int, float]]:
    """Yield key, step, timestamp and value of the journaled points of some metrics."""
    for path in folder.files():
        for event in JournalReader(path):
            if isinstance(event, MetricsLogged):
                rows = zip(event.keys, event.steps, event.timestamps_ms, event.values, strict=True)
                yield from (row for row in rows if row[0] in keys)
