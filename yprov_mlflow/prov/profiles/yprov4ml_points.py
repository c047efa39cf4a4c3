"""The metric points of a document by series, and the means of what collectors measured."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator
from typing import NamedTuple

from yprov_mlflow.prov.formats.metric_files.yprov4ml_files import Columns
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.document import Document, Record
from yprov_mlflow.prov.model.literals import milliseconds
from yprov_mlflow.prov.profiles import yprov4ml_names as names
from yprov_mlflow.prov.tags import SOURCE_PREFIX
from yprov_mlflow.prov.translate import PointBatch
from yprov_mlflow.prov.translate.inverse import run_events
from yprov_mlflow.prov.translate.inverse.document_index import DocumentIndex, attribute, key

_SERIES_ID = re.compile(r"run:metric/(?P<context>[^/]+)/(?P<key>[^/@]+)(?:@r(?P<rank>\d+))?\Z")
_QUANTITY_ID = re.compile(r"run:quantity/(?P<collector>[^/]+)/[^/]+/(?P<device>[^/]+)/(\w+)\Z")
_NODE = "@node"
# Names of the means of collectors in yProv4ML, with the factor to its unit.
_SYSTEM_METRICS = {
    (False, "cpu_utilization"): ("cpu_usage_pct", 1.0),
    (False, "memory_utilization"): ("ram_usage_pct", 1.0),
    (False, "memory_used"): ("ram_usage_gb", 1e-9),
    (False, "disk_utilization"): ("disk_usage_pct", 1.0),
    (False, "disk_used"): ("disk_usage_gb", 1e-9),
    (True, "utilization"): ("gpu_usage_pct", 1.0),
    (True, "memory_used"): ("gpu_memory_usage_gb", 1e-9),
    (True, "power"): ("gpu_power", 1.0),
    (True, "temperature"): ("gpu_temperature_c", 1.0),
}


class SeriesKey(NamedTuple):
    """A series in a profile."""

    key: str
    context: str
    source: str = names.NO_SOURCE
    rank: int = 0


def recorded(document: Document) -> Iterator[tuple[SeriesKey, Columns]]:
    """Yield the series whose points are records, in order of logging."""
    entities = document.records.get("entity", {})
    samples: dict[str, list[tuple[int, Record]]] = {}
    for identifier, record in entities.items():
        base, _, number = identifier.rpartition("/")
        if "mlf:step" in record and _SERIES_ID.match(base) and number.isdecimal():
            samples.setdefault(base, []).append((int(number), record))
    for base in sorted(samples):
        match = _SERIES_ID.match(base)
        assert match is not None
        context = "" if match["context"] == "@run" else match["context"]
        path = names.context_of_points(context)
        item = SeriesKey(literals.text(key(match["key"])), path, rank=int(match["rank"] or 0))
        rows = [_point(record) for _, record in sorted(samples[base], key=lambda row: row[0])]
        yield item, Columns(*zip(*rows, strict=True))


def _point(record: Record) -> tuple[int, float, int]:
    moment = attribute(record, "mlf:timestamp")
    logged_ms = milliseconds(moment) if moment else attribute(record, "mlf:timestampMs")
    return attribute(record, "mlf:step"), float(attribute(record, "prov:value")), logged_ms


def ranks_of(document: Document) -> dict[str, int]:
    """Return the rank of each session token that has one."""
    return {
        str(attribute(record, "mlf:token")): attribute(record, "mlf:rank")
        for record in document.records.get("activity", {}).values()
        if "mlf:token" in record and "mlf:rank" in record
    }


def batched(batch: PointBatch, ranks: dict[str, int]) -> Iterator[tuple[SeriesKey, Columns]]:
    """Yield the points of a batch by series; ``ranks`` are those of the session tokens."""
    columns: dict[SeriesKey, Columns] = {}
    where = zip(batch.series, batch.context, batch.session, strict=True)
    points = zip(batch.step, batch.value, batch.timestamp_ms, strict=True)
    items: dict[tuple[str, str, str], SeriesKey] = {}
    for origin, point in zip(where, points, strict=True):
        item = items.get(origin)
        if item is None:
            name, context, session = origin
            path = names.context_of_points(context)
            item = items[origin] = SeriesKey(literals.text(name), path, rank=ranks.get(session, 0))
        column = columns.setdefault(item, Columns(array("q"), array("d"), array("q")))
        for part, value in zip(column, point, strict=True):
            part.append(value)  # type: ignore[attr-defined] # - the columns are arrays here
    yield from columns.items()


def sources(document: Document) -> dict[str, str]:
    """Return the source of each metric that has one; several are joined by a plus sign.

    The points do not tell their source, as MLflow has one tag for all points of a metric.
    """
    named: dict[str, str] = {}
    for tag, value in run_events.tags(DocumentIndex(document)).items():
        if tag.startswith(SOURCE_PREFIX):
            try:
                names_of_sources = json.loads(value)
            except ValueError:
                continue
            if isinstance(names_of_sources, list) and names_of_sources:
                metric = tag.removeprefix(SOURCE_PREFIX)
                named[literals.text(metric)] = literals.text("+".join(map(str, names_of_sources)))
    return named


def means(document: Document) -> Iterator[tuple[SeriesKey, Columns]]:
    """Yield the mean of what collectors measured, as yProv4ML's system metrics."""
    times = {
        str(generation.get("prov:entity")): str(generation.get("prov:time"))
        for generation in document.records.get("wasGeneratedBy", {}).values()
    }
    for identifier, record in sorted(document.records.get("entity", {}).items()):
        match = _QUANTITY_ID.match(identifier)
        if match is None or "qudt:numericValue" not in record:
            continue
        is_gpu = match["device"].startswith("gpu")
        if not is_gpu and match["device"] != _NODE:
            continue
        name, factor = _SYSTEM_METRICS.get((is_gpu, match[3]), ("", 0.0))
        measured_ms = time_ms(times.get(identifier))
        if name and measured_ms is not None:
            mark = "" if match["device"] in (_NODE, "gpu0") else f"_{match['device']}"
            item = SeriesKey(name + mark, "", f"collector.{match['collector']}")
            value = float(attribute(record, "qudt:numericValue")) * factor
            yield item, Columns([0], [value], [measured_ms])


def time_ms(text: object) -> int | None:
    """Return ISO 8601 text as ms since the epoch, None if it is not a time."""
    try:
        return milliseconds(literals.value({"$": str(text), "type": "xsd:dateTime"}))
    except (ValueError, TypeError):
        return None
