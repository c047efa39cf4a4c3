"""Cycles in the order of events: impossible ones, and events that have to be simultaneous."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from yprov_mlflow.prov.validate.graph import Edge
from yprov_mlflow.prov.validate.order import STRICT, EventOrder
from yprov_mlflow.prov.validate.rules import Finding, constraint, error, warning
from yprov_mlflow.prov.validate.statements import Groups, Statement

Step = tuple[int, Edge]
"""An event, and an edge that leaves it."""

_MOST_SHOWN = 4
_SPECIALIZATION = {constraint(45), constraint(46)}
_ONCE = (
    ("wasGeneratedBy", 39, 1, "generated"),
    ("wasInvalidatedBy", 40, 1, "invalidated"),
    ("wasStartedBy", 31, 2, "started"),
    ("wasEndedBy", 32, 2, "ended"),
)


def contradictions(order: EventOrder, components: Sequence[Sequence[int]]) -> Iterator[Finding]:
    """Yield an error for a cycle with a strict step, and a warning for any other cycle."""
    for component in components:
        inside = set(component)
        steps = [
            (node, edge) for node in component for edge in order.edges[node] if edge[0] in inside
        ]
        strict = [step for step in steps if step[1][1] is STRICT]
        if strict:
            cycle = explain(order, _shortest_cycle(order, strict[0], inside))
            yield error(STRICT, strict[0][1][2], f"ordering cycle: {cycle}")
        elif len(component) > 1:
            path = _shortest_cycle(order, steps[0], inside)
            # Constraint 52 reports cycles that consist of specializations only.
            if not {edge[1] for _, edge in path} <= _SPECIALIZATION:
                message = f"these events would be simultaneous: {explain(order, path)}"
                yield warning(rule_numbers(path), steps[0][1][2], message)


def repetitions(groups: Groups) -> Iterator[Finding]:
    """Warn of several activities with the same effect: they must be simultaneous."""
    for kind, number, position, verb in _ONCE:
        by_object: dict[str | None, dict[str, Statement]] = {}
        for statement in groups[kind]:
            activity = statement.terms[position]
            if activity is not None:
                by_object.setdefault(statement.terms[0], {})[activity] = statement
        # One activity may repeat itself: then Constraints 24 to 27 merge its statements.
        for identifier, statements in by_object.items():
            if len(statements) > 1:
                first, *others = statements.values()
                message = (
                    f"{identifier} was also {verb} by {_join([str(o) for o in others])}; "
                    "this is possible only at the same moment"
                )
                yield warning(constraint(number), first, message)


def explain(order: EventOrder, path: Sequence[Step]) -> str:
    """Return in words which event comes before which on a path, by which rules."""
    return _join(
        [
            f"{order.name(node)} comes {'before' if rule is STRICT else 'no later than'} "
            f"{order.name(target)} ({_number(rule)})"
            for node, (target, rule, _) in path
        ]
    )


def rule_numbers(path: Sequence[Step]) -> str:
    """Return the rules of a path: in full if there is one, otherwise their numbers."""
    rules = list(dict.fromkeys(edge[1] for _, edge in path))
    return str(rules[0]) if len(rules) == 1 else ", ".join(map(_number, rules))


def _number(rule: str) -> str:
    return rule.partition(":")[0]


def _shortest_cycle(order: EventOrder, first: Step, inside: set[int]) -> list[Step]:
    """Return a shortest cycle that starts with the given step (breadth-first search)."""
    start, edge = first
    previous: dict[int, Step] = {edge[0]: first}
    queue = [edge[0]]
    for node in queue:  # grows meanwhile
        if node == start:
            break
        for next_edge in order.edges[node]:
            if next_edge[0] in inside and next_edge[0] not in previous:
                previous[next_edge[0]] = (node, next_edge)
                queue.append(next_edge[0])
    path = [previous[start]]
    while path[-1] != first:
        path.append(previous[path[-1][0]])
    return path[::-1]


def _join(parts: Sequence[str]) -> str:
    shown = list(parts[:_MOST_SHOWN])
    if len(parts) > _MOST_SHOWN:
        shown.append(f"and {len(parts) - _MOST_SHOWN} more")
    return "; ".join(shown)
