"""How a document spells in PROV-JSON what RDF has one way to say.

Documents of ours need none of this. One of another tool may say ``true`` and not
``{"$": "true", "type": "xsd:boolean"}``, a list of one value, or ``_:id1`` for a relation that has
no id: such spellings are noted in one literal of JSON beside the triples, so that the document
reads back as it was. Whatever a note says, the triples have the last word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from yprov_mlflow.prov.formats.faults import unwritable
from yprov_mlflow.prov.formats.json_records import values_of
from yprov_mlflow.prov.formats.rdf.terms import Syntax, quote
from yprov_mlflow.prov.model.document import Record
from yprov_mlflow.prov.model.identifiers import unnamed
from yprov_mlflow.prov.model.literals import boolean, double, integer, name
from yprov_mlflow.prov.translate import NAMESPACE

PROPERTY = NAMESPACE + "jsonForm"

LISTS: Mapping[str, str] = {"mlf:context": "", "dcterms:isPartOf": "run:run"}
"""Attributes that are lists in our documents, also of one value: of all records, or of this one."""

_NAME_TYPES = ("xsd:QName", "prov:QUALIFIED_NAME", "prov:QualifiedName")


class Spelling:
    """Gives objects for values of any form, and keeps what they do not tell of it."""

    def __init__(self, syntax: Syntax) -> None:
        self._syntax = syntax
        self._keys: dict[str, dict[str, str]] = {}
        self._values: dict[str, dict[str, Record]] = {}
        self._types: dict[frozenset[str], list[str]] = {}

    def objects(
        self, section: str, identifier: str, key: str, value: Any
    ) -> list[tuple[str, bool]]:
        """Give a value's texts, equal ones once, and whether they are qualified names."""
        try:
            normal = normalized(identifier, key, value)
        except (TypeError, ValueError) as error:
            reason = f"{key} has a value that is none: {error}"
            raise unwritable("RDF", reason, identifier) from None
        if normal != value:
            self._values.setdefault(section, {}).setdefault(identifier, {})[key] = value
        return [(self._object(one), _is_name(one)) for one in values_of(normal)]

    def _object(self, value: Any) -> str:
        if isinstance(value, str):
            return quote(value)
        if _is_name(value):
            return self._syntax.names[value["$"]]
        if "lang" in value:
            return self._syntax.language(value["$"], value["lang"])
        before, after = self._syntax.typed[value["type"]]
        return f"{before}{quote(value['$'])}{after}"

    def types(self, section: str, identifier: str, value: list[Any]) -> None:
        """Note the order of types, for syntaxes that do not keep it."""
        order = [one["$"] for one in value]
        if self._types.setdefault(frozenset(order), order) != order:
            self._values.setdefault(section, {}).setdefault(identifier, {})["prov:type"] = value

    def key(self, section: str, identifier: str, first: str, second: str) -> None:
        """Note the key of a relation that is one triple, if it is not the one we give."""
        ours = unnamed(section, first, second)
        if identifier != ours:
            self._keys.setdefault(section, {}).setdefault(ours, identifier)

    def node(self, section: str, identifier: str, ours: str) -> None:
        """Note the key of a relation without an id whose node is called ``ours``."""
        self._keys.setdefault(section, {}).setdefault(ours, identifier)

    def text(self) -> str | None:
        """Give all of it as JSON, or None if there is nothing."""
        types = sorted(self._types.values())
        told = {"keys": self._keys, "values": self._values, "types": types}
        told = {part: found for part, found in told.items() if found}
        try:
            return orjson.dumps(told, option=orjson.OPT_SORT_KEYS).decode() if told else None
        except TypeError as error:
            raise unwritable("RDF", error) from error


def respelt(records: Mapping[str, Mapping[str, Record]], told: str) -> dict[str, dict[str, Record]]:
    """Give records in the spelling that was noted, where it still says the same.

    Raises:
        ValueError: ``told`` is no such note.
    """
    note = orjson.loads(told)
    found = {section: dict(some) for section, some in records.items()}
    try:
        for section, keys in note.get("keys", {}).items():
            known = found.get(section, {})
            found[section] = {keys.get(key, key): record for key, record in known.items()}
        orders = {frozenset(order): order for order in note.get("types", ())}
        for some in found.values() if orders else ():
            for record in some.values():
                _reorder(record, orders)
        for section, some in note.get("values", {}).items():
            for identifier, values in some.items():
                record = found.get(section, {}).get(identifier, {})
                for key, value in values.items():
                    if key in record and _same(normalized(identifier, key, value), record[key]):
                        record[key] = value
    except (AttributeError, TypeError) as error:
        raise ValueError(f"{PROPERTY} is no note of spelling: {error}") from None
    return found


def _reorder(record: Record, orders: Mapping[frozenset[str], list[str]]) -> None:
    types = record.get("prov:type")
    if isinstance(types, list):
        known = {one["$"]: one for one in types if isinstance(one, dict) and "type" in one}
        order = orders.get(frozenset(known))
        if order is not None and len(known) == len(types):
            record["prov:type"] = [known[one] for one in order]


def _same(told: Any, known: Any) -> bool:
    """Tell whether values are equal, in whatever order."""
    if isinstance(told, list) and isinstance(known, list):
        return len(told) == len(known) and all(one in known for one in told)
    return bool(told == known)


def is_list(identifier: str, key: str) -> bool:
    """Tell whether an attribute is a list even if there is one value."""
    return key in LISTS and LISTS[key] in ("", identifier)


def normalized(identifier: str, key: str, value: Any) -> Any:
    """Give a value in the one form that RDF reads back as: names first, equal ones once.

    Raises:
        TypeError: It is no value that PROV-JSON allows.
        ValueError: Likewise.
    """
    found: list[Any] = []
    for one in values_of(value):
        normal = _normalized(one)
        if normal not in found:
            found.append(normal)
    if key == "prov:type":
        found.sort(key=lambda one: not _is_name(one))
    if is_list(identifier, key) or len(found) != 1:
        return found
    return found[0]


def _is_name(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") == "xsd:QName"


def _normalized(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return boolean(value)
    if isinstance(value, int):
        return integer(value)
    if isinstance(value, float):
        return double(value)
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is neither text nor number nor a typed value")
    text, datatype, language = value.get("$"), value.get("type"), value.get("lang")
    if not isinstance(text, str):
        text = _normalized(text)
        text = text if isinstance(text, str) else text["$"]
    if language is not None:
        return {"$": text, "lang": str(language).lower()}
    if datatype in _NAME_TYPES:
        return name(text)
    if datatype is None or datatype == "xsd:string":
        return text
    if not isinstance(datatype, str):
        raise TypeError(f"{datatype!r} is no type")
    return {"$": text, "type": datatype}
