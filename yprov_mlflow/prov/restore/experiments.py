"""Replay calls about experiments, and about the evaluation datasets and scorers in them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.restore.calls import Call, Handler, deletes_tag, sets_tags, updates
from yprov_mlflow.prov.state import EvaluationDataset, Experiment, StoreState

_DATASET_COLUMNS = (
    *("name", "schema", "profile", "digest", "created_time", "last_update_time"),
    *("created_by", "last_updated_by"),
)
_SCORER_COLUMNS = ("scorer_id", "scorer_version", "serialized_scorer", "creation_time")


def _experiment_id(call: Call) -> str | None:
    experiment_id = call.text("experiment_id")
    if experiment_id is None and isinstance(call.result, str | int):
        return str(call.result)
    return experiment_id


def _create(state: StoreState, call: Call) -> bool:
    experiment_id = _experiment_id(call)
    if experiment_id is None:
        return False
    state.experiments[experiment_id] = Experiment(
        experiment_id,
        call.text("name"),
        call.text("artifact_location"),
        call.time("creation_time"),
        call.time("last_update_time"),
        str(call.arguments.get("lifecycle_stage") or "active"),
        call.tags(),
    )
    return True


def _experiment(state: StoreState, call: Call) -> Experiment | None:
    """Return the experiment that a call changes, with the time of the change."""
    experiment_id = _experiment_id(call)
    if experiment_id is None:
        return None
    experiment = state.experiments.setdefault(experiment_id, Experiment(experiment_id))
    if call.time_ms is not None:
        experiment.last_update_time_ms = call.time_ms
    return experiment


def _set_lifecycle(experiment: Experiment, call: Call) -> None:
    experiment.lifecycle = "deleted" if call.method == "delete_experiment" else "active"


def _rename(experiment: Experiment, call: Call) -> None:
    experiment.name = call.text("new_name")


def _purge(state: StoreState, call: Call) -> bool:
    return state.experiments.pop(_experiment_id(call) or "", None) is not None


# -- evaluation datasets -----------------------------------------------------------------


def _create_dataset(state: StoreState, call: Call) -> bool:
    dataset_id = call.text("dataset_id")
    if dataset_id is None:
        return False
    experiments = call.find("experiment_ids")
    state.evaluation_datasets[dataset_id] = EvaluationDataset(
        dataset_id,
        {name: call.find(name) for name in _DATASET_COLUMNS if call.find(name) is not None},
        call.tags(),
        list(map(str, experiments)) if isinstance(experiments, list) else [],
    )
    return True


def _dataset(state: StoreState, call: Call) -> EvaluationDataset | None:
    return state.evaluation_datasets.get(call.text("dataset_id") or "")


def _upsert_records(state: StoreState, call: Call) -> bool:
    dataset, records = _dataset(state, call), call.items("records")
    if dataset is None or records is None:
        return False
    rows = [row for row in records if isinstance(row, Mapping)]
    for row in rows:
        record_id = str(row.get("dataset_record_id") or _record_id(dataset, row))
        times = {"created_time": call.time_ms, "last_update_time": call.time_ms}
        times = {name: time_ms for name, time_ms in times.items() if time_ms is not None}
        if record_id in dataset.records:
            times.pop("created_time", None)
        dataset.records[record_id] = {
            **dataset.records.get(record_id, {}),
            **times,
            **row,
            "dataset_record_id": record_id,
        }
    return len(rows) == len(records)


def _record_id(dataset: EvaluationDataset, record: Mapping[str, Any]) -> str:
    """Return an id for a record of a live call, from its inputs: MLflow keeps each input once."""
    inputs = literals.canonical([dataset.dataset_id, record.get("inputs", {})])
    return f"dr-{hashlib.sha256(inputs.encode()).hexdigest()[:32]}"


def _delete_dataset(state: StoreState, call: Call) -> bool:
    return state.evaluation_datasets.pop(call.text("dataset_id") or "", None) is not None


def _delete_records(state: StoreState, call: Call) -> bool:
    dataset, ids = _dataset(state, call), call.items("dataset_record_ids")
    if dataset is None or ids is None:
        return False
    for record_id in ids:
        dataset.records.pop(str(record_id), None)
    return True


def _link_dataset(state: StoreState, call: Call) -> bool:
    """Add a dataset to experiments, or remove it from them, depending on the method."""
    dataset, items = _dataset(state, call), call.items("experiment_ids")
    if dataset is None or items is None:
        return False
    ids = list(map(str, items))
    dataset.experiments = [other for other in dataset.experiments if other not in ids]
    if call.method.startswith("add"):
        dataset.experiments += ids
    return True


# -- scorers -----------------------------------------------------------------------------


def _register_scorer(state: StoreState, call: Call) -> bool:
    experiment_id, name = call.text("experiment_id"), call.text("name")
    row = {column: call.find(column) for column in _SCORER_COLUMNS}
    if experiment_id is None or name is None or row["scorer_version"] is None:
        return False
    state.scorers.append({"experiment_id": experiment_id, "name": name, **row})
    return True


def _delete_scorer(state: StoreState, call: Call) -> bool:
    experiment_id, name = call.text("experiment_id"), call.text("name")
    version = call.integer("version")
    state.scorers = [
        row
        for row in state.scorers
        if (row["experiment_id"], row["name"]) != (experiment_id, name)
        or version not in (None, row["scorer_version"])
    ]
    return True


HANDLERS: Mapping[str, Handler] = {
    "create_experiment": _create,
    "delete_experiment": updates(_experiment, _set_lifecycle),
    "restore_experiment": updates(_experiment, _set_lifecycle),
    "rename_experiment": updates(_experiment, _rename),
    "_hard_delete_experiment": _purge,
    "set_experiment_tag": sets_tags(_experiment),
    "delete_experiment_tag": deletes_tag(_experiment),
    "create_dataset": _create_dataset,
    "upsert_dataset_records": _upsert_records,
    "delete_dataset": _delete_dataset,
    "delete_dataset_records": _delete_records,
    "set_dataset_tags": sets_tags(_dataset),
    "delete_dataset_tag": deletes_tag(_dataset),
    "add_dataset_to_experiments": _link_dataset,
    "remove_dataset_from_experiments": _link_dataset,
    "register_scorer": _register_scorer,
    "delete_scorer": _delete_scorer,
}
