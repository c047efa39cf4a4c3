"""Rows of a run, with its metric points, inputs and outputs."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection

from yprov_mlflow.prov.restore.restore_report import RESTORED_FROM
from yprov_mlflow.prov.restore.sql.extension import Earlier, Row
from yprov_mlflow.prov.restore.sql.tables import Part, Record, Tables
from yprov_mlflow.prov.state import Points, Run, was

STATUS = "yprov.status"
"""Tag with a status that this MLflow version does not have."""

UNKNOWN_FIELDS = "yprov.not_told"
"""Tag with the fields that MLflow requires and the documents lack."""

_STATUSES = frozenset({"SCHEDULED", "FAILED", "FINISHED", "RUNNING", "KILLED"})
_DEFAULT_STATUS = "SCHEDULED"
"""Default of MLflow's own table."""

_SOURCES = frozenset({"NOTEBOOK", "JOB", "LOCAL", "UNKNOWN", "PROJECT"})
_TEXT_FIELDS = ("source_name", "entry_point_name", "source_version")
# The last five repeat in an old or damaged description what the run has elsewhere.
_KNOWN_FIELDS = frozenset(
    {"source_type", *_TEXT_FIELDS, "deleted_time", "metric_timestamps"}
    | {"name", "run_id", "run_uuid", "experiment_id", "lifecycle_stage"}
)
_IDS = uuid.UUID("b0a4f6c2-33f5-5f8e-9d56-3b1f0a2c7e64")
"""Namespace of ids that MLflow would generate; it must never change."""


def derived_id(*words: object) -> str:
    """Return an id that is always the same for the same words."""
    # A repeated restoration must find its rows. The separator occurs in no id.
    return uuid.uuid5(_IDS, "\x1f".join(map(str, words))).hex


class MetricRows:
    """The metric points of a run as rows; points with equal primary keys are one row.

    Each iteration counts again: ``count`` points, of which ``collapsed`` were equal to others.
    """

    def __init__(self, tables: Tables, run: Run, run_id: str) -> None:
        self._tables, self._run, self._run_id = tables, run, run_id
        self.count = self.collapsed = self._negative_zeros = self._infinities = 0

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
            yield f"{self._negative_zeros} values of -0.0 are 0.0: SQLite lacks negative zero"
        if self._infinities and not self._tables.extends:
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
    source_type = run.fields.get("source_type")
    texts = {name: run.fields.get(name) for name in _TEXT_FIELDS}
    deleted = run.lifecycle != "active"
    return {
        "run_uuid": run_id,
        "name": run.name,
        "source_type": source_type if source_type in _SOURCES else "UNKNOWN",
        **{name: "" if value is None else str(value) for name, value in texts.items()},
        # MLflow cannot list the runs of an experiment if one of them lacks these three.
        "user_id": run.user_id if run.user_id is not None else "",
        "status": run.status if run.status in _STATUSES else _DEFAULT_STATUS,
        "start_time": run.start_time_ms if run.start_time_ms is not None else 0,
        "end_time": run.end_time_ms,
        "deleted_time": run.fields.get("deleted_time") if deleted else None,
        "lifecycle_stage": "deleted" if deleted else "active",
        "artifact_uri": artifact_uri,
        "experiment_id": experiment_id,
    }


def run_record(
    tables: Tables, run: Run, run_id: str, experiment_id: int, artifact_uri: str | None
) -> tuple[Record, MetricRows]:
    """Return the rows that belong to the run alone, and those of its metrics once more."""
    label = f"run {run.run_id}"
    tags = dict(run.tags)
    if run.status is not None and run.status not in _STATUSES:
        tags[STATUS] = run.status
        reason = f"unknown status {run.status!r}: it is {_DEFAULT_STATUS}, with a tag {STATUS}"
        tables.report.add_change(label, reason)
    if extra := run.fields.keys() - _KNOWN_FIELDS:
        tables.report.add_loss(label, f"not restored: {', '.join(sorted(extra))}")
    required = {"status": run.status, "start_time": run.start_time_ms} if run.created else {}
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
    row = _run_row(run, run_id, experiment_id, artifact_uri)
    parts = [
        tables.part("runs", label, owner, [row if run.created else _known(row, run)]),
        Part("params", owner, tables.pairs("params", label, owner, run.params)),
        Part("tags", owner, tables.pairs("tags", label, owner, tags)),
        Part("metrics", owner, points),
        Part("latest_metrics", owner, list(points.latest())),
    ]
    return Record("run", label, parts, _earlier(run), run.created and run.whole), points


_FIELDS = {
    **{"status": "status", "end_time": "end_time_ms", "name": "name"},
    "lifecycle_stage": "lifecycle",
}
"""Columns of a run that change, each with its field."""


def _known(row: Row, run: Run) -> Row:
    """Return the columns that the journals of a run have that another process created."""
    values = {column: getattr(run, field) for column, field in _FIELDS.items()}
    names = {column for column, value in values.items() if value not in (None, "active")}
    return {"run_uuid": row["run_uuid"], **{name: row[name] for name in sorted(names)}}


