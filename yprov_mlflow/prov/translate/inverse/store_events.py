"""Events of a store: its logged models, and the calls to it with the spans that they logged."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.document import Record
from yprov_mlflow.prov.model.identifiers import STORE
from yprov_mlflow.prov.translate.inverse.document_index import (
    DocumentIndex,
    as_json,
    attribute,
    instant_ns,
    key,
    last_values,
    names,
    param_values,
    status,
)
from yprov_mlflow.prov.translate.inverse.readings import base_of
from yprov_mlflow.prov.translate.store_calls.spans import rebuild_span

_DELETED = "DELETED"
_TERMS = ("mlf:sequence", "mlf:creationTimeMs", "mlf:status", "schema:name", "mlf:experimentId")

ModelFields = tuple[int | None, tuple[Any, ...]]
"""The number of a ``ModelLogged`` event, None if the document lacks it, and its fields."""

CallFields = tuple[int | None, int, tuple[Any, ...]]
"""A call's number, its time in ns (0 if unknown), and the fields of ``StoreCalled``."""


def models(index: DocumentIndex) -> list[ModelFields]:
    """Return the models that a document describes, not those it only mentions, by number."""
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
    index: DocumentIndex, segment: str, record: Record, parts: dict[str, list[tuple[str, Record]]]
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
        base_of(index, f"{STORE}:logged-model/{segment}"),
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


# -- calls ---------------------------------------------------------------------------------


def calls(index: DocumentIndex) -> list[CallFields]:
    """Return all calls, ordered by time and number."""
    spans = _spans(index)
    events: list[CallFields] = []
    for identifier, record in index.activities.items():
        if not identifier.startswith(f"{STORE}:event/") or "mlf:method" not in record:
            continue
        arguments = as_json(record, "mlf:arguments")
        arguments = arguments if isinstance(arguments, dict) else {}
        if identifier in spans:
            kept = arguments.get("spans")
            arguments["spans"] = spans[identifier] + (kept if isinstance(kept, list) else [])
        elif attribute(record, "mlf:method") == "log_spans":
            # Later calls may have logged all of its spans again.
            arguments.setdefault("spans", [])
        fields = (
            attribute(record, "mlf:method"),
            as_json(record, "mlf:subjects") or {},
            arguments,
            as_json(record, "mlf:result"),
            as_json(record, "mlf:before"),
        )
        number = attribute(record, "mlf:sequence")
        events.append((number, instant_ns(record.get("prov:startTime")), fields))
    # Calls of several live sessions are in order of time; those of a source lack times.
    return sorted(events, key=lambda call: (call[1], call[0] or 0))


def _spans(index: DocumentIndex) -> dict[str, list[dict[str, Any]]]:
    """Return the spans by the call that logged them last."""
    spans: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for identifier, record in sorted(index.activities.items()):
        logged_by = names(record, "mlf:loggedBy")
        fields = as_json(record, "mlf:spanFields")
        if logged_by and isinstance(fields, dict):
            parts = {
                "attributes": as_json(record, "mlf:spanAttributes"),
                "events": as_json(record, "mlf:spanEvents"),
                "inputs": _value(index.entities.get(f"{identifier}/in")),
                "outputs": _value(index.entities.get(f"{identifier}/out")),
            }
            spans[logged_by[0]].append(rebuild_span(fields, parts))
    return spans


def _value(record: Record | None) -> object:
    return None if record is None else literals.value(record.get("prov:value"))
