"""One event as one line of a journal, and back."""

from __future__ import annotations

import json
import math
from binascii import crc32
from operator import attrgetter
from typing import Any

import orjson

from yprov_mlflow.events import FIELDS, KINDS, Event, MetricsLogged

_OPTIONS = orjson.OPT_NON_STR_KEYS
_GETTERS = {kind: attrgetter(*names[2:]) for kind, names in FIELDS.items()}
"""All fields but run id and session, which the first line of the file holds."""


def encode(event: Event) -> bytes:
    """Give the line for ``event``, with its newline."""
    fields = _GETTERS[event.kind](event)
    if type(event) is MetricsLogged and not all(map(math.isfinite, event.values)):
        fields = (*fields[:3], [_spell(v) for v in event.values], *fields[4:])
    return frame((event.kind, *fields))


def frame(value: object) -> bytes:
    """Give the line for any JSON value.

    Lone surrogates and integers over 64 bits are beyond orjson, not beyond JSON.
    """
    try:
        payload = orjson.dumps(value, default=_plain, option=_OPTIONS)
    except TypeError:
        payload = json.dumps(value, default=_plain, separators=(",", ":")).encode()
    return b"%08x %b\n" % (crc32(payload), payload)


def unframe(line: bytes) -> Any:
    """Give the JSON value of a line.

    Raises:
        ValueError: The line is torn, foreign or damaged; the message says which.
    """
    if not line.endswith(b"\n"):
        raise ValueError("the line is torn: it has no end")
    if line[8:9] != b" ":
        raise ValueError("the line is not one of a journal")
    payload = line[9:-1]
    if line[:8] != b"%08x" % crc32(payload):
        raise ValueError("the line is damaged: its checksum differs")
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        return json.loads(payload)


def decode(value: Any, run_id: str, session: str) -> Event:
    """Give the event that a line's value holds.

    Raises:
        ValueError: This version knows no such event.
    """
    try:
        kind, *fields = value
        cls = KINDS[kind]
        if cls is MetricsLogged:
            fields[3] = [float(v) for v in fields[3]]
        return cls(run_id, session, *fields)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"the line holds no event that this version knows: {error!r}") from None


def _spell(value: float) -> float | str:
    return value if math.isfinite(value) else repr(value)


def _plain(value: object) -> object:
    """Make JSON of what JSON has not: numpy scalars, tuples in json.dumps, anything else."""
    item = getattr(value, "item", None)
    if callable(item):
        return item()
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return str(value)
