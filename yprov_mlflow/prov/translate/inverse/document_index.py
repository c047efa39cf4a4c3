"""A document as the inverse reads it: what is where, which values still hold."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from yprov_mlflow.prov import ids
from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.document import EXACT, Document, Record
from yprov_mlflow.prov.model.identifiers import NO_STORE, RUN, STORE

RUN_ID = f"{RUN}:run"
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?=#?\Z)")


class Reading:
    """Looks up records of a document.

    Raises:
        DocumentError: The document is of neither a run nor a store.
    """

    def __init__(self, document: Document) -> None:
        self.document = document
        self.entities = document.records.get("entity", {})
        self.activities = document.records.get("activity", {})
        self.ended = {
            str(record.get("prov:entity")) for record in self.relations("wasInvalidatedBy")
        }
        self.run = self.activities.get(RUN_ID) if RUN in document.prefixes else None
        if self.run is None and (RUN in document.prefixes or STORE not in document.prefixes):
            raise DocumentError(
                "the document is of no run and of no store",
                None,
                "Give documents that yprov-mlflow wrote",
            )
        found = _UUID.search(document.prefixes.get(STORE, ""))
        self.store_uuid = found[0] if found else NO_STORE
        self._groups: dict[tuple[str, str], list[tuple[str, Record]]] | None = None

    @property
    def live(self) -> bool:
        """Tell whether anyone saw what the document tells of, and not a source alone."""
        return any("mlf:token" in record for record in self.activities.values())

    @property
    def run_id(self) -> str:
        """Give the run's id, or what stands for one where the document is of a store."""
        if self.run is None:
            return ids.store_id(self.store_uuid)
        return str(attribute(self.run, "mlf:runId"))

    def relations(self, section: str) -> Iterator[Record]:
        """Give all relations of one kind."""
        yield from self.document.records.get(section, {}).values()

    def group(self, prefix: str, word: str) -> list[tuple[str, Record]]:
        """Give the entities ``<prefix>:<word>/<rest>`` as pairs of the rest and the record."""
        if self._groups is None:
            groups: dict[tuple[str, str], list[tuple[str, Record]]] = defaultdict(list)
            for identifier, record in self.entities.items():
                start, _, local = identifier.partition(":")
                head, _, rest = local.partition("/")
                if rest:
                    groups[start, head].append((rest, record))
            self._groups = groups
        return self._groups.get((prefix, word), [])

    def holds(self, identifier: str) -> bool:
        """Tell whether nothing has ended an entity."""
        return identifier not in self.ended


def attribute(record: Mapping[str, Any], term: str) -> Any:
    """Give the value of an attribute, exactly as it was; None where there is none."""
    value = record.get(term)
    if EXACT in record:
        exact = json.loads(record[EXACT])
        if term in exact:
            return exact[term]
    return literals.value(value) if isinstance(value, Mapping) else value


def as_json(record: Mapping[str, Any], term: str) -> Any:
    """Give the value of an attribute that is JSON text; None where there is none, or no JSON."""
    value = attribute(record, term)
    try:
        return json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        return None


def names(record: Mapping[str, Any], term: str) -> list[str]:
    """Give the values of an attribute that are qualified names."""
    value = record.get(term)
    values = value if isinstance(value, list) else [value]
    return [str(one.get("$")) for one in values if isinstance(one, Mapping)]


def key(segment: str) -> str:
    """Give the user's key that a segment of an id was made from."""
    return "" if segment == "@empty" else ids.unquote_key(segment)


def status(record: Mapping[str, Any], term: str = "mlf:status") -> str | None:
    """Give MLflow's status, which may be a qualified name or text."""
    value = attribute(record, term)
    return str(value).removeprefix("mlf:") if value is not None else None
