"""Experiments, by the calls that make and change them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from yprov_mlflow.prov.restore.call_record import Call, Handler
from yprov_mlflow.prov.restore.state import Experiment, StoreState


def _id(call: Call) -> str | None:
    known = call.text("experiment_id")
    if known is None and isinstance(call.result, str | int):
        return str(call.result)
    return known


def _create(estate: StoreState, call: Call) -> bool:
    experiment_id = _id(call)
    if experiment_id is None:
        return False
    created = call.whole("creation_time")
    updated = call.whole("last_update_time")
    estate.experiments[experiment_id] = Experiment(
        experiment_id,
        call.text("name"),
        call.text("artifact_location"),
        created if created is not None else call.time_ms,
        updated if updated is not None else call.time_ms,
        str(call.arguments.get("lifecycle_stage") or "active"),
        call.tags(),
    )
    return True


def _changed(estate: StoreState, call: Call) -> Experiment | None:
    experiment_id = _id(call)
    if experiment_id is None:
        return None
    found = estate.experiments.setdefault(experiment_id, Experiment(experiment_id))
    if call.time_ms is not None:
        found.last_update_time_ms = call.time_ms
    return found


def _lifecycle(lifecycle: str, estate: StoreState, call: Call) -> bool:
    found = _changed(estate, call)
    if found is not None:
        found.lifecycle = lifecycle
    return found is not None


def _remove(estate: StoreState, call: Call) -> bool:
    return estate.experiments.pop(_id(call) or "", None) is not None


def _rename(estate: StoreState, call: Call) -> bool:
    found = _changed(estate, call)
    if found is not None:
        found.name = call.text("new_name")
    return found is not None


def _set_tag(estate: StoreState, call: Call) -> bool:
    found = _changed(estate, call)
    if found is not None:
        found.tags.update(call.tags())
    return found is not None


def _delete_tag(estate: StoreState, call: Call) -> bool:
    found = _changed(estate, call)
    if found is not None:
        found.tags.pop(str(call.arguments.get("key")), None)
    return found is not None


HANDLERS: Mapping[str, Handler] = {
    "create_experiment": _create,
    "delete_experiment": partial(_lifecycle, "deleted"),
    "restore_experiment": partial(_lifecycle, "active"),
    "rename_experiment": _rename,
    "_hard_delete_experiment": _remove,
    "set_experiment_tag": _set_tag,
    "delete_experiment_tag": _delete_tag,
}
