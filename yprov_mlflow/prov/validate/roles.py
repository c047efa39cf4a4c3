"""Types of things: entities, activities, empty collections (Constraints 50 to 52, 55, 56)."""

from __future__ import annotations

from collections.abc import Iterator

from yprov_mlflow.prov.model.relations import KINDS, PROV
from yprov_mlflow.prov.validate import graph
from yprov_mlflow.prov.validate.names import Names
from yprov_mlflow.prov.validate.rules import Finding, constraint, error
from yprov_mlflow.prov.validate.statements import Groups, Statement, specializations

Roles = dict[str, dict[str, Statement]]
"""The ids that are an ``entity`` or ``activity``, each with a statement that makes it one."""

_MOST_CHARACTERS = 300


def roles(groups: Groups) -> Roles:
    """Return all entities and activities, declared or used as such (Constraint 50)."""
    by_role: Roles = {"entity": {}, "activity": {}}
    for role, statements in by_role.items():
        for statement in groups[role]:
            if statement.identifier is not None:
                statements.setdefault(statement.identifier, statement)
    for name, kind in KINDS.items():
        positions = [
            (position, by_role[role]) for position, role in enumerate(kind.roles) if role in by_role
        ]
        for statement in groups[name]:
            terms = statement.terms
            for position, statements in positions:
                term = terms[position]
                if term is not None and term not in statements:
                    statements[term] = statement
    return by_role


def contradictions(groups: Groups, by_role: Roles, names: Names) -> Iterator[Finding]:
    """Yield an error for each violation of Constraints 51, 52, 55 and 56."""
    # An agent may be either; only entities and activities exclude each other.
    entities, activities = by_role["entity"], by_role["activity"]
    rule = f"{constraint(55)} (with Constraint 50)"
    for identifier, statement in entities.items():
        if identifier in activities:
            other = activities[identifier]
            message = f"{identifier} is an entity here, and an activity in {other}"
            yield error(rule, statement, message)
    for statement in groups["wasDerivedFrom"]:
        _, _, activity, generation, usage = statement.terms
        # Without an activity, nothing says that generation and usage belong together.
        if activity is None and (generation is not None or usage is not None):
            term = "generation" if generation is not None else "usage"
            message = f"it has a {term}, but no activity"
            yield error(constraint(51), statement, message)
    yield from _specialization_cycles(groups)
    yield from _members_of_empty_collections(groups, names)


def _specialization_cycles(groups: Groups) -> Iterator[Finding]:
    """Find specializations of themselves, directly or by transitivity (Inference 19)."""
    numbers: dict[str | None, int] = {}
    edges: list[list[graph.Edge]] = []
    for statement in (*groups["specializationOf"], *groups["mentionOf"]):
        for term in statement.terms[:2]:
            if numbers.setdefault(term, len(numbers)) == len(edges):
                edges.append([])
        specific, general = statement.terms[:2]
        edges[numbers[specific]].append((numbers[general], None, statement))
    entities = list(numbers)
    for component in graph.components(edges):
        inside = set(component)
        statements = [e[2] for node in component for e in edges[node] if e[0] in inside]
        if statements:
            members = " and ".join(sorted(str(entities[node]) for node in component))
            if len(members) > _MOST_CHARACTERS:
                members = f"{members[:_MOST_CHARACTERS]}…"
            general = "itself" if len(component) == 1 else "each other"
            message = f"{members} would be a specialization of {general}"
            yield error(constraint(52), statements[0], message)


def _members_of_empty_collections(groups: Groups, names: Names) -> Iterator[Finding]:
    declared = [
        str(statement.identifier)
        for statement in groups["entity"]
        if statement.types
        and any(names.expand(kind) == f"{PROV}EmptyCollection" for kind in statement.types)
    ]
    # A specialization has the types of the general entity (Inference 21).
    empty = specializations(groups, declared) if declared else {}
    for statement in groups["hadMember"] if empty else ():
        collection, member = statement.terms
        if collection is not None and (origin := empty.get(collection)) is not None:
            via = "" if origin == collection else f" as a specialization of {origin}"
            message = f"{collection} is an empty collection{via}, but has the member {member}"
            yield error(constraint(56), statement, message)
