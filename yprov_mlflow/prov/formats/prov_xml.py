"""PROV-XML that is valid against W3C's schema; one document is in memory.

PROV-JSON allows more than the schema: characters that XML forbids, datatypes other than those of
XML Schema, a label that is a number, a list of one value. Each such attribute is written as far as
possible, and in addition as JSON in the attribute ``yprov:jsonForm`` of its record, so that the
document reads back unchanged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, BinaryIO

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.events import INT64_MAX, INT64_MIN
from yprov_mlflow.prov.formats import bundles, parsed, prov_xml_parser
from yprov_mlflow.prov.formats.bundles import DocumentName
from yprov_mlflow.prov.formats.open_statement import is_value, shown
from yprov_mlflow.prov.formats.prov_json import single_valued, values_of
from yprov_mlflow.prov.formats.xml_names import (
    ILLEGAL,
    OWN_PREFIX,
    STANDARD,
    XmlNames,
    declaration,
)
from yprov_mlflow.prov.model.document import Document, Record
from yprov_mlflow.prov.model.identifiers import unnamed
from yprov_mlflow.prov.model.literals import plain
from yprov_mlflow.prov.model.relations import ELEMENTS, FORMAL, KINDS, OWN_ATTRIBUTES, PROV

NAME = "PROV-XML"
_START = '<?xml version="1.0" encoding="UTF-8"?>\n<prov:document' + "".join(
    declaration(prefix, namespace) for prefix, namespace in STANDARD.items()
)
_CHUNK = 1 << 20
# Records that are written at once.
_BATCH = 256

_ORDER = ("prov:label", "prov:location", "prov:role", "prov:type", "prov:value")
"""The schema's order of PROV's own attributes."""
_SIMPLE = frozenset(_ORDER[1:])
"""Of these, the ones that may have a datatype; a label may have a language instead."""

_INTEGERS: Mapping[str, tuple[float, float]] = {
    "xsd:int": (-(2**31), 2**31 - 1),
    "xsd:long": (INT64_MIN, INT64_MAX),
    "xsd:integer": (float("-inf"), float("inf")),
}
_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_TEXTS: Mapping[str, re.Pattern[str]] = {
    **dict.fromkeys(_INTEGERS, re.compile(r"[+-]?[0-9]{1,100}")),
    "xsd:decimal": re.compile(_NUMBER),
    **dict.fromkeys(
        ("xsd:double", "xsd:float"), re.compile(rf"{_NUMBER}(?:[eE][+-]?[0-9]+)?|-?INF|NaN")
    ),
    "xsd:boolean": re.compile("true|false|0|1"),
    "xsd:dateTime": re.compile(
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?"
        r"(?:Z|[+-](?:0[0-9]|1[0-3]):[0-5][0-9])?"
    ),
    "xsd:anyURI": re.compile(
        r"[A-Za-z][A-Za-z0-9+.-]*:(?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?=[/?#]|\Z)|(?!//))"
        r"(?:[A-Za-z0-9_.~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*"
        r"(?:#(?:[A-Za-z0-9_.~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?"
    ),
}
"""The texts of each datatype that the schema certainly accepts."""
_LANGUAGE = re.compile("[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*")
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})
_TO_ESCAPE = re.compile("[&<>\r]|" + ILLEGAL.pattern)


def dump(documents: Iterable[Document], stream: BinaryIO, *, single: bool = False) -> None:
    """Write one document flat, or any number of documents as bundles."""
    if single:
        document = bundles.single_document(documents, NAME)
        writer = _Writer(document)
        stream.write(f"{_START}{writer.names.declarations}>\n".encode())
        writer.write(document, stream)
    else:
        stream.write(f"{_START}>\n".encode())
        names = bundles.NameAllocator()
        for document in documents:
            writer = _Writer(document, names.allocate(document))
            stream.write(f"<prov:bundleContent{writer.names.declarations}{writer.id}>\n".encode())
            writer.write(document, stream)
            stream.write(b"</prov:bundleContent>\n")
    stream.write(b"</prov:document>\n")


def load(stream: BinaryIO) -> Iterator[Document]:
    """Yield each bundle, then the records outside bundles as one document."""
    try:
        yield from parsed.documents(prov_xml_parser.parse(iter(lambda: stream.read(_CHUNK), b"")))
    except prov_xml_parser.ProvXmlSyntaxError as error:
        raise DocumentError.unreadable(NAME, error) from error


def is_time(text: str) -> bool:
    """Return whether text is an ``xsd:dateTime`` between the years 1 and 9999."""
    if not _TEXTS["xsd:dateTime"].fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


class _Writer:
    """Writes the records of a document; ``id`` is the id of its bundle as an XML attribute."""

    def __init__(self, document: Document, name: DocumentName | None = None) -> None:
        prefixes = dict(document.prefixes)
        prefix = name.prefix if name else ""
        while name and prefixes.setdefault(prefix, name.namespace) != name.namespace:
            prefix += "-2"
        self.names = XmlNames(prefixes)
        self.id = f' prov:id="{self.names.whole(prefix, name.local)}"' if name else ""
        self._tags: dict[str, tuple[str, str] | None] = {}

    def write(self, document: Document, stream: BinaryIO) -> None:
        """Write all records; equal documents always give equal bytes."""
        unknown = document.records.keys() - KINDS.keys()
        if unknown:
            reason = f"it has records of the unknown kind {min(unknown)!r}"
            raise DocumentError.unwritable(NAME, reason)
        texts: list[str] = []
        for section in KINDS:
            for key, record in sorted(document.records.get(section, {}).items()):
                parts = single_valued(section, record, NAME)
                texts += (self._record(section, key, part) for part in parts)
                if len(texts) >= _BATCH:
                    stream.write("".join(texts).encode())
                    texts.clear()
        stream.write("".join(texts).encode())

    def _record(self, section: str, key: str, record: Record) -> str:
        kind = KINDS[section]
        form: dict[str, Any] = {}
        children: list[str] = []
        for formal in kind.formals:
            if (value := record.get(formal)) is not None:
                declared, name = self.names[value]
                children.append(f'    <{formal}{declared} prov:ref="{name}"/>\n')
        for time in kind.times:
            if (value := record.get(time)) is not None:
                if is_time(value):
                    children.append(f"    <{time}>{value}</{time}>\n")
                else:
                    form[time] = value
        formals = FORMAL[section]
        others = [name for name in record if name not in formals]
        for name in sorted(others, key=_order) if len(others) > 1 else others:
            self._attribute(section, name, record[name], children, form)
        tag = f"prov:{section}"
        start = f"  <{tag}"
        if kind.named and (section in ELEMENTS or not key.startswith("_:")):
            declared, name = self.names[key]
            start += f'{declared} prov:id="{name}"'
        elif kind.named or key != unnamed(section, *(record.get(f, "") for f in kind.formals[:2])):
            form["@id"] = key
        if form and not kind.named and children:
            # Of these, only the references may have other attributes in the schema.
            children[0] = f"{children[0][:-3]}{_form(form)}/>\n"
        elif form:
            start += _form(form)
        return f"{start}>\n{''.join(children)}  </{tag}>\n" if children else f"{start}/>\n"

    def _attribute(
        self, section: str, key: str, value: Any, children: list[str], form: dict[str, Any]
    ) -> None:
        """Add the elements of an attribute, and its JSON if they do not say the same."""
        values = values_of(value)
        tag = self._tag(section, key)
        exact = tag is not None
        if type(value) is list:
            exact = exact and 1 < len(value) == len(set(map(repr, value)))
        if tag is not None:
            declared, name = tag
            if key == "prov:value" and len(values) > 1:
                values, exact = values[:1], False
            for item in values:
                more, text, same = self._literal(key, item)
                exact = exact and same
                more = more.removeprefix(declared)
                children.append(f"    <{name}{declared}{more}>{text}</{name}>\n")
        if not exact:
            if not all(map(is_value, values_of(value))):
                raise DocumentError.unwritable(NAME, f"{key} has a value that is not PROV")
            form[key] = value

    def _tag(self, section: str, key: str) -> tuple[str, str] | None:
        """Return a declaration and the tag of an attribute; None if the schema forbids it."""
        kinds = OWN_ATTRIBUTES.get(key)
        if kinds is not None:
            return ("", key) if section in kinds else None
        if key not in self._tags:
            prefix, colon, _ = key.partition(":")
            namespace = self.names.namespaces.get(prefix if colon else "default", PROV)
            # The namespace of PROV is closed, and without a namespace nothing is allowed.
            self._tags[key] = None if namespace == PROV else self.names[key]
        return self._tags[key] if KINDS[section].named else None

    def _literal(self, key: str, value: Any) -> tuple[str, str, bool]:
        """Return attributes and text of an element, and whether they are all of the value."""
        if isinstance(value, str):
            typed = ' xsi:type="xsd:string"' if key in _SIMPLE else ""
            return typed, *_text(value)
        literal = value if isinstance(value, dict) else plain(value)
        if not isinstance(literal, dict) or not isinstance(literal.get("$"), str):
            return "", *_text(shown(value))[:1], False
        lexical, datatype, language = literal["$"], literal.get("type"), literal.get("lang")
        whole = literal is value and len(literal) == 2
        if language is not None:
            text, same = _text(lexical)
            if not _LANGUAGE.fullmatch(str(language)) or key in _SIMPLE:
                return "", text, False
            return f' xml:lang="{language}"', text, same and whole
        if datatype in ("xsd:QName", "prov:QUALIFIED_NAME") and key != "prov:label":
            declared, name = self.names[lexical]
            return f'{declared} xsi:type="xsd:QName"', name, whole and datatype == "xsd:QName"
        if key == "prov:label" or not _is_typed(lexical, datatype):
            return "", _text(lexical)[0], False
        return f' xsi:type="{datatype}"', *_text(lexical)[:1], whole


def _order(key: str) -> tuple[int, str]:
    return (_ORDER.index(key) if key in _ORDER else len(_ORDER), key)


def _is_typed(text: str, datatype: object) -> bool:
    pattern = _TEXTS.get(str(datatype))
    if pattern is None or not pattern.fullmatch(text):
        return False
    least, most = _INTEGERS.get(str(datatype), (None, None))
    if least is not None and most is not None:
        return least <= int(text) <= most
    return datatype != "xsd:dateTime" or is_time(text)


def _text(text: str) -> tuple[str, bool]:
    """Return text for an element, and whether XML can contain all of its characters."""
    if not _TO_ESCAPE.search(text):
        return text, True
    legal = ILLEGAL.sub("\ufffd", text)
    return legal.translate(_ENTITIES), legal == text


def _form(form: Mapping[str, Any]) -> str:
    """Return attributes as JSON in ASCII, where characters that XML forbids are escaped."""
    try:
        text = json.dumps(form, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise DocumentError.unwritable(NAME, error) from error
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), ("'", "&apos;")):
        text = text.replace(character, entity)
    return f" {OWN_PREFIX}:jsonForm='{text}'"
