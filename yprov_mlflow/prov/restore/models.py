"""Logged models, by their events and by the calls about them."""

from __future__ import annotations

from collections.abc import Mapping

from yprov_mlflow.prov import ids
from yprov_mlflow.prov.events import ModelLogged
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.restore.call_record import Call, Handler
from yprov_mlflow.prov.restore.state import LoggedModel, StoreState

_FIELDS = ("source_run_id", "last_updated_timestamp_ms", "status_message", "lifecycle")


def model_of(estate: StoreState, model_id: str) -> LoggedModel:
    """Give the state of a logged model."""
    return estate.models.setdefault(model_id, LoggedModel(model_id))


def on_model(estate: StoreState, event: ModelLogged) -> None:
    """Take a model's creation or change into account."""
    model = model_of(estate, event.model_id)
    if event.status == "DELETED":
        model.lifecycle = "deleted"
    for field, value in (
        ("name", event.name),
        ("model_type", event.model_type),
        ("status", event.status if event.status != "DELETED" else None),
        ("experiment_id", event.experiment_id),
        ("artifact_location", event.artifact_uri),
        ("creation_time_ms", event.creation_time_ms),
    ):
        if value is not None:
            setattr(model, field, value)
    model.params.update(event.params or {})
    model.tags.update(event.tags or {})
    if event.deleted_tag is not None:
        model.tags.pop(event.deleted_tag, None)
    fields = dict(event.fields or {})
    model.source_run_id = fields.get("source_run_id") or model.source_run_id
    if model.source_run_id is None and ids.store_of(event.run_id) is None:
        model.source_run_id = event.run_id
    model.status_message = fields.get("status_message") or model.status_message
    updated = literals.number(fields.get("last_updated_timestamp_ms"))
    model.last_updated_ms = updated if updated is not None else model.last_updated_ms
    if fields.get("lifecycle") == "deleted":
        model.lifecycle = "deleted"
    model.fields.update({key: fields[key] for key in fields.keys() - set(_FIELDS)})


def _log_metrics(estate: StoreState, call: Call) -> bool:
    model_id, metrics = call.text("model_id"), call.arguments.get("metrics")
    if model_id is None or not isinstance(metrics, list):
        return False
    model_of(estate, model_id).metrics += [
        {"run_id": call.run_id, **metric} for metric in metrics if isinstance(metric, Mapping)
    ]
    return True


HANDLERS: Mapping[str, Handler] = {"log_logged_model_metrics": _log_metrics}
