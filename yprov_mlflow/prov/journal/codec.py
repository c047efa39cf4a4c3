"""Events to lines of a journal and back: each line is a JSON array.

No proper prefix of a JSON array is a JSON array, so a line that was cut off is recognized without
a checksum.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isfinite
from typing import Any

from orjson import OPT_APPEND_NEWLINE, OPT_NON_STR_KEYS, dumps, loads

from yprov_mlflow.prov.events import KINDS, Event, MetricsLogged

FORMAT = 2
"""Version of the lines, in the head of each file."""

_HEAD = "journal"
_METRICS = MetricsLogged.kind
_OPTIONS = OPT_APPEND_NEWLINE | OPT_NON_STR_KEYS


def encode(value: Sequence[Any]) -> bytes:
    """Return the line, with its newline, of an event: kind, ``seq``, ``time_ns``, fields.

    Run id and session are in the head of the file. The event comes as a tuple, because creating
    an ``Event`` would take as long again as encoding it.
    """
    # JSON lacks NaN and infinities; the sum finds them faster than a test of each value.
    if value[0] == _METRICS and not isfinite(sum(value[4])):
        value = (*value[:4], [v if isfinite(v) else repr(v) for v in value[4]], *value[5:])
    try:
        return dumps(value, _to_json, _OPTIONS)
    except TypeError:
        # JSON allows lone surrogates and integers over 64 bits, orjson does not. The leading
        # space tells the reader to use the slower library, too.
        return b" %b\n" % json.dumps(value, default=_to_json, separators=(",", ":")).encode()


def parse(line: bytes) -> list[Any]:
    """Return the array in a line.

    Raises:
        ValueError: The line was cut off, or is not from a journal.
    """
    if not line.endswith(b"\n"):
        raise ValueError("the line is incomplete: its newline is missing")
    try:
        value = json.loads(line) if line.startswith(b" ") else loads(line)
    except ValueError as error:
        raise ValueError(f"the line is incomplete or not from a journal: {error}") from None
    if not isinstance(value, list):
        raise ValueError("the line is not from a journal")
    return value


def head(run_id: str, session: str) -> bytes:
    """Return the first line of a file."""
    return encode((_HEAD, FORMAT, run_id, session))


def parse_head(value: list[Any]) -> tuple[str, str] | None:
    """Return run id and session if the array is the head of a file, else None.

    Raises:
        ValueError: It is the head of a file in another format.
    """
    if value[:1] != [_HEAD]:
        return None
    if value[1:2] != [FORMAT] or len(value) != 4:
        raise ValueError("the journal was written in another format")
    return str(value[2]), str(value[3])


def decode(value: list[Any], run_id: str, session: str) -> Event:
    """Return the event in the array of a line.

    Raises:
        ValueError: The array is not an event of this version.
    """
    try:
        kind, *fields = value
        cls = KINDS[kind]
        if not (isinstance(fields[0], int) and isinstance(fields[1], int)):
            raise ValueError("seq or time_ns is missing")
        if cls is MetricsLogged:
            fields[3] = [float(v) for v in fields[3]]
        return cls(run_id, session, *fields)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"the line is not an event of this version: {error!r}") from None


def _to_json(value: object) -> object:
    """Convert what JSON libraries cannot: numpy scalars, sets and tuples; anything else to text."""
    item = getattr(value, "item", None)
    if callable(item):
        return item()
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return str(value)
