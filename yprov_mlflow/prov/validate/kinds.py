"""The kinds of statements: what stands where in each of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Kind(NamedTuple):
    """One kind of statement; the four tuples run in parallel, in the order of PROV-DM.

    ``formals`` are the attributes that name other things, ``roles`` what these have to be
    (Constraint 50), ``required`` which of them must be there, and ``fixed`` at which of them
    saying nothing means that there is none. Saying nothing elsewhere means that there is one,
    not said which (PROV-CONSTRAINTS, Definition 4 and Table 3).
    """

    formals: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    required: tuple[bool, ...] = ()
    fixed: tuple[bool, ...] = ()
    times: tuple[str, ...] = ()
    named: bool = True


def _relation(*positions: str, timed: bool = False, named: bool = True) -> Kind:
    """Read ``formal role mark``: ``!`` for required, ``-`` for none if it is not said."""
    split = [position.split(" ") for position in positions]
    return Kind(
        tuple(f"prov:{formal}" for formal, _, _ in split),
        tuple("" if role == "any" else role for _, role, _ in split),
        tuple(mark == "!" for _, _, mark in split),
        tuple(mark == "-" for _, _, mark in split),
        ("prov:time",) if timed else (),
        named,
    )


KINDS: Mapping[str, Kind] = {
    "entity": Kind(),
    "activity": Kind(times=("prov:startTime", "prov:endTime")),
    "agent": Kind(),
    "wasGeneratedBy": _relation("entity entity !", "activity activity ?", timed=True),
    "used": _relation("activity activity !", "entity entity ?", timed=True),
    "wasInformedBy": _relation("informed activity !", "informant activity !"),
    "wasStartedBy": _relation(
        "activity activity !", "trigger entity ?", "starter activity ?", timed=True
    ),
    "wasEndedBy": _relation(
        "activity activity !", "trigger entity ?", "ender activity ?", timed=True
    ),
    "wasInvalidatedBy": _relation("entity entity !", "activity activity ?", timed=True),
    "wasDerivedFrom": _relation(
        "generatedEntity entity !",
        "usedEntity entity !",
        "activity activity -",
        "generation any ?",
        "usage any ?",
    ),
    "wasAttributedTo": _relation("entity entity !", "agent agent !"),
    "wasAssociatedWith": _relation("activity activity !", "agent agent ?", "plan entity -"),
    "actedOnBehalfOf": _relation("delegate agent !", "responsible agent !", "activity activity ?"),
    "wasInfluencedBy": _relation("influencee any !", "influencer any !"),
    "specializationOf": _relation("specificEntity entity !", "generalEntity entity !", named=False),
    "alternateOf": _relation("alternate1 entity !", "alternate2 entity !", named=False),
    "hadMember": _relation("collection entity !", "entity entity !", named=False),
    "mentionOf": _relation(
        "specificEntity entity !", "generalEntity entity !", "bundle entity !", named=False
    ),
}
"""By the name that PROV-N, PROV-JSON and PROV-XML have in common."""

ELEMENTS = ("entity", "activity", "agent")

DISJOINT = frozenset(kind for kind, found in KINDS.items() if found.formals and found.named) - {
    "wasDerivedFrom",
    "wasInfluencedBy",
}
"""Relations of which no two share an id (Constraint 53)."""

SOMETHING = frozenset(
    {
        "wasGeneratedBy",
        "used",
        "wasStartedBy",
        "wasEndedBy",
        "wasInvalidatedBy",
        "wasAssociatedWith",
    }
)
"""Relations that have to say something besides what they require, be it only an id."""
