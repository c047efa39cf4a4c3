"""State records as JSON and back, for the way to a server.

The decoder takes every type from the annotations of the records: a body that does not fit them is
refused with a ``ValueError`` before any of it is used.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from array import array
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from yprov_mlflow.prov.state import Values

R = TypeVar("R")
T = TypeVar("T")

_EARLIER = "earlier"


class _Array(Generic[T]):
    """Stands for an array of one type in annotations."""


def to_json(value: Any) -> Any:
    """Return a record, or a part of one, as JSON; NaN and infinities stay numbers."""
    if dataclasses.is_dataclass(value):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Values):
        earlier = {key: to_json(values) for key, values in value.earlier.items()}
        return {"values": _pairs(value), _EARLIER: earlier}
    if isinstance(value, Mapping):
        return _pairs(value)
    if isinstance(value, array):
        return value.tolist()
    if isinstance(value, set | frozenset):
        return sorted(map(to_json, value), key=repr)
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return value


def _pairs(value: Mapping[Any, Any]) -> Any:
    # Keys of JSON objects are text: those of points and versions are numbers.
    if all(isinstance(key, str) for key in value):
        return {key: to_json(item) for key, item in value.items()}
    return [[to_json(key), to_json(item)] for key, item in value.items()]


def from_json(record: type[R], value: Any) -> R:
    """Return the record of a type in JSON.

    Raises:
        ValueError: The JSON is not such a record.
    """
    try:
        result: R = _record(record, value)
    except (TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"not a {record.__name__}: {error}") from error
    return result


def _record(record: type[Any], value: Any) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"not a {record.__name__}: {type(value).__name__}")
    hints = _hints(record)
    fields = {field.name: field for field in dataclasses.fields(record)}
    if unknown := value.keys() - fields.keys():
        raise ValueError(f"{record.__name__} has no {', '.join(sorted(unknown))}")
    made = {}
    for name, item in value.items():
        made[name] = _decode(hints[name], item)
        if fields[name].default_factory is Values:
            made[name] = _values(hints[name], item)
    return record(**made)


def _hints(record: Any) -> dict[str, Any]:
    # Arrays are generic from Python 3.12 on.
    return typing.get_type_hints(record, localns={"array": _Array})


def _values(hint: Any, value: Any) -> Values[Any]:
    item = typing.get_args(hint)[1]
    result = Values(_decode(hint, value["values"]))
    for key, earlier in value[_EARLIER].items():
        result.earlier[str(key)] = {_decode(item, one) for one in earlier}
    return result


def _decode(hint: Any, value: Any) -> Any:
    """Return a value as an annotation says."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        return _record(typing.cast(type[Any], hint), value)
    if origin in (types.UnionType, typing.Union):
        return _first(args, value)
    if origin is _Array:
        return array("d" if args == (float,) else "q", value)
    if origin is dict:
        if isinstance(value, dict) and value.keys() == {"values", _EARLIER}:
            value = value["values"]
        items = value.items() if isinstance(value, dict) else value
        return {_decode(args[0], key): _decode(args[1], item) for key, item in items}
    if origin in (list, set) and isinstance(value, list):
        return origin(_decode(args[0], item) for item in value)
    if origin is tuple and isinstance(value, list):
        return tuple(_decode(kind, item) for kind, item in zip(args, value, strict=True))
    if hint is types.NoneType and value is None:
        return None
    if isinstance(hint, type) and type(value) is hint:
        return value
    raise ValueError(f"{value!r:.80} is not {hint}")


def _first(hints: tuple[Any, ...], value: Any) -> Any:
    """Return a value as the first of several annotations that it fits."""
    for hint in hints:
        try:
            return _decode(hint, value)
        except (ValueError, TypeError):
            continue
    raise ValueError(f"{value!r:.80} is none of {hints}")
