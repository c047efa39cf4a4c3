"""PROV-JSON and PROV-O side by side: which property says what an attribute says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

PROV = "http://www.w3.org/ns/prov#"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
RDFS = "http://www.w3.org/2000/01/rdf-schema#"
XSD = "http://www.w3.org/2001/XMLSchema#"
VANN = "http://purl.org/vocab/vann/"

STANDARD: Mapping[str, str] = {"prov": PROV, "xsd": XSD}
"""Prefixes that PROV-JSON documents need not declare, and cannot use for anything else."""

TYPE = RDF + "type"
LABEL = RDFS + "label"
PREFIX = VANN + "preferredNamespacePrefix"
AT_TIME = PROV + "atTime"
DATE_TIME = "xsd:dateTime"
QUALIFIED_NAME = "xsd:QName"

CLASSES: Mapping[str, str] = {"entity": "Entity", "activity": "Activity", "agent": "Agent"}
"""Class of each kind of element."""

SUBCLASSES: Mapping[str, str] = {
    "Bundle": "entity",
    "Collection": "entity",
    "EmptyCollection": "entity",
    "Plan": "entity",
    "Organization": "agent",
    "Person": "agent",
    "SoftwareAgent": "agent",
}
"""Classes of PROV-O that say of what kind something is; ours are always said with them."""

PROPERTIES: Mapping[str, str] = {
    "prov:type": TYPE,
    "prov:label": LABEL,
    "prov:location": PROV + "atLocation",
    "prov:role": PROV + "hadRole",
    "prov:startTime": PROV + "startedAtTime",
    "prov:endTime": PROV + "endedAtTime",
    "prov:time": AT_TIME,
}
"""Properties of attributes that are not named alike."""


class Qualified(NamedTuple):
    """A relation of PROV-O: the plain property, and the node that can say more.

    ``subject`` and ``object`` are attributes of PROV-JSON; ``others`` has the property of the
    node for each attribute but the subject's.
    """

    subject: str
    object: str
    plain: str
    link: str
    node: str
    others: Mapping[str, str]


def _influence(
    name: str, subject: str, object: str, plain: str, other: str, **more: str
) -> Qualified:
    others = {object: PROV + other}
    others.update((f"prov:{key}", PROV + value) for key, value in more.items())
    return Qualified(
        subject, object, PROV + plain, f"{PROV}qualified{name}", f"{PROV}{name}", others
    )


QUALIFIED: Mapping[str, Qualified] = {
    "wasGeneratedBy": _influence(
        "Generation", "prov:entity", "prov:activity", "wasGeneratedBy", "activity"
    ),
    "used": _influence("Usage", "prov:activity", "prov:entity", "used", "entity"),
    "wasInformedBy": _influence(
        "Communication", "prov:informed", "prov:informant", "wasInformedBy", "activity"
    ),
    "wasStartedBy": _influence(
        "Start", "prov:activity", "prov:trigger", "wasStartedBy", "entity", starter="hadActivity"
    ),
    "wasEndedBy": _influence(
        "End", "prov:activity", "prov:trigger", "wasEndedBy", "entity", ender="hadActivity"
    ),
    "wasInvalidatedBy": _influence(
        "Invalidation", "prov:entity", "prov:activity", "wasInvalidatedBy", "activity"
    ),
    "wasDerivedFrom": _influence(
        "Derivation",
        "prov:generatedEntity",
        "prov:usedEntity",
        "wasDerivedFrom",
        "entity",
        activity="hadActivity",
        generation="hadGeneration",
        usage="hadUsage",
    ),
    "wasAttributedTo": _influence(
        "Attribution", "prov:entity", "prov:agent", "wasAttributedTo", "agent"
    ),
    "wasAssociatedWith": _influence(
        "Association", "prov:activity", "prov:agent", "wasAssociatedWith", "agent", plan="hadPlan"
    ),
    "actedOnBehalfOf": _influence(
        "Delegation",
        "prov:delegate",
        "prov:responsible",
        "actedOnBehalfOf",
        "agent",
        activity="hadActivity",
    ),
    "wasInfluencedBy": _influence(
        "Influence", "prov:influencee", "prov:influencer", "wasInfluencedBy", "influencer"
    ),
}
"""The relations that can have an id, times and attributes."""

PLAIN: Mapping[str, tuple[str, str, str]] = {
    "specializationOf": (
        "prov:specificEntity",
        "prov:generalEntity",
        PROV + "specializationOf",
    ),
    "alternateOf": ("prov:alternate1", "prov:alternate2", PROV + "alternateOf"),
    "hadMember": ("prov:collection", "prov:entity", PROV + "hadMember"),
    "mentionOf": ("prov:specificEntity", "prov:generalEntity", PROV + "mentionOf"),
}
"""The relations that are one triple: their two ends, and its property."""

IN_BUNDLE = PROV + "asInBundle"
"""Of what is mentioned, the bundle; the one relation of three ends, written as two triples."""

DERIVATIONS: Mapping[str, tuple[str, str]] = {
    "prov:Revision": (PROV + "wasRevisionOf", PROV + "qualifiedRevision"),
    "prov:Quotation": (PROV + "wasQuotedFrom", PROV + "qualifiedQuotation"),
    "prov:PrimarySource": (PROV + "hadPrimarySource", PROV + "qualifiedPrimarySource"),
}
"""For types of derivations the properties that say so, beside those of derivations."""
