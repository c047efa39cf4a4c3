"""Experiments and the model registry of a database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.sources.sql.query_reader import Record
from yprov_mlflow.prov.sources.sql.reading import (
    Reading,
    extra_fields,
    number_key,
    redacted,
    text_pairs,
)
from yprov_mlflow.prov.state import Experiment, ModelVersion, RegisteredModel

_EXPERIMENT = frozenset(
    "experiment_id name workspace artifact_location lifecycle_stage creation_time"
    " last_update_time".split()
)
_MODEL = frozenset("workspace name creation_time last_updated_time description".split())
_VERSION_URIS = ("source", "storage_location")
_VERSION_FIELDS = (
    *("run_id", "run_link", "description", "user_id", "status", "status_message"),
    *("creation_time", "last_updated_time"),
)
_VERSION = frozenset(
    {"workspace", "name", "version", "current_stage", *_VERSION_URIS, *_VERSION_FIELDS}
)

Key = tuple[str, ...]
Pairs = dict[Key, list[tuple[Any, Any]]]


def experiments(reading: Reading) -> Iterator[Event]:
    """Yield all experiments, deleted ones last."""
    tags = _grouped(reading, "experiment_tags", ("experiment_id",))
    records = list(reading.reader.records("experiments"))
    records.sort(key=lambda r: experiment_order(r["experiment_id"], r.get("lifecycle_stage")))
    for record in records:
        experiment_id = str(record["experiment_id"])
        experiment = Experiment(
            experiment_id,
            record.get("name"),
            redacted(record.get("artifact_location")),
            record.get("creation_time"),
            record.get("last_update_time"),
            record.get("lifecycle_stage", "active"),
            text_pairs(tags.get((experiment_id,), [])),
            _fields(record, _EXPERIMENT),
        )
        yield from reading.events.experiment(experiment)


def experiment_order(experiment_id: object, lifecycle: object) -> tuple[bool, str]:
    """Return the sort key of experiments: deleted ones last, as in the trash of a file store."""
    return lifecycle == "deleted", str(experiment_id)


def registered_models(reading: Reading) -> Iterator[Event]:
    """Yield all registered models, each with its versions and then its aliases."""
    tags = _grouped(reading, "registered_model_tags", ("workspace", "name"))
    aliases = _grouped(
        reading, "registered_model_aliases", ("workspace", "name"), ("alias", "version")
    )
    for record in sorted(reading.reader.records("registered_models"), key=_model_key):
        key = _model_key(record)
        model = RegisteredModel(
            record["name"],
            record.get("description"),
            record.get("creation_time"),
            record.get("last_updated_time"),
            text_pairs(tags.get(key, [])),
            {str(alias): version for alias, version in aliases.get(key, [])},
            fields=_fields(record, _MODEL),
        )
        yield reading.events.registered_model(model)
        yield from _versions(reading, record)
        yield from reading.events.aliases(model)


def _versions(reading: Reading, model: Record) -> Iterator[Event]:
    where: Record = {name: model[name] for name in ("workspace", "name") if name in model}
    tags = _grouped(reading, "model_version_tags", ("version",), where=where)
    records = list(reading.reader.records("model_versions", where))
    for record in sorted(records, key=lambda r: number_key(r["version"])):
        fields = {name: record.get(name) for name in _VERSION_FIELDS}
        fields |= {name: redacted(record.get(name)) for name in _VERSION_URIS}
        version = ModelVersion(
            record["version"],
            record.get("current_stage"),
            {**fields, **_fields(record, _VERSION)},
            text_pairs(tags.get((str(record["version"]),), [])),
        )
        yield from reading.events.model_version(record["name"], version)


def _fields(record: Record, columns: frozenset[str]) -> dict[str, Any]:
    """Return further columns, and the workspace unless it is MLflow's default."""
    workspace = record.get("workspace")
    own = {} if workspace in (None, "", "default") else {"workspace": str(workspace)}
    return {**extra_fields(record, columns), **own}


def _model_key(record: Record) -> Key:
    return str(record.get("workspace")), str(record["name"])


def _grouped(
    reading: Reading,
    table: str,
    key: tuple[str, ...],
    pair: tuple[str, str] = ("key", "value"),
    where: Record | None = None,
) -> Pairs:
    """Return the pairs of a table by owner, each owner's sorted by their first item."""
    groups: Pairs = defaultdict(list)
    for *owner, name, value in reading.reader.rows(table, (*key, *pair), where):
        groups[tuple(map(str, owner))].append((name, value))
    return {owner: sorted(pairs, key=lambda p: str(p[0])) for owner, pairs in groups.items()}
