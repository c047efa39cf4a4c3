"""Rows of logged models, with their metric points, and of registered models."""

from __future__ import annotations

import math
from collections.abc import Mapping

from yprov_mlflow.prov.model.literals import number
from yprov_mlflow.prov.restore.registry import DELETED
from yprov_mlflow.prov.restore.sql.extension import Earlier, Row
from yprov_mlflow.prov.restore.sql.tables import Part, Record, Tables
from yprov_mlflow.prov.state import LoggedModel, ModelVersion, RegisteredModel, Run, was

# MLflow's table holds the numbers of its protocol buffers' enumeration.
_MODEL_STATUSES = {"UNSPECIFIED": 0, "PENDING": 1, "READY": 2, "FAILED": 3}
_VERSION_STATUSES = frozenset({"PENDING_REGISTRATION", "FAILED_REGISTRATION", "READY"})
MODEL_ID = "yprov.model_id"
"""Tag of a version with its logged model, for databases without a column for it."""

_SAME_COLUMNS = ("model_type", "source_run_id", "status_message")
_POINT = (
    *("metric_name", "metric_timestamp_ms", "metric_step", "metric_value", "run_id"),
    *("dataset_name", "dataset_digest"),
)
"""Columns of a metric point of a logged model."""

_POINT_KEY = ("metric_name", "metric_timestamp_ms", "metric_step", "run_id")


def add_model_points(rows: dict[str, list[Row]], run: Run, run_id: str) -> None:
    """Add the metric points of a run that have a logged model to ``rows``, by model id."""
    for key, points in run.points.items():
        for index, model in points.models.items():
            dataset = points.datasets.get(index, (None, None))
            point = points.timestamps_ms[index], points.steps[index], points.values[index]
            row = dict(zip(_POINT, (key, *point, run_id, *dataset), strict=True))
            rows.setdefault(model, []).append(row)


def metric_row(metric: Row) -> Row:
    """Return the row of a metric point that a logged model has, and no run."""
    value = metric.get("value")
    return {
        "metric_name": str(metric.get("key")),
        "metric_timestamp_ms": number(metric.get("timestamp")) or 0,
        "metric_step": number(metric.get("step")) or 0,
        "metric_value": value if isinstance(value, int | float) else math.nan,
        "run_id": str(metric.get("run_id")),
        **{key: metric.get(key) for key in ("dataset_name", "dataset_digest")},
    }


def model_record(
    tables: Tables,
    model: LoggedModel,
    experiment_id: int,
    location: str,
    points: list[Row],
    runs: Mapping[str, int],
) -> Record:
    """Return the rows of a logged model.

    Args:
        tables: Tables of the target.
        model: The model.
        experiment_id: Its experiment in the target.
        location: Its artifact root in the target.
        points: Its metric points.
        runs: Experiments of runs in the target: points of other runs cannot be written.
    """
    label = f"logged model {model.model_id}"
    owner = {"model_id": model.model_id}
    keys = {**owner, "experiment_id": experiment_id}
    status = _MODEL_STATUSES.get(
        (model.status or "UNSPECIFIED").removeprefix("LOGGED_MODEL_STATUS_")
    )
    if status is None:
        tables.report.add_loss(label, f"unknown status {model.status!r}: it is UNSPECIFIED")
    created, updated = model.creation_time_ms, model.last_updated_ms
    row = {
        **keys,
        "name": model.name if model.name is not None else "",
        "artifact_location": location,
        "creation_timestamp_ms": created if created is not None else updated or 0,
        "last_updated_timestamp_ms": updated if updated is not None else created or 0,
        "status": status or 0,
        "lifecycle_stage": model.lifecycle,
        **{name: getattr(model, name) for name in _SAME_COLUMNS},
    }
    parts = [tables.part("logged_models", label, owner, [row])]
    for word, values in (("param", model.params), ("tag", model.tags)):
        table = f"logged_model_{word}s"
        parts.append(Part(table, owner, tables.pairs(table, label, keys, values, f"{word}_")))
    metrics = _metric_rows(tables, label, owner, points, runs)
    earlier: Earlier = {
        "logged_model_tags": lambda row, _: was(model.tags, row["tag_key"], row["tag_value"])
    }
    parts.append(Part("logged_model_metrics", owner, metrics))
    return Record("logged model", label, parts, earlier)


