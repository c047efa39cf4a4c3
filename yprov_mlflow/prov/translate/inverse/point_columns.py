"""Metric points as columns: from records, or from the batches of a metric file."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.document import Record
from yprov_mlflow.prov.model.identifiers import RUN, STORE
from yprov_mlflow.prov.translate.batches import PointBatch
from yprov_mlflow.prov.translate.inverse.document_index import DocumentIndex, attribute, key, names
from yprov_mlflow.prov.translate.points import BATCH

_MODEL = f"{STORE}:logged-model/"

Dataset = tuple[str | None, str | None]
"""Name and digest of the dataset of a point."""


class PointColumns:
    """Points of one metric, in order of logging."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.values = array("d")
        self.timestamps = array("q")
        self.steps = array("q")
        self.models: list[str | None] = []
        self.datasets: list[Dataset] = []

    def add(
        self, value: float, timestamp_ms: int, step: int, model: str | None, dataset: Dataset
    ) -> None:
        """Append one point."""
        self.values.append(value)
        self.timestamps.append(timestamp_ms)
        self.steps.append(step)
        self.models.append(model)
        self.datasets.append(dataset)

    def fields(self) -> Iterator[tuple[Any, ...]]:
        """Yield the fields of ``MetricsLogged`` events with these points."""
        for start in range(0, len(self.values), BATCH):
            part = slice(start, start + BATCH)
            values = self.values[part]
            datasets = [list(d) if any(d) else None for d in self.datasets[part]]
            yield (
                [self.key] * len(values),
                values,
                self.timestamps[part],
                self.steps[part],
                (),
                None,
                self.models[part] if any(self.models[part]) else None,
                datasets if any(datasets) else None,
            )


def from_samples(index: DocumentIndex) -> Iterator[tuple[Any, ...]]:
    """Yield the fields of events for all points that are records."""
    series: dict[str, list[tuple[int, str, Record]]] = defaultdict(list)
    for suffix, record in index.group(RUN, "metric"):
        if "mlf:step" in record:
            base, _, number = suffix.rpartition("/")
            series[base].append((int(number), suffix, record))
    # Each context and each rank has its own series of a metric; a store has one for all.
    by_key: dict[str, list[str]] = defaultdict(list)
    for base in sorted(series):
        by_key[base.rpartition("/")[2].partition("@r")[0]].append(base)
    times = _times(index) if any(len(bases) > 1 for bases in by_key.values()) else {}
    for segment, bases in by_key.items():
        rows = [row for base in bases for row in sorted(series[base], key=lambda row: row[0])]
        if len(bases) > 1:
            rows.sort(key=lambda row: (row[1] not in times, times.get(row[1], "")))
        columns = PointColumns(key(segment))
        for _, _, record in rows:
            columns.add(*_point(record))
        yield from columns.fields()


def _times(index: DocumentIndex) -> dict[str, str]:
    start = f"{RUN}:metric/"
    return {
        record["prov:entity"].removeprefix(start): record["prov:time"]
        for record in index.relations("wasGeneratedBy")
        if "prov:time" in record and record["prov:entity"].startswith(start)
    }


def _point(record: Record) -> tuple[float, int, int, str | None, Dataset]:
    # Timestamps that no calendar has are kept as numbers.
    moment = attribute(record, "mlf:timestamp")
    if moment is None:
        timestamp_ms = attribute(record, "mlf:timestampMs")
    else:
        timestamp_ms = literals.milliseconds(moment)
    models = names(record, "mlf:model")
    dataset = (attribute(record, "mlf:datasetName"), attribute(record, "mlf:datasetDigest"))
    return (
        float(attribute(record, "prov:value")),
        timestamp_ms,
        attribute(record, "mlf:step"),
        key(models[0].removeprefix(_MODEL)) if models else None,
        dataset,
    )


def from_batches(batches: Iterable[PointBatch]) -> Iterator[tuple[Any, ...]]:
    """Yield the fields of events for the points of a metric file, batch by batch."""
    for batch in batches:
        by_key: dict[str, PointColumns] = {}
        for i, name in enumerate(batch.series):
            columns = by_key.get(name)
            if columns is None:
                columns = by_key[name] = PointColumns(name)
            columns.add(
                batch.value[i],
                batch.timestamp_ms[i],
                batch.step[i],
                batch.model[i],
                (batch.dataset_name[i], batch.dataset_digest[i]),
            )
        for columns in by_key.values():
            yield from columns.fields()
