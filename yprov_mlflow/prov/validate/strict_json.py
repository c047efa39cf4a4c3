"""JSON objects parsed member by member, so that only one member is in memory at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

# Possessive quantifiers (*+) keep hostile input from backtracking without end.
_BLANK = re.compile(rb"[ \t\r\n]*+")
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_KEY = re.compile(rb"(" + _STRING + rb")[ \t\r\n]*+:[ \t\r\n]*+", re.DOTALL)
_SCALAR = re.compile(_STRING + rb"|[-+.0-9A-Za-z]++", re.DOTALL)
_FLAT = rb'\{[^][{}"]*+(?:' + _STRING + rb'[^][{}"]*+)*+\}'
# An object without nested objects or lists, a string, or a bracket.
_TOKEN = re.compile(rb"(" + _FLAT + rb")|(" + _STRING + rb")|([][{}])", re.DOTALL)

_OPENING = (b"{", b"[")


class Malformed(ValueError):
    """The content is not a JSON object."""


class Members(Mapping[str, Any]):
    """The members of a JSON object: located by their brackets, and parsed on access.

    The member ``bundle``, and each bundle in it, is a ``Members``, too.

    Args:
        content: Bytes, or a mapped file.
        start: Where the object begins.
        nested: Whether every member is a ``Members``, and not only ``bundle``.

    Attributes:
        repeated: Descriptions of keys that occur more than once, complete after iteration.

    Raises:
        Malformed: The content is not an object. Nested values are checked on access only.
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
        member = _loads(self._content[start:end])
        # Parsers keep the last of equal keys, so a member with fewer keys than counted lost some.
        if isinstance(member, dict) and count > len(member):
            self.repeated.append(f"{count - len(member)} of the ids in {key!r}")
        return member

    def __iter__(self) -> Iterator[str]:
        return iter(self._spans)

    def __len__(self) -> int:
        return len(self._spans)

    def __contains__(self, key: object) -> bool:
        return key in self._spans

    def _scan(self, start: int) -> int:
        content = self._content
        position = self._skip(start, b"{")
        if content[position : position + 1] == b"}":
            return position + 1
        while True:
            match = _KEY.match(content, position)
            if match is None:
                raise Malformed(f"expected a key and a colon at byte {position}")
            key = _loads(match[1])
            position = match.end()
            end, count = self._value(position)
            if key in self._spans:
                self.repeated.append(repr(key))
            self._spans[key] = (position, end, count)
            position = _skip_blank(content, end)
            if content[position : position + 1] == b"}":
                return position + 1
            position = self._skip(position, b",")

    def _skip(self, position: int, mark: bytes) -> int:
        position = _skip_blank(self._content, position)
        if self._content[position : position + 1] != mark:
            raise Malformed(f"expected {mark.decode()!r} at byte {position}")
        return _skip_blank(self._content, position + 1)

    def _value(self, start: int) -> tuple[int, int]:
        """Return the end of a value, and the number of objects and lists directly in it."""
        if self._content[start : start + 1] not in _OPENING:
            match = _SCALAR.match(self._content, start)
            if match is None:
                raise Malformed(f"expected a value at byte {start}")
            return match.end(), 0
        # Only brackets outside strings count; flat objects are skipped in one match, for speed.
        depth = count = 0
        for token in _TOKEN.finditer(self._content, start):
            group = token.lastindex
            if group == 2:
                continue
            if group == 1:
                count += depth == 1
            elif token[3] in _OPENING:
                count += depth == 1
                depth += 1
            else:
                depth -= 1
            if not depth:
                return token.end(), count
        raise Malformed(f"the value at byte {start} does not end")


def parse(content: Any) -> Members:
    """Return the members of the JSON object that is the whole content.

    Raises:
        Malformed: The content is not one object.
    """
    start = 3 if content[:3] == b"\xef\xbb\xbf" else 0  # a byte order mark, which Windows adds
    members = Members(content, start)
    if _skip_blank(content, members.end) != len(content):
        raise Malformed(f"unexpected content after the object, at byte {members.end}")
    return members


def _skip_blank(content: Any, position: int) -> int:
    match = _BLANK.match(content, position)
    return position if match is None else match.end()


def _loads(part: bytes) -> Any:
    try:
        return orjson.loads(part)
    except orjson.JSONDecodeError as error:
        raise Malformed(str(error)) from error
