"""PROV's table of record kinds: attributes, constraints and PROV-O names of each, in one place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

PROV = "http://www.w3.org/ns/prov#"

ELEMENTS = ("entity", "activity", "agent")
"""The kinds of records that relations connect."""


class Kind(NamedTuple):
    """One kind of record: an element or a relation.

    ``formals``, ``roles``, ``required``, ``fixed`` and ``properties`` run in parallel, in the
    order of PROV-DM. An omitted attribute usually stands for an unknown value; where ``fixed``
    is true it means that it does not exist (PROV-CONSTRAINTS, Definition 4 and Table 3).

    Args:
        definition: The section of the W3C document that defines it.
        node: Its class in PROV-O; empty for relations that PROV-O writes as a plain triple only.
        formals: Attributes that hold the id of another record.
        roles: What each of these has to be (Constraint 50); empty for anything.
        required: Whether each of these has to be present.
        fixed: Whether omitting each of these means that it does not exist.
        properties: The property of PROV-O's node for each of these; empty for the first, which
            the node belongs to.
        times: Attributes that hold a time.
        named: Whether a record may have an id and attributes.
    """

    definition: str
    node: str
    formals: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    required: tuple[bool, ...] = ()
    fixed: tuple[bool, ...] = ()
    properties: tuple[str, ...] = ()
    times: tuple[str, ...] = ()
    named: bool = True


_ATTRIBUTE = re.compile(r"(\w+):(\w*)([!?-])(\w*)")
# Each line: the kind, its definition, its class in PROV-O ("-" for a plain triple only), and its
# attributes as ``name:role``, a mark, and the property of PROV-O's node. The mark is "!" for
# required, "?" for unknown if omitted, "-" for none if omitted. Times start with "@".
_TABLE = """
entity            PROV-DM 5.1.1  Entity
activity          PROV-DM 5.1.2  Activity       @startTime @endTime
agent             PROV-DM 5.3.1  Agent
wasGeneratedBy    PROV-DM 5.1.3  Generation     entity:entity! activity:activity?activity @time
used              PROV-DM 5.1.4  Usage          activity:activity! entity:entity?entity @time
wasInformedBy     PROV-DM 5.1.5  Communication  informed:activity! informant:activity!activity
wasStartedBy      PROV-DM 5.1.6  Start          activity:activity! trigger:entity?entity \
                                                starter:activity?hadActivity @time
wasEndedBy        PROV-DM 5.1.7  End            activity:activity! trigger:entity?entity \
                                                ender:activity?hadActivity @time
wasInvalidatedBy  PROV-DM 5.1.8  Invalidation   entity:entity! activity:activity?activity @time
wasDerivedFrom    PROV-DM 5.2.1  Derivation     generatedEntity:entity! usedEntity:entity!entity \
                                                activity:activity-hadActivity \
                                                generation:?hadGeneration usage:?hadUsage
wasAttributedTo   PROV-DM 5.3.2  Attribution    entity:entity! agent:agent!agent
wasAssociatedWith PROV-DM 5.3.3  Association    activity:activity! agent:agent?agent \
                                                plan:entity-hadPlan
actedOnBehalfOf   PROV-DM 5.3.4  Delegation     delegate:agent! responsible:agent!agent \
                                                activity:activity?hadActivity
wasInfluencedBy   PROV-DM 5.3.5  Influence      influencee:! influencer:!influencer
specializationOf  PROV-DM 5.5.1  -              specificEntity:entity! generalEntity:entity!
alternateOf       PROV-DM 5.5.2  -              alternate1:entity! alternate2:entity!
hadMember         PROV-DM 5.6.2  -              collection:entity! entity:entity!
mentionOf         PROV-LINKS 3   -              specificEntity:entity! generalEntity:entity! \
                                                bundle:entity!
"""


def _parse(table: str) -> Iterator[tuple[str, Kind]]:
    for line in table.strip().splitlines():
        name, document, section, node, *columns = line.split()
        attributes = _ATTRIBUTE.findall(line)
        names, roles, marks, properties = zip(*attributes, strict=True) if attributes else [()] * 4
        yield (
            name,
            Kind(
                definition=f"{document} {section}",
                node=node.strip("-"),
                formals=tuple(f"prov:{attribute}" for attribute in names),
                roles=roles,
                required=tuple(mark == "!" for mark in marks),
                fixed=tuple(mark == "-" for mark in marks),
                properties=properties,
                times=tuple(f"prov:{column[1:]}" for column in columns if column[0] == "@"),
                named=node != "-",
            ),
        )


KINDS: Mapping[str, Kind] = dict(_parse(_TABLE))
"""All kinds by the name that PROV-N, PROV-JSON, PROV-XML and PROV-O's plain property share."""

FORMAL: Mapping[str, tuple[str, ...]] = {
    section: kind.formals + kind.times for section, kind in KINDS.items()
}
"""The attributes of each kind that PROV-JSON writes as plain strings: ids, then times."""

UNNAMED = tuple(section for section, kind in KINDS.items() if not kind.named)
"""Relations that PROV gives neither ids nor attributes."""

_NAMED = frozenset(section for section, kind in KINDS.items() if kind.named)
_EVENTS = frozenset(section for section, kind in KINDS.items() if "prov:time" in kind.times)
OWN_ATTRIBUTES: Mapping[str, frozenset[str]] = {
    "prov:label": _NAMED,
    "prov:location": _EVENTS.union(ELEMENTS),
    "prov:role": _EVENTS | {"wasAssociatedWith"},
    "prov:type": _NAMED,
    "prov:value": frozenset({"entity"}),
}
"""PROV's other attributes, and the kinds that may have each of them."""

SUBTYPES: Mapping[str, str] = {
    **dict.fromkeys(("Bundle", "Collection", "EmptyCollection", "Plan"), "entity"),
    **dict.fromkeys(("Organization", "Person", "SoftwareAgent"), "agent"),
}
"""Types that PROV defines, with the kind of element that they imply."""

DERIVATIONS: Mapping[str, str] = {
    "Revision": "wasRevisionOf",
    "Quotation": "wasQuotedFrom",
    "PrimarySource": "hadPrimarySource",
}
"""Types of derivations that PROV defines, with the plain property that implies each."""
