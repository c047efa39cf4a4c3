"""Logged models that a document describes, as opposed to models that it only mentions."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from yprov_mlflow.prov.model.document import Record
from yprov_mlflow.prov.model.identifiers import STORE
from yprov_mlflow.prov.translate.inverse.document_index import (
    DocumentIndex,
    as_json,
    attribute,
    key,
    last_values,
    param_values,
    status,
)

_DELETED = "DELETED"
_TERMS = ("mlf:sequence", "mlf:creationTimeMs", "mlf:status", "schema:name", "mlf:experimentId")

ModelFields = tuple[int | None, tuple[Any, ...]]
"""The number of a ``ModelLogged`` event, None if the document has none, and its fields."""


def models(index: DocumentIndex) -> list[ModelFields]:
    """Return all models, ordered by number."""
    parts: dict[str, dict[str, list[tuple[str, Record]]]] = defaultdict(lambda: defaultdict(list))
    records: dict[str, Record] = {}
    for suffix, record in index.group(STORE, "logged-model"):
        segment, _, inner = suffix.partition("/")
        word, _, part = inner.partition("/")
        if word:
            parts[segment][word].append((part, record))
        else:
            records[segment] = record
    events: list[ModelFields] = []
    for segment, record in records.items():
        model_parts = parts.get(segment, {})
        described = any(term in record for term in _TERMS)
        if described or any(model_parts.get(word) for word in ("param", "tag", "status")):
            events += _events(index, segment, record, model_parts)
    return sorted(events, key=lambda event: event[0] or 0)


def _events(
    index: DocumentIndex,
    segment: str,
    record: Record,
    parts: dict[str, list[tuple[str, Record]]],
) -> list[ModelFields]:
    model_id = key(segment)
    number = attribute(record, "mlf:sequence")
    statuses = _statuses(parts.get("status", []))
    before = [value for value, _ in statuses if value != _DELETED]
    deletions = [at for value, at in statuses if value == _DELETED]
    # A deletion needs its own event, unless the model was deleted when it was first seen.
    separate = bool(deletions) and (bool(before) or deletions[-1] != number)
    tags = f"{STORE}:logged-model/{segment}/tag/"
    fields = (
        model_id,
        attribute(record, "schema:name"),
        attribute(record, "mlf:modelType"),
        (before[-1] if before else None) if separate else status(record),
        attribute(record, "mlf:experimentId"),
        attribute(record, "mlf:artifactUri"),
        attribute(record, "mlf:creationTimeMs"),
        param_values(parts.get("param", [])),
        last_values(index, parts.get("tag", []), tags),
        None,
        as_json(record, "mlf:fields"),
    )
    events: list[ModelFields] = [(number, fields)]
    if separate:
        events.append((deletions[-1], (model_id, None, None, _DELETED)))
    return events


def _statuses(rows: list[tuple[str, Record]]) -> list[tuple[str, int | None]]:
    """Return the statuses of a model in order, with their numbers if the document has them."""
    values = [
        (str(status(record, "prov:value")), attribute(record, "mlf:sequence"))
        for suffix, record in sorted(rows, key=lambda row: row[0])
        if suffix and "prov:value" in record
    ]
    return sorted(values, key=lambda value: value[1] or 0)
