"""Whether times can be, seen from the order of events: what no W3C rule and no tool checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from yprov_mlflow.prov.validate import cycles, rules, xsd_datetime
from yprov_mlflow.prov.validate.cycles import Step
from yprov_mlflow.prov.validate.findings import Finding, error, warning
from yprov_mlflow.prov.validate.order import Order
from yprov_mlflow.prov.validate.statements import Statement
from yprov_mlflow.prov.validate.xsd_datetime import Time

_ONE_MOMENT = {
    "the generation of": 39,
    "the invalidation of": 40,
    "the start of": 31,
    "the end of": 32,
}

_LONGEST_WAY = 100
"""Steps from one time to another; a longer way tells nobody anything, and takes its time."""


class _Mark(NamedTuple):
    """When something happened: not before ``earliest``, not after ``latest``."""

    earliest: int
    latest: int
    text: str
    statement: Statement
    event: int


Marks = Mapping[int, Sequence[_Mark]]


def contradictions(order: Order, components: Sequence[Sequence[int]]) -> Iterator[Finding]:
    """Find times that are later than what comes after, along every path of the order."""
    zoned: dict[int, list[_Mark]] = {}
    naive: dict[int, list[_Mark]] = {}
    mixed = False
    for event, found in order.marks.items():
        for text, statement in found:
            time = xsd_datetime.read(text)
            if time is None:
                continue
            mark = _Mark(time.earliest, time.latest, text, statement, event)
            zoned.setdefault(event, []).append(mark)
            mixed = mixed or time.zoned
            if not time.zoned:
                exact = mark._replace(earliest=time.nanoseconds, latest=time.nanoseconds)
                naive.setdefault(event, []).append(exact)
    seen = set()
    # Times without a zone are exact among themselves, and within 14 hours against others.
    for marks in ([naive] if naive else []) + ([zoned] if mixed else []):
        for finding in _against(order, components, marks):
            if finding not in seen:
                seen.add(finding)
                yield finding


def oddities(order: Order, limit: Time) -> Iterator[Finding]:
    """Warn of times of clocks that were not set, and of times that are yet to come."""
    early: list[tuple[str, Statement]] = []
    late: list[tuple[str, Statement]] = []
    for marks in order.marks.values():
        for text, statement in marks:
            time = xsd_datetime.read(text)
            if time is None:
                continue
            if xsd_datetime.NOT_SET.after(time):
                early.append((text, statement))
            elif time.after(limit):
                late.append((text, statement))
    for found, what in (
        (early, "before February 1970, as of a clock that was not set"),
        (late, "in the future"),
    ):
        if found:
            text, statement = found[0]
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            yield warning(rules.TIMES, str(statement), f"{text} is {what}{more}")


def _against(order: Order, components: Sequence[Sequence[int]], marks: Marks) -> Iterator[Finding]:
    """Carry the latest time along the edges, and compare it with the times it meets.

    What contradicts an earlier event passes on its own time: one clock that was wrong is one
    finding, and not one for each event that follows.
    """
    latest: list[_Mark | None] = [None] * len(order.edges)
    came: dict[int, Step] = {}
    for component in components:
        bound: _Mark | None = None
        own: list[_Mark] = []
        for event in component:
            found = latest[event]
            if found is not None and (bound is None or found.earliest > bound.earliest):
                bound = found
            if event in marks:
                own += marks[event]
        if own:
            yield from _apart(order, own)
            if bound is not None:
                broken = [mark for mark in own if mark.latest < bound.earliest]
                for mark in broken[:1]:
                    yield _impossible(order, mark, bound, came)
                if broken:
                    bound = None
            best = max(own, key=_earliest)
            if bound is None or best.earliest >= bound.earliest:
                bound = best
        if bound is not None:
            for event in component:
                for edge in order.edges[event]:
                    known = latest[edge[0]]
                    if known is None or known.earliest < bound.earliest:
                        latest[edge[0]] = bound
                        came[edge[0]] = (event, edge)


def _earliest(mark: _Mark) -> int:
    return mark.earliest


def _apart(order: Order, own: Sequence[_Mark]) -> Iterator[Finding]:
    """Compare the times of what has to be one moment."""
    if len(own) == 1:
        return
    last, first = max(own, key=_earliest), min(own, key=lambda mark: mark.latest)
    if first.latest >= last.earliest:
        return
    if first.event != last.event:
        rule = rules.TIMES
        message = (
            f"{order.name(first.event)} and {order.name(last.event)} can only be one moment, "
            f"and are at {first.text} and at {last.text}"
        )
    else:
        what, of = order.what[first.event]
        if of in order.declared and what in ("the start of", "the end of"):
            return  # Constraints 28 and 29 have said so
        rule = f"{rules.TIMES} against {rules.constraint(_ONE_MOMENT[what])}"
        message = f"{what} {of} is one moment, and is at {last.text} in {last.statement} as well"
    yield error(rule, str(first.statement), message)


def _impossible(order: Order, mark: _Mark, bound: _Mark, came: Mapping[int, Step]) -> Finding:
    way = _way(mark.event, bound.event, came)
    message = (
        f"{order.name(mark.event)} is at {mark.text}, but {order.name(bound.event)}, "
        f"which comes no later, at {bound.text}"
    )
    if bound.statement is not mark.statement:
        message += f" in {bound.statement}"
    if not way:
        return error(rules.TIMES, str(mark.statement), f"{message} (over many steps)")
    if len(way) > 1:
        message += f": {cycles.explain(order, way)}"
    rule = f"{rules.TIMES} against {cycles.numbers(way)}"
    return error(rule, str(mark.statement), message)


def _way(event: int, origin: int, came: Mapping[int, Step]) -> list[Step]:
    """Give the steps from one event to another; none if they are many, or go round a circle."""
    way: list[Step] = []
    while event != origin:
        step = came.get(event)
        if step is None or len(way) == _LONGEST_WAY:
            return []
        way.append(step)
        event = step[0]
    return way[::-1]
