"""All events of a document, in the order of a store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from yprov_mlflow.prov.events import (
    STORE_SESSION,
    ArtifactsLogged,
    Event,
    InputsLogged,
    MetricsLogged,
    ModelLogged,
    OutputsLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
    StoreCalled,
    TagsSet,
)
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.translate.batches import PointBatch
from yprov_mlflow.prov.translate.inverse import (
    call_events,
    inputs_outputs,
    model_events,
    point_columns,
    run_events,
)
from yprov_mlflow.prov.translate.inverse.document_index import DocumentIndex, attribute


def events_of(document: Document, batches: Iterable[PointBatch] | None = None) -> Iterator[Event]:
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
    models, calls = model_events.models(index), call_events.calls(index)
    numbers = [model[0] for model in models] + [call[0] for call in calls]
    kept = [number for number in numbers if number is not None]
    make = _EventFactory(index.run_id, min(kept, default=None), keep=not index.live)
    if index.run is not None:
        yield from _run_events(index, make, batches)
    for number, fields in models:
        yield make(ModelLogged, *fields, number=number)
    outputs = inputs_outputs.outputs(index) if index.run is not None else []
    if outputs:
        yield make(OutputsLogged, outputs)
    for owner, files in inputs_outputs.artifacts(index).items():
        yield make(ArtifactsLogged, files, owner)
    for number, time_ns, fields in calls:
        yield make(StoreCalled, *fields, number=number, time_ns=time_ns)


def _run_events(
    index: DocumentIndex, make: _EventFactory, batches: Iterable[PointBatch] | None
) -> Iterator[Event]:
    created = run_events.created(index)
    if created is not None:
        yield make(RunCreated, *created)
    number, fields = run_events.updated(index)
    yield make(RunUpdated, *fields, number=number)
    if params := run_events.params(index):
        yield make(ParamsLogged, params)
    if tags := run_events.tags(index):
        yield make(TagsSet, tags)
    for columns in point_columns.from_samples(index):
        yield make(MetricsLogged, *columns)
    for columns in point_columns.from_batches(batches or ()):
        yield make(MetricsLogged, *columns)
    datasets, models = inputs_outputs.inputs(index)
    if datasets or models:
        yield make(InputsLogged, datasets, models)


class _EventFactory:
    """Makes events and numbers them.

    Args:
        run_id: The run or store of the events.
        first: The smallest number in the document, None if it has none.
        keep: Use the numbers in the document. Otherwise all events get new numbers: each session
            of a live run numbers its own calls, so their numbers are not unique.
    """

    def __init__(self, run_id: str, first: int | None, *, keep: bool) -> None:
        self._run_id = run_id
        self._first = first if keep else None
        self._keep = keep
        self._next = 0

    def __call__(
        self, cls: type[Event], *fields: Any, number: int | None = None, time_ns: int = 0
    ) -> Event:
        seq = number if self._keep else None
        if seq is None:
            seq = self._next
            # Events without their own number come first, so that later changes override them.
            if self._first is not None and cls not in _LAST:
                seq = min(seq, self._first)
        self._next = max(self._next, seq + 1)
        return cls(self._run_id, STORE_SESSION, seq, time_ns, *fields)


_LAST = frozenset({ModelLogged, OutputsLogged, ArtifactsLogged, StoreCalled})


def side_files(document: Document) -> list[tuple[str, str]]:
    """Return path and SHA-256 of the metric files beside a document."""
    return [
        (str(attribute(record, "mlf:path")), str(attribute(record, "mlf:sha256")))
        for identifier, record in document.records.get("entity", {}).items()
        if identifier.startswith("run:points/")
    ]
