"""A document as statements: each subject once, with its properties and objects as text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats.bundles import Name
from yprov_mlflow.prov.formats.faults import unwritable
from yprov_mlflow.prov.formats.json_records import ENDS, TIMES, values_of
from yprov_mlflow.prov.formats.rdf import prov_o
from yprov_mlflow.prov.formats.rdf.json_form import LISTS, PROPERTY, Spelling
from yprov_mlflow.prov.formats.rdf.terms import Syntax, quote
from yprov_mlflow.prov.model.document import ELEMENTS, Record
from yprov_mlflow.prov.translate import Document

Statement = tuple[str, list[str]]
"""A subject, and each of its properties with an object, a space between them."""

_VALUE, _TYPES, _LISTED, _NAME, _TIME = range(5)
_FIRST = ("prov:type", "prov:label", "prov:value")


class _Attribute(NamedTuple):
    key: str
    property: str
    kind: int


class Statements:
    """Gives the statements of a document; the same document gives the same ones, in order.

    First come the prefixes, then elements by kind and id, each with its relations and followed
    by their nodes, at last what the triples do not tell of the document's spelling.
    """

    def __init__(self, document: Document, syntax: Syntax, name: Name) -> None:
        self._records = document.records
        self._declared = document.prefixes
        self._syntax = syntax
        self._name = name
        self._spelling = Spelling(syntax)
        self._links: dict[str, list[str]] = {}
        self._nodes: dict[str, list[Statement]] = {}
        self._shapes: dict[tuple[str, ...], list[_Attribute]] = {}
        self._types: dict[int, list[str]] = {}
        self._time = syntax.typed[prov_o.DATE_TIME]
        self._type = syntax.property(prov_o.TYPE)
        self._literal_type = syntax.property(prov_o.PROV + "type")

    def __iter__(self) -> Iterator[Statement]:
        unknown = self._records.keys() - {*ELEMENTS, *prov_o.QUALIFIED, *prov_o.PLAIN}
        if unknown:
            raise unwritable("RDF", f"PROV-O has nothing for {', '.join(sorted(unknown))}")
        yield from self._prefixes()
        for section in sorted(self._records.keys() & prov_o.QUALIFIED.keys()):
            self._relate(section, prov_o.QUALIFIED[section])
        for section in sorted(self._records.keys() & prov_o.PLAIN.keys()):
            self._join(section)
        subject_of, links, nodes = self._syntax.subject, self._links, self._nodes
        for section in ELEMENTS:
            for term, pairs in self._elements(section):
                found = links.pop(term, None)
                if found is not None:
                    pairs += found if len(found) < 3 else dict.fromkeys(found)
                yield subject_of(term), pairs
                if term in nodes:
                    yield from nodes.pop(term)
        for term in sorted(links):
            yield subject_of(term), list(dict.fromkeys(links[term]))
            yield from nodes.pop(term, ())
        told = self._spelling.text()
        if told is not None:
            about = subject_of(self._syntax.iri(self._name.iri))
            yield about, [self._syntax.property(PROPERTY) + quote(told)]

    def _prefixes(self) -> Iterator[Statement]:
        property = self._syntax.property(prov_o.PREFIX)
        told: dict[str, list[str]] = {}
        for prefix, namespace in sorted(self._declared.items()):
            subject = self._syntax.subject(self._syntax.iri(namespace))
            told.setdefault(subject, []).append(property + quote(prefix))
        yield from told.items()

    def _elements(self, section: str) -> Iterator[Statement]:
        names = self._syntax.names
        kind = self._type + self._syntax.iri(prov_o.PROV + prov_o.CLASSES[section])
        records = self._records.get(section, {})
        for identifier in sorted(records):
            pairs = [kind]
            self._add(pairs, section, identifier, records[identifier])
            yield names[identifier], pairs

    # -- attributes --------------------------------------------------------------------

    def _add(self, pairs: list[str], section: str, identifier: str, record: Record) -> None:
        """Add what a record says of itself; nearly all values are of one of three forms."""
        attributes = self._shapes.get((section, *record))
        if attributes is None:
            attributes = self._shapes[section, *record] = self._shape(section, record)
        names, typed, add = self._syntax.names, self._syntax.typed, pairs.append
        for key, property, kind in attributes:
            value = record[key]
            form = type(value)
            if kind == _VALUE:
                if form is str:
                    add(property + quote(value))
                    continue
                if form is dict and len(value) == 2:
                    text, datatype = value.get("$"), value.get("type")
                    if type(text) is str:
                        around = typed.get(datatype)
                        if around is not None:
                            add(f"{property}{around[0]}{quote(text)}{around[1]}")
                            continue
                        if datatype == "xsd:QName":
                            add(property + names[text])
                            continue
                self._add_odd(pairs, property, section, identifier, key, value)
            elif kind == _TYPES:
                types = self._types.get(id(value)) or self._plain_types(property, value)
                pairs += types
                if not types:
                    self._add_odd(pairs, property, section, identifier, key, value)
                elif len(types) > 1 and not self._syntax.ordered:
                    self._spelling.types(section, identifier, value)
            elif kind == _NAME:
                pairs += [property + names[one] for one in values_of(value)]
            elif kind == _TIME:
                before, after = self._time
                pairs += [f"{property}{before}{quote(one)}{after}" for one in values_of(value)]
            else:
                self._add_odd(pairs, property, section, identifier, key, value)

    def _plain_types(self, property: str, value: Any) -> list[str]:
        """Give types, or none if they are not different qualified names, or are a list of one."""
        several = value if type(value) is list else [value]
        for one in several:
            if type(one) is not dict or len(one) != 2 or one.get("type") != "xsd:QName":
                return []
        found = list({property + self._syntax.names[one["$"]]: None for one in several})
        if len(found) != len(several) or (several is value and len(found) == 1):
            return []
        # The value lives as long as the document, so nothing else can have its identity.
        self._types[id(value)] = found
        return found

    def _add_odd(
        self, pairs: list[str], property: str, section: str, identifier: str, *more: Any
    ) -> None:
        for text, is_name in self._spelling.objects(section, identifier, *more):
            literal_type = property == self._type and not is_name
            pairs.append((self._literal_type if literal_type else property) + text)

    def _shape(self, section: str, record: Record) -> list[_Attribute]:
        """Give the attributes of all records that have the same ones, in the order of writing."""
        ends, times = ENDS.get(section, ()), TIMES.get(section, ())
        relation = prov_o.QUALIFIED.get(section)
        subject = relation.subject if relation is not None else None
        others = relation.others if relation is not None else {}
        found = []
        for key in sorted(record, key=lambda key: (key not in _FIRST, key)):
            if key != subject:
                kind = _NAME if key in ends else _TIME if key in times else _VALUE
                if kind == _VALUE:
                    kind = _TYPES if key == "prov:type" else _LISTED if key in LISTS else kind
                iri = others.get(key) or prov_o.PROPERTIES.get(key) or self._syntax.expand(key)
                found.append(_Attribute(key, self._syntax.property(iri), kind))
        return found

    # -- relations ---------------------------------------------------------------------

    def _relate(self, section: str, relation: prov_o.Qualified) -> None:
        """Link what a section's relations relate: plainly, and by a node for each."""
        names, links, nodes = self._syntax.names, self._links, self._nodes
        subject_of = self._syntax.subject
        subject, object = relation.subject, relation.object
        plain, link = map(self._syntax.property, (relation.plain, relation.link))
        other = self._syntax.property(relation.others[object])
        at_time, (before, after) = self._syntax.property(prov_o.AT_TIME), self._time
        kind = self._type + self._syntax.iri(relation.node)
        records = self._records[section]
        for identifier in sorted(records):
            record = records[identifier]
            try:
                term = names[record[subject]]
                end = names[record[object]] if object in record else None
            except (KeyError, TypeError):
                raise self._incomplete(section, identifier, subject, object) from None
            found = links.get(term)
            if found is None:
                found = links[term] = []
            if end is not None:
                found.append(plain + end)
            if not identifier.startswith("_:"):
                node = names[identifier]
            elif end is not None and len(record) == 2:
                self._spelling.key(section, identifier, record[subject], record[object])
                continue
            else:
                node = self._unnamed(section, identifier, record)
            found.append(link + node)
            pairs = [kind]
            time = record.get("prov:time")
            if end is not None and len(record) == (2 if time is None else 3):
                pairs.append(other + end)
                if time is not None:
                    pairs.append(f"{at_time}{before}{quote(time)}{after}")
            else:
                self._add(pairs, section, identifier, record)
                if section == "wasDerivedFrom":
                    self._derive(found, pairs, end, node)
            statement = (subject_of(node), pairs)
            if term in nodes:
                nodes[term].append(statement)
            else:
                nodes[term] = [statement]

    def _derive(self, found: list[str], pairs: list[str], end: str | None, node: str) -> None:
        """Link a derivation also by what its types say that it is."""
        for name, properties in prov_o.DERIVATIONS.items():
            if self._type + self._syntax.names[name] in pairs:
                plain, link = map(self._syntax.property, properties)
                if end is not None:
                    found.append(plain + end)
                found.append(link + node)

    def _join(self, section: str) -> None:
        """Link what relations without ids relate."""
        first, second, iri = prov_o.PLAIN[section]
        property, in_bundle = map(self._syntax.property, (iri, prov_o.IN_BUNDLE))
        names, links, records = self._syntax.names, self._links, self._records[section]
        for identifier in sorted(records):
            record = records[identifier]
            try:
                term, end = names[record[first]], names[record[second]]
            except (KeyError, TypeError):
                raise self._incomplete(section, identifier, first, second) from None
            found = links.get(term)
            if found is None:
                found = links[term] = []
            found.append(property + end)
            if len(record) > 2:
                if section != "mentionOf" or not record.keys() <= {first, second, "prov:bundle"}:
                    reason = f"{section} has attributes, for which PROV-O has no place"
                    raise unwritable("RDF", reason, identifier)
                found.append(in_bundle + names[record["prov:bundle"]])
            self._spelling.key(section, identifier, record[first], record[second])

    def _incomplete(self, section: str, identifier: str, *ends: str) -> DocumentError:
        reason = f"{section} has to have one {ends[0]}, and one {ends[1]} at most"
        return unwritable("RDF", reason, identifier)

    def _unnamed(self, section: str, identifier: str, record: Record) -> str:
        """Name the node of a relation without an id by what it says."""
        content = orjson.dumps(record, option=orjson.OPT_SORT_KEYS)
        digest = hashlib.sha256(content).hexdigest()[:32]
        self._spelling.node(section, identifier, f"_:{section}/{digest}")
        return self._syntax.iri(f"{self._name.iri}/genid/{section}/{digest}")
