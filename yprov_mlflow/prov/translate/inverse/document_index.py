"""An index of a document's records, and access to their attributes and current values."""

from __future__ import annotations

import datetime
import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from yprov_mlflow.prov import ids
from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.document import EXACT, Document, Record
from yprov_mlflow.prov.model.identifiers import NO_STORE, RUN, STORE

RUN_ID = f"{RUN}:run"
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?=#?\Z)")
_STAMPED = re.compile(r"\d{8}T")


class DocumentIndex:
    """Finds records of a document.

    Attributes:
        run: The record of the run; None for the document of a store.
        store_uuid: Id of the store, or a placeholder.
        live: Whether the document comes from live capture, and not from an existing store.

    Raises:
        DocumentError: The document describes neither a run nor a store.
    """

    def __init__(self, document: Document) -> None:
        self.document = document
        self.entities = document.records.get("entity", {})
        self.activities = document.records.get("activity", {})
        self.live = any("mlf:token" in record for record in self.activities.values())
        self._ended = {str(end.get("prov:entity")) for end in self.relations("wasInvalidatedBy")}
        self.run = self.activities.get(RUN_ID) if RUN in document.prefixes else None
        if self.run is None and (RUN in document.prefixes or STORE not in document.prefixes):
            raise DocumentError(
                "the document describes neither a run nor a store",
                None,
                "Only documents that yprov-mlflow wrote have runs; for PROV of other programs use "
                "prov-convert of the Python package prov",
            )
        match = _UUID.search(document.prefixes.get(STORE, ""))
        self.store_uuid = match[0] if match else NO_STORE
        # Grouping all entities once: each caller of group() would scan a large document otherwise.
        self._groups: dict[str, list[tuple[str, Record]]] = defaultdict(list)
        for identifier, record in self.entities.items():
            start, _, suffix = identifier.partition("/")
            if suffix:
                self._groups[start].append((suffix, record))

    @property
    def run_id(self) -> str:
        """The id of the run, or the placeholder for a store."""
        if self.run is None:
            return ids.store_id(self.store_uuid)
        return str(attribute(self.run, "mlf:runId"))

    def relations(self, section: str) -> Collection[Record]:
        """Return all relations of one kind."""
        return self.document.records.get(section, {}).values()

    def group(self, prefix: str, word: str) -> list[tuple[str, Record]]:
        """Return the entities ``<prefix>:<word>/<suffix>`` as pairs of suffix and record."""
        return self._groups.get(f"{prefix}:{word}", [])

    def is_current(self, identifier: str) -> bool:
        """Return whether no record ends an entity."""
        return identifier not in self._ended


# -- attributes --------------------------------------------------------------------------


def attribute(record: Mapping[str, Any], term: str) -> Any:
    """Return the exact value of an attribute, None if it is missing."""
    value = record.get(term)
    # Text with lone surrogates is replaced in the attribute itself, and kept exactly as JSON.
    if EXACT in record:
        exact = json.loads(record[EXACT])
        if term in exact:
            return exact[term]
    return literals.value(value) if isinstance(value, Mapping) else value


def as_json(record: Mapping[str, Any], term: str) -> Any:
    """Return the content of an attribute that is JSON text, None if it is not."""
    value = attribute(record, term)
    try:
        return json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        return None


def names(record: Mapping[str, Any], term: str) -> list[str]:
    """Return the values of an attribute that are qualified names."""
    value = record.get(term)
    values = value if isinstance(value, list) else [value]
    return [str(item.get("$")) for item in values if isinstance(item, Mapping)]


def key(segment: str) -> str:
    """Return the user's key that a segment of an id stands for."""
    return "" if segment == "@empty" else ids.unquote_key(segment)


def status(record: Mapping[str, Any], term: str = "mlf:status") -> str | None:
    """Return a status of MLflow, which may be a qualified name or text."""
    value = attribute(record, term)
    return str(value).removeprefix("mlf:") if value is not None else None


def instant_ns(instant: str | None) -> int:
    """Return a time of a record in ns since the epoch, 0 without one."""
    if instant is None:
        return 0
    moment = datetime.datetime.fromisoformat(instant)
    return literals.microseconds(moment) * 1000


# -- current values ----------------------------------------------------------------------


def last_values(
    index: DocumentIndex, rows: Iterable[tuple[str, Record]], base: str
) -> dict[str, Any]:
    """Return the current values of properties by key.

    Args:
        index: The document.
        rows: The records of properties and their values, each with the part of its id after
            ``base``: ``<key>`` for a property, ``<key>/<number>`` for a value.
        base: The part of their ids that they have in common.
    """
    latest: dict[str, tuple[tuple[bool, int, str], str, Record]] = {}
    for suffix, record in rows:
        segment, slash, number = suffix.partition("/")
        if slash and "prov:value" in record:
            order = value_order(number)
            if segment not in latest or latest[segment][0] < order:
                latest[segment] = (order, f"{base}{suffix}", record)
    return {
        key(segment): attribute(record, "prov:value")
        for segment, (_, identifier, record) in latest.items()
        if index.is_current(identifier)
    }


def value_order(number: str) -> tuple[bool, int, str]:
    """Return the sort key of a value: numbers, else timestamps before values without time.

    Values of runs are numbered. Those of a store have the time of their event in their id, and
    those that were read from an existing store lack a time and are the current ones.
    """
    plain = number.partition("@")[0]
    if plain.isdecimal() and len(plain) < 8:
        return (True, int(plain), number)
    return (not _STAMPED.match(number), 0, number)


def param_values(rows: Iterable[tuple[str, Record]]) -> dict[str, str]:
    """Return params by key: the last value of a param with several, which no store should have."""
    latest: dict[str, tuple[int, str]] = {}
    for suffix, record in rows:
        segment, at, count = suffix.rpartition("@")
        if not at or not count.isdecimal():
            segment, count = suffix, "1"
        if "mlf:text" in record and latest.get(segment, (0, ""))[0] < int(count):
            latest[segment] = (int(count), str(attribute(record, "mlf:text")))
    return {key(segment): value for segment, (_, value) in latest.items()}
