"""One event as one line of a journal, and back."""

from __future__ import annotations

import json
import math
from binascii import crc32
from collections.abc import Sequence
from typing import Any

import orjson

from yprov_mlflow.events import KINDS, Event, MetricsLogged

_OPTIONS = orjson.OPT_NON_STR_KEYS


def encode(cls: type[Event], seq: int, time_ns: int, fields: Sequence[Any]) -> bytes:
    """Give the line, with its newline, for the event ``cls(…, seq, time_ns, *fields)``.

    Run id and session are in the first line of the file. Making the event itself would cost
    as much again as all of this.
    """
    if cls is MetricsLogged and not all(map(math.isfinite, fields[1])):
        fields = (fields[0], [v if math.isfinite(v) else repr(v) for v in fields[1]], *fields[2:])
    return frame((cls.kind, seq, time_ns, *fields))


def frame(value: object) -> bytes:
    """Give the line for any JSON value.

    Lone surrogates and integers over 64 bits are beyond orjson, not beyond JSON; such lines
    have ``~`` for the space, so that the reader, too, uses the slower library.
    """
    try:
        payload = orjson.dumps(value, default=_plain, option=_OPTIONS)
        return b"%08x %b\n" % (crc32(payload), payload)
    except TypeError:
        payload = json.dumps(value, default=_plain, separators=(",", ":")).encode()
        return b"%08x~%b\n" % (crc32(payload), payload)


def unframe(line: bytes) -> Any:
    """Give the JSON value of a line.

    Raises:
        ValueError: The line is torn, foreign or damaged; the message says which.
    """
    if not line.endswith(b"\n"):
        raise ValueError("the line is torn: it has no end")
    mark = line[8:9]
    if mark not in (b" ", b"~"):
        raise ValueError("the line is not one of a journal")
    payload = line[9:-1]
    if line[:8] != b"%08x" % crc32(payload):
        raise ValueError("the line is damaged: its checksum differs")
    return json.loads(payload) if mark == b"~" else orjson.loads(payload)


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


def _plain(value: object) -> object:
    """Make JSON of what JSON has not: numpy scalars, tuples in json.dumps, anything else."""
    item = getattr(value, "item", None)
    if callable(item):
        return item()
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return str(value)
