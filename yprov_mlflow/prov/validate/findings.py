"""What a validator has to say: one finding per contradiction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or that is hardly meant so.

    Args:
        severity: ``error`` for what cannot be, ``warning`` for what may be a mistake.
        rule: The rule it breaks, by W3C's own number where W3C has one.
        record: The record it was seen at, as PROV-N; empty if it concerns the whole.
        message: What contradicts what.
        bundle: The bundle that has the record; None for records outside bundles.
    """

    severity: Severity
    rule: str
    record: str
    message: str
    bundle: str | None = None


def error(rule: str, record: str, message: str) -> Finding:
    """Give a finding of what cannot be."""
    return Finding("error", rule, record, message)


def warning(rule: str, record: str, message: str) -> Finding:
    """Give a finding of what may be a mistake."""
    return Finding("warning", rule, record, message)
