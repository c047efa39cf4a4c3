"""Metric points of a run, streamed one metric after the other.

The tables do not record the order of logging. Points are in the order in which MLflow's API
returns them: by timestamp, step and value. Metrics are sorted by the bytes of their keys, so
that all databases give the same documents.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import sqlalchemy

from yprov_mlflow.prov.serialize import integer
from yprov_mlflow.prov.sources.sql.query_reader import Reader, Row
from yprov_mlflow.prov.sources.state_events import MOST_POINTS, batches

# Timestamps from 1973 to 5138, if they are seconds. MLflow before 1.0 wrote seconds, and
# tables without steps.
_SECONDS = (10**8, 10**11)

_COLUMNS = ("key", "timestamp", "step", "value", "is_nan")
# The values that databases return for an unset flag.
_FALSE = (None, 0, False, "0", b"\0")


class Metrics:
    """The points of one run, each with the logged model that shares it, if any.

    Args:
        reader: The transaction to read in.
        run_id: The run.
        models: Ids of the logged models that have metrics from the run.
    """

    def __init__(self, reader: Reader, run_id: str, models: Sequence[str]) -> None:
        self._reader = reader
        self._run_id = run_id
        self._models = list(models)
        self._invalid = 0
        self._first_invalid = ""
        self._fractions = 0

    def batches(self) -> Iterator[Row]:
        """Yield the arguments of ``EventFactory.metrics`` for each event."""
        if not self._reader.schema.has("metrics", "run_uuid", "key", "value"):
            return
        rows = self._reader.select(self._statement())
        for _, points in groupby(rows, itemgetter(0)):
            for batch in batches(points, MOST_POINTS):
                yield from self._batch(batch)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with points, and what of them the batches lack."""
        if self._invalid:
            more = f" and {self._invalid - 1} more" if self._invalid > 1 else ""
            yield f"points that are not numbers: {self._first_invalid}{more}", "these points"
        if self._fractions:
            reason = f"timestamps or steps with a fraction, which is cut off: {self._fractions}"
            yield reason, "the fractions"

    def _statement(self) -> Any:
        """Return the query for the points, joined with those of the run's logged models."""
        reader, points = self._reader, self._reader.schema.tables["metrics"]
        columns = reader.columns("metrics", _COLUMNS)
        source: Any = points
        order = [reader.ordered(points.c[name]) for name in _COLUMNS if name in points.c]
        if self._models:
            measured = reader.schema.tables["logged_model_metrics"]
            columns.append(measured.c.model_id)
            columns += reader.columns("logged_model_metrics", ("dataset_name", "dataset_digest"))
            source = points.outerjoin(measured, same_point(reader, self._models))
            order.append(measured.c.model_id)
        statement = sqlalchemy.select(*columns).select_from(source)
        return statement.where(reader.of_run("metrics", self._run_id)).order_by(*order)

    def _batch(self, rows: list[Row]) -> Iterator[Row]:
        if self._models:
            rows = list(assign_models(rows))
        # Nearly always all values are valid: rows are checked one by one only if they are not.
        columns = self._columns(rows)
        if columns is None:
            rows = [(row[0], self._whole(row[1]), self._whole(row[2]), *row[3:]) for row in rows]
            rows = [row for row in rows if self._is_valid(row)]
            columns = self._columns(rows) if rows else None
        if columns is not None:
            models = [row[5] for row in rows] if self._models else None
            datasets = [_dataset(row) for row in rows] if self._models else None
            yield str(rows[0][0]), *columns, models, datasets

    def _columns(self, rows: list[Row]) -> tuple[Any, Any, Any] | None:
        """Return values, timestamps in ms and steps; None if any of them is not a number."""
        _, timestamps, steps, values, nans = list(zip(*rows, strict=True))[:5]
        try:
            numbers = array("d", values)
            timestamps_ms = array("q", timestamps)
            whole_steps = array("q", steps) if steps[0] is not None else None
        except (TypeError, OverflowError):
            return None
        # MLflow stores NaN as 0 with a flag.
        for i, flag in enumerate(nans):
            if flag not in _FALSE:
                numbers[i] = math.nan
        if whole_steps is None:
            first, last = _SECONDS
            scaled = (t * 1000 if first <= t < last else t for t in timestamps_ms)
            timestamps_ms = array("q", scaled)
            whole_steps = array("q", bytes(8 * len(timestamps_ms)))
        return numbers, timestamps_ms, whole_steps

    def _whole(self, value: Any) -> Any:
        value = integer(value)
        if isinstance(value, float) and math.isfinite(value):
            self._fractions += 1
            return int(value)
        return value

    def _is_valid(self, row: Row) -> bool:
        if self._columns([row]) is not None:
            return True
        self._invalid += 1
        self._first_invalid = self._first_invalid or ascii(row[:4])
        return False


def in_seconds(reader: Reader, run_id: str) -> bool:
    """Return whether timestamps of a run are in seconds, as before MLflow 1.0."""
    if reader.schema.has("metrics", "step") or not reader.schema.has("metrics", "timestamp"):
        return False
    timestamp = reader.schema.tables["metrics"].c.timestamp
    first, last = _SECONDS
    statement = sqlalchemy.select(timestamp).where(
        reader.of_run("metrics", run_id), timestamp >= first, timestamp < last
    )
    return any(True for _ in reader.select(statement.limit(1), streamed=False))


def same_point(reader: Reader, models: Sequence[str]) -> Any:
    """Return the condition under which a point of a run is also one of these logged models."""
    points, measured = (reader.schema.tables[n] for n in ("metrics", "logged_model_metrics"))
    return sqlalchemy.and_(
        measured.c.model_id.in_(models),
        measured.c.run_id == points.c.run_uuid,
        measured.c.metric_name == points.c.key,
        measured.c.metric_timestamp_ms == points.c.timestamp,
        measured.c.metric_step == points.c.step,
        measured.c.metric_value == points.c.value,
    )


def assign_models(rows: Sequence[Row]) -> Iterator[Row]:
    """Yield each point with one model, then again for each further model that shares it.

    The join returns a point once for each model that shares it. MLflow stores NaN as zero, with
    a flag in the table of runs only: there two points may be equal to one of a model.
    """
    for _, equal_points in groupby(rows, lambda row: row[1:4]):
        assigned: set[object] = set()
        joined_rows = list(equal_points)
        for _, joined in groupby(joined_rows, lambda row: row[4] not in _FALSE):
            point = list(joined)
            free = (row for row in point if row[5] is not None and row[5] not in assigned)
            row = next(free, (*point[0][:5], None, None, None))
            assigned.add(row[5])
            yield row
        for row in joined_rows:
            if row[5] is not None and row[5] not in assigned:
                assigned.add(row[5])
                yield row


def _dataset(row: Row) -> list[str] | None:
    name, digest = row[6], row[7]
    return [str(name), str(digest)] if name is not None and digest is not None else None
