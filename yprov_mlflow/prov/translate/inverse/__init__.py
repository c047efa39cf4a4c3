"""Translate a document back into the events of a store that holds its content."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

from yprov_mlflow.prov import events
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.translate.inverse import (
    accessed_files,
    point_columns,
    readings,
    run_events,
    store_events,
)
from yprov_mlflow.prov.translate.inverse.document_index import DocumentIndex, attribute
from yprov_mlflow.prov.translate.point_batches import PointBatch

_SERIES = re.compile("run:metric/").match
_SERIES_OF_RUN = re.compile(r"run:metric/@run/(?:[^/@]+|@empty)\Z").match

# Events that may come after changes of the run, and so cannot be moved to its beginning.
_LAST = (events.ModelLogged, events.OutputsLogged, events.ArtifactsLogged, events.StoreCalled)


def events_of(
    document: Document, batches: Iterable[PointBatch] | None = None
) -> Iterator[events.Event]:
    """Yield the events of a document as a source of runs would, all of ``STORE_SESSION``.

    Events of a source survive the way to a document and back, as far as the translation shows
    them. A document of live capture gives the events of a store that holds its run: the last
    values of tags, all points in the order of logging, and calls with their times.

    Args:
        document: The document of one run or store.
        batches: The points of its metric file, if it has one.

    Raises:
        DocumentError: The document is not from this package.
    """
    index = DocumentIndex(document)
    models, calls = store_events.models(index), store_events.calls(index)
    numbers = [model[0] for model in models] + [call[0] for call in calls]
    kept = [number for number in numbers if number is not None]
    make = _EventFactory(index.run_id, min(kept, default=None), keep=not index.live)
    if index.run is not None:
        yield from _run_events(index, make, batches)
    for number, fields in models:
        yield make(events.ModelLogged, *fields, number=number)
    outputs = run_events.outputs(index) if index.run is not None else []
    if outputs:
        yield make(events.OutputsLogged, outputs)
    for owner, files in run_events.artifacts(index).items():
        yield make(events.ArtifactsLogged, files, owner)
    for time_ns, reading in readings.readings(index):
        yield make(events.ObjectRead, *reading, time_ns=time_ns)
    for number, time_ns, fields in calls:
        yield make(events.StoreCalled, *fields, number=number, time_ns=time_ns)


def malformed_record(document: Document) -> str | None:
    """Return the id of the first record with a value that does not fit its type, or None."""
    for section in document.records.values():
        for identifier, record in section.items():
            try:
                if any(attribute(record, term) is None for term in record):
                    return identifier
            except (ValueError, TypeError, AttributeError):
                return identifier
    return None


def side_files(document: Document) -> list[tuple[str, str]]:
    """Return path and SHA-256 of the metric files beside a document."""
    return [
        (str(attribute(record, "mlf:path")), str(attribute(record, "mlf:sha256")))
        for identifier, record in document.records.get("entity", {}).items()
        if identifier.startswith("run:points/")
    ]


def point_count(document: Document) -> int:
    """Return how many metric points a document counts, whether it or a file has them."""
    entities = document.records.get("entity", {})
    # The series of the run have all points, those of contexts and ranks are parts of them. The
    # first edition has only parts.
    has_series_of_run = "mlf:edition" in entities.get("run:record", {})
    is_series, total = _SERIES_OF_RUN if has_series_of_run else _SERIES, 0
    for identifier, record in entities.items():
        if is_series(identifier):
            with contextlib.suppress(ValueError, TypeError, AttributeError):  # of other tools
                count = attribute(record, "mlf:count")
                total += count if isinstance(count, int) else 0
    return total


def _run_events(
    index: DocumentIndex, make: _EventFactory, batches: Iterable[PointBatch] | None
) -> Iterator[events.Event]:
    if created := run_events.created(index):
        yield make(events.RunCreated, *created)
    number, fields = run_events.updated(index)
    yield make(events.RunUpdated, *fields, number=number)
    if params := run_events.params(index):
        yield make(events.ParamsLogged, params)
    if tags := run_events.tags(index):
        yield make(events.TagsSet, tags)
    for columns in point_columns.from_samples(index):
        yield make(events.MetricsLogged, *columns)
    for columns in point_columns.from_batches(batches or ()):
        yield make(events.MetricsLogged, *columns)
    datasets, models = run_events.inputs(index)
    if datasets or models:
        yield make(events.InputsLogged, datasets, models)
    for content, reason in run_events.refusals(index):
        yield make(events.CallRefused, content, reason)
    files, most = accessed_files.fields(index)
    if files or most is not None:
        yield make(events.FilesAccessed, files, most)


class _EventFactory:
    """Makes events and numbers them.

    Args:
        run_id: The run or store of the events.
        first: The smallest number in the document, None if it lacks numbers.
        keep: Use the numbers in the document. Otherwise all events get new numbers: each session
            of a live run numbers its own calls, so their numbers are not unique.
    """

    def __init__(self, run_id: str, first: int | None, *, keep: bool) -> None:
        self._run_id = run_id
        self._first = first if keep else None
        self._keep = keep
        self._next = 0

    def __call__(
        self, cls: type[events.Event], *fields: Any, number: int | None = None, time_ns: int = 0
    ) -> events.Event:
        seq = number if self._keep else None
        if seq is None:
            seq = self._next
            # Events without their own number come first, so that later changes override them.
            if self._first is not None and cls not in _LAST:
                seq = min(seq, self._first)
        self._next = max(self._next, seq + 1)
        return cls(self._run_id, events.STORE_SESSION, seq, time_ns, *fields)
