"""Values of attributes in PROV-JSON: text, typed literals, qualified names, instants."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping
from typing import Any

Value = str | dict[str, str]
"""One value of an attribute: plain text, or an object with ``$`` and ``type``."""

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_LONGEST_NUMBER = 400
"""Digits beyond which text is not worth converting; no double has more."""


class Replaced(str):
    """Text whose lone surrogates were replaced; ``raw`` is what it was."""

    __slots__ = ("raw",)

    raw: str


def text(value: object) -> str:
    """Give ``value`` as text that every encoding can carry: lone surrogates are replaced."""
    plain = value if isinstance(value, str) else str(value)
    if plain.isascii() or not _has_surrogates(plain):
        return plain
    replaced = Replaced(plain.encode("utf-8", "replace").decode())
    replaced.raw = plain
    return replaced


def _has_surrogates(plain: str) -> bool:
    try:
        plain.encode()
    except UnicodeEncodeError:
        return True
    return False


def name(qualified: str) -> Value:
    """Give a qualified name as a value."""
    return {"$": qualified, "type": "xsd:QName"}


def boolean(value: bool) -> Value:
    """Give a typed truth value."""
    return {"$": "true" if value else "false", "type": "xsd:boolean"}


def integer(value: int) -> Value:
    """Give a typed integer: of the narrowest of int, long and integer that holds it."""
    if -(2**31) <= value < 2**31:
        kind = "xsd:int"
    elif -(2**63) <= value < 2**63:
        kind = "xsd:long"
    else:
        kind = "xsd:integer"
    return {"$": str(value), "type": kind}


def double(value: float) -> Value:
    """Give a typed floating point number, exactly: the shortest text that reads back equal.

    NaN is an ``xsd:float``, which holds it as well: readers make a double of ``xsd:double``,
    and as NaN differs from itself, no document with one would ever equal its own copy.
    """
    if math.isfinite(value):
        return {"$": repr(value), "type": "xsd:double"}
    if math.isnan(value):
        return {"$": "NaN", "type": "xsd:float"}
    return {"$": "INF" if value > 0 else "-INF", "type": "xsd:double"}


def instant(time_ns: int) -> str | None:
    """Give ns since the epoch as ISO 8601 in UTC with microseconds, or None for 0.

    A time that no calendar has (before the year 1, after 9999) is None as well.
    """
    if not time_ns:
        return None
    try:
        moment = _EPOCH + datetime.timedelta(microseconds=time_ns // 1000)
    except OverflowError:
        return None
    return moment.isoformat(timespec="microseconds")


def timestamp(time_ms: object) -> Value | None:
    """Give ms since the epoch as a typed instant; None for what is none."""
    if not isinstance(time_ms, int) or isinstance(time_ms, bool):
        return None
    try:
        moment = _EPOCH + datetime.timedelta(milliseconds=time_ms)
    except OverflowError:
        return None
    return {"$": moment.isoformat(timespec="microseconds"), "type": "xsd:dateTime"}


def parsed(raw: str) -> Value:
    """Give text as the number or truth value that it spells, if it spells it canonically.

    Canonical is what Python's ``str`` makes of the value, so that the text can be had back.
    """
    if raw in ("True", "False"):
        return boolean(raw == "True")
    if len(raw) > _LONGEST_NUMBER or not raw.isascii():
        return text(raw)
    try:
        whole = int(raw)
        if str(whole) == raw:
            return integer(whole)
    except ValueError:
        pass
    try:
        real = float(raw)
        if str(real) == raw:
            return double(real)
    except ValueError:
        pass
    return raw


def plain(value: object) -> Value | None:
    """Give the literal for a JSON value; objects and lists become canonical JSON text."""
    if value is None:
        return None
    if isinstance(value, bool):
        return boolean(value)
    if isinstance(value, int):
        return integer(value)
    if isinstance(value, float):
        return double(value)
    if isinstance(value, str):
        return text(value)
    return canonical(value)


def value(literal: object) -> Any:
    """Give the value that ``plain`` made the literal from.

    Text that is canonical JSON of an object or a list could have been either; it is taken to
    have been the object or list.
    """
    if isinstance(literal, Mapping):
        return _typed(str(literal.get("$")), str(literal.get("type")))
    if isinstance(literal, str) and literal[:1] in ("{", "["):
        try:
            found = json.loads(literal)
        except (ValueError, RecursionError):
            return literal
        return found if canonical(found) == literal else literal
    return literal


def _typed(spelt: str, kind: str) -> Any:
    if kind in ("xsd:int", "xsd:long", "xsd:integer"):
        return int(spelt)
    if kind in ("xsd:double", "xsd:float"):
        return float(spelt)
    if kind == "xsd:boolean":
        return spelt == "true"
    if kind == "xsd:dateTime":
        return datetime.datetime.fromisoformat(spelt)
    return spelt


def milliseconds(moment: datetime.datetime) -> int:
    """Give ms since the epoch: what ``timestamp`` made the instant from."""
    return microseconds(moment) // 1000


def microseconds(moment: datetime.datetime) -> int:
    """Give microseconds since the epoch."""
    return (moment - _EPOCH) // datetime.timedelta(microseconds=1)


def canonical(value: object) -> str:
    """Give JSON text that is the same for equal values: sorted keys, no spaces.

    Lone surrogates are escaped, as JSON lets them be.
    """
    try:
        dumped = json.dumps(
            value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str
        )
    except (TypeError, ValueError, RecursionError):
        dumped = str(value)
    return dumped.encode("utf-8", "backslashreplace").decode()


def number(value: object) -> int | None:
    """Give an integer if ``value`` is one or spells one, else None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and len(value) < _LONGEST_NUMBER:
        try:
            return int(value)
        except ValueError:
            return None
    return None


def mapping(value: object) -> Mapping[str, Any]:
    """Give ``value`` if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def pairs(value: object) -> dict[str, Any]:
    """Give tags or params as a mapping: from one, or from a list of ``{key, value}``."""
    if isinstance(value, Mapping):
        if set(value) == {"key", "value"}:
            return {str(value["key"]): value["value"]}
        return {str(k): v for k, v in value.items()}
    if isinstance(value, list | tuple):
        return {
            str(item["key"]): item.get("value")
            for item in value
            if isinstance(item, Mapping) and "key" in item
        }
    return {}
