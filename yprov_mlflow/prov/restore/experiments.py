"""Replay calls about experiments, and about the evaluation datasets and scorers in them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.restore.calls import (
    Call,
    Handler,
    IncompleteCallError,
    deletes_tag,
    required,
    sets_tags,
)
from yprov_mlflow.prov.state import EvaluationDataset, Experiment, StoreState, Values

DATASET_COLUMNS = (
    *("name", "schema", "profile", "digest", "created_time", "last_update_time"),
    *("created_by", "last_updated_by"),
)
_DATASET_ARGUMENTS = (*DATASET_COLUMNS, "dataset_id", "tags", "experiment_ids")
_EXPERIMENT_ARGUMENTS = (
    *("experiment_id", "name", "artifact_location", "creation_time", "last_update_time"),
    *("lifecycle_stage", "tags"),
)
_SCORER_COLUMNS = ("scorer_id", "scorer_version", "serialized_scorer", "creation_time")


def _experiment_id(call: Call) -> str:
    # ``create_experiment`` returns the id alone; other methods have it as an argument.
    result = str(call.result) if isinstance(call.result, str | int) else None
    return required(call.text("experiment_id") or result)


def _create(state: StoreState, call: Call) -> None:
    experiment_id = _experiment_id(call)
    experiment = Experiment(
        experiment_id,
        call.text("name"),
        call.text("artifact_location"),
        call.time("creation_time"),
        call.time("last_update_time"),
        str(call.arguments.get("lifecycle_stage") or "active"),
        Values(call.tags()),
        call.extra(call.arguments, *_EXPERIMENT_ARGUMENTS),
    )
    first = state.experiments.get(experiment_id)
    if first is not None and first.name == experiment.name:
        # Processes of an offline store create one without seeing each other.
        first.tags.update(experiment.tags)
    else:
        state.experiments[experiment_id] = experiment


def _experiment(state: StoreState, call: Call) -> Experiment:
    """Return the experiment that a call changes, with the time of the change."""
    experiment_id = _experiment_id(call)
    # Its creation may be in a document that is not restored.
    experiment = state.experiments.setdefault(experiment_id, Experiment(experiment_id))
    if call.time_ms is not None:
        experiment.last_update_time_ms = call.time_ms
    return experiment


def _set_lifecycle(state: StoreState, call: Call) -> None:
    lifecycle = "deleted" if call.method == "delete_experiment" else "active"
    _experiment(state, call).lifecycle = lifecycle


def _rename(state: StoreState, call: Call) -> None:
    experiment = _experiment(state, call)
    if experiment.name is not None:
        experiment.earlier_names.add(experiment.name)
    experiment.name = call.text("new_name")


def _purge(state: StoreState, call: Call) -> None:
    required(state.experiments.pop(_experiment_id(call), None))


# -- evaluation datasets -----------------------------------------------------------------


def _create_dataset(state: StoreState, call: Call) -> None:
    dataset_id = required(call.text("dataset_id"))
    experiments = call.find("experiment_ids")
    row = {name: call.find(name) for name in DATASET_COLUMNS if call.find(name) is not None}
    state.evaluation_datasets[dataset_id] = EvaluationDataset(
        dataset_id,
        row | call.extra(call.arguments, *_DATASET_ARGUMENTS),
        Values(call.tags()),
        list(map(str, experiments)) if isinstance(experiments, list) else [],
    )


def _dataset(state: StoreState, call: Call) -> EvaluationDataset:
    return required(state.evaluation_datasets.get(call.text("dataset_id") or ""))


def _upsert_records(state: StoreState, call: Call) -> None:
    dataset, records = _dataset(state, call), call.items("records")
    rows = [row for row in records if isinstance(row, Mapping)]
    times = {"last_update_time": call.time_ms} if call.time_ms is not None else {}
    for row in rows:
        record_id = str(row.get("dataset_record_id") or _record_id(dataset, row))
        # Only a new record gets the time of the call as the time of its creation.
        created = {"created_time": call.time_ms} if times else {}
        old = dataset.records.get(record_id, created)
        # Like MLflow: these are merged, and all others replaced.
        merged = {
            name: {**literals.mapping(old.get(name)), **literals.mapping(row.get(name))} or None
            for name in ("expectations", "tags")
            if name in row
        }
        dataset.records[record_id] = {
            **old,
            **times,
            **row,
            **merged,
            "dataset_record_id": record_id,
        }
    if len(rows) < len(records):
        raise IncompleteCallError


def _record_id(dataset: EvaluationDataset, record: Mapping[str, Any]) -> str:
    """Return an id for a record of a live call, from its inputs: MLflow keeps each input once."""
    inputs = literals.canonical([dataset.dataset_id, record.get("inputs", {})])
    return f"dr-{hashlib.sha256(inputs.encode()).hexdigest()[:32]}"


def _delete_dataset(state: StoreState, call: Call) -> None:
    del state.evaluation_datasets[_dataset(state, call).dataset_id]


def _delete_records(state: StoreState, call: Call) -> None:
    dataset = _dataset(state, call)
    for record_id in call.items("dataset_record_ids"):
        dataset.records.pop(str(record_id), None)


def _link_dataset(state: StoreState, call: Call) -> None:
    """Add a dataset to experiments, or remove it from them, depending on the method."""
    dataset, ids = _dataset(state, call), list(map(str, call.items("experiment_ids")))
    dataset.experiments = [other for other in dataset.experiments if other not in ids]
    if call.method.startswith("add"):
        dataset.experiments += ids


# -- scorers -----------------------------------------------------------------------------


def _register_scorer(state: StoreState, call: Call) -> None:
    key = {name: required(call.text(name)) for name in ("experiment_id", "name")}
    row = {column: call.find(column) for column in _SCORER_COLUMNS}
    required(row["scorer_version"])
    state.scorers.append(key | row)


def _delete_scorer(state: StoreState, call: Call) -> None:
    key = call.text("experiment_id"), call.text("name")
    version = call.integer("version")  # None deletes all versions
    state.scorers = [
        row
        for row in state.scorers
        if (row["experiment_id"], row["name"]) != key
        or version not in (None, row["scorer_version"])
    ]


HANDLERS: Mapping[str, Handler] = {
    "create_experiment": _create,
    "delete_experiment": _set_lifecycle,
    "restore_experiment": _set_lifecycle,
    "rename_experiment": _rename,
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
