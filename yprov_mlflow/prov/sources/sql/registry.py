"""Experiments and the registry of a database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.sources.sql.context import Reading
from yprov_mlflow.prov.sources.sql.event_factory import as_number, others, texts
from yprov_mlflow.prov.sources.sql.query_reader import Record

_EXPERIMENT = frozenset(
    "experiment_id name workspace artifact_location lifecycle_stage creation_time"
    " last_update_time".split()
)
_MODEL = frozenset("workspace name creation_time last_updated_time description".split())
_VERSION = _MODEL | frozenset(
    "version user_id current_stage source storage_location run_id run_link status"
    " status_message".split()
)
_TIMES = {"creation_time": "creation_timestamp", "last_updated_time": "last_updated_timestamp"}

Key = tuple[str, ...]
Pairs = dict[Key, list[tuple[Any, Any]]]


def experiments(reading: Reading) -> Iterator[Event]:
    """Give all experiments, deleted ones last."""
    tags = _grouped(reading, "experiment_tags", ("experiment_id",))
    found = list(reading.reader.records("experiments"))
    found.sort(key=lambda r: experiment_order(r["experiment_id"], r.get("lifecycle_stage")))
    for record in found:
        own = texts(tags.get((str(record["experiment_id"]),), []))
        record |= {"extra": others(record, _EXPERIMENT)}
        yield from reading.entries.experiment(record, own)


def experiment_order(experiment_id: object, lifecycle: object) -> tuple[bool, str]:
    """Order experiments as folders of a tree are: those in the trash come last."""
    return lifecycle == "deleted", str(experiment_id)


def registered_models(reading: Reading) -> Iterator[Event]:
    """Give all registered models, each with its versions and then its aliases."""
    tags = _grouped(reading, "registered_model_tags", ("workspace", "name"))
    aliases = _grouped(
        reading, "registered_model_aliases", ("workspace", "name"), ("alias", "version")
    )
    found = list(reading.reader.records("registered_models"))
    for record in sorted(found, key=_names):
        key = _names(record)
        shown = _renamed(record, _MODEL)
        yield reading.entries.registered_model(shown, texts(tags.get(key, [])))
        yield from _versions(reading, record)
        for alias, version in sorted(aliases.get(key, []), key=lambda one: str(one[0])):
            yield reading.entries.alias(str(record["name"]), str(alias), version)


def _versions(reading: Reading, model: Record) -> Iterator[Event]:
    where: Record = {name: model[name] for name in ("workspace", "name") if name in model}
    tags = _grouped(reading, "model_version_tags", ("version",), where=where)
    found = list(reading.reader.records("model_versions", where))
    for record in sorted(found, key=lambda one: as_number(one["version"])):
        own = texts(tags.get((str(record["version"]),), []))
        yield from reading.entries.model_version(_renamed(record, _VERSION), own)


def _renamed(record: Record, known: frozenset[str]) -> Record:
    """Give a row with the names of MLflow's API, and what else it has."""
    shown = {_TIMES.get(name, name): value for name, value in record.items() if name in known}
    return {**shown, "extra": others(record, known)}


def _names(record: Record) -> Key:
    return str(record.get("workspace")), str(record["name"])


def _grouped(
    reading: Reading,
    table: str,
    key: tuple[str, ...],
    pair: tuple[str, str] = ("key", "value"),
    where: Record | None = None,
) -> Pairs:
    found: Pairs = defaultdict(list)
    for *owner, name, value in reading.reader.rows(table, (*key, *pair), where):
        found[tuple(map(str, owner))].append((name, value))
    return {owner: sorted(pairs, key=lambda p: str(p[0])) for owner, pairs in found.items()}
