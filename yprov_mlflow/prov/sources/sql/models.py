"""Logged models: what they are, their files, and metrics that no run of theirs has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from yprov_mlflow.prov.events import ArtifactsLogged, Event
from yprov_mlflow.prov.sources.sql.context import Reading
from yprov_mlflow.prov.sources.sql.event_factory import others, texts
from yprov_mlflow.prov.sources.sql.metric_points import MOST_POINTS, same_point
from yprov_mlflow.prov.sources.sql.query_reader import Record

_KNOWN = frozenset(
    "model_id experiment_id name artifact_location creation_timestamp_ms status model_type"
    " last_updated_timestamp_ms lifecycle_stage source_run_id status_message".split()
)
_POINT = ("metric_name", "metric_timestamp_ms", "metric_step", "metric_value")
_FIELDS = ("key", "timestamp", "step", "value", "run_id", "dataset_name", "dataset_digest")


def logged(reading: Reading, ids: Sequence[str]) -> Iterator[Event]:
    """Give the logged models with these ids."""
    for found in _records(reading, ids):
        where = {"model_id": found["model_id"]}
        params, tags = (
            texts(
                reading.reader.pairs(f"logged_model_{kind}s", where, f"{kind}_key", f"{kind}_value")
            )
            for kind in ("param", "tag")
        )
        said = {
            **found,
            "lifecycle": found.get("lifecycle_stage"),
            "extra": others(found, _KNOWN),
        }
        yield from reading.entries.logged_model(said, params, tags)


def artifacts(reading: Reading, ids: Sequence[str]) -> Iterator[Event]:
    """Give the files of the logged models with these ids."""
    for found in _records(reading, ids):
        model_id = str(found["model_id"])
        files = reading.artifacts.files(found.get("artifact_location"), model_id)
        if files:
            yield reading.entries.event(ArtifactsLogged, files, ("model", model_id))


def without_run(reading: Reading) -> Iterator[Event]:
    """Give the logged models that no run of this database is the source of."""
    yield from logged(reading, _ids_without_run(reading))


def artifacts_without_run(reading: Reading) -> Iterator[Event]:
    """Give the files of the logged models that no run of this database is the source of."""
    yield from artifacts(reading, _ids_without_run(reading))


def _ids_without_run(reading: Reading) -> list[str]:
    import sqlalchemy

    reader = reading.reader
    if not reader.schema.has("logged_models", "model_id", "source_run_id"):
        return []
    table, runs = reader.schema.tables["logged_models"], reader.schema.tables["runs"]
    statement = (
        sqlalchemy.select(table.c.model_id)
        .select_from(table.outerjoin(runs, runs.c.run_uuid == table.c.source_run_id))
        .where(runs.c.run_uuid.is_(None))
    )
    return [str(model_id) for chunk in reader.chunks(statement) for (model_id,) in chunk]


def _records(reading: Reading, ids: Sequence[str]) -> list[Record]:
    found = list(reading.reader.records("logged_models", {"model_id": list(ids)})) if ids else []
    return sorted(found, key=lambda record: str(record["model_id"]))


def points(reading: Reading, run_id: str, ids: Sequence[str]) -> Iterator[Event]:
    """Give metric points that models have from a run and that the run's own do not tell."""
    if not ids:
        return
    waiting: dict[str, list[dict[str, Any]]] = defaultdict(list)
    chunks = reading.reader.chunks(_measured(reading, run_id, ids))
    rows = (row for chunk in chunks for row in chunk)
    for _, alike in groupby(rows, itemgetter(1, 2, 3, 4)):
        found = list(alike)
        # What the run has of it: zero and not a number are one value here and two there.
        room = len({row[9] not in (None, 0, False) for row in found if row[8] is not None})
        of_models = list({row[0]: row for row in found}.values())
        for row in of_models[room:]:
            model_id = str(row[0])
            waiting[model_id].append(_point(row))
            if len(waiting[model_id]) == MOST_POINTS:
                yield reading.entries.model_points(model_id, waiting.pop(model_id))
    for model_id, rest in sorted(waiting.items()):
        yield reading.entries.model_points(model_id, rest)


def _measured(reading: Reading, run_id: str, ids: Sequence[str]) -> Any:
    import sqlalchemy

    reader = reading.reader
    measured = reader.schema.tables["logged_model_metrics"]
    run_points = reader.schema.tables["metrics"]
    nan = run_points.c.is_nan if "is_nan" in run_points.c else sqlalchemy.null()
    order = (measured.c[name] for name in _POINT[1:])
    return (
        sqlalchemy.select(
            measured.c.model_id,
            *(measured.c[name] for name in _POINT),
            *reader.columns("logged_model_metrics", ("run_id", "dataset_name", "dataset_digest")),
            run_points.c.key,
            nan,
        )
        .select_from(measured.outerjoin(run_points, same_point(reader, ids)))
        .where(measured.c.run_id == run_id, measured.c.model_id.in_(ids))
        .order_by(reader.ordered(measured.c.metric_name), *order, measured.c.model_id)
    )


def _point(row: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(_FIELDS, row[1:8], strict=True))
