"""One event as one line of a journal, and back: a JSON array.

No beginning of a JSON array is a JSON array, so a line that lost its end is known by itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isfinite
from typing import Any

from orjson import OPT_APPEND_NEWLINE, OPT_NON_STR_KEYS, dumps, loads

from yprov_mlflow.prov.events import KINDS, Event, MetricsLogged

FORMAT = 2
"""Version of the lines, in the first one of each file."""

_HEAD = "journal"
_METRICS = MetricsLogged.kind
_OPTIONS = OPT_APPEND_NEWLINE | OPT_NON_STR_KEYS


def encode(value: Sequence[Any]) -> bytes:
    """Give the line, with its newline, for an event: its kind, ``seq``, ``time_ns``, its fields.

    Run id and session are in the first line of the file. Making the event itself would cost
    as much again as all of this.

    Lone surrogates and integers over 64 bits are beyond orjson, not beyond JSON; such lines
    begin with a space, so that the reader, too, uses the slower library.
    """
    if value[0] == _METRICS and not isfinite(sum(value[4])):
        value = (*value[:4], [v if isfinite(v) else repr(v) for v in value[4]], *value[5:])
    try:
        return dumps(value, _plain, _OPTIONS)
    except TypeError:
        return b" %b\n" % json.dumps(value, default=_plain, separators=(",", ":")).encode()


def parse(line: bytes) -> list[Any]:
    """Give the array that a line holds.

    Raises:
        ValueError: The line is torn or foreign; the message says which.
    """
    if not line.endswith(b"\n"):
        raise ValueError("the line is torn: it has no end")
    try:
        value = json.loads(line) if line.startswith(b" ") else loads(line)
    except ValueError as error:
        raise ValueError(f"the line is torn or not one of a journal: {error}") from None
    if not isinstance(value, list):
        raise ValueError("the line is not one of a journal")
    return value


def head(run_id: str, session: str) -> bytes:
    """Give the first line of a file."""
    return encode((_HEAD, FORMAT, run_id, session))


def whose(value: list[Any]) -> tuple[str, str] | None:
    """Give run id and session if the value is that of a first line, None if of any other.

    Raises:
        ValueError: This version does not read such a file.
    """
    if value[:1] != [_HEAD]:
        return None
    if value[1:2] != [FORMAT] or len(value) != 4:
        raise ValueError("the file is a journal of another version")
    return str(value[2]), str(value[3])


def decode(value: list[Any], run_id: str, session: str) -> Event:
    """Give the event that a line's value holds.

    Raises:
        ValueError: This version knows no such event.
    """
    try:
        kind, *fields = value
        cls = KINDS[kind]
        if not (isinstance(fields[0], int) and isinstance(fields[1], int)):
            raise ValueError("it has no number or no time")
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
