"""Attribute values of PROV-JSON (text, typed literals, qualified names) from and to Python."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from yprov_mlflow.prov.events import INT64_MAX, INT64_MIN

Value = str | dict[str, str]
"""A value of an attribute: plain text, or an object with ``$`` and ``type``."""

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_LONGEST_NUMBER = 400
"""Length from which text is not parsed as a number; ``repr`` of no double is longer."""


class Replaced(str):
    """Text whose lone surrogates were replaced; ``original`` has them."""

    __slots__ = ("original",)

    original: str


def text(value: object) -> str:
    """Return a value as text that can be encoded: lone surrogates are replaced."""
    plain = value if isinstance(value, str) else str(value)
    if plain.isascii():
        return plain
    try:
        plain.encode()
    except UnicodeEncodeError:
        replaced = Replaced(plain.encode("utf-8", "replace").decode())
        replaced.original = plain
        return replaced
    return plain


def optional_text(value: object) -> str | None:
    """Return a value as text, None if it is None."""
    return None if value is None else text(value)


def name(qualified: str) -> Value:
    """Return a qualified name as a value."""
    return {"$": qualified, "type": "xsd:QName"}


def boolean(value: bool) -> Value:
    """Return a boolean as a typed value."""
    return {"$": "true" if value else "false", "type": "xsd:boolean"}


def integer(value: int) -> Value:
    """Return an integer as a typed value: the narrowest of int, long and integer."""
    if -(2**31) <= value < 2**31:
        kind = "xsd:int"
    elif INT64_MIN <= value <= INT64_MAX:
        kind = "xsd:long"
    else:
        kind = "xsd:integer"
    return {"$": str(value), "type": kind}


def whole(value: object) -> Value | None:
    """Return an integer as a typed value, None for other than an integer."""
    return integer(value) if isinstance(value, int) else None


def double(value: float) -> Value:
    """Return a float as a typed value, with the shortest text that parses to the same float."""
    if math.isfinite(value):
        return {"$": repr(value), "type": "xsd:double"}
    if math.isnan(value):
        # The package prov parses xsd:double, but keeps xsd:float as text. As NaN does not equal
        # itself, no document with a parsed NaN would equal its own copy.
        return {"$": "NaN", "type": "xsd:float"}
    return {"$": "INF" if value > 0 else "-INF", "type": "xsd:double"}


def instant(time_ns: int) -> str | None:
    """Return ns since the epoch as ISO 8601 in UTC with microseconds.

    Return None for 0, and for times before the year 1 or after 9999.
    """
    return _isoformat(time_ns // 1000) if time_ns else None


def timestamp(time_ms: object) -> Value | None:
    """Return ms since the epoch as a typed value, None for other than an integer."""
    if not isinstance(time_ms, int) or isinstance(time_ms, bool):
        return None
    time = _isoformat(time_ms * 1000)
    return time and {"$": time, "type": "xsd:dateTime"}


def _isoformat(time_us: int) -> str | None:
    try:
        moment = _EPOCH + datetime.timedelta(microseconds=time_us)
    except OverflowError:
        return None
    return moment.isoformat(timespec="microseconds")


def parsed(raw: str) -> Value:
    """Return text as a number or boolean if it is what ``str`` makes of that value.

    Other notations of numbers stay text, so that the text can be restored exactly.
    """
    # Params come from str(value), which is why the names are Python's.
    if raw in ("True", "False"):
        return boolean(raw == "True")
    # int() accepts digits of every script, and takes quadratic time for long text.
    if len(raw) > _LONGEST_NUMBER or not raw.isascii():
        return text(raw)
    for parse in (int, float):
        try:
            number = parse(raw)
        except ValueError:
            continue
        if str(number) == raw:
            return integer(number) if isinstance(number, int) else double(number)
    return raw


def plain(value: object) -> Value | None:
    """Return a JSON value as a literal; objects and lists become canonical JSON text."""
    if value is None:
        return None
    if isinstance(value, bool):
        return boolean(value)
    if isinstance(value, int):
        return integer(value)
    if isinstance(value, float):
        return double(value)
    return text(value) if isinstance(value, str) else canonical(value)


_PARSERS: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(("xsd:int", "xsd:long", "xsd:integer"), int),
    **dict.fromkeys(("xsd:double", "xsd:float"), float),
    "xsd:boolean": lambda lexical: lexical == "true",
    "xsd:dateTime": datetime.datetime.fromisoformat,
}


def value(literal: object) -> Any:
    """Return the JSON value of a literal: the inverse of ``plain``.

    Text that is the canonical JSON of an object or list becomes that object or list.
    """
    if isinstance(literal, Mapping):
        return _PARSERS.get(str(literal.get("type")), str)(str(literal.get("$")))
    if isinstance(literal, str) and literal[:1] in ("{", "["):
        try:
            parsed_json = json.loads(literal)
        except (ValueError, RecursionError):
            return literal
        return parsed_json if canonical(parsed_json) == literal else literal
    return literal


def milliseconds(moment: datetime.datetime) -> int:
    """Return ms since the epoch: the inverse of ``timestamp``."""
    return microseconds(moment) // 1000


def microseconds(moment: datetime.datetime) -> int:
    """Return microseconds since the epoch."""
    return (moment - _EPOCH) // datetime.timedelta(microseconds=1)


def canonical(value: object) -> str:
    """Return JSON text that is the same for equal values: sorted keys, no spaces.

    Lone surrogates are escaped. A value that JSON cannot express becomes its ``str``.
    """
    try:
        dumped = json.dumps(
            value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str
        )
    except (TypeError, ValueError, RecursionError):  # keys that do not sort, cycles, depth
        dumped = str(value)
    return dumped.encode("utf-8", "backslashreplace").decode()


def number(value: object) -> int | None:
    """Return an integer from an integer or its text, else None."""
    if isinstance(value, str) and len(value) < _LONGEST_NUMBER:
        try:
            return int(value)
        except ValueError:
            return None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def mapping(value: object) -> Mapping[str, Any]:
    """Return the value if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def pairs(value: object) -> dict[str, Any]:
    """Return tags or params as a mapping: from one, or from ``{key, value}`` objects."""
    if isinstance(value, Mapping):
        if set(value) == {"key", "value"}:  # a single tag
            return {str(value["key"]): value["value"]}
        return {str(k): v for k, v in value.items()}
    items = value if isinstance(value, list | tuple) else ()
    mappings = (item for item in items if isinstance(item, Mapping))
    return {str(item["key"]): item.get("value") for item in mappings if "key" in item}
