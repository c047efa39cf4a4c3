"""A run as rows."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from typing import Any

from yprov_mlflow.prov.restore.sql.tables import Part, Row, Tables, Thing
from yprov_mlflow.prov.restore.state import Points, Run

STATUS = "yprov.status"
NOT_TOLD = "yprov.not_told"
"""Tag of a run with the fields that MLflow demands and no document tells."""

RESTORED_FROM = "yprov.restored_from"

_STATUSES = frozenset({"SCHEDULED", "FAILED", "FINISHED", "RUNNING", "KILLED"})
_NO_STATUS = "SCHEDULED"
"""What MLflow's own table has by default."""

_SOURCES = frozenset({"NOTEBOOK", "JOB", "LOCAL", "UNKNOWN", "PROJECT"})
_NAMES = uuid.UUID("b0a4f6c2-33f5-5f8e-9d56-3b1f0a2c7e64")
"""Name space of ids that MLflow would make up."""


def made_id(*words: object) -> str:
    """Give an id that is always the same for the same words."""
    return uuid.uuid5(_NAMES, "\x1f".join(map(str, words))).hex


class MetricRows:
    """The metric points of a run as rows, each of MLflow's primary keys once.

    Can be iterated more than once; counts as it goes.
    """

    def __init__(self, tables: Tables, run: Run, run_id: str) -> None:
        self._tables = tables
        self._run = run
        self._run_id = run_id
        self.count = 0
        self.collapsed = 0
        self.unsigned = 0
        self.bounded = 0

    def __iter__(self) -> Iterator[Row]:
        self.count = self.collapsed = self.unsigned = self.bounded = 0
        for key in sorted(self._run.points):
            yield from self._of(key, self._run.points[key])

    def _of(self, key: str, points: Points) -> Iterator[Row]:
        seen: set[tuple[int, int, float, bool]] = set()
        shown = self._tables.fit("metrics", f"metric {key} of run {self._run_id}", {"key": key})
        number = self._tables.number
        for value, timestamp, step in zip(
            points.values, points.timestamps_ms, points.steps, strict=True
        ):
            held, is_nan = number(value)
            self.count += 1
            if (known := (timestamp, step, held, is_nan)) in seen:
                self.collapsed += 1
                continue
            seen.add(known)
            if math.isinf(value) and not math.isinf(held):
                self.bounded += 1
            if not held and math.copysign(1.0, held) < 0 and self._tables.dialect == "sqlite":
                self.unsigned += 1
            yield {
                **shown,
                "value": held,
                "timestamp": timestamp,
                "step": step,
                "is_nan": is_nan,
                "run_uuid": self._run_id,
            }

    def changes(self) -> Iterator[str]:
        """Say what the database holds otherwise; known after the rows were given."""
        if self.unsigned:
            yield f"{self.unsigned} values of -0.0 are 0.0: SQLite has no negative zero"
        if self.bounded:
            yield f"{self.bounded} infinite values are the greatest number: this database has none"

    def latest(self) -> Iterator[Row]:
        """Give the point of each metric that MLflow shows: last by step, time, value."""
        for key, points in sorted(self._run.points.items()):
            rows = zip(points.steps, points.timestamps_ms, points.values, strict=True)
            found_rows = ((s, t, *self._tables.number(v)) for s, t, v in rows)
            step, timestamp, held, is_nan = max(found_rows, key=lambda row: row[:3])
            found = {"key": key, "value": held, "timestamp": timestamp, "step": step}
            yield {
                **self._tables.fit("latest_metrics", f"run {self._run_id}", found),
                "is_nan": is_nan,
                "run_uuid": self._run_id,
            }


def run_row(run: Run, run_id: str, experiment_id: int, artifact_uri: str | None) -> Row:
    """Give the row of the run itself."""
    fields = run.fields
    source_type = fields.get("source_type")
    deleted = run.lifecycle != "active"
    return {
        "run_uuid": run_id,
        "name": run.name,
        "source_type": source_type if source_type in _SOURCES else "UNKNOWN",
        "source_name": _text(fields.get("source_name")),
        "entry_point_name": _text(fields.get("entry_point_name")),
        # MLflow refuses to read a run without these three, and all others with it.
        "user_id": run.user_id if run.user_id is not None else "",
        "status": run.status if run.status in _STATUSES else _NO_STATUS,
        "start_time": run.start_time_ms if run.start_time_ms is not None else 0,
        "end_time": run.end_time_ms,
        "deleted_time": fields.get("deleted_time") if deleted else None,
        "source_version": _text(fields.get("source_version")),
        "lifecycle_stage": "deleted" if deleted else "active",
        "artifact_uri": artifact_uri,
        "experiment_id": experiment_id,
    }


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def run_thing(
    tables: Tables, run: Run, run_id: str, experiment_id: int, artifact_uri: str | None
) -> tuple[Thing, MetricRows]:
    """Give all rows that belong to the run alone, with those of its metrics."""
    place = f"run {run.run_id}"
    tags = dict(run.tags)
    if run.status is not None and run.status not in _STATUSES:
        tags[STATUS] = run.status
        reason = f"MLflow has no status {run.status!r}: it is {_NO_STATUS}, and a tag {STATUS}"
        tables.report.change(place, reason)
    fields = {"status": run.status, "start_time": run.start_time_ms}
    unknown = [field for field, value in fields.items() if value is None]
    if unknown:
        tags[NOT_TOLD] = ", ".join(unknown)
        reason = f"MLflow demands {tags[NOT_TOLD]}, which nothing tells: it has a tag {NOT_TOLD}"
        tables.report.change(place, reason)
    if run_id != run.run_id:
        tags[RESTORED_FROM] = run.run_id
    mine = {"run_uuid": run_id}
    points = MetricRows(tables, run, run_id)
    pairs: dict[str, dict[str, Any]] = {"params": run.params, "tags": tags}
    own = tables.fit("runs", place, run_row(run, run_id, experiment_id, artifact_uri))
    parts = [Part("runs", mine, [own])]
    for table, found in pairs.items():
        rows = [
            tables.fit(table, f"{place}, {key}", {"key": key, "value": value, **mine})
            for key, value in sorted(found.items())
        ]
        parts.append(Part(table, mine, rows))
    parts.append(Part("metrics", mine, points))
    parts.append(Part("latest_metrics", mine, list(points.latest())))
    return Thing("run", place, parts), points
