"""Logged models as rows, with the metric points that runs measured of them."""

from __future__ import annotations

import math
from collections.abc import Iterable

from yprov_mlflow.prov.model.literals import number
from yprov_mlflow.prov.restore.sql.tables import Part, Row, Tables, Thing
from yprov_mlflow.prov.restore.state import LoggedModel, Run

_STATUSES = {"UNSPECIFIED": 0, "LOGGED_MODEL_STATUS_UNSPECIFIED": 0}
_STATUSES |= {"PENDING": 1, "READY": 2, "FAILED": 3}


class ModelPoints:
    """The points of logged models, by model, as runs are restored that measured them."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Row]] = {}

    def take(self, run: Run, run_id: str) -> None:
        """Take a run's points that have a model."""
        for key, points in run.points.items():
            for at, model in points.models.items():
                name, digest = points.datasets.get(at, (None, None))
                row = {
                    "metric_name": key,
                    "metric_timestamp_ms": points.timestamps_ms[at],
                    "metric_step": points.steps[at],
                    "metric_value": points.values[at],
                    "run_id": run_id,
                    "dataset_name": name,
                    "dataset_digest": digest,
                }
                self._rows.setdefault(model, []).append(row)

    def of(self, model_id: str) -> list[Row]:
        """Give the points of a model."""
        return self._rows.get(model_id, [])

    def models(self) -> Iterable[str]:
        """Give the models that have points."""
        return self._rows


def model_thing(
    tables: Tables,
    model: LoggedModel,
    experiment_id: int,
    location: str,
    points: list[Row],
    known_runs: set[str],
) -> Thing:
    """Give the rows of a logged model."""
    place = f"logged model {model.model_id}"
    mine = {"model_id": model.model_id}
    both = {**mine, "experiment_id": experiment_id}
    status = _STATUSES.get(model.status or "UNSPECIFIED")
    if status is None:
        tables.report.lose(place, f"MLflow has no status {model.status!r}")
    created = model.creation_time_ms
    updated = model.last_updated_ms
    row = {
        **both,
        "name": model.name if model.name is not None else "",
        "artifact_location": location,
        "creation_timestamp_ms": created if created is not None else updated or 0,
        "last_updated_timestamp_ms": updated if updated is not None else created or 0,
        "status": status or 0,
        "lifecycle_stage": model.lifecycle,
        "model_type": model.model_type,
        "source_run_id": model.source_run_id,
        "status_message": model.status_message,
    }
    parts = [Part("logged_models", mine, [tables.fit("logged_models", place, row)])]
    for word, found in (("param", model.params), ("tag", model.tags)):
        table = f"logged_model_{word}s"
        rows = [
            tables.fit(table, place, {**both, f"{word}_key": key, f"{word}_value": value})
            for key, value in sorted(found.items())
        ]
        parts.append(Part(table, mine, rows))
    metrics = _metric_rows(tables, model, both, points, known_runs, place)
    return Thing("logged model", place, [*parts, Part("logged_model_metrics", mine, metrics)])


def _metric_rows(
    tables: Tables,
    model: LoggedModel,
    both: Row,
    points: list[Row],
    known_runs: set[str],
    place: str,
) -> list[Row]:
    rows: dict[tuple[object, ...], Row] = {}
    told = [_told(metric) for metric in model.metrics]
    for row in [*points, *told]:
        if row["run_id"] not in known_runs:
            reason = f"a metric point of run {row['run_id']!r}, which the target has not, is left"
            tables.report.lose(place, reason)
            continue
        value = row["metric_value"]
        if value is not None:
            held, is_nan = tables.number(float(value))
            value = None if is_nan else held
        fitted = tables.fit("logged_model_metrics", place, {**both, **row, "metric_value": value})
        key = tuple(
            fitted[name] for name in ("metric_name", "metric_timestamp_ms", "metric_step", "run_id")
        )
        if key in rows and rows[key]["metric_value"] != value:
            reason = f"{key[0]} at step {key[2]}: MLflow keeps one value of a model at one time"
            tables.report.lose(place, reason)
        rows.setdefault(key, fitted)
    return list(rows.values())


def _told(metric: Row) -> Row:
    value = metric.get("value")
    return {
        "metric_name": str(metric.get("key")),
        "metric_timestamp_ms": number(metric.get("timestamp")) or 0,
        "metric_step": number(metric.get("step")) or 0,
        "metric_value": float(value) if isinstance(value, int | float) else math.nan,
        "run_id": str(metric.get("run_id")),
        "dataset_name": metric.get("dataset_name"),
        "dataset_digest": metric.get("dataset_digest"),
    }
