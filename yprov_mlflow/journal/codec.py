"""One event as one line of a journal, and back.

A line is the JSON of the event, then the CRC-32 of that JSON as a decimal number.
"""

from __future__ import annotations

import json
import re
from binascii import crc32
from collections.abc import Sequence
from math import isfinite
from typing import Any

from orjson import OPT_APPEND_NEWLINE, OPT_NON_STR_KEYS, dumps, loads

from yprov_mlflow.events import KINDS, Event, MetricsLogged

FORMAT = 2
"""Version of the lines, in the first one of each file."""

_HEAD = "journal"
_METRICS = MetricsLogged.kind
_LINE = re.compile(rb"(.*\])(~?)(\d+)\n", re.DOTALL)


def encode(value: Sequence[Any]) -> bytes:
    """Give the line, with its newline, for an event: its kind, ``seq``, ``time_ns``, its fields.

    Run id and session are in the first line of the file. Making the event itself would cost
    as much again as all of this.

    Lone surrogates and integers over 64 bits are beyond orjson, not beyond JSON; such lines
    have ``~`` before the number, so that the reader, too, uses the slower library.
    """
    if value[0] == _METRICS and not isfinite(sum(value[4])):
        value = (*value[:4], [v if isfinite(v) else repr(v) for v in value[4]], *value[5:])
    try:
        payload = dumps(value, _plain, OPT_NON_STR_KEYS)
    except TypeError:
        payload = json.dumps(value, default=_plain, separators=(",", ":")).encode()
        return b"%b~%d\n" % (payload, crc32(payload))
    return payload + dumps(crc32(payload), None, OPT_APPEND_NEWLINE)


def parse(line: bytes) -> Any:
    """Give the JSON array of a line.

    Raises:
        ValueError: The line is torn, foreign or damaged; the message says which.
    """
    if not line.endswith(b"\n"):
        raise ValueError("the line is torn: it has no end")
    found = _LINE.fullmatch(line)
    if found is None:
        raise ValueError("the line is not one of a journal")
    payload, mark, checksum = found.groups()
    if int(checksum) != crc32(payload):
        raise ValueError("the line is damaged: its checksum differs")
    return json.loads(payload) if mark else loads(payload)


def head(run_id: str, session: str) -> bytes:
    """Give the first line of a file."""
    return encode((_HEAD, FORMAT, run_id, session))


def whose(value: Any) -> tuple[str, str] | None:
    """Give run id and session if the value is that of a first line, None if of any other.

    Raises:
        ValueError: This version does not read such a file.
    """
    if value[:1] != [_HEAD]:
        return None
    if value[1:2] != [FORMAT]:
        raise ValueError("the file is a journal of another version")
    return str(value[2]), str(value[3])


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
