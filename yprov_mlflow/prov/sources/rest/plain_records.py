"""MLflow's objects as the plain records that events are made from."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.sources.sql.event_factory import trace_info

_SOURCE_RUN = "mlflow.sourceRun"


def dataset(given: Any) -> dict[str, Json]:
    """Give a ``DatasetInput`` as events hold it."""
    data = given.dataset
    names = ("name", "digest", "source_type", "source", "schema", "profile")
    # In messages what is not there is empty.
    found = {name: getattr(data, name) or None for name in names}
    return {**found, "tags": {tag.key: tag.value for tag in given.tags}}


def experiment(found: Any) -> dict[str, Any]:
    """Give an ``Experiment``, without its tags."""
    return {
        **fields(found, "experiment_id", "name", "artifact_location", "lifecycle_stage"),
        **fields(found, "creation_time", "last_update_time", "workspace"),
    }


def registered_model(found: Any) -> dict[str, Any]:
    """Give a ``RegisteredModel``, without its tags."""
    times = fields(found, "creation_timestamp", "last_updated_timestamp")
    return {**fields(found, "name", "description", "workspace"), **times}


def model_version(found: Any) -> dict[str, Any]:
    """Give a ``ModelVersion``, without its tags."""
    return {
        **fields(found, "name", "version", "source", "run_id", "run_link", "description"),
        **fields(found, "user_id", "creation_timestamp", "last_updated_timestamp", "status"),
        **fields(found, "status_message", "current_stage", "workspace", "model_id"),
    }


def logged_model(found: Any) -> dict[str, Any]:
    """Give a ``LoggedModel``, without its params, tags and metrics."""
    status = getattr(found.status, "value", found.status)
    return {
        **fields(found, "model_id", "name", "model_type", "experiment_id"),
        **fields(found, "artifact_location", "source_run_id", "status_message"),
        "status": None if status in (None, "UNSPECIFIED") else str(status),
        "creation_timestamp_ms": found.creation_timestamp or None,
        "last_updated_timestamp_ms": found.last_updated_timestamp or None,
    }


def trace(found: Any) -> dict[str, Json]:
    """Give a ``TraceInfo`` of MLflow 3, or that of 2, without its assessments."""
    if not hasattr(found, "trace_metadata"):
        found = found.to_v3()
    said = {
        **fields(found, "request_time", "execution_duration"),
        **fields(found, "request_preview", "response_preview", "client_request_id"),
        "state": getattr(found.state, "value", found.state),
    }
    metadata, tags = dict(found.trace_metadata), dict(found.tags)
    return trace_info(found.trace_id, found.experiment_id, said, metadata, tags)


def source_run(found: Mapping[str, Any]) -> str | None:
    """Give the run that a trace, as ``trace`` gives it, says it belongs to."""
    return found["trace_metadata"].get(_SOURCE_RUN) or None


def assessment(found: Any) -> dict[str, Json]:
    """Give an ``Assessment`` with the fields that are there."""
    return {
        name: value
        for name, value in plain(found).items()
        # That it counts is how it is; its error is said with the feedback.
        if value is not None and name != "error" and not (name == "valid" and value)
    }


def plain(value: Any) -> Any:
    """Give dataclasses as mappings without what is None, enums as their values."""
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {name: item for name, item in found.items() if item is not None}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def fields(found: Any, *names: str) -> dict[str, Any]:
    """Give properties of an object; in messages what is not there is empty text."""
    return {name: None if (v := getattr(found, name, None)) == "" else v for name in names}
