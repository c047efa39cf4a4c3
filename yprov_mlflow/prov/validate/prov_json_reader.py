"""PROV-JSON objects as statements, and what PROV-JSON's schema says of them.

The schema's own faults are not held against a document: it misspells ``wasEndedBy``, knows no
``mentionOf`` and no list of records under one id, and wants of a usage the entity, which
PROV-DM leaves open, instead of the activity, which it does not. Several members in one
``hadMember`` are what the text of PROV-JSON shows, though the schema refuses them. Members of
a bundle that are no records, and a starter or ender that is no id, it lets pass; here they are
errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from yprov_mlflow.prov.validate import rules
from yprov_mlflow.prov.validate.findings import Finding, error
from yprov_mlflow.prov.validate.judgement import Instance
from yprov_mlflow.prov.validate.kinds import ELEMENTS, KINDS, Kind
from yprov_mlflow.prov.validate.names import Names
from yprov_mlflow.prov.validate.statements import Statement
from yprov_mlflow.prov.validate.strict_json import Members

_PLAIN = (str, int, float)
_TYPED = frozenset({"$", "type", "lang"})
_NAMES = frozenset({"prov:QUALIFIED_NAME", "xsd:QName"})
_REFERENCES = {"prov:generation", "prov:usage"}
_MOST_SHOWN = 60


def instances(document: Mapping[str, Any], *, schema: bool = True) -> Iterator[Instance]:
    """Give what lies outside bundles, and then each bundle, as they are asked for.

    Args:
        document: A PROV-JSON object.
        schema: Whether it was written as PROV-JSON. If not, a list in the place of an id or a
            time stands for several records of one id, and is no fault of form.
    """
    findings: list[Finding] = []
    declared = _prefixes(document, findings)
    names = Names(declared)
    bundles = document.get("bundle", {})
    if not isinstance(bundles, Mapping):
        findings.append(_fault("bundle", "", f"{_shown(bundles)} is no object"))
        bundles = {}
    statements = _Reader(names, findings, schema).statements(document)
    yield Instance(statements, names, None, findings)
    for identifier, members in bundles.items():
        found: list[Finding] = []
        if not isinstance(members, Mapping):
            found.append(_fault("bundle", identifier, f"{_shown(members)} is no object"))
            members = {}
        elif "bundle" in members:
            found.append(_fault("bundle", identifier, "a bundle cannot contain bundles"))
        names = Names({**declared, **_prefixes(members, found)})
        names.resolve(identifier)
        statements = _Reader(names, found, schema).statements(members)
        yield Instance(statements, names, identifier, found)


def _prefixes(members: Mapping[str, Any], findings: list[Finding]) -> dict[str, str]:
    found = members.get("prefix", {})
    if not isinstance(found, dict):
        findings.append(_fault("prefix", "", f"{_shown(found)} is no object"))
        return {}
    for prefix, namespace in found.items():
        if not isinstance(namespace, str):
            findings.append(_fault("prefix", prefix, f"{_shown(namespace)} is no string"))
    return {prefix: uri for prefix, uri in found.items() if isinstance(uri, str)}


class _Reader:
    """Reads what a document or a bundle says itself; faults of form go to ``findings``."""

    def __init__(self, names: Names, findings: list[Finding], schema: bool) -> None:
        self._known, self._resolve = names.known, names.resolve
        self._findings = findings
        self._schema = schema

    def statements(self, members: Mapping[str, Any]) -> Iterator[Statement]:
        """Give the statements, as they are asked for."""
        for section in members:
            if section in ("prefix", "bundle"):
                continue
            kind, found = KINDS.get(section), members[section]
            if kind is None:
                self._report(section, "", f"there are no records of this name{_hint(section)}")
            elif not isinstance(found, dict):
                self._report(section, "", f"{_shown(found)} is no object")
            else:
                yield from self._section(section, kind, found)
        if isinstance(members, Members):
            for what in members.repeated:
                message = f"{what} stand there more than once; most readers keep only the last"
                self._findings.append(error(rules.SYNTAX, "", message))

    def _report(self, section: str, key: str, message: str) -> None:
        self._findings.append(_fault(section, key, message))

    def _section(self, section: str, kind: Kind, found: Mapping[str, Any]) -> Iterator[Statement]:
        element = section in ELEMENTS
        own = frozenset(() if element else kind.formals + kind.times)
        known, resolve = self._known, self._resolve
        for key, value in found.items():
            identifier: str | None = None  # a blank one says that there is none
            if element or (kind.named and not key.startswith("_:")):
                identifier = known.get(key) or resolve(key)
            for record in (value,) if type(value) is dict else self._records(section, key, value):
                fault = self._unsound(record, own)
                if not fault:
                    yield self._statement(section, kind, identifier, record)
                    continue
                several = self._several(record, own)
                if not several or (self._schema and section != "hadMember"):
                    self._report(section, key, fault)
                for one in several:
                    yield self._statement(section, kind, identifier, one)

    def _several(self, record: Mapping[str, Any], own: frozenset[str]) -> list[dict[str, Any]]:
        """Give a record for each id that stands in the place of one; none if there is other fault.

        Each differs from the first in one place, which is enough to see that they differ.
        """
        lists = {key: value for key, value in record.items() if key in own and type(value) is list}
        if not all(
            value and all(isinstance(one, str) for one in value) for value in lists.values()
        ):
            return []
        first = {**record, **{key: value[0] for key, value in lists.items()}}
        if self._unsound(first, own):
            return []
        return [first, *({**first, key: one} for key, value in lists.items() for one in value[1:])]

    def _statement(
        self, section: str, kind: Kind, identifier: str | None, record: Mapping[str, Any]
    ) -> Statement:
        known, resolve = self._known, self._resolve
        said = 0
        terms: list[str | None] = []
        for formal in kind.formals:
            term = record.get(formal)
            if term is not None:
                said += 1
                term = known.get(term) or resolve(term)
                if formal in _REFERENCES and term.startswith("_:"):
                    term = None
            terms.append(term)
        times: tuple[str | None, ...] = ()
        if kind.times:
            times = tuple([_text(record.get(time)) for time in kind.times])
            said += len(times) - times.count(None)
        types = _types(record) if section == "entity" and "prov:type" in record else ()
        return Statement(section, identifier, tuple(terms), times, types, len(record) > said)

    def _unsound(self, record: Mapping[str, Any], own: frozenset[str]) -> str:
        """Say which attribute cannot have the value it has; nothing if all can."""
        known = self._known
        for attribute, value in record.items():
            if attribute not in known:
                self._resolve(attribute)
            if type(value) is str:
                continue
            if attribute in own and not isinstance(value, str):
                return f"{attribute} is {_shown(value)} and no string"
            if isinstance(value, _PLAIN):
                continue
            for one in value if type(value) is list else (value,):
                if isinstance(one, _PLAIN):
                    continue
                if not _is_typed(one):
                    return f"{attribute} is {_shown(value)}, which is no value"
                kind = one.get("type")
                if kind in _NAMES and one["$"] not in known:
                    self._resolve(one["$"])
            if value == []:
                return f"{attribute} is an empty list, which is no value"
        return ""

    def _records(self, section: str, key: str, found: Any) -> Sequence[Mapping[str, Any]]:
        if type(found) is list and found and all(type(one) is dict for one in found):
            return found
        self._report(section, key, f"{_shown(found)} is no record and no list of records")
        return ()


def _is_typed(value: Any) -> bool:
    if type(value) is not dict or "$" not in value:
        return False
    return all(key in _TYPED and isinstance(part, str) for key, part in value.items())


def _text(value: Any) -> str | None:
    """Give a time as text; the schema lets those of activities be typed literals."""
    if value is None or isinstance(value, str):
        return value
    return str(value["$"]) if _is_typed(value) else _shown(value)


def _types(record: Mapping[str, Any]) -> tuple[str, ...]:
    found = record["prov:type"]
    values = found if type(found) is list else [found]
    return tuple([str(v["$"]) if type(v) is dict else str(v) for v in values])


def _fault(section: str, key: str, message: str) -> Finding:
    return error(rules.SCHEMA, f"{section} {key}".rstrip(), message)


def _hint(section: str) -> str:
    for kind in KINDS:
        if kind.lower() == section.lower():
            return f"; {kind} is meant"
    return ""


def _shown(value: Any) -> str:
    """Show a value in short; a hostile one is nested deeper than Python can write."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    text = "null" if value is None else repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
