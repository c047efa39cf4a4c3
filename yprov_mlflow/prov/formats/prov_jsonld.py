"""PROV-JSONLD, a submission to W3C: JSON-LD with one object for each statement of PROV-DM.

This is not PROV-O in JSON-LD, which is the format ``json-ld``. Several documents become bundles,
each with its own prefixes and on its own line, so that a file of any length is written and read
with one document in memory. The library ``prov`` has a writer as well, but it takes many times
as long, and its documents do not read back equal. Where PROV-JSON allows more than the schema, a
value is written as far as possible, and as JSON in the attribute ``jsonForm``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

import orjson

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats import bundles, parsed, prov_jsonld_parser
from yprov_mlflow.prov.formats.jsonld_names import FORM, ID_TERMS, TYPES, Scope
from yprov_mlflow.prov.formats.open_statement import is_value, shown
from yprov_mlflow.prov.formats.prov_json import single_valued, values_of
from yprov_mlflow.prov.formats.prov_jsonld_parser import BETWEEN, CONTEXT, END, NAME, START
from yprov_mlflow.prov.model.document import Document, Record
from yprov_mlflow.prov.model.identifiers import unnamed
from yprov_mlflow.prov.model.literals import plain
from yprov_mlflow.prov.model.relations import ELEMENTS, FORMAL, KINDS, OWN_ATTRIBUTES
from yprov_mlflow.prov.model.vocabulary import NAMESPACE

# Keys and prefixes that the schema of PROV-JSONLD accepts.
_KEY = re.compile("[A-Za-z0-9_]+:")
_OWN_PREFIX = "yprov"


def dump(documents: Iterable[Document], stream: BinaryIO, *, single: bool = False) -> None:
    """Write one document flat, or any number of documents as bundles."""
    if single:
        writer = _Writer(bundles.single_document(documents, NAME))
        stream.write(_encoded({"@context": [*writer.context, CONTEXT], "@graph": writer.graph}))
        stream.write(b"\n")
        return
    names = bundles.NameAllocator()
    stream.write(START)
    separator = b""
    for document in documents:
        writer = _Writer(document, names.allocate(document))
        bundle = {"@type": "Bundle", "@id": writer.id, "@context": writer.context}
        stream.write(separator + _encoded({**bundle, "@graph": writer.graph}))
        separator = BETWEEN
    stream.write((b"\n" if separator else b"") + END)


def load(stream: BinaryIO) -> Iterator[Document]:
    """Yield each bundle, then the records outside bundles as one document."""
    yield from parsed.documents(prov_jsonld_parser.parse(stream))


def _encoded(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise DocumentError.unwritable(NAME, error) from error


class _Writer:
    """The statements of a document.

    Args:
        document: The document.
        name: The name of its bundle.

    Attributes:
        id: The id of its bundle.
        graph: The statements, in the same order for equal documents.
        context: Its prefixes, those that are not the document's first.
    """

    def __init__(self, document: Document, name: bundles.DocumentName | None = None) -> None:
        self._scope = Scope(document.prefixes)
        self._keys: dict[str, str | None] = {}
        self._own: dict[str, str] = {}
        self._form_key = ""
        self.id = ""
        if name is not None:
            prefix = self._declare(name.prefix, name.namespace, "-2")
            self.id = f"{prefix}:{name.local}"
        unknown = document.records.keys() - TYPES.keys()
        if unknown:
            reason = f"PROV-JSONLD has no type of statement for {min(unknown)!r}"
            raise DocumentError.unwritable(NAME, reason)
        self.graph = [
            self._statement(section, key, part)
            for section in TYPES
            for key, record in sorted(document.records.get(section, {}).items())
            for part in single_valued(section, record, NAME)
        ]
        self.context = _context(self._own, document.prefixes)

    def _declare(self, prefix: str, namespace: str, suffix: str) -> str:
        """Declare a prefix that the document may use for another namespace."""
        prefixes = self._scope.prefixes
        while prefixes.get(prefix, namespace) != namespace:
            prefix += suffix
        self._own[prefix] = namespace
        return prefix

    def _prefix_of_vocabulary(self) -> str:
        prefixes = self._scope.prefixes
        known = (p for p, ns in prefixes.items() if ns == NAMESPACE and _KEY.match(f"{p}:"))
        return min(known, default="") or self._declare(_OWN_PREFIX, NAMESPACE, "_2")

    def _statement(self, section: str, key: str, record: Record) -> dict[str, Any]:
        kind, formals = KINDS[section], FORMAL[section]
        statement: dict[str, Any] = {"@type": TYPES[section]}
        form: dict[str, Any] = {}
        for name, value in record.items():
            if name in formals:
                statement[name.removeprefix("prov:")] = value
            else:
                self._attribute(section, name, value, statement, form)
        if kind.named and (section in ELEMENTS or not key.startswith("_:")):
            statement["@id"] = key
        elif kind.named or key != unnamed(section, *(record.get(f, "") for f in kind.formals[:2])):
            form["@id"] = key
        if form:
            if not self._form_key:
                self._form_key = f"{self._prefix_of_vocabulary()}:{FORM}"
            statement[self._form_key] = [{"@value": _encoded(form).decode()}]
        return statement

    def _attribute(
        self, section: str, name: str, value: Any, statement: dict[str, Any], form: dict[str, Any]
    ) -> None:
        """Add an attribute to its statement, and to ``form`` if it would not read back equal."""
        values = values_of(value)
        key = self._key(section, name, values)
        exact = key is not None
        if type(value) is list:
            exact = exact and 1 < len(value) == len(set(map(repr, value)))
        if key is not None:
            written = statement[key] = []
            for item in values:
                literal, same = _literal(key, item)
                written.append(literal)
                exact = exact and same
        if not exact:
            if not all(map(is_value, values)):
                raise DocumentError.unwritable(NAME, f"{name} has a value that is not PROV")
            form[name] = value

    def _key(self, section: str, name: str, values: list[Any]) -> str | None:
        """Return the key of an attribute; None if PROV-JSONLD cannot express it."""
        kinds = OWN_ATTRIBUTES.get(name)
        if kinds is not None:
            # A label has no type in the schema.
            typed = name == "prov:label" and any(
                not isinstance(v, str) and not (isinstance(v, dict) and "lang" in v) for v in values
            )
            return name.removeprefix("prov:") if section in kinds and not typed else name
        if name not in self._keys:
            self._keys[name] = self._expanded(name)
        return self._keys[name]

    def _expanded(self, name: str) -> str | None:
        if _KEY.match(name):
            # Of its own attributes, PROV's namespace has those above only.
            return None if self._scope.expand(name) == NAMESPACE + FORM else name
        iri = self._scope.expand(name)
        readable = iri is not None and _KEY.match(iri) and self._scope.name(iri) == name
        return iri if readable else None


def _context(own: Mapping[str, str], prefixes: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the items of a context; those that are not the document's are in the first of two."""
    context = {prefix: namespace for prefix, namespace in prefixes.items() if prefix != "default"}
    if any(prefix.startswith("@") for prefix in context):
        raise DocumentError.unwritable(NAME, 'a prefix starts with "@"')
    if "default" in prefixes:
        # For names of attributes and types, and for ids.
        context |= dict.fromkeys(("@vocab", "@base"), prefixes["default"])
    if own:
        return [dict(own), context]
    return [context] if context else []


def _literal(key: str, value: Any) -> tuple[Any, bool]:
    """Return a value in JSON-LD, and whether it reads back equal."""
    if isinstance(value, str):
        return {"@value": value}, True
    literal = value if isinstance(value, dict) else plain(value)
    if not isinstance(literal, dict) or not isinstance(literal.get("$"), str):
        return {"@value": shown(value)}, False
    text, datatype, language = literal["$"], literal.get("type"), literal.get("lang")
    same = literal is value and len(literal) == 2
    if isinstance(language, str):
        return {"@value": text, "@language": language}, same
    if not isinstance(datatype, str):
        return {"@value": text}, False
    if key in ID_TERMS and datatype in ("xsd:QName", "prov:QUALIFIED_NAME"):
        return text, same and datatype == "xsd:QName"
    return {"@value": text, "@type": datatype}, same
