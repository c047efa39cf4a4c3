"""Turn RDF graphs into documents: each named graph is one, and so is the default graph.

Graphs that ``graph_writer`` wrote read back unchanged. In RDF of other tools, a plain property
without a matching qualified one becomes a relation without an id. Terms that PROV-O has and
PROV-JSON lacks (inverse properties, times without an activity) become the equivalent records.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats.bundles import with_name
from yprov_mlflow.prov.formats.prov_json import values_of
from yprov_mlflow.prov.formats.rdf import prov_o
from yprov_mlflow.prov.formats.rdf.json_form import PROPERTY, restored
from yprov_mlflow.prov.formats.rdf.terms import QualifiedNames
from yprov_mlflow.prov.model.document import Document, Record
from yprov_mlflow.prov.model.identifiers import unnamed
from yprov_mlflow.prov.model.literals import name
from yprov_mlflow.prov.model.relations import ELEMENTS, KINDS, PROV, SUBTYPES

_STRING = prov_o.XSD + "string"
_GENID = re.compile(r"/genid/([A-Za-z]+/[0-9a-f]{32})\Z")

# The tables of prov_o, from the term to its meaning.
_SECTIONS = {iri: section for section, iri in prov_o.CLASSES.items()}
_IMPLIED_SECTIONS = {PROV + name: section for name, section in SUBTYPES.items()}
_KEYS = {iri: key for key, iri in prov_o.PROPERTIES.items()}
_LINKS = {relation.link: (section, None) for section, relation in prov_o.QUALIFIED.items()} | {
    link: ("wasDerivedFrom", kind) for kind, (_, link) in prov_o.DERIVATIONS.items()
}
_PLAIN = {relation.plain: (section, None) for section, relation in prov_o.QUALIFIED.items()} | {
    plain: ("wasDerivedFrom", kind) for kind, (plain, _) in prov_o.DERIVATIONS.items()
}
_UNNAMED = {property: section for section, (_, _, property) in prov_o.PLAIN.items()}
_INVERSE = {
    PROV + "generated": "wasGeneratedBy",
    PROV + "invalidated": "wasInvalidatedBy",
    PROV + "influenced": "wasInfluencedBy",
}
_TIMES_OF_ENTITIES = {
    PROV + "generatedAtTime": "wasGeneratedBy",
    PROV + "invalidatedAtTime": "wasInvalidatedBy",
}

Plain = tuple[str, str, str, list[str]]
"""A relation in one triple: its section, both ends, and types that the property implies."""


def load(stream: BinaryIO, syntax: str, format_name: str) -> Iterator[Document]:
    """Yield the documents of a file, one graph after another; only one is in memory.

    Args:
        stream: The file.
        syntax: Name of the syntax in ``pyoxigraph.RdfFormat``.
        format_name: Its name in error messages.

    Raises:
        DocumentError: The content does not have this syntax, is not PROV, or the triples of a
            graph are not contiguous.
    """
    # pyoxigraph takes longer to import than capture may delay a training script.
    import pyoxigraph

    seen: set[object] = set()
    current: object = None
    graph = Graph()
    parser = pyoxigraph.parse(stream, getattr(pyoxigraph.RdfFormat, syntax))
    try:
        for quad in parser:
            if quad.graph_name != current:
                if current is not None:
                    yield _document(graph, current, parser.prefixes)
                graph, current = Graph(), quad.graph_name
                # Merging parts of a graph would need all graphs in memory.
                if current in seen:
                    reason = "the triples of a graph are not contiguous; sort the file by graph"
                    raise DocumentError.unreadable(format_name, reason, str(current))
                seen.add(current)
            graph.add(quad.subject, quad.predicate.value, quad.object)
    except (SyntaxError, UnicodeDecodeError) as error:
        raise DocumentError.unreadable(format_name, error) from error
    except MemoryError as error:  # pyoxigraph's limit for one term
        raise DocumentError.too_long(format_name, error) from error
    if current is not None:
        yield _document(graph, current, parser.prefixes)


def _document(graph: Graph, graph_name: object, prefixes: dict[str, str]) -> Document:
    document = graph.document(prefixes)
    # The default graph lacks an IRI, and a blank node names nothing outside the file.
    iri = getattr(graph_name, "value", "")
    return with_name(document, iri if ":" in iri else "", prefixes)


class Graph:
    """Collects the triples of one graph and converts them to a document."""

    def __init__(self) -> None:
        # What becomes a record is removed here: triples that remain describe elements.
        self._triples: dict[str, dict[str, list[Any]]] = {}
        self._records: dict[str, dict[str, Record]] = {}
        self._names = QualifiedNames({})

    def add(self, subject: Any, property: str, object: Any) -> None:
        """Add a triple of pyoxigraph terms; the property is an IRI."""
        self._triples.setdefault(_key(subject), {}).setdefault(property, []).append(object)

    def document(self, prefixes: Mapping[str, str]) -> Document:
        """Return the document and discard the triples.

        Args:
            prefixes: The prefixes of the file, for graphs that do not contain their own.
        """
        declared, form = self._take_metadata()
        standard = prov_o.STANDARD.items()
        of_file = {p: ns for p, ns in prefixes.items() if (p, ns) not in standard}
        of_file["default"] = of_file.pop("", "")
        self._names = QualifiedNames(declared or {p: ns for p, ns in of_file.items() if ns})
        for relation in self._relations():
            self._add_plain(*relation)
        self._elements()
        try:
            records = self._records if form is None else restored(self._records, form)
        except ValueError as error:
            raise DocumentError.unreadable("RDF", error) from error
        return Document(self._names.prefixes, records)

    def _take_metadata(self) -> tuple[dict[str, str], str | None]:
        """Remove and return the document's prefixes and its JSON form."""
        prefixes: dict[str, str] = {}
        form = None
        for about, properties in list(self._triples.items()):
            for literal in properties.pop(prov_o.PREFIX, ()):
                prefixes[literal.value] = about
            for literal in properties.pop(PROPERTY, ()):
                form = literal.value
            if not properties:
                del self._triples[about]
        return prefixes, form

    # -- relations ---------------------------------------------------------------------

    def _relations(self) -> list[Plain]:
        """Add the qualified relations; return the plain ones without a qualified counterpart."""
        links: dict[tuple[str, str, str], list[str]] = {}
        plain: dict[tuple[str, str, str], list[str]] = {}
        times: list[tuple[str, str, str]] = []
        for about, properties in self._triples.items():
            for property in list(properties):
                if property in _LINKS:
                    section, kind = _LINKS[property]
                    for node in properties.pop(property):
                        links.setdefault((section, about, _key(node)), []).extend(_optional(kind))
                elif property in _PLAIN:
                    section, kind = _PLAIN[property]
                    for end in properties.pop(property):
                        plain.setdefault((section, about, _key(end)), []).extend(_optional(kind))
                elif property in _INVERSE:
                    for end in properties.pop(property):
                        plain.setdefault((_INVERSE[property], _key(end), about), [])
                elif property in _TIMES_OF_ENTITIES:
                    section = _TIMES_OF_ENTITIES[property]
                    times += [(section, about, time.value) for time in properties.pop(property)]
                elif property in _UNNAMED:
                    self._add_unnamed(_UNNAMED[property], about, properties)
        # Both dicts merge the general and the specific property of one derivation, which share
        # their ends: a revision is also a derivation, but one record.
        for (section, about, node), kinds in links.items():
            end = self._add_qualified(section, about, node, kinds)
            if end is not None:
                plain.pop((section, about, end), None)
        remaining = [(*ends, kinds) for ends, kinds in plain.items()]
        for section, about, time in times:
            self._add_time(section, about, time, remaining)
        return remaining

    def _add_unnamed(self, section: str, about: str, properties: dict[str, list[Any]]) -> None:
        first, second, property = prov_o.PLAIN[section]
        bundles = properties.pop(prov_o.IN_BUNDLE, []) if section == "mentionOf" else []
        for end in properties.pop(property):
            record = {first: self._id(about), second: self._id(_key(end))}
            key = unnamed(section, *record.values())
            if bundles:
                record["prov:bundle"] = self._id(_key(bundles[0]))
            self._records.setdefault(section, {})[key] = record

    def _add_qualified(self, section: str, about: str, node: str, kinds: list[str]) -> str | None:
        """Add the relation that a node describes; return its other end."""
        relation = prov_o.QUALIFIED[section]
        record: Record = {relation.subject: self._id(about)}
        ends = {property: key for key, property in relation.others.items()}
        if section == "wasInfluencedBy":
            # PROV-O lets the influencer's property name its kind.
            ends.update((PROV + kind, relation.object) for kind in ELEMENTS)
        other = None
        for property, objects in self._triples.pop(node, {}).items():
            key = ends.get(property)
            if key is not None:
                record[key] = _scalar([self._id(_key(term)) for term in objects])
                if key == relation.object:
                    other = _key(objects[0])
            elif property == prov_o.AT_TIME and KINDS[section].times:
                record["prov:time"] = _scalar([term.value for term in objects])
            elif property == prov_o.TYPE:
                types = [term for term in objects if _key(term) != relation.node]
                self._put(record, "prov:type", types)
            else:
                self._put(record, _KEYS.get(property) or self._names[property], objects)
        for kind in kinds:
            types = values_of(record.get("prov:type", []))
            if name(kind) not in types:
                record["prov:type"] = _scalar([*types, name(kind)])
        records = self._records.setdefault(section, {})
        records[self._record_key(section, node, record, records)] = record
        return other

    def _record_key(
        self, section: str, node: str, record: Record, records: Mapping[str, Record]
    ) -> str:
        genid = _GENID.search(node)
        if genid is not None:
            return f"_:{genid.group(1)}"
        if not node.startswith("_:"):
            return self._names[node]
        # Labels of blank nodes change with each parse; our keys follow from the ends.
        relation = prov_o.QUALIFIED[section]
        first, second = record[relation.subject], str(record.get(relation.object, ""))
        key = start = unnamed(section, first, second)
        number = 1
        while key in records:
            number += 1
            key = f"{start}/{number}"
        return key

    def _add_plain(self, section: str, first: str, second: str, kinds: list[str]) -> None:
        """Add a relation that is one triple only, and therefore lacks an id."""
        relation = prov_o.QUALIFIED[section]
        ends = self._id(first), self._id(second)
        record: Record = {relation.subject: ends[0], relation.object: ends[1]}
        if kinds:
            record["prov:type"] = _scalar([name(kind) for kind in kinds])
        self._records.setdefault(section, {}).setdefault(unnamed(section, *ends), record)

    def _add_time(self, section: str, about: str, time: str, plain: list[Plain]) -> None:
        """Add the time of an entity to its generation or invalidation, as PROV-JSON has it."""
        subject = self._id(about)
        records = self._records.setdefault(section, {})
        for relation in plain:
            if relation[:2] == (section, about):
                plain.remove(relation)
                self._add_plain(*relation)
                break
        same = [r for r in records.values() if r["prov:entity"] == subject]
        if any(record.get("prov:time") == time for record in same):
            return
        for record in same:
            if "prov:time" not in record:
                record["prov:time"] = time
                return
        records[unnamed(section, subject, time)] = {"prov:entity": subject, "prov:time": time}

    # -- elements ----------------------------------------------------------------------

    def _elements(self) -> None:
        """Add a record for each subject of the remaining triples."""
        guesses: dict[str, str] | None = None
        for about, properties in self._triples.items():
            types = properties.pop(prov_o.TYPE, [])
            sections = [_SECTIONS[_key(term)] for term in types if _key(term) in _SECTIONS]
            types = [term for term in types if _key(term) not in _SECTIONS]
            if not sections:
                implied = {_IMPLIED_SECTIONS.get(_key(term), "") for term in types} - {""}
                sections = sorted(implied)[:1]
            if not sections:
                if not properties and not types:  # only named as the end of a relation
                    continue
                guesses = dict(self._guesses()) if guesses is None else guesses
                sections = _optional(guesses.get(self._id(about)))
            if not sections:
                reason = (
                    "resource has non-PROV properties and no type: "
                    "cannot tell entity, activity or agent apart"
                )
                raise DocumentError.unreadable("PROV-O", reason, about)
            identifier = self._id(about)
            for section in sections:
                records = self._records.setdefault(section, {})
                records[identifier] = self._element(section, types, properties)

    def _element(
        self, section: str, types: list[Any], properties: Mapping[str, list[Any]]
    ) -> Record:
        record: Record = {}
        self._put(record, "prov:type", types)
        for property, objects in properties.items():
            key = _KEYS.get(property) or self._names[property]
            if key in KINDS[section].times:
                record[key] = _scalar([term.value for term in objects])
            else:
                self._put(record, key, objects)
        return record

    def _guesses(self) -> Iterator[tuple[str, str]]:
        """Yield ids with the kind of element that their place in a relation requires."""
        for section, records in self._records.items():
            if section in ELEMENTS:
                continue
            for record in records.values():
                for key, role in zip(KINDS[section].formals, KINDS[section].roles, strict=True):
                    if role and isinstance(record.get(key), str):
                        yield record[key], role

    # -- terms -------------------------------------------------------------------------

    def _put(self, record: Record, key: str, objects: list[Any]) -> None:
        values = [*values_of(record[key])] if key in record else []
        for term in objects:
            value = self._value(term)
            if value not in values:
                values.append(value)
        if values:
            record[key] = _scalar(values)

    def _value(self, term: Any) -> Any:
        datatype = getattr(term, "datatype", None)
        if datatype is None:
            return name(self._id(_key(term)))
        if term.language is not None:
            return {"$": term.value, "lang": term.language}
        if datatype.value == _STRING:
            return term.value
        return {"$": term.value, "type": self._names[datatype.value]}

    def _id(self, key: str) -> str:
        if key.startswith("_:"):
            reason = "a record refers to a blank node; give it an IRI"
            raise DocumentError.unreadable("PROV-O", reason, key)
        return self._names[key]


def _key(term: Any) -> str:
    """Return an IRI, or the label of a blank node with its mark; a literal is an error."""
    # By name of the type, as pyoxigraph is imported only where files are read.
    kind = type(term).__name__
    if kind == "NamedNode":
        return str(term.value)
    if kind == "BlankNode":
        return f"_:{term.value}"
    reason = "a term that is not an IRI stands where an IRI is required"
    raise DocumentError.unreadable("PROV-O", reason, str(term)[:80])


def _optional(value: str | None) -> list[str]:
    return [] if value is None else [value]


def _scalar(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values
