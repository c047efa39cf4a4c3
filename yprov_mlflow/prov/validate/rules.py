"""The rules by the numbers that W3C gave them, and the few that are our own."""

from __future__ import annotations

from functools import cache

SYNTAX = "Syntax"
SCHEMA = "PROV-JSON schema"
NAMESPACES = "Namespaces"
TIMES = "Times"
"""Our own: no W3C rule compares what clocks said with the order that PROV gives events."""

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
"""The constraints of PROV-CONSTRAINTS (W3C Recommendation, 30 April 2013)."""

_INFERENCES = {
    9: "wasStartedBy-inference",
    10: "wasEndedBy-inference",
    11: "derivation-generation-use-inference",
    14: "delegation-inference",
    15: "influence-inference",
}

_SECTIONS = {
    "entity": "5.1.1",
    "activity": "5.1.2",
    "wasGeneratedBy": "5.1.3",
    "used": "5.1.4",
    "wasInformedBy": "5.1.5",
    "wasStartedBy": "5.1.6",
    "wasEndedBy": "5.1.7",
    "wasInvalidatedBy": "5.1.8",
    "wasDerivedFrom": "5.2.1",
    "agent": "5.3.1",
    "wasAttributedTo": "5.3.2",
    "wasAssociatedWith": "5.3.3",
    "actedOnBehalfOf": "5.3.4",
    "wasInfluencedBy": "5.3.5",
    "specializationOf": "5.5.1",
    "alternateOf": "5.5.2",
    "hadMember": "5.6.2",
}
"""Where PROV-DM (W3C Recommendation, 30 April 2013) says what a statement consists of."""


@cache
def constraint(number: int) -> str:
    """Name a constraint: ``Constraint 37: generation-precedes-usage``."""
    return f"Constraint {number}: {_CONSTRAINTS[number]}"


@cache
def inference(number: int) -> str:
    """Name an inference: ``Inference 9: wasStartedBy-inference``."""
    return f"Inference {number}: {_INFERENCES[number]}"


@cache
def definition(kind: str) -> str:
    """Name the section that defines a kind of statement: ``PROV-DM 5.1.4: used``."""
    if kind == "mentionOf":  # a Note of its own
        return "PROV-LINKS 3: mentionOf"
    return f"PROV-DM {_SECTIONS[kind]}: {kind}"
