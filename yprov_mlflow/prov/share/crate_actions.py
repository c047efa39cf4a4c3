"""Parts of the actions of an RO-Crate."""

from __future__ import annotations

import datetime
from typing import Any

Entity = dict[str, Any]

STATUS = {
    "FINISHED": "http://schema.org/CompletedActionStatus",
    "FAILED": "http://schema.org/FailedActionStatus",
    "KILLED": "http://schema.org/FailedActionStatus",
}
"""Statuses of actions by MLflow's statuses of runs."""


def time_text(text: str | None) -> str | None:
    """Return a time in the only form that the validator of the profiles takes."""
    try:
        moment = datetime.datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment.astimezone(datetime.UTC).isoformat(timespec="milliseconds")


def references(value: Any) -> list[Entity]:
    """Return the references that a property has: none, a single one, or a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def compact(value: Any) -> Any:
    """Return a single value instead of a list of one, and None instead of an empty list."""
    if isinstance(value, (list, tuple)):
        return value[0] if len(value) == 1 else list(value) or None
    return value