def _earlier(run: Run) -> Earlier:
    """Return whether values of the run's own row and of its tags were so before."""

    def fields(row: Row, names: frozenset[str]) -> bool:
        if not run.created:
            end_ms = row["end_time"]
            return names <= _FIELDS.keys() and (not end_ms or end_ms <= (run.end_time_ms or 0))
        return names <= _FIELDS.keys() and all(
            row[name] is None or row[name] in run.earlier.get(_FIELDS[name], ()) for name in names
        )

    return {"runs": fields, "tags": lambda row, _: was(run.tags, row["key"], row["value"])}


# -- inputs and outputs ------------------------------------------------------------------

_DATASET_COLUMNS = {
    **{"name": "name", "digest": "digest"},
    **{name: f"dataset_{name}" for name in ("source_type", "source", "schema", "profile")},
}
_OPTIONAL = ("dataset_schema", "dataset_profile")


class Inputs:
    """Creates the rows of inputs and outputs; remembers the datasets of each experiment.

    Runs of an experiment share the rows of datasets.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._datasets: dict[int, dict[tuple[str, str], Row]] = {}

    def parts(
        self, connection: Connection, run: Run, run_id: str, experiment_id: int
    ) -> Iterator[Part]:
        """Yield the rows of a run's inputs and outputs; insert its datasets first."""
        label = f"run {run.run_id}"
        destination = {"destination_type": "RUN", "destination_id": run_id}
        rows: list[Row] = []
        tags: dict[str, list[Row]] = {}
        for dataset in run.datasets:
            ends = {
                "source_type": "DATASET",
                "source_id": self._dataset_id(connection, experiment_id, dataset, label),
                **destination,
            }
            input_id = self._input_id(connection, ends)
            if input_id in tags:
                name = dataset.get("name")
                reason = f"MLflow keeps one use of dataset {name!r} in a run, with its tags"
                self._tables.report.add_loss(label, reason)
                continue
            rows.append({"input_uuid": input_id, **ends})
            tags[input_id] = [
                self._tables.fit(
                    "input_tags", label, {"input_uuid": input_id, "name": k, "value": str(v)}
                )
                for k, v in sorted((dataset.get("tags") or {}).items())
            ]
        yield Part("inputs", destination, rows)
        for input_id, tag_rows in tags.items():
            yield Part("input_tags", {"input_uuid": input_id}, tag_rows)
        yield self._links(connection, "INPUT", run, run_id)
        yield self._links(connection, "OUTPUT", run, run_id)

    def _links(self, connection: Connection, kind: str, run: Run, run_id: str) -> Part:
        """Return the links to the models that the run has as inputs or outputs (``kind``)."""
        label = f"run {run.run_id}"
        inputs = [(model, 0) for model in run.input_models]
        source = {"source_type": f"RUN_{kind}", "source_id": run_id}
        rows: dict[str, Row] = {}
        for model, step in inputs if kind == "INPUT" else run.output_models:
            if model in rows:
                reason = f"MLflow keeps one step of model {model}: step {step} is missing"
                self._tables.report.add_loss(label, reason)
                continue
            ends = {**source, "destination_type": f"MODEL_{kind}", "destination_id": model}
            row = {"input_uuid": self._input_id(connection, ends), **ends, "step": step}
            rows[model] = self._tables.fit("inputs", label, row)
        return Part("inputs", source, list(rows.values()))

    def _input_id(self, connection: Connection, ends: Mapping[str, Any]) -> str:
        """Return the id that a link has in the target, or a new one."""
        # Ids in the target must stay the same, or a repeated restoration would find differences.
        row = self._tables.first(connection, "inputs", ends)
        return str(row["input_uuid"]) if row is not None else derived_id(*ends.values())

    def _dataset_id(
        self, connection: Connection, experiment_id: int, dataset: Mapping[str, Any], label: str
    ) -> str:
        """Return the id of a dataset in the target, which is inserted if necessary."""
        row: Row = {column: dataset.get(field) for field, column in _DATASET_COLUMNS.items()}
        row = {
            column: "" if value is None and column not in _OPTIONAL else value
            for column, value in row.items()
        }
        row = self._tables.fit("datasets", f"{label}, dataset {row['name']!r}", row)
        if experiment_id not in self._datasets:
            rows = self._tables.rows(connection, "datasets", {"experiment_id": experiment_id})
            self._datasets[experiment_id] = {(row["name"], row["digest"]): row for row in rows}
        datasets = self._datasets[experiment_id]
        key = (row["name"], row["digest"])
        if key not in datasets:
            dataset_id = derived_id("dataset", experiment_id, *key)
            row = {"dataset_uuid": dataset_id, "experiment_id": experiment_id, **row}
            self._tables.insert(connection, "datasets", [row])
            datasets[key] = row
        elif any(datasets[key][column] != row[column] for column in row):
            self._tables.report.add_loss(
                label,
                f"the experiment has a dataset {row['name']!r} {row['digest']!r} with another"
                " source, schema or profile, which MLflow keeps once",
            )
        return str(datasets[key]["dataset_uuid"])
