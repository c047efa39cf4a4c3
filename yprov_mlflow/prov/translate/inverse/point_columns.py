"""Metric points as columns: from records, or from the batches of a metric file."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.document import Record
from yprov_mlflow.prov.model.identifiers import RUN, STORE
from yprov_mlflow.prov.translate.inverse.document_index import (
    DocumentIndex,
    as_json,
    attribute,
    key,
    names,
)
from yprov_mlflow.prov.translate.point_batches import BATCH, PointBatch

_MODEL = f"{STORE}:logged-model/"

Point = tuple[float, int, int, str | None, str | None, str | None]
"""Value, timestamp in ms, step, model, and the name and digest of the dataset."""


def from_samples(index: DocumentIndex) -> Iterator[tuple[Any, ...]]:
    """Yield the fields of ``MetricsLogged`` for all points that are records."""
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
        # Within a series the number orders points; across series only their times do.
        if len(bases) > 1:
            rows.sort(key=lambda row: (row[1] not in times, times.get(row[1], "")))
        points = [point for _, _, record in rows for point in _points(record)]
        yield from _fields(key(segment), points)


def from_batches(batches: Iterable[PointBatch]) -> Iterator[tuple[Any, ...]]:
    """Yield the fields of ``MetricsLogged`` for the points of a metric file, batch by batch."""
    for batch in batches:
        by_key: dict[str, list[Point]] = defaultdict(list)
        datasets = (batch.dataset_name, batch.dataset_digest)
        columns = (batch.value, batch.timestamp_ms, batch.step, batch.model, *datasets)
        for name, *point in zip(batch.series, *columns, strict=True):
            by_key[name].append(tuple(point))
        for name, points in by_key.items():
            yield from _fields(name, points)


def _fields(key: str, points: list[Point]) -> Iterator[tuple[Any, ...]]:
    """Yield the points of a metric, in order of logging, as the fields of events."""
    for start in range(0, len(points), BATCH):
        values, timestamps, steps, models, names, digests = zip(
            *points[start : start + BATCH], strict=True
        )
        datasets = [list(d) if any(d) else None for d in zip(names, digests, strict=True)]
        yield (
            [key] * len(values),
            array("d", values),
            array("q", timestamps),
            array("q", steps),
            (),
            None,
            list(models) if any(models) else None,
            datasets if any(datasets) else None,
        )


def _times(index: DocumentIndex) -> dict[str, str]:
    start = f"{RUN}:metric/"
    return {
        record["prov:entity"].removeprefix(start): record["prov:time"]
        for record in index.relations("wasGeneratedBy")
        if "prov:time" in record and record["prov:entity"].startswith(start)
    }


def _points(record: Record) -> Iterator[Point]:
    """Yield a point, then its repetitions for logged models."""
    moment = attribute(record, "mlf:timestamp")
    models = [key(model.removeprefix(_MODEL)) for model in names(record, "mlf:model")]
    point = (
        float(attribute(record, "prov:value")),
        # Timestamps that no calendar has are kept as numbers.
        literals.milliseconds(moment) if moment else attribute(record, "mlf:timestampMs"),
        attribute(record, "mlf:step"),
    )
    own = len(models) - (attribute(record, "mlf:repetitions") or 0)
    dataset = attribute(record, "mlf:datasetName"), attribute(record, "mlf:datasetDigest")
    yield (*point, models[0] if own else None, *dataset)
    others = as_json(record, "mlf:modelDatasets") or {}
    for model in models[own:]:
        name, digest = others.get(model, (None, None))
        yield (*point, model, name, digest)
