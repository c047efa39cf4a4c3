"""Findings, and the names of the rules that they cite: W3C's numbers, and a few of our own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

from yprov_mlflow.prov.model.relations import KINDS

SYNTAX = "Syntax"
SCHEMA = "PROV-JSON schema"
NAMESPACES = "Namespaces"
TIMES = "Times"
"""Our own rule: W3C's rules order events, but never compare their times with that order."""

# The constraints of PROV-CONSTRAINTS (W3C Recommendation, 30 April 2013), whose numbers run
# from 22 on: definitions and inferences have the lower ones.
CONSTRAINTS = dict(
    enumerate(
        """
        key-object key-properties unique-generation unique-invalidation unique-wasStartedBy
        unique-wasEndedBy unique-startTime unique-endTime start-precedes-end start-start-ordering
        end-end-ordering usage-within-activity generation-within-activity wasInformedBy-ordering
        generation-precedes-invalidation generation-precedes-usage usage-precedes-invalidation
        generation-generation-ordering invalidation-invalidation-ordering
        derivation-usage-generation-ordering derivation-generation-generation-ordering
        wasStartedBy-ordering wasEndedBy-ordering specialization-generation-ordering
        specialization-invalidation-ordering wasAssociatedWith-ordering wasAttributedTo-ordering
        actedOnBehalfOf-ordering typing impossible-unspecified-derivation-generation-use
        impossible-specialization-reflexive impossible-property-overlap
        impossible-object-property-overlap entity-activity-disjoint membership-empty-collection
        """.split(),
        start=22,
    )
)

_INFERENCES = {
    9: "wasStartedBy-inference",
    10: "wasEndedBy-inference",
    11: "derivation-generation-use-inference",
    14: "delegation-inference",
    15: "influence-inference",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong in a document, or probably unintended.

    Args:
        severity: ``error`` for a violation, ``warning`` for a probable mistake.
        rule: The violated rule, by W3C's number if it has one.
        record: The record concerned, as PROV-N; empty for the whole document.
        message: An explanation.
        bundle: The bundle of the record; None outside bundles.
    """

    severity: Literal["error", "warning"]
    rule: str
    record: str
    message: str
    bundle: str | None = None


def error(rule: str, record: object, message: str) -> Finding:
    """Return a finding about a violation."""
    return Finding("error", rule, str(record), message)


def warning(rule: str, record: object, message: str) -> Finding:
    """Return a finding about a probable mistake."""
    return Finding("warning", rule, str(record), message)


@cache
def constraint(number: int) -> str:
    """Return the name of a constraint, such as ``Constraint 37: generation-precedes-usage``."""
    return f"Constraint {number}: {CONSTRAINTS[number]}"


@cache
def inference(number: int) -> str:
    """Return the name of an inference, such as ``Inference 9: wasStartedBy-inference``."""
    return f"Inference {number}: {_INFERENCES[number]}"


@cache
def definition(kind: str) -> str:
    """Return the section that defines a kind of statement, such as ``PROV-DM 5.1.4: used``."""
    return f"{KINDS[kind].definition}: {kind}"
