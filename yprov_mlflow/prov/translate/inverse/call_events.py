"""Calls to a store: each as it was, from its activity and the spans that it logged."""

from __future__ import annotations

import datetime
from collections import defaultdict
from typing import Any

from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.document import Record
from yprov_mlflow.prov.model.identifiers import STORE
from yprov_mlflow.prov.translate.inverse.document_index import Reading, as_json, attribute, names
from yprov_mlflow.prov.translate.store_calls.spans import rebuilt

Found = tuple[int | None, int, tuple[Any, ...]]
"""A call's number, its time in ns (0 where unknown), and the fields of ``StoreCalled``."""


def calls(reading: Reading) -> list[Found]:
    """Give all calls, in order of time and number."""
    spans = _spans(reading)
    found: list[Found] = []
    for identifier, record in reading.activities.items():
        if not identifier.startswith(f"{STORE}:event/") or "mlf:method" not in record:
            continue
        arguments = as_json(record, "mlf:arguments")
        arguments = arguments if isinstance(arguments, dict) else {}
        if identifier in spans:
            kept = arguments.get("spans")
            arguments["spans"] = spans[identifier] + (kept if isinstance(kept, list) else [])
        elif attribute(record, "mlf:method") == "log_spans":
            arguments.setdefault("spans", [])
        fields = (
            attribute(record, "mlf:method"),
            as_json(record, "mlf:subjects") or {},
            arguments,
            as_json(record, "mlf:result"),
        )
        number = attribute(record, "mlf:sequence")
        found.append((number, _time_ns(record.get("prov:startTime")), fields))
    return sorted(found, key=lambda call: (call[1], call[0] or 0))


def _time_ns(instant: str | None) -> int:
    if instant is None:
        return 0
    moment = datetime.datetime.fromisoformat(instant)
    return literals.microseconds(moment) * 1000


def _spans(reading: Reading) -> dict[str, list[dict[str, Any]]]:
    """Give the spans that each call logged last."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for identifier, record in sorted(reading.activities.items()):
        by = names(record, "mlf:loggedBy")
        fields = as_json(record, "mlf:spanFields")
        if by and isinstance(fields, dict):
            parts = {
                "attributes": as_json(record, "mlf:spanAttributes"),
                "events": as_json(record, "mlf:spanEvents"),
                "inputs": _value(reading.entities.get(f"{identifier}/in")),
                "outputs": _value(reading.entities.get(f"{identifier}/out")),
            }
            found[by[0]].append(rebuilt(fields, parts))
    return found


def _value(record: Record | None) -> object:
    if record is None:
        return None
    return literals.value(record.get("prov:value"))
