"""A run's journals become its document: ``prov.json`` and, if need be, ``metrics.parquet``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from yprov_mlflow.prov.capture.expected_state import ExpectedState
from yprov_mlflow.prov.events import Event, MetricsLogged
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.formats.metric_files import ParquetSink
from yprov_mlflow.prov.journal import JournalDirectory, JournalReader, merge
from yprov_mlflow.prov.settings import Settings
from yprov_mlflow.prov.translate import Options, Translator

PROV_JSON = "prov.json"

Completion = Callable[[ExpectedState, bool], Iterable[Event]]
"""Gives the events that a store knows and the journals do not; told whether they are whole."""


class Written(NamedTuple):
    """What was written, the document last, and what it was made from.

    ``sizes`` are those of the journals that it has whole; ``joined`` tells that they do not go
    back to the beginning of the run.
    """

    files: tuple[Path, ...]
    joined: bool
    sizes: dict[str, int]
    events: int
    problems: tuple[str, ...]


def write_document(
    folder: JournalDirectory, out: Path, settings: Settings, complete: Completion | None = None
) -> Written:
    """Write the document of one run into the folder ``out``, which must be there.

    Journals are streamed, so memory does not grow with the number of points.
    """
    sizes = folder.sizes()
    journals = [JournalReader(folder.path / name) for name in sizes]
    options = Options(
        max_samples=settings.max_samples,
        hash_user=settings.hash_user,
        base_uri=settings.base_uri,
    )
    translator = Translator(options, ParquetSink(out))
    tally = ExpectedState()
    for event in merge(journals):
        tally.feed(event)
        translator.feed(event)
    if complete is not None:
        whole = not any(journal.gaps or journal.problems for journal in journals)
        for event in complete(tally, whole):
            tally.events += 1
            translator.feed(event)
    document = out / PROV_JSON
    document.write_bytes(prov_json.dumps(translator.finish()))
    problems = tuple(
        f"{p.path}, line {p.line}: {p.reason}" for journal in journals for p in journal.problems
    )
    files = (*sorted(path for path in out.iterdir() if path != document), document)
    return Written(files, tally.joined, sizes, tally.events, problems)


def journal_points(
    folder: JournalDirectory, keys: frozenset[str]
) -> Iterable[tuple[str, int, int, float]]:
    """Give key, step, timestamp and value of all journalled points of some metrics."""
    for path in folder.files():
        for event in JournalReader(path):
            if isinstance(event, MetricsLogged):
                rows = zip(event.keys, event.steps, event.timestamps_ms, event.values, strict=True)
                yield from (row for row in rows if row[0] in keys)
