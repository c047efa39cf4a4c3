"""MLflow's objects as JSON. Duck-typed: nothing here imports mlflow.

This is the only place that knows which attributes MLflow's entities have. Capture uses it for
the calls that it sees, the readers of stores for the objects that a client returns.
"""

from __future__ import annotations

import base64
import copy
import dataclasses
import datetime
import enum
import functools
from collections.abc import Mapping, Sequence, Set
from typing import Any

from yprov_mlflow.prov import redaction
from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.state import Experiment, LoggedModel, ModelVersion, RegisteredModel, Trace

# Deeper than any entity of MLflow; an object that contains itself ends here.
_MAX_DEPTH = 12
_MAX_COPIED_DEPTH = 2
_CONTENTS = ("expectation", "feedback")


def to_json(value: Any, depth: int = 0) -> Json:
    """Return a JSON value with all public properties of ``value``.

    Entities become objects of their properties, enums their values, times ISO 8601, bytes
    Base64. Anything else becomes its text.
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value.value if isinstance(value, enum.Enum) else value
    if depth > _MAX_DEPTH:
        return str(value)
    if isinstance(value, enum.Enum):
        return to_json(value.value, depth + 1)
    if isinstance(value, Mapping):
        return {str(k): to_json(v, depth + 1) for k, v in value.items()}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Sequence | Set):
        return [to_json(item, depth + 1) for item in value]
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    properties = _properties(value)
    if properties is not None:
        return {name: to_json(v, depth + 1) for name, v in properties.items()}
    item = getattr(value, "item", None)  # a scalar of numpy
    return item() if callable(item) else str(value)


def arguments(method: str, values: Mapping[str, Any]) -> dict[str, Json]:
    """Return the arguments of a call as JSON; secrets in them are withheld by the event.

    Of methods that manage secrets only the identifying arguments are kept.
    """
    # MLflow's clients pass a bare object() for parameters that the user left out.
    passed = {name: value for name, value in values.items() if type(value) is not object}
    if redaction.manages_secrets(method):
        return {
            name: to_json(value) if name in redaction.IDENTIFYING_FIELDS else redaction.WITHHELD
            for name, value in passed.items()
        }
    converted = {name: to_json(value) for name, value in passed.items()}
    for name in _CONTENTS if method == "update_assessment" else ():
        # Where a client passes the content of an assessment, a server passes a whole one.
        content = converted.get(name)
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            converted[name] = content[name]
    return converted


def result(method: str, value: Any) -> Json:
    """Return the result of a call as JSON; secrets in it are withheld by the event.

    Of methods that manage secrets only the identifying fields are kept.
    """
    if not redaction.manages_secrets(method):
        return to_json(value)
    names = sorted(redaction.IDENTIFYING_FIELDS)
    items = {name: to_json(getattr(value, name, None)) for name in names}
    return {name: item for name, item in items.items() if item is not None} or None


def _properties(value: Any) -> Mapping[str, Any] | None:
    """Return the public properties of an entity, or None for other objects.

    The entity belongs to the user, so reading it must not change it, nor ask a store: what is
    loaded on demand is left out unless it is loaded already, and methods run on a copy, on which
    they may fill caches. Names are looked up in the class, as objects may load unknown ones.
    """
    cls: Any = type(value)
    if dataclasses.is_dataclass(cls):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if hasattr(cls, "ListFields"):  # a protobuf message, as servers pass them on
        return {field.name: item for field, item in value.ListFields()}
    getters = _getters(cls) if cls.__module__.startswith("mlflow.") else {}
    unloaded = {name for name, getter in getters.items() if _loads(value, getter)}
    dump = getattr(cls, "to_dict", None) or getattr(cls, "model_dump", None)
    if callable(dump) and not unloaded:
        dumped = dump(_copy(value))
        if isinstance(dumped, Mapping):
            return dumped
    if not getters:
        return None
    twin = _copy(value)
    public = {name: item for name, item in vars(twin).items() if not name.startswith("_")}
    return public | {name: _property(twin, name) for name in sorted(getters.keys() - unloaded)}


def _copy(value: Any, depth: int = 0) -> Any:
    """Return a copy with caches of its own: attributes, dictionaries and objects of MLflow.

    Not through the object's own ways of copying or pickling, which may fill caches, too.
    """
    if not hasattr(value, "__dict__") or hasattr(type(value), "__pydantic_fields__"):
        return copy.copy(value)
    twin = object.__new__(type(value))
    for name, item in vars(value).items():
        if isinstance(item, dict):
            item = dict(item)
        elif type(item).__module__.startswith("mlflow.") and depth < _MAX_COPIED_DEPTH:
            item = item if isinstance(item, enum.Enum) else _copy(item, depth + 1)
        twin.__dict__[name] = item
    return twin


@functools.cache
def _getters(cls: type) -> dict[str, Any]:
    """Return the functions behind the public properties of a class, by name."""
    members = ((name, getattr(cls, name)) for name in dir(cls) if not name.startswith("_"))
    return {name: member.fget for name, member in members if isinstance(member, property)}


def _loads(value: Any, getter: Any) -> bool:
    """Return whether a property's value is absent so far and its getter may load it."""
    names = getattr(getattr(getter, "__code__", None), "co_names", ())
    # A getter that only reads one attribute does not load anything.
    attributes = getattr(value, "__dict__", {}) if len(names) > 1 else {}
    return any(n.startswith("_") and attributes.get(n, "") is None for n in names)


