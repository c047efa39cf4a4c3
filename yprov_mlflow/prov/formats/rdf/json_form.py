"""Preserve the PROV-JSON form of a document where RDF has only one form.

Our own documents need none of this. A document of another tool may contain ``true`` instead of
``{"$": "true", "type": "xsd:boolean"}``, a list of one value, or ``_:id1`` for a relation without
an id. Such forms are recorded as JSON in one literal beside the triples, so that the document
reads back unchanged. Where the record and the triples disagree, the triples win.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats.prov_json import values_of
from yprov_mlflow.prov.formats.rdf.terms import Syntax, quote
from yprov_mlflow.prov.model.document import Record
from yprov_mlflow.prov.model.literals import name, plain
from yprov_mlflow.prov.model.vocabulary import NAMESPACE

PROPERTY = NAMESPACE + "jsonForm"

_NAME_TYPES = ("xsd:QName", "prov:QUALIFIED_NAME", "prov:QualifiedName")


class JsonForm:
    """Converts values of any form to objects, and records the form where RDF loses it."""

    def __init__(self, syntax: Syntax) -> None:
        self._syntax = syntax
        self._keys: dict[str, dict[str, str]] = {}
        self._values: dict[str, dict[str, Record]] = {}
        self._types: dict[frozenset[str], list[str]] = {}

    def objects(
        self, section: str, identifier: str, key: str, value: Any
    ) -> list[tuple[str, bool]]:
        """Return the text of each distinct value, and whether it is a qualified name."""
        try:
            normal = normalized(key, value)
        except (TypeError, ValueError) as error:
            raise DocumentError.unwritable("RDF", f"{key}: {error}", identifier) from None
        if normal != value:
            self._record_value(section, identifier, key, value)
        return [(self._object(item), _is_name(item)) for item in values_of(normal)]

    def _object(self, value: Any) -> str:
        if isinstance(value, str):
            return quote(value)
        if _is_name(value):
            return self._syntax.names[value["$"]]
        if "lang" in value:
            return self._syntax.language(value["$"], value["lang"])
        before, after = self._syntax.typed[value["type"]]
        return f"{before}{quote(value['$'])}{after}"

    def record_type_order(self, section: str, identifier: str, value: list[Any]) -> None:
        """Record the order of types, for syntaxes that do not keep it."""
        order = [item["$"] for item in value]
        # Most records of a kind share one order: it is stored once for each set of types.
        if self._types.setdefault(frozenset(order), order) != order:
            self._record_value(section, identifier, "prov:type", value)

    def record_key(self, section: str, identifier: str, ours: str) -> None:
        """Record the key of a relation without an id, unless a reader makes the same one."""
        if identifier != ours:
            self._keys.setdefault(section, {}).setdefault(ours, identifier)

    def _record_value(self, section: str, identifier: str, key: str, value: Any) -> None:
        self._values.setdefault(section, {}).setdefault(identifier, {})[key] = value

    def text(self) -> str | None:
        """Return everything recorded as JSON, or None if there is nothing."""
        types = sorted(self._types.values())
        parts = {"keys": self._keys, "values": self._values, "types": types}
        parts = {part: content for part, content in parts.items() if content}
        try:
            return orjson.dumps(parts, option=orjson.OPT_SORT_KEYS).decode() if parts else None
        except TypeError as error:
            raise DocumentError.unwritable("RDF", error) from error


def restored(
    records: Mapping[str, Mapping[str, Record]], text: str
) -> dict[str, dict[str, Record]]:
    """Return the records of triples in the form that the output of ``JsonForm.text`` describes.

    Raises:
        ValueError: The text is not such an output.
    """
    form = orjson.loads(text)
    sections = {section: dict(members) for section, members in records.items()}
    try:
        for section, keys in form.get("keys", {}).items():
            members = sections.get(section, {})
            sections[section] = {keys.get(key, key): record for key, record in members.items()}
        orders = {frozenset(order): order for order in form.get("types", ())}
        for members in sections.values() if orders else ():
            for record in members.values():
                _reorder_types(record, orders)
        for section, values_by_id in form.get("values", {}).items():
            for identifier, values in values_by_id.items():
                record = sections.get(section, {}).get(identifier, {})
                for key, value in values.items():
                    # Somebody may have edited the triples since: then they win.
                    if key in record and _same(normalized(key, value), record[key]):
                        record[key] = value
    except (AttributeError, TypeError) as error:
        raise ValueError(f"{PROPERTY} is malformed: {error}") from None
    return sections


def _reorder_types(record: Record, orders: Mapping[frozenset[str], list[str]]) -> None:
    types = record.get("prov:type")
    if isinstance(types, list):
        by_name = {t["$"]: t for t in types if isinstance(t, dict) and "type" in t}
        order = orders.get(frozenset(by_name))
        if order is not None and len(by_name) == len(types):
            record["prov:type"] = [by_name[name] for name in order]


def _same(recorded: Any, read: Any) -> bool:
    if isinstance(recorded, list) and isinstance(read, list):
        return len(recorded) == len(read) and all(value in read for value in recorded)
    return bool(recorded == read)


def normalized(key: str, value: Any) -> Any:
    """Return a value in the form in which it reads back from RDF: names first, no duplicates.

    Raises:
        TypeError, ValueError: PROV-JSON does not allow such a value.
    """
    values: list[Any] = []
    for item in values_of(value):
        normal = _normalized(item)
        if normal not in values:
            values.append(normal)
    if key == "prov:type":
        values.sort(key=lambda item: not _is_name(item))
    return values[0] if len(values) == 1 else values


def _is_name(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") == "xsd:QName"


def _normalized(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return plain(value)
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is not a string, number or typed value")
    text, datatype, language = value.get("$"), value.get("type"), value.get("lang")
    if not isinstance(text, str):
        text = _normalized(text)
        text = text if isinstance(text, str) else text["$"]
    if language is not None:
        # RDF compares language tags without regard to case, and parsers return lower case.
        return {"$": text, "lang": str(language).lower()}
    if datatype in _NAME_TYPES:
        return name(text)
    if datatype is None or datatype == "xsd:string":
        return text
    if not isinstance(datatype, str):
        raise TypeError(f"{datatype!r} is not a datatype")
    return {"$": text, "type": datatype}