def _metric_rows(
    tables: Tables, label: str, owner: Row, points: list[Row], runs: Mapping[str, int]
) -> list[Row]:
    rows: dict[tuple[object, ...], Row] = {}
    for point in points:
        if point["run_id"] not in runs:
            reason = f"a metric point is missing: the target lacks run {point['run_id']!r}"
            tables.report.add_loss(label, reason)
            continue
        # Like MLflow: NaN is 0 here, and only the point of the run is marked as NaN.
        value, _ = tables.number(float(point["metric_value"]))
        # MLflow keeps the experiment of the run here, which may be another than the model's.
        more = {**owner, "experiment_id": runs[str(point["run_id"])], "metric_value": value}
        row = tables.fit("logged_model_metrics", label, {**point, **more})
        key = tuple(row[name] for name in _POINT_KEY)
        if key in rows and rows[key]["metric_value"] != value:
            reason = f"{key[0]} at step {key[2]}: MLflow keeps one value of a model at a time"
            tables.report.add_loss(label, reason)
        rows.setdefault(key, row)
    return list(rows.values())


# -- registered models -------------------------------------------------------------------


def registered_record(tables: Tables, model: RegisteredModel) -> Record:
    """Return the rows of a registered model with all its versions, also deleted ones."""
    label = f"registered model {model.name}"
    owner = {"name": model.name}
    row = {
        **owner,
        "creation_time": model.creation_time_ms,
        "last_updated_time": model.last_updated_ms,
        "description": model.description,
    }
    tags = tables.pairs("registered_model_tags", label, owner, model.tags)
    versions: list[Row] = []
    version_tags: list[Row] = []
    for version in sorted(model.versions.values(), key=lambda version: version.version):
        version_label = f"{label}, version {version.version}"
        keys = {**owner, "version": version.version}
        version_row = {**_version_row(tables, version_label, version), **keys}
        versions.append(tables.fit("model_versions", version_label, version_row))
        version_tags += tables.pairs("model_version_tags", version_label, keys, version.tags)
    parts = [
        tables.part("registered_models", label, owner, [row]),
        Part("registered_model_tags", owner, tags),
        Part("model_versions", owner, versions),
        Part("model_version_tags", owner, version_tags),
    ]
    if tables.has("registered_model_aliases"):
        aliases = [{**owner, "alias": a, "version": n} for a, n in sorted(model.aliases.items())]
        parts.append(tables.part("registered_model_aliases", label, owner, aliases))
    return Record("registered model", label, parts, _earlier(model))


def _earlier(model: RegisteredModel) -> Earlier:
    """Return whether tags and aliases of a registered model were so before."""

    def version_tag(row: Row, _: object) -> bool:
        version = model.versions.get(row["version"])
        return version is not None and was(version.tags, row["key"], row["value"])

    return {
        "registered_model_tags": lambda row, _: was(model.tags, row["key"], row["value"]),
        "registered_model_aliases": lambda row, _: was(model.aliases, row["alias"], row["version"]),
        "model_version_tags": version_tag,
    }


def _version_row(tables: Tables, label: str, version: ModelVersion) -> Row:
    fields = version.fields
    status = fields.get("status", "READY")
    if status not in _VERSION_STATUSES:
        tables.report.add_change(label, f"unknown status {status!r}: it is READY")
        status = "READY"
    stage = version.stage or "None"
    model_id = str(fields.get("model_id") or "")
    # The source of most versions contains the id of the logged model: models:/m-….
    has_model = model_id in str(fields.get("source")) or tables.has("model_versions", "model_id")
    if stage != DELETED and not has_model:
        version.tags.setdefault(MODEL_ID, model_id)
        reason = f"the target lacks a column for its logged model: it is a tag {MODEL_ID}"
        tables.report.add_change(label, reason)
    columns = (
        *("creation_time", "last_updated_time", "description", "user_id", "source", "model_id"),
        *("storage_location", "run_id", "run_link", "status_message"),
    )
    row = {column: fields.get(column) for column in columns}
    return {**row, "current_stage": stage, "status": status}
