"""Spans as MLflow's own, whichever version wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def readable(given: Mapping[str, Any]) -> dict[str, Any]:
    """Give a span's JSON so that MLflow 3 reads it: what 2.x wrote differs in events."""
    span = dict(given)
    span.setdefault("parent_span_id", None)
    events = span.get("events")
    if isinstance(events, list):
        span["events"] = [
            {
                **{key: value for key, value in event.items() if key != "timestamp"},
                "time_unix_nano": event.get("time_unix_nano", event.get("timestamp")),
            }
            if isinstance(event, Mapping)
            else event
            for event in events
        ]
    return span


def of_mlflow(span: dict[str, Any]) -> Any:
    """Give MLflow's object for a span, None where MLflow cannot read it."""
    from mlflow.entities import Span

    try:
        return Span.from_dict(span)
    except Exception:  # noqa: BLE001 - whatever MLflow makes of a broken span, it stays away
        return None
