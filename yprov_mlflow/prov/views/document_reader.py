"""Access to the records of a PROV-JSON document by type, and to their values as Python values.

Views annotate the types that our own documents hold. A value of a foreign document that cannot
be read as such is kept as its text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar, Union

from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.views.view import View, terms

Record = Mapping[str, Any]
Records = Mapping[str, Record]
Source = Union[Document, Mapping[str, Records], "DocumentReader"]
"""A document, a PROV-JSON object, or a reader of one."""

_V = TypeVar("_V", bound=View)
_PARSERS: Mapping[str, Callable[[str], Any]] = {
    "xsd:int": int,
    "xsd:long": int,
    "xsd:integer": int,
    "xsd:double": float,
    "xsd:float": float,
    "xsd:boolean": lambda text: text in ("true", "1"),
}


class DocumentReader:
    """The records of a document by type; a section that the document lacks is empty."""

    @classmethod
    def of(cls, document: Source) -> DocumentReader:
        """Return a reader of a document, or the reader that was passed."""
        return document if isinstance(document, DocumentReader) else cls(document)

    def __init__(self, document: Document | Mapping[str, Records]) -> None:
        if isinstance(document, Document):
            document = document.to_json_object()
        self.sections = document
        # PROV has no present: what no document invalidated still exists.
        self._invalidated = {
            str(record.get("prov:entity")) for record in self.section("wasInvalidatedBy").values()
        }
        self._types: dict[str, dict[str | None, list[tuple[str, Record]]]] = {}
        # Values of objects of the store, such as tags of a model.
        self._values: dict[str, list[tuple[str, Record]]] = {}
        for identifier, record in self.section("entity").items():
            if "mlf:about" in record:
                about = str(value(record["mlf:about"]))
                self._values.setdefault(about, []).append((identifier, record))

    def section(self, name: str) -> Records:
        """Return the records of a section by their ids."""
        return self.sections.get(name) or {}

    def of_type(self, section: str, kind: str, prefix: str = "") -> Iterator[tuple[str, Record]]:
        """Yield the records of a section that have the type and an id with the prefix."""
        for identifier, record in self._by_type(section).get(kind, ()):
            if identifier.startswith(prefix):
                yield identifier, record

    def _by_type(self, section: str) -> dict[str | None, list[tuple[str, Record]]]:
        """Return the records of a section by each of their types; views ask for many types."""
        if section not in self._types:
            index: dict[str | None, list[tuple[str, Record]]] = {}
            for identifier, record in self.section(section).items():
                for kind in dict.fromkeys(types(record)):
                    index.setdefault(kind, []).append((identifier, record))
            self._types[section] = index
        return self._types[section]

    def values_of(self, subject: str, kind: str) -> Iterator[Record]:
        """Yield the current values of a type that an object of the store has."""
        for identifier, record in self._values.get(subject, ()):
            if kind in types(record) and identifier not in self._invalidated:
                yield record

    def exists(self, subject: str) -> bool:
        """Return whether an object of the store was not deleted, as far as the document says."""
        entries = [r for _, r in self._values.get(subject, ()) if "mlf:Entry" in types(r)]
        return not entries or any(self.values_of(subject, "mlf:Entry"))

    def current(self, kind: str, prefix: str = "") -> Iterator[tuple[str, Record]]:
        """Yield the entities of a type that have not been invalidated."""
        for identifier, record in self.of_type("entity", kind, prefix):
            if identifier not in self._invalidated:
                yield identifier, record


def types(record: Record) -> list[str | None]:
    """Return the types of a record; PROV-JSON writes a single one without a list."""
    kinds = record.get("prov:type", [])
    return [text(kind) for kind in (kinds if isinstance(kinds, list) else [kinds])]


def value(literal: Any) -> Any:
    """Return the Python value of a PROV-JSON literal, or its text where that cannot be parsed."""
    if isinstance(literal, list):
        return [value(item) for item in literal]
    if not isinstance(literal, Mapping):
        return literal
    raw = literal.get("$")
    try:
        parse = _PARSERS.get(str(literal.get("type")))
        return raw if parse is None else parse(str(raw))
    except ValueError:
        return raw  # a report with one odd value is worth more than none


def text(literal: Any) -> str | None:
    """Return the text of a PROV-JSON literal, or None if it is absent."""
    content = value(literal)
    return None if content is None else str(content)


def seconds_between(start: Any, end: Any) -> float | None:
    """Return the seconds from one time to another, None if one is absent or not a time."""
    try:
        return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    except (TypeError, ValueError):
        return None


def mapping(literal: Any) -> Mapping[str, Any]:
    """Return the JSON object that a literal has as its text; an empty one for anything else."""
    try:
        content = json.loads(str(value(literal)))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def read(view: type[_V], record: Record, **fields: Any) -> _V:
    """Return a view with the fields given, and those that the record has attributes for."""
    attributes = terms(view)
    values = {name: value(record[term]) for name, term in attributes.items() if term in record}
    # A status is a qualified name in documents, but MLflow's plain word for Python users.
    if isinstance(status := values.get("status"), str):
        values["status"] = status.removeprefix("mlf:")
    return view(**values, **fields)


def key(record: Record) -> str:
    """Return the name of a record, or else its label."""
    return str(value(record.get("schema:name", record.get("prov:label", ""))))
