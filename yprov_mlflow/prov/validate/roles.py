"""What is an entity, what an activity, and what cannot be both (Constraints 50 to 52, 55, 56)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from yprov_mlflow.prov.validate import graph, rules
from yprov_mlflow.prov.validate.findings import Finding, error
from yprov_mlflow.prov.validate.kinds import KINDS
from yprov_mlflow.prov.validate.names import PROV, Names
from yprov_mlflow.prov.validate.statements import Statement

Groups = Mapping[str, Sequence[Statement]]
Roles = dict[str, dict[str, Statement]]
"""For ``entity`` and ``activity``: what is one, and a statement that says so."""


def roles(said: Groups) -> Roles:
    """Tell what is an entity and what an activity, be it declared or used as one."""
    found: Roles = {"entity": {}, "activity": {}, "agent": {}, "": {}}
    for kind in ("entity", "activity"):
        into = found[kind]
        for statement in said[kind]:
            if statement.identifier is not None:
                into.setdefault(statement.identifier, statement)
    for kind, positions in KINDS.items():
        places = [
            (place, found[role])
            for place, role in enumerate(positions.roles)
            if role in ("entity", "activity")
        ]
        for statement in said[kind]:
            terms = statement.terms
            for place, into in places:
                term = terms[place]
                if term is not None and term not in into:
                    into[term] = statement
    return found


def contradictions(said: Groups, known: Roles, names: Names) -> Iterator[Finding]:
    """Find what cannot be what it is said to be."""
    entities, activities = known["entity"], known["activity"]
    for identifier in entities.keys() & activities.keys():
        yield error(
            f"{rules.constraint(55)} (with Constraint 50)",
            str(entities[identifier]),
            f"{identifier} is an entity here, and an activity in {activities[identifier]}",
        )
    for statement in said["wasDerivedFrom"]:
        _, _, activity, generation, usage = statement.terms
        if activity is None and (generation is not None or usage is not None):
            what = "generation" if generation is not None else "usage"
            yield error(
                rules.constraint(51), str(statement), f"it has a {what} but names no activity"
            )
    yield from _circles(said)
    yield from _full(said, names)


def _circles(said: Groups) -> Iterator[Finding]:
    """Nothing is an aspect of itself, whether at once or round a circle (Inference 19)."""
    found = [*said["specializationOf"], *said["mentionOf"]]
    places: dict[str | None, int] = {}
    edges: list[list[graph.Edge]] = []
    for statement in found:
        for term in statement.terms[:2]:
            if places.setdefault(term, len(places)) == len(edges):
                edges.append([])
        specific, general = statement.terms[:2]
        edges[places[specific]].append((places[general], None, statement))
    named = list(places)
    for component in graph.components(edges):
        inside = set(component)
        members = [named[node] for node in component]
        ways = [e[2] for node in component for e in edges[node] if e[0] in inside]
        if ways:
            circle = " and ".join(sorted(str(member) for member in members))
            what = "itself" if len(members) == 1 else "each other"
            yield error(
                rules.constraint(52),
                str(ways[0]),
                f"{_shortened(circle)} would be a specialization of {what}",
            )


def _full(said: Groups, names: Names) -> Iterator[Finding]:
    """Find empty collections with members; a specialization is as empty (Inference 21)."""
    empty = {
        statement.identifier: str(statement.identifier)
        for statement in said["entity"]
        if statement.types
        and any(names.expand(kind) == f"{PROV}EmptyCollection" for kind in statement.types)
    }
    if not empty:
        return
    aspects: dict[str | None, list[str | None]] = {}
    for statement in (*said["specializationOf"], *said["mentionOf"]):
        aspects.setdefault(statement.terms[1], []).append(statement.terms[0])
    ahead = list(empty)
    for general in ahead:  # grows as it goes
        for specific in aspects.get(general, ()):
            if specific not in empty:
                empty[specific] = empty[general]
                ahead.append(specific)
    for statement in said["hadMember"]:
        collection, member = statement.terms
        if collection in empty:
            origin = empty[collection]
            via = "" if origin == collection else f", being a specialization of {origin}"
            yield error(
                rules.constraint(56),
                str(statement),
                f"{collection} is an empty collection{via}, and {member} is in it",
            )


def _shortened(text: str, most: int = 300) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
