"""Logged models of a database: their records, files, and points that no run has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import sqlalchemy

from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.sources.sql.metric_points import same_point
from yprov_mlflow.prov.sources.sql.query_reader import Record
from yprov_mlflow.prov.sources.sql.reading import Reading, extra_fields, text_or_none
from yprov_mlflow.prov.sources.state_events import MOST_POINTS
from yprov_mlflow.prov.state import LoggedModel

_STATUSES = {0: None, 1: "PENDING", 2: "READY", 3: "FAILED"}
_COLUMNS = frozenset(
    "model_id experiment_id name artifact_location creation_timestamp_ms status model_type"
    " last_updated_timestamp_ms lifecycle_stage source_run_id status_message".split()
)
_TIMES = ("creation_timestamp_ms", "last_updated_timestamp_ms")
_POINT = ("metric_name", "metric_timestamp_ms", "metric_step", "metric_value")
_POINT_FIELDS = ("key", "timestamp", "step", "value", "run_id", "dataset_name", "dataset_digest")


def logged(reading: Reading, ids: Sequence[str] | None = None) -> Iterator[Event]:
    """Yield the logged models with these ids; by default, those that no run here created."""
    for record in _records(reading, ids):
        yield from reading.events.logged_model(_model(reading, record))


def _model(reading: Reading, record: Record) -> LoggedModel:
    where = {"model_id": record["model_id"]}
    reading.whole_times(record, _TIMES, f"logged model {record['model_id']}")
    params = reading.reader.pairs("logged_model_params", where, ("param_key", "param_value"))
    tags = reading.reader.pairs("logged_model_tags", where, ("tag_key", "tag_value"))
    status, experiment_id = record.get("status"), record.get("experiment_id")
    return LoggedModel(
        str(record["model_id"]),
        str(experiment_id) if experiment_id is not None else None,
        record.get("name"),
        record.get("model_type"),
        _STATUSES.get(status, str(status)) if status is not None else None,
        record.get("status_message"),
        text_or_none(record.get("artifact_location")),
        record.get("source_run_id"),
        record["creation_timestamp_ms"],
        record["last_updated_timestamp_ms"],
        record.get("lifecycle_stage") or "active",
        extra_fields(record, _COLUMNS),
        params,
        tags,
    )


def artifacts(reading: Reading, ids: Sequence[str] | None = None) -> Iterator[Event]:
    """Yield the files of the same logged models."""
    for record in _records(reading, ids):
        model_id = str(record["model_id"])
        files = reading.artifacts.files(record.get("artifact_location"), model_id)
        yield from reading.events.artifacts(files, ("model", model_id))


def _ids_without_run(reading: Reading) -> list[str]:
    reader = reading.reader
    if not reader.schema.has("logged_models", "model_id", "source_run_id"):
        return []
    table, runs = reader.schema.tables["logged_models"], reader.schema.tables["runs"]
    statement = (
        sqlalchemy.select(table.c.model_id)
        .select_from(table.outerjoin(runs, runs.c.run_uuid == table.c.source_run_id))
        .where(runs.c.run_uuid.is_(None))
    )
    return [str(model_id) for (model_id,) in reader.select(statement)]


def _records(reading: Reading, ids: Sequence[str] | None) -> list[Record]:
    where = {"model_id": list(_ids_without_run(reading) if ids is None else ids)}
    records = reading.reader.records("logged_models", where)
    return sorted(records, key=lambda record: str(record["model_id"]))


def points(reading: Reading, run_id: str, ids: Sequence[str]) -> Iterator[Event]:
    """Yield the metric points that models have from a run and that the run itself lacks."""
    if not ids:
        return
    waiting: dict[str, list[dict[str, Any]]] = defaultdict(list)
    rows = reading.reader.select(_statement(reading, run_id, ids))
    for _, group in groupby(rows, itemgetter(1, 2, 3, 4)):
        joined = list(group)
        if any(row[8] is not None for row in joined):  # the run has it, and names its models
            continue
        for row in {row[0]: row for row in joined}.values():
            model_id = str(row[0])
            point = dict(zip(_POINT_FIELDS, row[1:8], strict=True))
            where = f"metrics, logged model {model_id}"
            point |= {name: reading.whole(point[name], name, where) for name in _POINT_FIELDS[1:3]}
            waiting[model_id].append(point)
            if len(waiting[model_id]) == MOST_POINTS:
                yield from reading.events.model_points(model_id, waiting.pop(model_id))
    for model_id, model_points in sorted(waiting.items()):
        yield from reading.events.model_points(model_id, model_points)


def _statement(reading: Reading, run_id: str, ids: Sequence[str]) -> Any:
    """Return the query for the models' points, joined with equal points of the run."""
    reader = reading.reader
    measured = reader.schema.tables["logged_model_metrics"]
    source: Any = measured
    of_run: list[Any] = [sqlalchemy.null(), sqlalchemy.null()]
    if reader.schema.has("metrics"):
        source = measured.outerjoin(reader.schema.tables["metrics"], same_point(reader, ids))
        of_run = reader.columns("metrics", ("key", "is_nan"))
    order = (measured.c[name] for name in _POINT[1:])
    return (
        sqlalchemy.select(
            measured.c.model_id,
            *(measured.c[name] for name in _POINT),
            *reader.columns("logged_model_metrics", ("run_id", "dataset_name", "dataset_digest")),
            *of_run,
        )
        .select_from(source)
        .where(measured.c.run_id == run_id, measured.c.model_id.in_(ids))
        .order_by(reader.ordered(measured.c.metric_name), *order, measured.c.model_id)
    )
