"""Data sets and scorers for evaluations, which MLflow 3 keeps in its store."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from typing import Any

from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.restore.call_record import Call, Handler
from yprov_mlflow.prov.restore.state import EvaluationDataset, StoreState

_COLUMNS = (
    *("name", "schema", "profile", "digest", "created_time", "last_update_time"),
    *("created_by", "last_updated_by"),
)
_SCORER = ("scorer_id", "scorer_version", "serialized_scorer", "creation_time")


def _create(estate: StoreState, call: Call) -> bool:
    dataset_id = call.text("dataset_id")
    if dataset_id is None:
        return False
    found = EvaluationDataset(dataset_id)
    found.row = {name: call.find(name) for name in _COLUMNS if call.find(name) is not None}
    found.tags = call.tags()
    experiments = call.find("experiment_ids")
    found.experiments = list(map(str, experiments)) if isinstance(experiments, list) else []
    estate.datasets[dataset_id] = found
    return True


def _dataset(estate: StoreState, call: Call) -> EvaluationDataset | None:
    return estate.datasets.get(call.text("dataset_id") or "")


def _upsert(estate: StoreState, call: Call) -> bool:
    found, records = _dataset(estate, call), call.arguments.get("records")
    if found is None or not isinstance(records, list):
        return False
    rows = [row for row in records if isinstance(row, Mapping)]
    for row in rows:
        known = str(row.get("dataset_record_id") or _made_id(found, row))
        times = {"created_time": call.time_ms, "last_update_time": call.time_ms}
        times = {name: time_ms for name, time_ms in times.items() if time_ms is not None}
        if known in found.records:
            times.pop("created_time", None)
        told = {**row, "dataset_record_id": known}
        found.records[known] = {**found.records.get(known, {}), **times, **told}
    return len(rows) == len(records)


def _made_id(dataset: EvaluationDataset, record: Mapping[str, Any]) -> str:
    """Give an id to a record of a live call, by its inputs: MLflow has each once."""
    inputs = literals.canonical([dataset.dataset_id, record.get("inputs", {})])
    return f"dr-{hashlib.sha256(inputs.encode()).hexdigest()[:32]}"


def _delete(estate: StoreState, call: Call) -> bool:
    return estate.datasets.pop(call.text("dataset_id") or "", None) is not None


def _delete_records(estate: StoreState, call: Call) -> bool:
    found, ids = _dataset(estate, call), call.arguments.get("dataset_record_ids")
    if found is None or not isinstance(ids, list):
        return False
    for record_id in ids:
        found.records.pop(str(record_id), None)
    return True


def _set_tags(estate: StoreState, call: Call) -> bool:
    found = _dataset(estate, call)
    if found is not None:
        found.tags.update(call.tags())
    return found is not None


def _delete_tag(estate: StoreState, call: Call) -> bool:
    found = _dataset(estate, call)
    if found is not None:
        found.tags.pop(str(call.arguments.get("key")), None)
    return found is not None


def _link(add: bool, estate: StoreState, call: Call) -> bool:
    found, ids = _dataset(estate, call), call.arguments.get("experiment_ids")
    if found is None or not isinstance(ids, list):
        return False
    given = [str(one) for one in ids]
    kept = [one for one in found.experiments if one not in given]
    found.experiments = kept + given if add else kept
    return True


def _register_scorer(estate: StoreState, call: Call) -> bool:
    experiment_id, name = call.text("experiment_id"), call.text("name")
    row = {column: call.find(column) for column in _SCORER}
    if experiment_id is None or name is None or row["scorer_version"] is None:
        return False
    estate.scorers.append({"experiment_id": experiment_id, "name": name, **row})
    return True


def _delete_scorer(estate: StoreState, call: Call) -> bool:
    experiment_id, name = call.text("experiment_id"), call.text("name")
    version = call.whole("version")
    estate.scorers = [
        row
        for row in estate.scorers
        if (row["experiment_id"], row["name"]) != (experiment_id, name)
        or version not in (None, row["scorer_version"])
    ]
    return True


HANDLERS: Mapping[str, Handler] = {
    "create_dataset": _create,
    "upsert_dataset_records": _upsert,
    "delete_dataset": _delete,
    "delete_dataset_records": _delete_records,
    "set_dataset_tags": _set_tags,
    "delete_dataset_tag": _delete_tag,
    "add_dataset_to_experiments": partial(_link, True),
    "remove_dataset_from_experiments": partial(_link, False),
    "register_scorer": _register_scorer,
    "delete_scorer": _delete_scorer,
}
