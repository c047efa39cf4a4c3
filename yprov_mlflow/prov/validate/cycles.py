"""Events that would come before themselves, and events that could only be one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from yprov_mlflow.prov.validate import rules
from yprov_mlflow.prov.validate.findings import Finding, error, warning
from yprov_mlflow.prov.validate.graph import Edge
from yprov_mlflow.prov.validate.order import STRICT, Order
from yprov_mlflow.prov.validate.statements import Statement

Groups = Mapping[str, Sequence[Statement]]
Step = tuple[int, Edge]
"""An event, and an edge that leaves it."""

_MOST_SHOWN = 4
_ASPECTS = {rules.constraint(45), rules.constraint(46)}
"""Circles of these alone are circles of specializations, which Constraint 52 rules out."""
_ONCE = (
    ("wasGeneratedBy", 39, 1, "generated"),
    ("wasInvalidatedBy", 40, 1, "invalidated"),
    ("wasStartedBy", 31, 2, "started"),
    ("wasEndedBy", 32, 2, "ended"),
)


def contradictions(order: Order, components: Sequence[Sequence[int]]) -> Iterator[Finding]:
    """Find circles: impossible if one step is truly earlier than the next, else one moment."""
    for component in components:
        inside = set(component)
        steps = [
            (node, edge) for node in component for edge in order.edges[node] if edge[0] in inside
        ]
        strict = [step for step in steps if step[1][1] is STRICT]
        if strict:
            first = strict[0]
            circle = explain(order, _round(order, first, inside))
            yield error(STRICT, str(first[1][2]), f"this goes round: {circle}")
        elif len(component) > 1:
            way = _round(order, steps[0], inside)
            if not {step[1][1] for step in way} <= _ASPECTS:
                circle = explain(order, way)
                message = f"this can only be one moment: {circle}"
                yield warning(numbers(way), str(steps[0][1][2]), message)


def repetitions(said: Groups) -> Iterator[Finding]:
    """Find what several activities brought about: they must have done so at one moment."""
    for kind, number, place, what in _ONCE:
        makers: dict[str | None, dict[str, Statement]] = {}
        for statement in said[kind]:
            maker = statement.terms[place]
            if maker is not None:
                makers.setdefault(statement.terms[0], {})[maker] = statement
        for identifier, found in makers.items():
            if len(found) > 1:
                one, *others = found.values()
                yield warning(
                    rules.constraint(number),
                    str(one),
                    f"{identifier} was also {what} by {_listed([str(o) for o in others])}; "
                    "this can only be one moment",
                )


def explain(order: Order, way: Sequence[Step]) -> str:
    """Say step by step what comes before what, and by which rule."""
    return _listed(
        [
            f"{order.name(node)} comes {'before' if rule is STRICT else 'no later than'} "
            f"{order.name(target)} ({short(rule)})"
            for node, (target, rule, _) in way
        ]
    )


def numbers(way: Sequence[Step]) -> str:
    """Name the rules of all steps: in full if it is one, else by their numbers."""
    found = list(dict.fromkeys(edge[1] for _, edge in way))
    return str(found[0]) if len(found) == 1 else ", ".join(map(short, found))


def short(rule: str) -> str:
    """Give a rule's number without its name."""
    return rule.partition(":")[0]


def _round(order: Order, first: Step, inside: set[int]) -> list[Step]:
    """Give a shortest circle that begins with a step."""
    start, edge = first
    came: dict[int, Step] = {edge[0]: first}
    ahead = [edge[0]]
    for node in ahead:  # grows as it goes
        if node == start:
            break
        for following in order.edges[node]:
            if following[0] in inside and following[0] not in came:
                came[following[0]] = (node, following)
                ahead.append(following[0])
    way = [came[start]]
    while way[-1] != first:
        way.append(came[way[-1][0]])
    return way[::-1]


def _listed(parts: Sequence[str]) -> str:
    shown = list(parts[:_MOST_SHOWN])
    if len(parts) > _MOST_SHOWN:
        shown.append(f"and {len(parts) - _MOST_SHOWN} more")
    return "; ".join(shown)
