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

# The constraints of PROV-CONSTRAINTS (W3C Recommendation, 30 April 2013).
_CONSTRAINTS = {
    22: "key-object",
    23: "key-properties",
    24: "unique-generation",
    25: "unique-invalidation",
    26: "unique-wasStartedBy",
    27: "unique-wasEndedBy",
    28: "unique-startTime",
    29: "unique-endTime",
    30: "start-precedes-end",
    31: "start-start-ordering",
    32: "end-end-ordering",
    33: "usage-within-activity",
    34: "generation-within-activity",
    35: "wasInformedBy-ordering",
    36: "generation-precedes-invalidation",
    37: "generation-precedes-usage",
    38: "usage-precedes-invalidation",
    39: "generation-generation-ordering",
    40: "invalidation-invalidation-ordering",
    41: "derivation-usage-generation-ordering",
    42: "derivation-generation-generation-ordering",
    43: "wasStartedBy-ordering",
    44: "wasEndedBy-ordering",
    45: "specialization-generation-ordering",
    46: "specialization-invalidation-ordering",
    47: "wasAssociatedWith-ordering",
    48: "wasAttributedTo-ordering",
    49: "actedOnBehalfOf-ordering",
    50: "typing",
    51: "impossible-unspecified-derivation-generation-use",
    52: "impossible-specialization-reflexive",
    53: "impossible-property-overlap",
    54: "impossible-object-property-overlap",
    55: "entity-activity-disjoint",
    56: "membership-empty-collection",
}

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
    return f"Constraint {number}: {_CONSTRAINTS[number]}"


@cache
def inference(number: int) -> str:
    """Return the name of an inference, such as ``Inference 9: wasStartedBy-inference``."""
    return f"Inference {number}: {_INFERENCES[number]}"


@cache
def definition(kind: str) -> str:
    """Return the section that defines a kind of statement, such as ``PROV-DM 5.1.4: used``."""
    return f"{KINDS[kind].definition}: {kind}"
