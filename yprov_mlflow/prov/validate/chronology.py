"""Times that contradict the order of events, which W3C's rules do not check, and odd times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

from yprov_mlflow.prov.validate import cycles, xsd_datetime
from yprov_mlflow.prov.validate.cycles import Step
from yprov_mlflow.prov.validate.order import EventOrder
from yprov_mlflow.prov.validate.rules import TIMES, Finding, constraint, error, warning
from yprov_mlflow.prov.validate.statements import Statement
from yprov_mlflow.prov.validate.xsd_datetime import Time

# PROV has one event of each of these per subject, however many statements describe it.
_SINGLE = {"the generation of": 39, "the invalidation of": 40, "the start of": 31, "the end of": 32}

# Steps of a path in a message; a longer path helps no reader, and takes long to collect.
_LONGEST_PATH = 100


class _Mark(NamedTuple):
    """The time of an event: between ``earliest`` and ``latest``, as ``statement`` has it."""

    earliest: int
    latest: int
    text: str
    statement: Statement
    event: int


_earliest = attrgetter("earliest")


def contradictions(order: EventOrder, components: Sequence[Sequence[int]]) -> Iterator[Finding]:
    """Yield an error for times later than those of events that cannot come before, on any path."""
    intervals: dict[int, list[_Mark]] = {}
    naive: dict[int, list[_Mark]] = {}
    any_zoned = False
    for event, times in order.times.items():
        for text, statement in times:
            # Text that is not a time is an error of its statement, which is already reported.
            if (time := xsd_datetime.parse(text)) is None:
                continue
            mark = _Mark(time.earliest, time.latest, text, statement, event)
            intervals.setdefault(event, []).append(mark)
            any_zoned = any_zoned or time.zoned
            if not time.zoned:
                exact = mark._replace(earliest=time.nanoseconds, latest=time.nanoseconds)
                naive.setdefault(event, []).append(exact)
    # Times without a zone are exact compared with each other, but uncertain by 14 hours
    # compared with times that have a zone. So they are checked both ways.
    checks = ([naive] if naive else []) + ([intervals] if any_zoned else [])
    # A contradiction that both ways reveal is one finding; a dict keeps their order.
    findings = (finding for marks in checks for finding in _check(order, components, marks))
    yield from dict.fromkeys(findings)


def oddities(order: EventOrder, limit: Time) -> Iterator[Finding]:
    """Warn of times from clocks that were not set, and of times later than ``limit``."""
    early: list[tuple[str, Statement]] = []
    late: list[tuple[str, Statement]] = []
    for times in order.times.values():
        for text, statement in times:
            if (time := xsd_datetime.parse(text)) is None:
                continue
            if xsd_datetime.NOT_SET.after(time):
                early.append((text, statement))
            elif time.after(limit):
                late.append((text, statement))
    # One warning for all: a machine with a wrong clock has it in every record.
    for odd, reason in (
        (early, "before February 1970, as if the clock was not set"),
        (late, "in the future"),
    ):
        if odd:
            text, statement = odd[0]
            more = f" (and {len(odd) - 1} more)" if len(odd) > 1 else ""
            yield warning(TIMES, statement, f"{text} is {reason}{more}")


def _check(
    order: EventOrder,
    components: Sequence[Sequence[int]],
    marks: Mapping[int, Sequence[_Mark]],
) -> Iterator[Finding]:
    """Propagate the latest time along the edges, and compare it with the time of each event.

    Components come in topological order, and the events of one component are simultaneous.
    """
    # Linear in the number of edges, where comparing all pairs of events would be quadratic.
    latest: list[_Mark | None] = [None] * len(order.edges)
    previous: dict[int, Step] = {}
    for component in components:
        bound: _Mark | None = None
        own: list[_Mark] = []
        for event in component:
            mark = latest[event]
            if mark is not None and (bound is None or mark.earliest > bound.earliest):
                bound = mark
            if event in marks:
                own += marks[event]
        if own:
            yield from _different_times(order, own)
            if bound is not None:
                early = next((mark for mark in own if mark.latest < bound.earliest), None)
                if early is not None:
                    yield _contradiction(order, early, bound, previous)
                    # From here on its own time counts: a wrong clock is one finding, not one
                    # for each later event.
                    bound = None
            # An interval counts from its earliest instant: only certain contradictions are errors.
            last = max(own, key=_earliest)
            if bound is None or last.earliest >= bound.earliest:
                bound = last
        if bound is not None:
            for event in component:
                for edge in order.edges[event]:
                    target = edge[0]
                    mark = latest[target]
                    if mark is None or mark.earliest < bound.earliest:
                        latest[target] = bound
                        previous[target] = (event, edge)


def _different_times(order: EventOrder, own: Sequence[_Mark]) -> Iterator[Finding]:
    """Compare the times of one event, or of simultaneous ones."""
    if len(own) == 1:
        return
    last, first = max(own, key=_earliest), min(own, key=lambda mark: mark.latest)
    if first.latest >= last.earliest:
        return
    if first.event != last.event:
        rule = TIMES
        message = (
            f"{order.name(first.event)} and {order.name(last.event)} must be simultaneous, "
            f"but are at {first.text} and {last.text}"
        )
    else:
        event, subject = order.descriptions[first.event]
        if subject in order.declared and event in ("the start of", "the end of"):
            return  # reported by Constraints 28 and 29
        rule = f"{TIMES} against {constraint(_SINGLE[event])}"
        message = f"{event} {subject} is one event, but {last.statement} has the time {last.text}"
    yield error(rule, first.statement, message)


def _contradiction(
    order: EventOrder, mark: _Mark, bound: _Mark, previous: Mapping[int, Step]
) -> Finding:
    path = _path(mark.event, bound.event, previous)
    message = (
        f"{order.name(mark.event)} is at {mark.text}, but {order.name(bound.event)}, "
        f"which cannot be later, is at {bound.text}"
    )
    # An activity has start and end in one statement, which the finding names anyway.
    if bound.statement is not mark.statement:
        message += f" in {bound.statement}"
    if not path:
        return error(TIMES, mark.statement, f"{message} (over many steps)")
    if len(path) > 1:
        message += f": {cycles.explain(order, path)}"
    return error(f"{TIMES} against {cycles.rule_numbers(path)}", mark.statement, message)


def _path(event: int, origin: int, previous: Mapping[int, Step]) -> list[Step]:
    """Return the steps from ``origin`` to an event; none if there are too many, or a cycle."""
    path: list[Step] = []
    while event != origin:
        step = previous.get(event)
        if step is None or len(path) == _LONGEST_PATH:
            return []
        path.append(step)
        event = step[0]
    return path[::-1]
