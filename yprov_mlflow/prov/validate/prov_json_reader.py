"""PROV-JSON as statements, with the rules of PROV-JSON's schema.

The mistakes of the schema do not count against a document: it misspells ``wasEndedBy``, lacks
``mentionOf`` and lists of records under one id, and requires the entity of a usage, which PROV-DM
makes optional, instead of the activity. Several members in one ``hadMember`` are in the text of
PROV-JSON, though the schema refuses them. It accepts members of a bundle that are not records,
and a starter or ender that is not an id; these are errors here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from yprov_mlflow.prov.model.relations import ELEMENTS, KINDS, Kind
from yprov_mlflow.prov.validate.instance import Instance
from yprov_mlflow.prov.validate.names import Names
from yprov_mlflow.prov.validate.rules import SCHEMA, SYNTAX, Finding, error
from yprov_mlflow.prov.validate.statements import Statement
from yprov_mlflow.prov.validate.strict_json import Members

_SCALARS = (str, int, float)
_LITERAL_KEYS = frozenset({"$", "type", "lang"})
_NAME_TYPES = frozenset({"prov:QUALIFIED_NAME", "xsd:QName"})
_REFERENCES = {"prov:generation", "prov:usage"}
_MOST_CHARACTERS = 60


def instances(document: Mapping[str, Any], *, schema: bool = True) -> Iterator[Instance]:
    """Yield the instance outside bundles, then each bundle, without reading ahead.

    Args:
        document: A PROV-JSON object.
        schema: Whether the document was written as PROV-JSON. Otherwise a list instead of an
            id or time stands for several records with one id, and is not an error.
    """
    findings: list[Finding] = []
    declared = _prefixes(document, findings)
    names = Names(declared)
    bundles = document.get("bundle", {})
    if not isinstance(bundles, Mapping):
        findings.append(_finding("bundle", "", f"{_shown(bundles)} is not an object"))
        bundles = {}
    statements = _Reader(names, findings, schema).statements(document)
    yield Instance(statements, names, None, findings)
    for identifier, members in bundles.items():
        findings = []
        if not isinstance(members, Mapping):
            findings.append(_finding("bundle", identifier, f"{_shown(members)} is not an object"))
            members = {}
        elif "bundle" in members:
            findings.append(_finding("bundle", identifier, "a bundle cannot contain bundles"))
        names = Names({**declared, **_prefixes(members, findings)})
        names.resolve(identifier)
        statements = _Reader(names, findings, schema).statements(members)
        yield Instance(statements, names, identifier, findings)


def _prefixes(members: Mapping[str, Any], findings: list[Finding]) -> dict[str, str]:
    prefixes = members.get("prefix", {})
    if not isinstance(prefixes, dict):
        findings.append(_finding("prefix", "", f"{_shown(prefixes)} is not an object"))
        return {}
    for prefix, namespace in prefixes.items():
        if not isinstance(namespace, str):
            findings.append(_finding("prefix", prefix, f"{_shown(namespace)} is not a string"))
    return {prefix: uri for prefix, uri in prefixes.items() if isinstance(uri, str)}


class _Reader:
    """Reads the statements of a document or bundle; violations of the schema are findings."""

    def __init__(self, names: Names, findings: list[Finding], schema: bool) -> None:
        # Bound here, because they are called for every attribute of every record.
        self._resolved, self._resolve = names.resolved, names.resolve
        self._findings = findings
        self._schema = schema

    def statements(self, members: Mapping[str, Any]) -> Iterator[Statement]:
        """Yield the statements, without reading ahead."""
        for section in members:
            if section in ("prefix", "bundle"):
                continue
            kind, records = KINDS.get(section), members[section]
            if kind is None:
                self._report(section, "", f"unknown kind of records{_suggestion(section)}")
            elif not isinstance(records, dict):
                self._report(section, "", f"{_shown(records)} is not an object")
            else:
                yield from self._section(section, kind, records)
        # Most parsers drop all but the last of equal keys without a word, so records are lost.
        if isinstance(members, Members):
            for repeated in members.repeated:
                message = f"{repeated} occur more than once; most programs read only the last"
                self._findings.append(error(SYNTAX, "", message))

    def _report(self, section: str, key: str, message: str) -> None:
        self._findings.append(_finding(section, key, message))

    def _section(self, section: str, kind: Kind, records: Mapping[str, Any]) -> Iterator[Statement]:
        element = section in ELEMENTS
        formal = frozenset(() if element else kind.formals + kind.times)
        resolved, resolve = self._resolved, self._resolve
        for key, value in records.items():
            identifier: str | None = None  # a blank id stands for none
            if element or (kind.named and not key.startswith("_:")):
                identifier = resolved.get(key) or resolve(key)
            # PROV-JSON allows several records under one id; nearly always there is one.
            for record in (value,) if type(value) is dict else self._records(section, key, value):
                violation = self._violation(record, formal)
                if not violation:
                    yield self._statement(section, kind, identifier, record)
                    continue
                several = self._several(record, formal)
                if not several or (self._schema and section != "hadMember"):
                    self._report(section, key, violation)
                for single in several:
                    yield self._statement(section, kind, identifier, single)

    def _several(self, record: Mapping[str, Any], formal: frozenset[str]) -> list[dict[str, Any]]:
        """Split a record with lists of ids; return nothing if it has other violations.

        Each record differs from the first one in one attribute only: enough to report that they
        differ, without all combinations.
        """
        lists = {
            key: value for key, value in record.items() if key in formal and type(value) is list
        }
        if not all(ids and all(isinstance(item, str) for item in ids) for ids in lists.values()):
            return []
        first = {**record, **{key: ids[0] for key, ids in lists.items()}}
        if self._violation(first, formal):
            return []
        return [first, *({**first, key: item} for key, ids in lists.items() for item in ids[1:])]

    def _statement(
        self, section: str, kind: Kind, identifier: str | None, record: Mapping[str, Any]
    ) -> Statement:
        resolved, resolve = self._resolved, self._resolve
        formal_count = 0
        terms: list[str | None] = []
        for formal in kind.formals:
            term = record.get(formal)
            if term is not None:
                formal_count += 1
                term = resolved.get(term) or resolve(term)
                # A blank id of a generation or usage identifies no statement.
                if formal in _REFERENCES and term.startswith("_:"):
                    term = None
            terms.append(term)
        times: tuple[str | None, ...] = ()
        if kind.times:
            times = tuple([_time(record.get(time)) for time in kind.times])
            formal_count += len(times) - times.count(None)
        types = _types(record) if section == "entity" and "prov:type" in record else ()
        described = len(record) > formal_count
        return Statement(section, identifier, tuple(terms), times, types, described)

    def _violation(self, record: Mapping[str, Any], formal: frozenset[str]) -> str:
        """Return what is wrong with the first invalid attribute; empty if all are valid."""
        resolved = self._resolved
        for attribute, value in record.items():
            if attribute not in resolved:
                self._resolve(attribute)
            if type(value) is str:  # nearly all are; the exact type is the fastest test
                continue
            if attribute in formal and not isinstance(value, str):
                return f"{attribute} is {_shown(value)}, not a string"
            if isinstance(value, _SCALARS):
                continue
            for item in value if type(value) is list else (value,):
                if isinstance(item, _SCALARS):
                    continue
                if not _is_literal(item):
                    return f"{attribute} is {_shown(value)}, which is not a value"
                if item.get("type") in _NAME_TYPES and item["$"] not in resolved:
                    self._resolve(item["$"])
            if value == []:
                return f"{attribute} is an empty list, which is not a value"
        return ""

    def _records(self, section: str, key: str, value: Any) -> Sequence[Mapping[str, Any]]:
        if type(value) is list and value and all(type(item) is dict for item in value):
            return value
        self._report(section, key, f"{_shown(value)} is neither a record nor a list of records")
        return ()


def _is_literal(value: Any) -> bool:
    if type(value) is not dict or "$" not in value:
        return False
    return all(key in _LITERAL_KEYS and isinstance(part, str) for key, part in value.items())


def _time(value: Any) -> str | None:
    """Return a time as text; the schema allows typed literals for those of activities."""
    if value is None or isinstance(value, str):
        return value
    return str(value["$"]) if _is_literal(value) else _shown(value)


def _types(record: Mapping[str, Any]) -> tuple[str, ...]:
    types = record["prov:type"]
    values = types if type(types) is list else [types]
    return tuple([str(v["$"]) if type(v) is dict else str(v) for v in values])


def _finding(section: str, key: str, message: str) -> Finding:
    return error(SCHEMA, f"{section} {key}".rstrip(), message)


def _suggestion(section: str) -> str:
    for kind in KINDS:
        if kind.lower() == section.lower():
            return f"; did you mean {kind}?"
    return ""


def _shown(value: Any) -> str:
    """Return a value in short; lists and objects only by type, as they may be nested deeply."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    text = "null" if value is None else repr(value)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
