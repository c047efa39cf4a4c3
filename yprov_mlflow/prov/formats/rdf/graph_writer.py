"""Turn a document into RDF statements: each subject once, with properties and objects as text.

Statements stay text on purpose. For a document of 28,700 records (125,000 quads), building the
terms and quads of pyoxigraph and serializing them takes 2.3 times as long as this writer for
N-Quads, 1.8 times for TriG, 1.6 times for JSON-LD and 1.5 times for Turtle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import orjson

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats.bundles import DocumentName
from yprov_mlflow.prov.formats.prov_json import values_of
from yprov_mlflow.prov.formats.rdf import prov_o
from yprov_mlflow.prov.formats.rdf.json_form import PROPERTY, JsonForm
from yprov_mlflow.prov.formats.rdf.terms import Syntax, quote
from yprov_mlflow.prov.model.document import Document, Record
from yprov_mlflow.prov.model.identifiers import unnamed
from yprov_mlflow.prov.model.relations import ELEMENTS, KINDS, PROV

Statement = tuple[str, list[str]]
"""A subject, and each of its properties with an object, separated by a space."""

_Attribute = tuple[str, str, int]  # its key, its property, and which kind of value it has

_VALUE, _TYPES, _NAME, _TIME = range(4)
_FIRST = ("prov:type", "prov:label", "prov:value")


class Statements:
    """Iterates over the statements of a document; equal documents give equal statements.

    First come the prefixes, then the elements by kind and id, each with its relations and
    followed by their nodes, and last the JSON form of the document where RDF loses it.
    """

    def __init__(self, document: Document, syntax: Syntax, name: DocumentName) -> None:
        self._records = document.records
        self._declared = document.prefixes
        self._syntax = syntax
        self._name = name
        self._form = JsonForm(syntax)
        self._links: dict[str, list[str]] = {}
        self._nodes: dict[str, list[Statement]] = {}
        self._shapes: dict[tuple[str, ...], list[_Attribute]] = {}
        self._types: dict[int, list[str]] = {}
        self._time = syntax.typed[prov_o.DATE_TIME]
        self._type = syntax.property(prov_o.TYPE)
        self._literal_type = syntax.property(PROV + "type")

    def __iter__(self) -> Iterator[Statement]:
        if unknown := self._records.keys() - KINDS.keys():
            reason = f"PROV-O lacks terms for {', '.join(sorted(unknown))}"
            raise DocumentError.unwritable("RDF", reason)
        yield from self._prefixes()
        # Relations first: each is written together with the element that it starts from.
        for section in sorted(self._records.keys() & prov_o.QUALIFIED.keys()):
            self._add_qualified(section, prov_o.QUALIFIED[section])
        for section in sorted(self._records.keys() & prov_o.PLAIN.keys()):
            self._add_plain(section)
        subject_of, links, nodes = self._syntax.subject, self._links, self._nodes
        for section in ELEMENTS:
            for term, pairs in self._elements(section):
                linked = links.pop(term, None)
                if linked is not None:
                    # Duplicates are rare and harmless: in so few pairs, do not look for them.
                    pairs += linked if len(linked) < 3 else dict.fromkeys(linked)
                yield subject_of(term), pairs
                if term in nodes:
                    yield from nodes.pop(term)
        for term in sorted(links):
            yield subject_of(term), list(dict.fromkeys(links[term]))
            yield from nodes.pop(term, ())
        if (form := self._form.text()) is not None:
            about = subject_of(self._syntax.iri(self._name.iri))
            yield about, [self._syntax.property(PROPERTY) + quote(form)]

    def _prefixes(self) -> Iterator[Statement]:
        property = self._syntax.property(prov_o.PREFIX)
        pairs: dict[str, list[str]] = {}
        for prefix, namespace in sorted(self._declared.items()):
            subject = self._syntax.subject(self._syntax.iri(namespace))
            pairs.setdefault(subject, []).append(property + quote(prefix))
        yield from pairs.items()

    def _elements(self, section: str) -> Iterator[Statement]:
        names = self._syntax.names
        kind = self._type + self._syntax.iri(prov_o.CLASSES[section])
        records = self._records.get(section, {})
        for identifier in sorted(records):
            pairs = [kind]
            self._add_attributes(pairs, section, identifier, records[identifier])
            yield names[identifier], pairs

    # -- attributes --------------------------------------------------------------------

    def _add_attributes(
        self, pairs: list[str], section: str, identifier: str, record: Record
    ) -> None:
        # This loop is the hot path of every RDF format. Records of a kind have the same few sets
        # of attributes, so properties and kinds of values are worked out once per set ("shape").
        attributes = self._shapes.get((section, *record))
        if attributes is None:
            attributes = self._shapes[section, *record] = self._shape(section, record)
        names, typed, add = self._syntax.names, self._syntax.typed, pairs.append
        for key, property, kind in attributes:
            value = record[key]
            form = type(value)
            if kind == _VALUE:
                # Nearly all values are strings, typed literals or names; the rest is slower.
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
                self._add_unusual(pairs, property, section, identifier, key, value)
            elif kind == _TYPES:
                types = self._types.get(id(value)) or self._name_types(property, value)
                pairs += types
                if not types:
                    self._add_unusual(pairs, property, section, identifier, key, value)
                elif len(types) > 1 and not self._syntax.ordered:
                    self._form.record_type_order(section, identifier, value)
            elif kind == _NAME:
                pairs += [property + names[name] for name in values_of(value)]
            else:
                before, after = self._time
                pairs += [f"{property}{before}{quote(time)}{after}" for time in values_of(value)]

    def _name_types(self, property: str, value: Any) -> list[str]:
        """Return the pairs of types that are distinct qualified names; none in all other cases.

        A list of one type is such another case: its form has to be recorded.
        """
        types = value if type(value) is list else [value]
        for item in types:
            if type(item) is not dict or len(item) != 2 or item.get("type") != "xsd:QName":
                return []
        pairs = list({property + self._syntax.names[item["$"]]: None for item in types})
        if len(pairs) != len(types) or (types is value and len(pairs) == 1):
            return []
        # Records share their values for types, so their identity is a key that costs no hashing.
        # The value lives as long as the document, so no other object can get its identity.
        self._types[id(value)] = pairs
        return pairs

    def _add_unusual(
        self, pairs: list[str], property: str, section: str, identifier: str, *attribute: Any
    ) -> None:
        for text, is_name in self._form.objects(section, identifier, *attribute):
            # A type that is a literal cannot be an object of rdf:type, which takes classes.
            literal_type = property == self._type and not is_name
            pairs.append((self._literal_type if literal_type else property) + text)

    def _shape(self, section: str, record: Record) -> list[_Attribute]:
        """Return the attributes of all records with the same keys, in the order of writing."""
        ends, times = KINDS[section].formals, KINDS[section].times
        relation = prov_o.QUALIFIED.get(section)
        subject = relation.subject if relation is not None else None
        others = relation.others if relation is not None else {}
        attributes = []
        for key in sorted(record, key=lambda key: (key not in _FIRST, key)):
            if key != subject:
                kind = _NAME if key in ends else _TIME if key in times else _VALUE
                if key == "prov:type":
                    kind = _TYPES
                iri = others.get(key) or prov_o.PROPERTIES.get(key) or self._syntax.expand(key)
                attributes.append((key, self._syntax.property(iri), kind))
        return attributes

    # -- relations ---------------------------------------------------------------------

    def _add_qualified(self, section: str, relation: prov_o.Qualified) -> None:
        """Add the relations of a section, each as a plain triple and as a node with details."""
        names, links, nodes = self._syntax.names, self._links, self._nodes
        subject_of = self._syntax.subject
        subject, object = relation.subject, relation.object
        iris = (relation.plain, relation.link, relation.others[object], prov_o.AT_TIME)
        plain, link, other, at_time = map(self._syntax.property, iris)
        before, after = self._time
        kind = self._type + self._syntax.iri(relation.node)
        records = self._records[section]
        for identifier in sorted(records):
            record = records[identifier]
            try:
                term = names[record[subject]]
                end = names[record[object]] if object in record else None
            except (KeyError, TypeError):  # missing, or a list of contradicting ends
                raise self._ends_rejected(section, identifier, subject, object) from None
            linked = links.setdefault(term, [])
            if end is not None:
                linked.append(plain + end)
            if not identifier.startswith("_:"):
                node = names[identifier]
            elif end is not None and len(record) == 2:
                # Nothing but its ends: the plain triple says it all and needs no node.
                ours = unnamed(section, record[subject], record[object])
                self._form.record_key(section, identifier, ours)
                continue
            else:
                node = self._unnamed_node(section, identifier, record)
            linked.append(link + node)
            pairs = [kind]
            time = record.get("prov:time")
            if end is not None and len(record) == (2 if time is None else 3):
                pairs.append(other + end)
                if time is not None:
                    pairs.append(f"{at_time}{before}{quote(time)}{after}")
            else:
                self._add_attributes(pairs, section, identifier, record)
                if section == "wasDerivedFrom":
                    self._add_derivation_types(linked, pairs, end, node)
            nodes.setdefault(term, []).append((subject_of(node), pairs))

    def _add_derivation_types(
        self, linked: list[str], pairs: list[str], end: str | None, node: str
    ) -> None:
        # A revision is a derivation: PROV-O states the general and the specific property.
        for name, properties in prov_o.DERIVATIONS.items():
            if self._type + self._syntax.names[name] in pairs:
                plain, link = map(self._syntax.property, properties)
                if end is not None:
                    linked.append(plain + end)
                linked.append(link + node)

    def _add_plain(self, section: str) -> None:
        first, second, iri = prov_o.PLAIN[section]
        property, in_bundle = map(self._syntax.property, (iri, prov_o.IN_BUNDLE))
        names, links, records = self._syntax.names, self._links, self._records[section]
        for identifier in sorted(records):
            record = records[identifier]
            try:
                term, end = names[record[first]], names[record[second]]
            except (KeyError, TypeError):
                raise self._ends_rejected(section, identifier, first, second) from None
            linked = links.setdefault(term, [])
            linked.append(property + end)
            if len(record) > 2:
                if section != "mentionOf" or not record.keys() <= {first, second, "prov:bundle"}:
                    reason = f"{section} has attributes, which PROV-O cannot express"
                    raise DocumentError.unwritable("RDF", reason, identifier)
                linked.append(in_bundle + names[record["prov:bundle"]])
            ours = unnamed(section, record[first], record[second])
            self._form.record_key(section, identifier, ours)

    def _ends_rejected(self, section: str, identifier: str, *ends: str) -> DocumentError:
        reason = f"{section} must have exactly one {ends[0]} and at most one {ends[1]}"
        return DocumentError.unwritable("RDF", reason, identifier)

    def _unnamed_node(self, section: str, identifier: str, record: Record) -> str:
        """Return the node of a relation without an id, named by a digest of its content.

        Blank nodes would get new labels with every reader, so that no two files compare equal.
        """
        content = orjson.dumps(record, option=orjson.OPT_SORT_KEYS)
        digest = hashlib.sha256(content).hexdigest()[:32]
        self._form.record_key(section, identifier, f"_:{section}/{digest}")
        return self._syntax.iri(f"{self._name.iri}/genid/{section}/{digest}")
