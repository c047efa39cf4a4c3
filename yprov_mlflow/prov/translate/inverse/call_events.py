"""Calls to a store, from their activities and the spans that they logged."""

from __future__ import annotations

import datetime
from collections import defaultdict
from typing import Any

from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.document import Record
from yprov_mlflow.prov.model.identifiers import STORE
from yprov_mlflow.prov.translate.inverse.document_index import (
    DocumentIndex,
    as_json,
    attribute,
    names,
)
from yprov_mlflow.prov.translate.store_calls.spans import rebuild_span

CallFields = tuple[int | None, int, tuple[Any, ...]]
"""A call's number, its time in ns (0 if unknown), and the fields of ``StoreCalled``."""


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
        )
        number = attribute(record, "mlf:sequence")
        events.append((number, _time_ns(record.get("prov:startTime")), fields))
    return sorted(events, key=lambda call: (call[1], call[0] or 0))


def _time_ns(instant: str | None) -> int:
    if instant is None:
        return 0
    moment = datetime.datetime.fromisoformat(instant)
    return literals.microseconds(moment) * 1000


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
