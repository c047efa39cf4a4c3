"""Join documents of runs and of workflows into one graph at the level of tasks.

Executions, tasks, runs, models, datasets and files are kept as they are in their documents, with
the activities that link them. Points, params, tags and the like stay in the documents of the runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from yprov_mlflow.prov.formats.bundles import name_of, namespace_of
from yprov_mlflow.prov.model.document import Document, Record
from yprov_mlflow.prov.model.identifiers import PARENT, RUN, STORE
from yprov_mlflow.prov.model.relations import ELEMENTS, KINDS
from yprov_mlflow.prov.views import yprov4wfs
from yprov_mlflow.prov.views.document_reader import text, types

_KEPT = frozenset(
    "mlf:Run mlf:WorkflowEngine mlf:WorkflowExecution mlf:WorkflowTask mlf:WorkflowFile"
    " mlf:Artifact mlf:Content mls:Dataset mlf:LoggedModel mlf:ModelVersion".split()
)
_LINKING = ("wasGeneratedBy", "used", "wasInvalidatedBy", "actedOnBehalfOf")
_NAMES = frozenset({"prov:QUALIFIED_NAME", "xsd:QName"})


def join(documents: Iterable[Document]) -> Document:
    """Return the graph of all documents, in which equal ids are one record.

    Args:
        documents: Documents of runs, of workflows as our plugins write them, or of yProv4WFs.
    """
    graph = _Graph()
    for document in documents:
        graph.add(_level_of_tasks(yprov4wfs.converted(document)))
    return graph.joined()


def _level_of_tasks(document: Document) -> Document:
    """Return a document without what only concerns the inside of a run."""
    if f"{RUN}:run" not in document.records.get("activity", {}):
        return document
    elements = {section: document.records.get(section, {}) for section in ELEMENTS}
    kept = {
        identifier
        for records in elements.values()
        for identifier, record in records.items()
        if not _KEPT.isdisjoint(types(record))
    }
    kept |= _linking_activities(document, kept)
    records = {
        section: {i: r for i, r in by_id.items() if i in kept}
        for section, by_id in elements.items()
    }
    for section, by_id in document.records.items():
        if section not in ELEMENTS:
            ends = KINDS[section].formals[:2]
            records[section] = {
                i: r for i, r in by_id.items() if {r[f] for f in ends if f in r} <= kept
            }
    # Derivations also name the relations that they consist of.
    present = kept.union(*(records[s] for s in records.keys() - {*ELEMENTS}))
    for section in records.keys() - {*ELEMENTS}:
        formals = KINDS[section].formals
        for identifier, record in records[section].items():
            lost = {f for f in formals if f in record and record[f] not in present}
            if lost:
                records[section][identifier] = {t: v for t, v in record.items() if t not in lost}
    return Document(document.prefixes, records)


def _linking_activities(document: Document, kept: set[str]) -> set[str]:
    """Return the activities that use or generate what is kept, with those around them."""
    activities = document.records.get("activity", {})
    linking: set[str] = set()
    for section in _LINKING:
        for record in document.records.get(section, {}).values():
            ends = {str(record[f]) for f in KINDS[section].formals if f in record}
            if ends & kept:
                linking |= ends
    pending = [i for i in linking if i in activities]
    while pending:
        parts = activities[pending.pop()].get("dcterms:isPartOf", [])
        for part in parts if isinstance(parts, list) else [parts]:
            outer = str(text(part))
            if outer in activities and outer not in linking:
                linking.add(outer)
                pending.append(outer)
    agents = document.records.get("agent", {})
    return {i for i in linking if i in activities or i in agents}


class _Graph:
    """The records of several documents under common prefixes."""

    def __init__(self) -> None:
        self._prefixes: dict[str, str] = {}
        self._records: dict[str, dict[str, Record]] = {}

    def add(self, document: Document) -> None:
        """Add the records of a document."""
        renamed = {prefix: self._prefix(document, prefix) for prefix in document.prefixes}
        for section, by_id in document.records.items():
            records = self._records.setdefault(section, {})
            for identifier, record in by_id.items():
                key = _renamed(identifier, renamed)
                new = {t: _value(t, v, section, renamed) for t, v in record.items()}
                records[key] = _merged(records[key], new) if key in records else new

    def _prefix(self, document: Document, prefix: str) -> str:
        """Return a prefix for a namespace of a document that no other namespace has."""
        namespace = document.prefixes[prefix]
        name = prefix
        if prefix in (RUN, PARENT, STORE):
            kind = STORE if prefix == STORE else RUN
            name = f"{kind}-{name_of(Document({kind: namespace})).prefix.rpartition('-')[2]}"
        number, unique = 1, name
        while self._prefixes.setdefault(unique, namespace) != namespace:
            number += 1
            unique = f"{name}-{number}"
        return unique

    def joined(self) -> Document:
        """Return the document of all records, in which tasks seen in two ways are one."""
        same = self._same_tasks()
        records: dict[str, dict[str, Record]] = {}
        for section, by_id in self._records.items():
            joined = records.setdefault(section, {})
            for identifier, record in sorted(by_id.items()):
                key = same.get(identifier, identifier)
                new = {term: _with_same(value, same) for term, value in record.items()}
                joined[key] = _merged(joined[key], new) if key in joined else new
        return Document(self._prefixes, {s: dict(sorted(records[s].items())) for s in records})

    def _same_tasks(self) -> dict[str, str]:
        """Return the ids of tasks that the document of their workflow names otherwise.

        The process of a task of Snakemake knows its command, and the engine's log the job that
        has it. An engine that sets ``YPROV_WORKFLOW_IRI`` names the activity in its document.
        """
        activities = self._records.get("activity", {})
        by_command: dict[tuple[str, ...], list[str]] = {}
        for identifier, record in activities.items():
            if "mlf:commandDigest" in record and "mlf:taskId" in record:
                by_command.setdefault(_command(record), []).append(identifier)
        same: dict[str, str] = {}
        for identifier, record in activities.items():
            iri = str(text(record.get("mlf:taskIri")) or "")
            if iri and (named := self._shortened(iri)) in activities and named != identifier:
                same[named] = identifier
            elif "mlf:commandDigest" in record and "mlf:taskId" not in record:
                # Two jobs with one command cannot be distinguished.
                jobs = by_command.get(_command(record), [])
                if len(jobs) == 1:
                    same[identifier] = jobs[0]
        return same

    def _shortened(self, iri: str) -> str:
        namespace = namespace_of(iri)
        prefixes = [p for p, uri in self._prefixes.items() if uri == namespace]
        local = iri.removeprefix(namespace)
        return f"{prefixes[0]}:{local}" if prefixes else local


def _command(record: Record) -> tuple[str, ...]:
    parts = record.get("dcterms:isPartOf", [])
    first = parts[0] if isinstance(parts, list) and parts else parts
    return str(text(first)), str(record["mlf:commandDigest"])


def _renamed(identifier: str, renamed: Mapping[str, str]) -> str:
    prefix, colon, local = identifier.partition(":")
    if colon:
        return f"{renamed.get(prefix, prefix)}:{local}"
    # Without a prefix it is in the default namespace, which another document may have as well.
    default = renamed.get("default", "default")
    return identifier if default == "default" else f"{default}:{identifier}"


def _value(term: str, value: Any, section: str, renamed: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_value(term, item, section, renamed) for item in value]
    if isinstance(value, dict) and value.get("type") in _NAMES:
        return {**value, "$": _renamed(str(value.get("$")), renamed)}
    if section not in ELEMENTS and term in KINDS[section].formals:
        return _renamed(str(value), renamed)
    return value


def _with_same(value: Any, same: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_with_same(item, same) for item in value]
    if isinstance(value, dict) and value.get("type") in _NAMES:
        return {**value, "$": same.get(str(value.get("$")), value.get("$"))}
    return same.get(value, value) if isinstance(value, str) else value


def _merged(first: Record, second: Record) -> Record:
    """Return one record of two: all types and parts, and of anything else the first value."""
    merged = {**second, **first}
    for term in ("prov:type", "dcterms:isPartOf"):
        values: list[Any] = []
        for record in (first, second):
            value = record.get(term, [])
            for item in value if isinstance(value, list) else [value]:
                if item not in values:
                    values.append(item)
        if values:
            merged[term] = values[0] if len(values) == 1 else values
    return merged
