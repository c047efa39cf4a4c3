"""Experiments and the model registry of a database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.sources.sql.query_reader import Record
from yprov_mlflow.prov.sources.sql.reading import Reading, extra_fields, number_key, text_or_none
from yprov_mlflow.prov.state import Experiment, ModelVersion, RegisteredModel

_EXPERIMENT = frozenset(
    "experiment_id name workspace artifact_location lifecycle_stage creation_time"
    " last_update_time".split()
)
_MODEL = frozenset("workspace name creation_time last_updated_time description".split())
_TIMES = ("creation_time", "last_updated_time")
_VERSION = frozenset({"workspace", "name", "version", "current_stage"})


def experiments(reading: Reading) -> Iterator[Event]:
    """Yield all experiments, deleted ones last."""
    tags = reading.reader.grouped("experiment_tags", ("experiment_id",))
    for record in sorted(
        reading.reader.records("experiments"),
        key=lambda r: experiment_order(r["experiment_id"], r.get("lifecycle_stage")),
    ):
        experiment_id = str(record["experiment_id"])
        times = ("creation_time", "last_update_time")
        reading.whole_times(record, times, f"experiment {experiment_id}")
        experiment = Experiment(
            experiment_id,
            record.get("name"),
            text_or_none(record.get("artifact_location")),
            record["creation_time"],
            record["last_update_time"],
            record.get("lifecycle_stage", "active"),
            tags[experiment_id,],
            _fields(record, _EXPERIMENT),
        )
        yield from reading.events.experiment(experiment)


def experiment_order(experiment_id: object, lifecycle: object) -> tuple[bool, str]:
    """Return the sort key of experiments: deleted ones last, as in the trash of a file store."""
    return lifecycle == "deleted", str(experiment_id)


def registered_models(reading: Reading) -> Iterator[Event]:
    """Yield all registered models, each with its versions and then its aliases."""
    reader, owner = reading.reader, ("workspace", "name")
    tags = reader.grouped("registered_model_tags", owner)
    aliases = reader.grouped("registered_model_aliases", owner, columns=("alias", "version"))
    for record in sorted(reader.records("registered_models"), key=_model_key):
        key = _model_key(record)
        reading.whole_times(record, _TIMES, f"registered model {record['name']}")
        model = RegisteredModel(
            record["name"],
            record.get("description"),
            record["creation_time"],
            record["last_updated_time"],
            tags[key],
            dict(aliases[key]),
            fields=_fields(record, _MODEL),
        )
        yield reading.events.registered_model(model)
        yield from _versions(reading, record)
        yield from reading.events.aliases(model)


def _versions(reading: Reading, model: Record) -> Iterator[Event]:
    where: Record = {name: model[name] for name in ("workspace", "name") if name in model}
    tags = reading.reader.grouped("model_version_tags", ("version",), where)
    records = reading.reader.records("model_versions", where)
    for record in sorted(records, key=lambda r: number_key(r["version"])):
        number, stage = record["version"], record.get("current_stage")
        reading.whole_times(record, _TIMES, f"registered model {record['name']}, version {number}")
        version = ModelVersion(number, stage, _fields(record, _VERSION), tags[str(number),])
        yield from reading.events.model_version(record["name"], version)


def _fields(record: Record, columns: frozenset[str]) -> dict[str, Any]:
    """Return other columns, and the workspace unless it is MLflow's default."""
    workspace = record.get("workspace")
    own = {} if workspace in (None, "", "default") else {"workspace": str(workspace)}
    return {**extra_fields(record, columns), **own}


def _model_key(record: Record) -> tuple[str, str]:
    return str(record.get("workspace")), str(record["name"])
