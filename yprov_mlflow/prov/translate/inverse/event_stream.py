"""A document's events: what a store would hold that the document tells of."""

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
from yprov_mlflow.prov.translate.inverse.document_index import Reading, attribute


def events_of(document: Document, batches: Iterable[PointBatch] | None = None) -> Iterator[Event]:
    """Give the events of a document, as a source gives them: all of ``STORE_SESSION``.

    The document of a source's events gives them back, as far as translating them shows. Of a
    document of live capture come the events of a store that holds its run: the last values of
    tags, all points in the order of logging, and calls, with their times.

    Args:
        document: A document of one run or store.
        batches: The points of its side file, if it has one.

    Raises:
        DocumentError: The document is none of this package.
    """
    reading = Reading(document)
    found_models, found_calls = model_events.models(reading), call_events.calls(reading)
    numbers = [model[0] for model in found_models] + [call[0] for call in found_calls]
    kept = [number for number in numbers if number is not None]
    make = _Maker(reading.run_id, min(kept, default=None), keep=not reading.live)
    if reading.run is not None:
        yield from _of_run(reading, make, batches)
    for number, fields in found_models:
        yield make(ModelLogged, *fields, number=number)
    outputs = inputs_outputs.outputs(reading) if reading.run is not None else []
    if outputs:
        yield make(OutputsLogged, outputs)
    for owner, files in inputs_outputs.artifacts(reading).items():
        yield make(ArtifactsLogged, files, owner)
    for number, time_ns, fields in found_calls:
        yield make(StoreCalled, *fields, number=number, time_ns=time_ns)


def _of_run(
    reading: Reading, make: _Maker, batches: Iterable[PointBatch] | None
) -> Iterator[Event]:
    created = run_events.created(reading)
    if created is not None:
        yield make(RunCreated, *created)
    number, fields = run_events.updated(reading)
    yield make(RunUpdated, *fields, number=number)
    if params := run_events.params(reading):
        yield make(ParamsLogged, params)
    if tags := run_events.tags(reading):
        yield make(TagsSet, tags)
    for columns in point_columns.of_samples(reading):
        yield make(MetricsLogged, *columns)
    for columns in point_columns.of_batches(batches or ()):
        yield make(MetricsLogged, *columns)
    datasets, used = inputs_outputs.inputs(reading)
    if datasets or used:
        yield make(InputsLogged, datasets, used)


class _Maker:
    """Makes events and numbers them.

    With ``keep`` those have the numbers that the document has kept, of which ``first`` is the
    least: what has none of its own comes before them. Sessions of a live run number each its
    own calls, so there all are numbered anew.
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
            if self._first is not None and cls not in _LAST:
                seq = min(seq, self._first)
        self._next = max(self._next, seq + 1)
        return cls(self._run_id, STORE_SESSION, seq, time_ns, *fields)


_LAST = frozenset({ModelLogged, OutputsLogged, ArtifactsLogged, StoreCalled})


def side_files(document: Document) -> list[tuple[str, str]]:
    """Give path and SHA-256 of the files beside the document that hold its points."""
    return [
        (str(attribute(record, "mlf:path")), str(attribute(record, "mlf:sha256")))
        for identifier, record in document.records.get("entity", {}).items()
        if identifier.startswith("run:points/")
    ]
