"""MLflow's objects as JSON: all that a call was given or gave, without secrets."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import enum
import re
from collections.abc import Mapping, Sequence, Set
from typing import Any

from yprov_mlflow.prov import ids
from yprov_mlflow.prov.events import Json

_SECRET = re.compile(r"secret|password|credential|auth_config|api_key|token\b", re.IGNORECASE)
_DEEPEST = 12
_PLACE = re.compile(r"(uri|url|location|source)$", re.IGNORECASE)

_NAMES = frozenset({"name", "secret_id", "secret_name", "webhook_id"})

WITHHELD = "(withheld)"
"""Stands for a secret that was not recorded."""


def to_json(value: Any, depth: int = 0) -> Json:
    """Give a JSON value that has all public properties of ``value``.

    Entities become objects of their properties, enums their values, times ISO 8601, bytes
    Base64; what is none of these, or deeper than any entity is, its text.
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value.value if isinstance(value, enum.Enum) else value
    if depth > _DEEPEST:
        return str(value)
    if isinstance(value, enum.Enum):
        return to_json(value.value, depth + 1)
    if isinstance(value, Mapping):
        return {str(k): _kept(str(k), v, depth + 1) for k, v in value.items()}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Sequence | Set):
        return [to_json(item, depth + 1) for item in value]
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    fields = _fields(value)
    if fields is not None:
        return {name: _kept(name, item, depth + 1) for name, item in fields.items()}
    item = getattr(value, "item", None)
    return item() if callable(item) else str(value)


def arguments(method: str, given: Mapping[str, Any]) -> dict[str, Json]:
    """Give a call's arguments as JSON; of calls that manage secrets the names alone."""
    # MLflow's clients pass a bare object() for what the user has not given.
    given = {name: value for name, value in given.items() if type(value) is not object}
    if _manages_secrets(method):
        return {
            name: to_json(value) if name in _NAMES else WITHHELD for name, value in given.items()
        }
    return {name: _kept(name, value, 0) for name, value in given.items()}


def result(method: str, value: Any) -> Json:
    """Give what a call returned as JSON; of calls that manage secrets names and ids alone."""
    if not _manages_secrets(method):
        return to_json(value)
    found = {name: to_json(getattr(value, name, None)) for name in sorted(_NAMES)}
    return {name: item for name, item in found.items() if item is not None} or None


def _manages_secrets(method: str) -> bool:
    return bool(_SECRET.search(method)) or "webhook" in method


def _kept(name: str, value: Any, depth: int) -> Json:
    if value is not None and _SECRET.search(name):
        return WITHHELD
    if isinstance(value, str) and _PLACE.search(name):
        return ids.redact(value)
    return to_json(value, depth)


def _fields(value: Any) -> Mapping[str, Any] | None:
    """Give the public properties of an entity, or None for an object of another kind."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if hasattr(value, "ListFields"):  # a message of protobuf, as servers hand them on
        return {field.name: item for field, item in value.ListFields()}
    dump = getattr(value, "to_dict", None) or getattr(value, "model_dump", None)
    if callable(dump):
        found = dump()
        if isinstance(found, Mapping):
            return found
    if type(value).__module__.startswith("mlflow."):
        names = [n for n in dir(type(value)) if isinstance(getattr(type(value), n), property)]
        if names:
            return {n: _property(value, n) for n in names if not n.startswith("_")}
    return None


def _property(value: Any, name: str) -> Any:
    try:
        return getattr(value, name)
    except Exception:  # noqa: BLE001 - a property that cannot be computed has no value
        return None
