"""JSON objects read member by member: only one is in memory at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

_BLANK = re.compile(rb"[ \t\r\n]*+")
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_KEY = re.compile(rb"(" + _STRING + rb")[ \t\r\n]*+:[ \t\r\n]*+", re.DOTALL)
_SCALAR = re.compile(_STRING + rb"|[-+.0-9A-Za-z]++", re.DOTALL)
_FLAT = rb'\{[^][{}"]*+(?:' + _STRING + rb'[^][{}"]*+)*+\}'
_TOKEN = re.compile(rb"(" + _FLAT + rb")|(" + _STRING + rb")|([][{}])", re.DOTALL)
"""An object without objects or lists in it, at one go; a text; a bracket."""

_OPENING = (b"{", b"[")


class Malformed(ValueError):
    """The bytes are no JSON object."""


class Members(Mapping[str, Any]):
    """The members of a JSON object, found by their brackets and read when they are asked for.

    A member ``bundle`` is given in the same way, and so are the members of that.

    Args:
        content: Bytes, or what is like them, such as a mapped file.
        start: Where the object begins.
        nested: Whether its members, and not only ``bundle``, are given in the same way.

    Raises:
        Malformed: There is no object; an object's inside may still be no JSON.
    """

    def __init__(self, content: Any, start: int = 0, *, nested: bool = False) -> None:
        self.repeated: list[str] = []
        self._content = content
        self._nested = nested
        self._spans: dict[str, tuple[int, int, int]] = {}
        self.end = self._scan(start)

    def __getitem__(self, key: str) -> Any:
        start, end, count = self._spans[key]
        if (self._nested or key == "bundle") and self._content[start : start + 1] == b"{":
            return Members(self._content, start, nested=not self._nested)
        found = _read(self._content[start:end])
        if isinstance(found, dict) and count > len(found):
            self.repeated.append(f"{count - len(found)} of the ids in {key!r}")
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._spans)

    def __len__(self) -> int:
        return len(self._spans)

    def __contains__(self, key: object) -> bool:
        return key in self._spans

    def _scan(self, start: int) -> int:
        content = self._content
        place = self._past(start, b"{")
        if content[place : place + 1] == b"}":
            return place + 1
        while True:
            found = _KEY.match(content, place)
            if found is None:
                raise Malformed(f"a name and a colon are missing at byte {place}")
            key = _read(found[1])
            place = found.end()
            end, count = self._value(place)
            if key in self._spans:
                self.repeated.append(repr(key))
            self._spans[key] = (place, end, count)
            place = _past_blank(content, end)
            mark = content[place : place + 1]
            if mark == b"}":
                return place + 1
            place = self._past(place, b",")

    def _past(self, place: int, mark: bytes) -> int:
        place = _past_blank(self._content, place)
        if self._content[place : place + 1] != mark:
            raise Malformed(f"{mark.decode()!r} is missing at byte {place}")
        return _past_blank(self._content, place + 1)

    def _value(self, start: int) -> tuple[int, int]:
        """Find where a value ends, and how many objects and lists are right in it."""
        if self._content[start : start + 1] not in _OPENING:
            found = _SCALAR.match(self._content, start)
            if found is None:
                raise Malformed(f"a value is missing at byte {start}")
            return found.end(), 0
        depth = count = 0
        for token in _TOKEN.finditer(self._content, start):
            kind = token.lastindex
            if kind == 2:
                continue
            if kind == 1:
                count += depth == 1
            elif token[3] in _OPENING:
                count += depth == 1
                depth += 1
            else:
                depth -= 1
            if not depth:
                return token.end(), count
        raise Malformed(f"what begins at byte {start} does not end")


def read(content: Any) -> Members:
    """Give the members of the object that is all there is.

    Raises:
        Malformed: It is no object, or there is more.
    """
    start = 3 if content[:3] == b"\xef\xbb\xbf" else 0
    found = Members(content, start)
    if _past_blank(content, found.end) != len(content):
        raise Malformed(f"there is more after the object, at byte {found.end}")
    return found


def _past_blank(content: Any, place: int) -> int:
    found = _BLANK.match(content, place)
    return place if found is None else found.end()


def _read(part: bytes) -> Any:
    try:
        return orjson.loads(part)
    except orjson.JSONDecodeError as error:
        raise Malformed(str(error)) from error
