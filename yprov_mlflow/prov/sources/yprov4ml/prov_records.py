"""The JSON file of one rank as plain records, in any version's form.

Prefixes of names differ from version to version, and their namespaces are not valid; only the
local parts count. Values are text, typed literals, or typed literals as the text of a Python
dictionary. Nothing is evaluated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

Fields = Mapping[str, str]
"""Values by the local part of their names."""

_TYPED_TEXT = re.compile(r"\{'\$': (?P<value>.*), 'type': '[^']*'\}\Z", re.DOTALL)
_QUOTED = re.compile(r"(?P<quote>['\"])(?P<text>.*)(?P=quote)\Z", re.DOTALL)
_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"\s*")


class Element(NamedTuple):
    """One description of an activity, entity or agent; one id may have several."""

    identifier: str
    fields: Fields


class Records(NamedTuple):
    """The content of a JSON file, as far as it can be read.

    Args:
        sections: For each section its ids, each with all its descriptions as they are.
        complete: Whether the file was read to its end.
    """

    sections: dict[str, list[tuple[str, Mapping[str, Any]]]]
    complete: bool

    def elements(self, section: str) -> Iterator[Element]:
        """Yield the elements of a section."""
        for identifier, record in self.sections.get(section, []):
            fields = {local(key): plain(value) for key, value in record.items()}
            yield Element(local(identifier), fields)

    def relations(self, section: str, first: str, second: str) -> Iterator[tuple[str, str]]:
        """Yield both ends of the relations of a section, for those that have both."""
        for _, record in self.sections.get(section, []):
            ends = record.get(f"prov:{first}"), record.get(f"prov:{second}")
            if all(isinstance(end, str) for end in ends):
                yield local(str(ends[0])), local(str(ends[1]))


def local(name: str) -> str:
    """Return the local part of a name; a path with a colon keeps it."""
    prefix, colon, rest = name.partition(":")
    return rest if colon and re.fullmatch(r"[\w.-]*", prefix) else name


def plain(value: Any) -> str:
    """Return the text of a value: of the literal, if it is one, also one written as text."""
    if isinstance(value, Mapping):
        return plain(value.get("$", ""))
    if isinstance(value, list):
        return plain(value[-1]) if value else ""
    text = value if isinstance(value, str) else json.dumps(value)
    match = _TYPED_TEXT.match(text)
    if match is None:
        return text
    inner = _QUOTED.match(match["value"])
    return inner["text"] if inner else match["value"]


def parse(content: bytes) -> Records:
    """Return the records of a JSON file; of one that is cut off, those before the cut."""
    text = content.decode("utf-8", "replace")
    try:
        data, complete = json.loads(text), True
    except (ValueError, RecursionError):
        data, complete = _salvage(text), False
    if not isinstance(data, Mapping):
        return Records({}, False)
    sections: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for section, records in data.items():
        if not isinstance(records, Mapping) or section == "prefix":
            continue
        rows = sections.setdefault(section, [])
        for identifier, record in records.items():
            items = record if isinstance(record, list) else [record]
            rows += [(identifier, item) for item in items if isinstance(item, Mapping)]
    return Records(sections, complete)


def _salvage(text: str) -> dict[str, dict[str, Any]]:
    """Return the complete records of a document that is cut off."""
    sections: dict[str, dict[str, Any]] = {}
    try:
        position = _skip(text, 0, "{")
        while position < len(text):
            section, position = _DECODER.raw_decode(text, _skip(text, position, ","))
            position = _skip(text, position, ":{")
            records = sections.setdefault(str(section), {})
            while text[position] != "}":
                name, position = _DECODER.raw_decode(text, position)
                record, position = _DECODER.raw_decode(text, _skip(text, position, ":"))
                records[str(name)] = record
                position = _skip(text, position, ",")
            position += 1
    except (ValueError, RecursionError, IndexError):
        pass  # the cut, or the first fault: all records before it are complete
    return sections


def _skip(text: str, position: int, signs: str) -> int:
    """Return the position after spaces and these signs, which may each come once, in order."""
    for sign in signs:
        position = _SPACE.match(text, position).end()  # type: ignore[union-attr] # - may be empty
        position += text.startswith(sign, position)
    return _SPACE.match(text, position).end()  # type: ignore[union-attr] # - may be empty
