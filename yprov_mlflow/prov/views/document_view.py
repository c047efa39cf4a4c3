"""A PROV-JSON object, asked by type, and its values as what they mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Summary = dict[str, Any]
Records = Mapping[str, Mapping[str, Any]]

_NUMBERS: Mapping[str, Callable[[str], Any]] = {
    "xsd:int": int,
    "xsd:long": int,
    "xsd:integer": int,
    "xsd:double": float,
    "xsd:float": float,
    "xsd:boolean": lambda text: text in ("true", "1"),
}
_NOT_JSON = ("NaN", "INF", "-INF")


class View:
    """A document, asked by type; sections that it lacks are empty."""

    def __init__(self, document: Mapping[str, Records]) -> None:
        self.document = document
        self.ended = {r.get("prov:entity") for r in self.section("wasInvalidatedBy").values()}

    def section(self, name: str) -> Records:
        """Give the records of a section by their ids."""
        return self.document.get(name) or {}

    def of(
        self, section: str, kind: str, start: str = ""
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Give the records of a section that have the type, and an id that begins so."""
        for identifier, record in self.section(section).items():
            if identifier.startswith(start) and kind in types(record):
                yield identifier, record

    def current(self, kind: str, start: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Give the entities of a type that nothing has invalidated."""
        found = self.of("entity", kind, start)
        return ((identifier, r) for identifier, r in found if identifier not in self.ended)


def types(record: Mapping[str, Any]) -> list[Any]:
    """Give the types of a record, of which PROV-JSON writes one alone or a list."""
    found = record.get("prov:type", [])
    return [value(kind) for kind in (found if isinstance(found, list) else [found])]


def value(given: Any) -> Any:
    """Give a PROV-JSON value as what it means, or its text where that is not known."""
    if isinstance(given, list):
        return [value(one) for one in given]
    if not isinstance(given, Mapping):
        return given
    raw = given.get("$")
    read = _NUMBERS.get(str(given.get("type")))
    if read is None or raw in _NOT_JSON:
        return raw
    try:
        return read(str(raw))
    except ValueError:
        return raw


def pick(record: Mapping[str, Any], terms: Mapping[str, str]) -> Summary:
    """Give the values of those terms that the record has, by our keys."""
    found = {key: value(record[term]) for key, term in terms.items() if term in record}
    if isinstance(status := found.get("status"), str):
        found["status"] = status.removeprefix("mlf:")
    return found
