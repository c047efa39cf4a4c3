"""Rows of a run, with its metric points."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator

from yprov_mlflow.prov.restore.sql.tables import Part, Record, Row, Tables
from yprov_mlflow.prov.restore.target import RESTORED_FROM
from yprov_mlflow.prov.state import Points, Run

STATUS = "yprov.status"
"""Tag with a status that this MLflow version does not have."""

UNKNOWN_FIELDS = "yprov.not_told"
"""Tag with the fields that MLflow requires and the documents lack."""

_STATUSES = frozenset({"SCHEDULED", "FAILED", "FINISHED", "RUNNING", "KILLED"})
_DEFAULT_STATUS = "SCHEDULED"
"""Default of MLflow's own table."""

_SOURCES = frozenset({"NOTEBOOK", "JOB", "LOCAL", "UNKNOWN", "PROJECT"})
_IDS = uuid.UUID("b0a4f6c2-33f5-5f8e-9d56-3b1f0a2c7e64")
"""Namespace of ids that MLflow would generate."""


def derived_id(*words: object) -> str:
    """Return an id that is always the same for the same words."""
    return uuid.uuid5(_IDS, "\x1f".join(map(str, words))).hex


class MetricRows:
    """The metric points of a run as rows; points with equal primary keys are one row.

    Each iteration counts again: ``count`` points, of which ``collapsed`` were equal to others.
    """

    def __init__(self, tables: Tables, run: Run, run_id: str) -> None:
        self._tables = tables
        self._run = run
        self._run_id = run_id
        self.count = 0
        self.collapsed = 0
        self._negative_zeros = 0
        self._infinities = 0

    def __iter__(self) -> Iterator[Row]:
        self.count = self.collapsed = self._negative_zeros = self._infinities = 0
        # SQLite returns the points of a key in the order in which they are inserted.
        for key in sorted(self._run.points):
            yield from self._rows(key, self._run.points[key])

    def _rows(self, key: str, points: Points) -> Iterator[Row]:
        seen: set[tuple[int, int, float, bool]] = set()
        label = f"metric {key} of run {self._run_id}"
        common = self._tables.fit("metrics", label, {"key": key})
        for value, timestamp, step in zip(
            points.values, points.timestamps_ms, points.steps, strict=True
        ):
            number, is_nan = self._tables.number(value)
            self.count += 1
            # The primary key contains the value: MLflow cannot store equal points twice.
            if (primary_key := (timestamp, step, number, is_nan)) in seen:
                self.collapsed += 1
                continue
            seen.add(primary_key)
            if math.isinf(value) and not math.isinf(number):
                self._infinities += 1
            if not number and math.copysign(1.0, number) < 0 and self._tables.dialect == "sqlite":
                self._negative_zeros += 1
            yield {
                **common,
                "value": number,
                "timestamp": timestamp,
                "step": step,
                "is_nan": is_nan,
                "run_uuid": self._run_id,
            }

    def changes(self) -> Iterator[str]:
        """Yield how values differ in the database; complete after an iteration."""
        if self._negative_zeros:
            yield f"{self._negative_zeros} values of -0.0 are 0.0: SQLite has no negative zero"
        if self._infinities:
            yield f"{self._infinities} infinite values are the largest number of this database"

    def latest(self) -> Iterator[Row]:
        """Yield the point of each metric that MLflow shows: the last by step, time and value."""
        for key, points in sorted(self._run.points.items()):
            rows = zip(points.steps, points.timestamps_ms, points.values, strict=True)
            numbers = ((s, t, *self._tables.number(v)) for s, t, v in rows)
            step, timestamp, number, is_nan = max(numbers, key=lambda row: row[:3])
            point = {"key": key, "value": number, "timestamp": timestamp, "step": step}
            yield {
                **self._tables.fit("latest_metrics", f"run {self._run_id}", point),
                "is_nan": is_nan,
                "run_uuid": self._run_id,
            }


def _run_row(run: Run, run_id: str, experiment_id: int, artifact_uri: str | None) -> Row:
    fields = run.fields
    source_type = fields.get("source_type")
    deleted = run.lifecycle != "active"
    return {
        "run_uuid": run_id,
        "name": run.name,
        "source_type": source_type if source_type in _SOURCES else "UNKNOWN",
        "source_name": _text(fields.get("source_name")),
        "entry_point_name": _text(fields.get("entry_point_name")),
        # MLflow cannot list the runs of an experiment if one of them lacks these three.
        "user_id": run.user_id if run.user_id is not None else "",
        "status": run.status if run.status in _STATUSES else _DEFAULT_STATUS,
        "start_time": run.start_time_ms if run.start_time_ms is not None else 0,
        "end_time": run.end_time_ms,
        "deleted_time": fields.get("deleted_time") if deleted else None,
        "source_version": _text(fields.get("source_version")),
        "lifecycle_stage": "deleted" if deleted else "active",
        "artifact_uri": artifact_uri,
        "experiment_id": experiment_id,
    }


def _text(value: object) -> str:
    return "" if value is None else str(value)


def run_record(
    tables: Tables, run: Run, run_id: str, experiment_id: int, artifact_uri: str | None
) -> tuple[Record, MetricRows]:
    """Return the rows that belong to the run alone, and those of its metrics once more."""
    label = f"run {run.run_id}"
    tags = dict(run.tags)
    if run.status is not None and run.status not in _STATUSES:
        tags[STATUS] = run.status
        reason = (
            f"MLflow has no status {run.status!r}: it is {_DEFAULT_STATUS}, with a tag {STATUS}"
        )
        tables.report.add_change(label, reason)
    required = {"status": run.status, "start_time": run.start_time_ms}
    missing = ", ".join(field for field, value in required.items() if value is None)
    if missing:
        tags[UNKNOWN_FIELDS] = missing
        reason = (
            f"MLflow requires {missing}, which its documents lack: a tag {UNKNOWN_FIELDS} says so"
        )
        tables.report.add_change(label, reason)
    if run_id != run.run_id:
        tags[RESTORED_FROM] = run.run_id
    owner = {"run_uuid": run_id}
    points = MetricRows(tables, run, run_id)
    parts = [
        tables.part("runs", label, owner, [_run_row(run, run_id, experiment_id, artifact_uri)]),
        Part("params", owner, list(tables.pairs("params", label, owner, run.params))),
        Part("tags", owner, list(tables.pairs("tags", label, owner, tags))),
        Part("metrics", owner, points),
        Part("latest_metrics", owner, list(points.latest())),
    ]
    return Record("run", label, parts), points
