"""Registered models and their versions as rows."""

from __future__ import annotations

from yprov_mlflow.prov.restore.registry import DELETED
from yprov_mlflow.prov.restore.sql.tables import Part, Row, Tables, Thing
from yprov_mlflow.prov.restore.state import ModelVersion, RegisteredModel

_STATUSES = frozenset({"PENDING_REGISTRATION", "FAILED_REGISTRATION", "READY"})
MODEL_ID = "yprov.model_id"


def registered_thing(tables: Tables, model: RegisteredModel) -> Thing:
    """Give the rows of a registered model with all its versions, deleted ones too."""
    place = f"registered model {model.name}"
    mine = {"name": model.name}
    head = {
        **mine,
        "creation_time": model.creation_time_ms,
        "last_updated_time": model.last_updated_ms,
        "description": model.description,
    }
    parts = [
        Part("registered_models", mine, [tables.fit("registered_models", place, head)]),
        Part("registered_model_tags", mine, _tags(tables, "registered_model_tags", place, model)),
    ]
    versions, tags = [], []
    for version in sorted(model.versions.values(), key=lambda one: one.version):
        where = f"{place}, version {version.version}"
        named = {**mine, "version": version.version}
        row = {**_version_row(tables, where, version), **named}
        versions.append(tables.fit("model_versions", where, row))
        tags += [
            tables.fit("model_version_tags", where, {**named, "key": key, "value": value})
            for key, value in sorted(version.tags.items())
        ]
    parts.append(Part("model_versions", mine, versions))
    parts.append(Part("model_version_tags", mine, tags))
    aliases = [
        tables.fit("registered_model_aliases", place, {**mine, "alias": alias, "version": version})
        for alias, version in sorted(model.aliases.items())
    ]
    if tables.has("registered_model_aliases"):
        parts.append(Part("registered_model_aliases", mine, aliases))
    return Thing("registered model", place, parts)


def _tags(tables: Tables, table: str, place: str, model: RegisteredModel) -> list[Row]:
    return [
        tables.fit(table, place, {"name": model.name, "key": key, "value": value})
        for key, value in sorted(model.tags.items())
    ]


def _version_row(tables: Tables, place: str, version: ModelVersion) -> Row:
    fields = version.fields
    status = fields.get("status", "READY")
    if status not in _STATUSES:
        tables.report.change(place, f"MLflow has no status {status!r}: it is READY")
        status = "READY"
    stage = version.stage or "None"
    row = {
        column: fields.get(column)
        for column in (
            *("creation_time", "last_updated_time", "description", "user_id", "source"),
            *("storage_location", "run_id", "run_link", "status_message"),
        )
    }
    model_id = str(fields.get("model_id") or "")
    told = model_id in str(fields.get("source")) or tables.has("model_versions", "model_id")
    if stage != DELETED and not told:
        version.tags.setdefault(MODEL_ID, str(fields["model_id"]))
        tables.report.change(
            place, f"the target has no column for its logged model: a tag {MODEL_ID}"
        )
    row["model_id"] = fields.get("model_id")
    return {**row, "current_stage": stage, "status": status}
