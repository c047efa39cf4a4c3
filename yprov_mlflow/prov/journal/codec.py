"""Events to lines of a journal and back: a JSON array, then its checksum as a number.

The checksum starts from the run and the session, so a line that was changed, cut off, or copied
from the journal of another run or process is recognized. ``seq`` shows lines that were lost,
repeated or moved.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import isfinite
from typing import Any, NamedTuple
from zlib import crc32

from orjson import OPT_APPEND_NEWLINE, OPT_NON_STR_KEYS, dumps, loads

from yprov_mlflow.prov.events import KINDS, Event, MetricsLogged

FORMAT = 3
"""Version of the lines, in the head of each file."""

_HEAD = "journal"
_HEAD_SEED = 0
_END = re.compile(rb"(?<=\])\d{1,10}(?!\d)")
"""The checksum at the end of a line; in JSON, digits follow a bracket only within a text."""

_OTHER_HEAD = re.compile(rb'\["journal",(\d+),')
_JSON_TYPES = {"Mapping": dict, "Sequence": list, "tuple": list, "str": str, "bool": bool}


class Head(NamedTuple):
    """The first line of a file: whose journal it is; ``store`` is the URI of the run's store."""

    run_id: str
    session: str
    store: str


def seed(run_id: str, session: str) -> int:
    """Return the start value of the checksums of a journal's lines."""
    return crc32(f"{run_id}\n{session}".encode("utf-8", "surrogatepass"))


def encode(value: Sequence[Any], start: int) -> bytes:
    """Return the line, with its newline, of an array; ``JournalWriter.append`` has a copy."""
    line = dump(value)
    return line + dumps(crc32(line, start), None, OPT_APPEND_NEWLINE)


def dump(value: Sequence[Any]) -> bytes:
    """Return an array with values of any kind as JSON."""
    try:
        return dumps(value, to_json, OPT_NON_STR_KEYS)
    except TypeError:
        # JSON allows lone surrogates and integers over 64 bits, orjson does not. The leading
        # space tells the reader to use the slower library, too.
        return b" " + json.dumps(value, default=to_json, separators=(",", ":")).encode()


def spell_out(value: Sequence[Any]) -> tuple[Any, ...]:
    """Return the array of a ``MetricsLogged`` with NaN and infinities as text: JSON lacks them."""
    return (*value[:4], [v if isfinite(v) else repr(v) for v in value[4]], *value[5:])


def early(start: int) -> int:
    """Return the start value for a line that is written before one with a smaller ``seq``.

    A signal handler may log between the numbering and the writing of a line, and a full disk may
    reject one. Lines that were moved lack this mark.
    """
    return start ^ 1


def pieces(line: bytes, start: int) -> list[bytes]:
    """Split several lines that became one, as their newlines were changed or lost.

    Text may look like the end of a line: damage between two lines stays in one piece.
    """
    spans: list[tuple[int, int, bool]] = []
    begin = 0
    for end in [*(match.end() for match in _END.finditer(line)), len(line)]:
        if begin < end:
            is_line = _is_line(line[begin:end], start)
            if spans and not (is_line or spans[-1][2]):
                begin = spans.pop()[0]
            spans.append((begin, end, is_line))
        elif spans and not _is_line(line[spans[-1][0] : spans[-1][1]], start):
            spans[-1] = (spans[-1][0], end, False)
        begin = end + 1
    return [line[first:last] for first, last, _ in spans]


def _is_line(line: bytes, start: int) -> bool:
    """Return whether the checksum is right, of a line of this journal or of a head."""
    for value in (start, _HEAD_SEED):
        with suppress(ValueError):
            parse(line, value)
            return True
    return False


def parse(line: bytes, start: int) -> tuple[list[Any], bool]:
    """Return the array in a line without its newline, and whether the line was written early.

    Raises:
        ValueError: The line was damaged, or belongs to another journal.
    """
    end = line.rfind(b"]") + 1
    content, checksum = line[:end], line[end:]
    if checksum == b"%d" % crc32(content, start):
        is_early = False
    elif checksum == b"%d" % crc32(content, early(start)):
        is_early = True
    else:
        raise ValueError("the line is damaged or from another journal: its checksum is wrong")
    value = json.loads(content) if content.startswith(b" ") else loads(content)
    if not isinstance(value, list):
        raise ValueError("the line is not from a journal")
    return value, is_early


def head(run_id: str, session: str, store: str = "") -> bytes:
    """Return the first line of a file."""
    return encode((_HEAD, FORMAT, run_id, session, store), _HEAD_SEED)


def parse_head(line: bytes) -> Head | None:
    """Return the content of a head, without its newline; None if the line is not a head.

    Raises:
        ValueError: It is the head of a file in another format.
    """
    if not line.lstrip(b" ").startswith(b'["journal",'):
        return None
    try:
        value, _ = parse(line, _HEAD_SEED)
    except ValueError:
        match = _OTHER_HEAD.match(line)
        if match and int(match[1]) != FORMAT and line.endswith(b"]"):
            raise ValueError(
                f"the journal was written in format {int(match[1])}, which this version of "
                f"yprov-mlflow cannot read; it reads format {FORMAT}"
            ) from None
        raise
    if value[1:2] != [FORMAT] or len(value) != 5:
        raise ValueError("the journal was written in another format")
    return Head(*map(str, value[2:]))


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
        for field, expected, optional in zip(fields[2:], *_SHAPES[cls], strict=False):
            if not (isinstance(field, expected) or (optional and field is None)):
                raise ValueError(f"{field!r} is not {expected}")
        if cls is MetricsLogged:
            fields[3] = [float(v) for v in fields[3]]
            if len({len(column) for column in fields[2:6]}) != 1:
                raise ValueError("its columns differ in length")
        return cls(run_id, session, *fields)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"the line is not an event of this version: {error!r}") from None


def _shape(cls: type[Event]) -> tuple[list[type], list[bool]]:
    """Return the JSON type of each field after the header, and whether it may be None."""
    annotations = [str(field.type) for field in dataclasses.fields(cls)[4:]]
    names = (re.match(r"\w*", annotation) for annotation in annotations)
    types = [_JSON_TYPES.get(match[0], object) if match else object for match in names]
    return types, ["None" in annotation for annotation in annotations]


_SHAPES: Mapping[type[Event], tuple[list[type], list[bool]]] = {
    cls: _shape(cls) for cls in KINDS.values()
}


def to_json(value: object) -> object:
    """Convert what JSON libraries cannot: numpy scalars, sets and tuples; anything else to text."""
    item = getattr(value, "item", None)
    if callable(item):
        return item()
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return str(value)