def _property(value: Any, name: str) -> Any:
    try:
        return getattr(value, name)
    except Exception:  # noqa: BLE001 - a property that cannot be computed has no value
        return None


# -- entities ------------------------------------------------------------------------------


def fields(entity: Any, *names: str) -> dict[str, Any]:
    """Return attributes of an entity; missing ones and empty text are None.

    Protobuf messages, which clients of a server get, have empty text for missing values.
    """
    return {name: None if (v := getattr(entity, name, None)) == "" else v for name in names}


def plain(value: Any) -> Any:
    """Return dataclasses as mappings without None values, and enums as their values."""
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {name: item for name, item in items.items() if item is not None}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def dataset(dataset_input: Any) -> dict[str, Json]:
    """Return a ``DatasetInput`` as a dataset of ``InputsLogged``."""
    names = ("name", "digest", "source_type", "source", "schema", "profile")
    tags = {tag.key: tag.value for tag in dataset_input.tags}
    return {**fields(dataset_input.dataset, *names), "tags": tags}


def experiment(entity: Any) -> Experiment:
    """Return the state of an ``Experiment``."""
    texts = fields(entity, "name", "lifecycle_stage")
    return Experiment(
        str(entity.experiment_id),
        texts["name"],
        entity.artifact_location or None,
        getattr(entity, "creation_time", None),
        getattr(entity, "last_update_time", None),
        texts["lifecycle_stage"],
        _tags(entity),
        _workspace(entity),
    )


def registered_model(entity: Any) -> RegisteredModel:
    """Return the state of a ``RegisteredModel``, without its versions."""
    return RegisteredModel(
        entity.name,
        entity.description or None,
        entity.creation_timestamp,
        entity.last_updated_timestamp,
        _tags(entity),
        aliases=dict(entity.aliases or {}),
        fields=_workspace(entity),
    )


def model_version(entity: Any) -> ModelVersion:
    """Return the state of a ``ModelVersion``."""
    names = "run_id run_link description user_id status status_message model_id current_stage"
    values = fields(entity, *names.split())
    values["source"] = entity.source or None
    values["creation_time"] = entity.creation_timestamp
    values["last_updated_time"] = entity.last_updated_timestamp
    stage = values.pop("current_stage")
    return ModelVersion(entity.version, stage, {**values, **_workspace(entity)}, _tags(entity))


def logged_model(entity: Any) -> LoggedModel:
    """Return the state of a ``LoggedModel``, without its metrics."""
    status = model_status(entity.status)
    return LoggedModel(
        entity.model_id,
        status=None if status in ("None", "UNSPECIFIED") else status,
        artifact_location=entity.artifact_location or None,
        creation_time_ms=entity.creation_timestamp or None,
        last_updated_ms=entity.last_updated_timestamp or None,
        params=dict(sorted(dict(entity.params or {}).items())),
        tags=_tags(entity),
        **fields(entity, "experiment_id", "name", "model_type", "source_run_id", "status_message"),
    )


def model_status(status: Any) -> str:
    """Return the status of a logged model, an enum or its value, as text."""
    return str(getattr(status, "value", status))


def _tags(entity: Any) -> dict[str, str]:
    # MLflow's property leaves out some tags of prompts.
    tags = getattr(entity, "_tags", None) or entity.tags or {}
    return dict(sorted(dict(tags).items()))


def _workspace(entity: Any) -> dict[str, Json]:
    workspace = getattr(entity, "workspace", None)
    return {} if workspace in (None, "", "default") else {"workspace": str(workspace)}


def logged_model_fields(model: Any) -> tuple[Any, ...]:
    """Return the fields of ``ModelLogged`` for a ``LoggedModel``, in their order."""
    return (
        model.model_id,
        model.name,
        model.model_type,
        model_status(model.status),
        model.experiment_id,
        model.artifact_location,
        model.creation_timestamp,
        dict(model.params or {}),
        dict(model.tags or {}),
    )


def trace(entity: Any) -> Trace:
    """Return the state of a ``TraceInfo``, of MLflow 2 or 3, without its assessments."""
    if not hasattr(entity, "trace_metadata"):
        entity = entity.to_v3()
    return Trace(
        entity.trace_id,
        True,
        str(entity.experiment_id),
        entity.request_time,
        entity.execution_duration,
        getattr(entity.state, "value", entity.state),
        tags=dict(entity.tags),
        metadata=dict(entity.trace_metadata),
        **fields(entity, "request_preview", "response_preview", "client_request_id"),
    )


def assessment(entity: Any) -> dict[str, Json]:
    """Return an ``Assessment`` without its missing fields.

    ``valid=True`` is the default and is omitted; ``error`` is a part of the feedback, too.
    """
    return {
        name: value
        for name, value in plain(entity).items()
        if value is not None and name != "error" and not (name == "valid" and value)
    }


def integer(number: Any) -> Any:
    """Return a timestamp or step as an integer; SQLite stores those of numpy as bytes."""
    return int.from_bytes(number, "little", signed=True) if isinstance(number, bytes) else number
