"""The triples of one graph, as records.

What our writer made reads back as it was. In RDF of other tools a plain property that no
qualified one covers is a relation without an id; what PROV-O has and PROV-JSON has not (inverse
properties, times without an activity) becomes what says the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats.faults import malformed
from yprov_mlflow.prov.formats.json_records import ENDS, TIMES, values_of
from yprov_mlflow.prov.formats.rdf import prov_o
from yprov_mlflow.prov.formats.rdf.json_form import PROPERTY, is_list, respelt
from yprov_mlflow.prov.formats.rdf.namespaces import Namespaces
from yprov_mlflow.prov.model.document import ELEMENTS, Record
from yprov_mlflow.prov.model.identifiers import unnamed
from yprov_mlflow.prov.model.literals import name
from yprov_mlflow.prov.translate import Document

_STRING = prov_o.XSD + "string"
_GENID = re.compile(r"/genid/([A-Za-z]+/[0-9a-f]{32})\Z")

_KINDS = {prov_o.PROV + name: section for section, name in prov_o.CLASSES.items()}
_SUBKINDS = {prov_o.PROV + name: section for name, section in prov_o.SUBCLASSES.items()}
_KEYS = {iri: key for key, iri in prov_o.PROPERTIES.items()}
_LINKS = {relation.link: (section, None) for section, relation in prov_o.QUALIFIED.items()} | {
    link: ("wasDerivedFrom", kind) for kind, (_, link) in prov_o.DERIVATIONS.items()
}
_PLAIN = {relation.plain: (section, None) for section, relation in prov_o.QUALIFIED.items()} | {
    plain: ("wasDerivedFrom", kind) for kind, (plain, _) in prov_o.DERIVATIONS.items()
}
_JOINTS = {property: section for section, (_, _, property) in prov_o.PLAIN.items()}
_INVERSE = {
    prov_o.PROV + "generated": "wasGeneratedBy",
    prov_o.PROV + "invalidated": "wasInvalidatedBy",
    prov_o.PROV + "influenced": "wasInfluencedBy",
}
_INSTANTS = {
    prov_o.PROV + "generatedAtTime": "wasGeneratedBy",
    prov_o.PROV + "invalidatedAtTime": "wasInvalidatedBy",
}
_AGENTS = ("agent", "delegate", "responsible")
_ACTIVITIES = ("activity", "informed", "informant", "starter", "ender")
_FREE = ("prov:influencee", "prov:influencer", "prov:generation", "prov:usage")


class Graph:
    """Takes triples, gives the document that they are."""

    def __init__(self) -> None:
        self._said: dict[str, dict[str, list[Any]]] = {}
        self._records: dict[str, dict[str, Record]] = {}
        self._names = Namespaces({})

    def add(self, subject: Any, property: str, object: Any) -> None:
        """Take a triple, in terms of pyoxigraph; the property is an IRI."""
        about = _key(subject)
        said = self._said.get(about)
        if said is None:
            said = self._said[about] = {}
        if property in said:
            said[property].append(object)
        else:
            said[property] = [object]

    def document(self, prefixes: Mapping[str, str]) -> Document:
        """Give the document; the graph is used up.

        Args:
            prefixes: Those that the file declares, for graphs that do not tell their own.

        Raises:
            DocumentError: Something is said that is no PROV.
        """
        declared, spelling = self._aside()
        standard = prov_o.STANDARD.items()
        given = {p: ns for p, ns in prefixes.items() if (p, ns) not in standard}
        given["default"] = given.pop("", "")
        self._names = Namespaces(declared or {p: ns for p, ns in given.items() if ns})
        relations = self._relations()
        for section, first, second, kinds in relations:
            self._relate_plainly(section, first, second, kinds)
        self._elements()
        records = self._records
        if spelling is not None:
            try:
                records = respelt(records, spelling)
            except ValueError as error:
                raise malformed("RDF", error) from error
        return Document(self._names.prefixes, records)

    def _aside(self) -> tuple[dict[str, str], str | None]:
        """Take away what is said of the document's form."""
        prefixes: dict[str, str] = {}
        spelling = None
        for about, said in list(self._said.items()):
            for literal in said.pop(prov_o.PREFIX, ()):
                prefixes[literal.value] = about
            for literal in said.pop(PROPERTY, ()):
                spelling = literal.value
            if not said:
                del self._said[about]
        return prefixes, spelling

    # -- relations ---------------------------------------------------------------------

    def _relations(self) -> list[tuple[str, str, str, list[str]]]:
        """Make the qualified relations; give the plain ones that none of them covers."""
        links: dict[tuple[str, str, str], list[str]] = {}
        plain: dict[tuple[str, str, str], list[str]] = {}
        instants: list[tuple[str, str, str]] = []
        for about, said in self._said.items():
            for property in list(said):
                if property in _LINKS:
                    section, kind = _LINKS[property]
                    for node in said.pop(property):
                        links.setdefault((section, about, _key(node)), []).extend(_some(kind))
                elif property in _PLAIN:
                    section, kind = _PLAIN[property]
                    for end in said.pop(property):
                        plain.setdefault((section, about, _key(end)), []).extend(_some(kind))
                elif property in _INVERSE:
                    for end in said.pop(property):
                        plain.setdefault((_INVERSE[property], _key(end), about), [])
                elif property in _INSTANTS:
                    instants += [(_INSTANTS[property], about, o.value) for o in said.pop(property)]
                elif property in _JOINTS:
                    self._join(_JOINTS[property], about, said)
        for (section, about, node), kinds in links.items():
            end = self._qualified(section, about, node, kinds)
            if end is not None:
                plain.pop((section, about, end), None)
        found = [(*ends, kinds) for ends, kinds in plain.items()]
        for section, about, time in instants:
            self._instant(section, about, time, found)
        return found

    def _join(self, section: str, about: str, said: dict[str, list[Any]]) -> None:
        """Make relations that have no ids."""
        first, second, property = prov_o.PLAIN[section]
        bundles = said.pop(prov_o.IN_BUNDLE, []) if section == "mentionOf" else []
        for end in said.pop(property):
            record = {first: self._id(about), second: self._id(_key(end))}
            key = unnamed(section, *record.values())
            if bundles:
                record["prov:bundle"] = self._id(_key(bundles[0]))
            self._records.setdefault(section, {})[key] = record

    def _qualified(self, section: str, about: str, node: str, kinds: list[str]) -> str | None:
        """Make a relation of the node that qualifies it; give its other end."""
        relation = prov_o.QUALIFIED[section]
        said = self._said.pop(node, {})
        record: Record = {relation.subject: self._id(about)}
        ends = {property: key for key, property in relation.others.items()}
        if section == "wasInfluencedBy":
            ends.update((prov_o.PROV + end, "prov:influencer") for end in _KIND_PROPERTIES)
        other = None
        for property, objects in said.items():
            key = ends.get(property)
            if key is not None:
                ids = [self._id(_key(one)) for one in objects]
                record[key] = ids[0] if len(ids) == 1 else ids
                if key == relation.object:
                    other = _key(objects[0])
            elif property == prov_o.AT_TIME and "prov:time" in TIMES.get(section, ()):
                record["prov:time"] = _only([one.value for one in objects])
            elif property == prov_o.TYPE:
                types = [one for one in objects if _key(one) != relation.node]
                self._put("", record, "prov:type", types)
            else:
                self._put("", record, _KEYS.get(property) or self._names[property], objects)
        for kind in kinds:
            types = values_of(record.get("prov:type", []))
            if name(kind) not in types:
                record["prov:type"] = _only([*types, name(kind)])
        records = self._records.setdefault(section, {})
        records[self._key_of(section, node, record, records)] = record
        return other

    def _key_of(self, section: str, node: str, record: Record, known: Mapping[str, Record]) -> str:
        genid = _GENID.search(node)
        if genid is not None:
            return f"_:{genid.group(1)}"
        if not node.startswith("_:"):
            return self._names[node]
        relation = prov_o.QUALIFIED[section]
        ends = record[relation.subject], str(record.get(relation.object, ""))
        key, number = unnamed(section, *ends), 1
        while key in known:
            number += 1
            key = f"{unnamed(section, *ends)}/{number}"
        return key

    def _relate_plainly(self, section: str, first: str, second: str, kinds: list[str]) -> None:
        """Make a relation that is said in one triple only, and so has no id."""
        relation = prov_o.QUALIFIED[section]
        ends = self._id(first), self._id(second)
        record: Record = dict(zip((relation.subject, relation.object), ends, strict=True))
        if kinds:
            record["prov:type"] = _only([name(kind) for kind in kinds])
        self._records.setdefault(section, {}).setdefault(unnamed(section, *ends), record)

    def _instant(
        self, section: str, about: str, time: str, plain: list[tuple[str, str, str, list[str]]]
    ) -> None:
        """Put a time that is said of an entity where PROV-JSON has it: on what made or ended it."""
        subject = self._id(about)
        records = self._records.setdefault(section, {})
        for other in plain:
            if other[:2] == (section, about):
                plain.remove(other)
                self._relate_plainly(*other)
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
        """Make a record of everything that is still said."""
        guesses: dict[str, str] | None = None
        for about, said in self._said.items():
            types = said.pop(prov_o.TYPE, [])
            kinds = [_KINDS[_key(one)] for one in types if _key(one) in _KINDS]
            types = [one for one in types if _key(one) not in _KINDS]
            if not kinds:
                kinds = sorted({_SUBKINDS[_key(o)] for o in types if _key(o) in _SUBKINDS})[:1]
            if not kinds:
                if not said and not types:
                    continue
                guesses = dict(self._guesses()) if guesses is None else guesses
                kinds = _some(guesses.get(self._id(about)))
            if not kinds:
                reason = "it is said of this what is no PROV, and nothing tells what it is"
                raise malformed("PROV-O", reason, about)
            identifier = self._id(about)
            for kind in kinds:
                records = self._records.setdefault(kind, {})
                records[identifier] = self._element(identifier, kind, types, said)

    def _element(
        self, identifier: str, kind: str, types: list[Any], said: Mapping[str, list[Any]]
    ) -> Record:
        record: Record = {}
        times = TIMES.get(kind, ())
        self._put(identifier, record, "prov:type", types)
        for property, objects in said.items():
            key = _KEYS.get(property) or self._names[property]
            if key in times:
                record[key] = _only([one.value for one in objects])
            else:
                self._put(identifier, record, key, objects)
        return record

    def _guesses(self) -> Iterator[tuple[str, str]]:
        """Tell of what kind things are that have to do with others."""
        for section, records in self._records.items():
            for record in records.values() if section not in ELEMENTS else ():
                for key in ENDS[section]:
                    role = key.removeprefix("prov:")
                    if key in record and key not in _FREE and isinstance(record[key], str):
                        agent, activity = role in _AGENTS, role in _ACTIVITIES
                        kind = "agent" if agent else "activity" if activity else "entity"
                        yield record[key], kind

    # -- terms -------------------------------------------------------------------------

    def _put(self, identifier: str, record: Record, key: str, objects: list[Any]) -> None:
        """Add an attribute with the values that these objects are."""
        found = [*values_of(record[key])] if key in record else []
        for one in objects:
            value = self._value(one)
            if value not in found:
                found.append(value)
        if found:
            record[key] = found if len(found) > 1 or is_list(identifier, key) else found[0]

    def _value(self, term: Any) -> Any:
        datatype = getattr(term, "datatype", None)
        if datatype is None:
            return {"$": self._id(_key(term)), "type": "xsd:QName"}
        if term.language is not None:
            return {"$": term.value, "lang": term.language}
        if datatype.value == _STRING:
            return term.value
        return {"$": term.value, "type": self._names[datatype.value]}

    def _id(self, key: str) -> str:
        if key.startswith("_:"):
            reason = "what other records point to is a blank node; give it an IRI"
            raise malformed("PROV-O", reason, key)
        return self._names[key]


_KIND_PROPERTIES = ("entity", "activity", "agent")


def _key(term: Any) -> str:
    """Give an IRI, or the id of a blank node with its mark; literals are no ids."""
    kind = type(term).__name__
    if kind == "NamedNode":
        return str(term.value)
    if kind == "BlankNode":
        return f"_:{term.value}"
    raise _no_id(term)


def _no_id(term: Any) -> DocumentError:
    return malformed("PROV-O", "where an IRI belongs is something else", str(term)[:80])


def _some(one: str | None) -> list[str]:
    return [] if one is None else [one]


def _only(several: list[Any]) -> Any:
    return several[0] if len(several) == 1 else several
