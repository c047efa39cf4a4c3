"""Uniqueness: what describes one thing is one statement (Constraints 22 to 29).

Statements that have to be one are merged. Where one of them says nothing and may do so, what
the other says holds: PROV-CONSTRAINTS puts a variable there. Such a variable stands in one
statement only, but for the inferences that are drawn here, so that merging whole statements
until nothing changes is all the unification there is to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from yprov_mlflow.prov.validate import rules, xsd_datetime
from yprov_mlflow.prov.validate.findings import Finding, error
from yprov_mlflow.prov.validate.kinds import KINDS
from yprov_mlflow.prov.validate.statements import Statement

Groups = dict[str, list[Statement]]

_PAIRS: Mapping[str, tuple[int, int]] = {
    "wasGeneratedBy": (24, 1),
    "wasInvalidatedBy": (25, 1),
    "wasStartedBy": (26, 2),
    "wasEndedBy": (27, 2),
}
"""Kinds of which there is one between two ends: the constraint, and where the other end is."""

_BOUNDS = (("wasStartedBy", 28, 0), ("wasEndedBy", 29, 1))
"""Kinds whose time is one of the activity's: the constraint, and which time."""

_KEYED = (
    "wasInformedBy",
    "wasAttributedTo",
    "wasAssociatedWith",
    "actedOnBehalfOf",
    "wasInfluencedBy",
    "used",
)


def merge(said: Groups) -> list[Finding]:
    """Merge what is one, after adding what follows from derivations, starts and ends.

    Args:
        said: The statements by kind; changed.

    Returns:
        A finding for each two statements that have to be one and cannot.
    """
    findings: list[Finding] = []
    said["activity"] = _by_id(said["activity"], 22, findings)
    said["wasDerivedFrom"] = _by_id(said["wasDerivedFrom"], 23, findings)
    for kind in ("wasStartedBy", "wasEndedBy"):
        said[kind] = _Paired(kind, findings).merge(said[kind])
    for statement in list(_inferred(said)):
        said[statement.kind].append(statement)
    for kind in ("wasGeneratedBy", "wasInvalidatedBy"):
        said[kind] = _Paired(kind, findings).merge(said[kind])
    for kind in _KEYED:
        said[kind] = _by_id(said[kind], 23, findings)
    findings += _bounds(said)
    findings += _mentions(said["mentionOf"])
    return findings


def _by_id(
    statements: Iterable[Statement], number: int, findings: list[Finding]
) -> list[Statement]:
    found: dict[str, Statement] = {}
    unnamed = []
    for statement in statements:
        if statement.identifier is None:
            unnamed.append(statement)
            continue
        known = found.setdefault(statement.identifier, statement)
        if known is not statement:
            found[statement.identifier] = unify(known, statement, number, findings)
    return [*unnamed, *found.values()]


class _Paired:
    """Merges a kind of which two statements are one if their ids, or both their ends, are."""

    def __init__(self, kind: str, findings: list[Finding]) -> None:
        self._constraint, self._other = _PAIRS[kind]
        self._findings = findings
        self._by_id: dict[str, Statement] = {}
        self._by_ends: dict[tuple[str, str], Statement] = {}
        self._loose: list[Statement] = []

    def merge(self, statements: Iterable[Statement]) -> list[Statement]:
        """Give what is left when those that have to be one are."""
        for statement in statements:
            merged: Statement | None = statement
            while merged is not None:  # what was merged has an id or an end that it had not
                merged = self._add(merged)
        unnamed = (s for s in self._by_ends.values() if s.identifier is None)
        return [*self._loose, *self._by_id.values(), *unnamed]

    def _add(self, statement: Statement) -> Statement | None:
        """Keep a statement, or give what it becomes together with one that was kept."""
        identifier, ends = statement.identifier, self._ends(statement)
        known = None if identifier is None else self._by_id.get(identifier)
        number = 23
        if known is None and ends is not None:
            known, number = self._by_ends.get(ends), self._constraint
        if known is not None:
            merged = unify(known, statement, number, self._findings)
            if merged is known:
                return None
            self._forget(known)
            return merged
        if identifier is not None:
            self._by_id[identifier] = statement
        if ends is not None:
            self._by_ends[ends] = statement
        elif identifier is None:
            self._loose.append(statement)
        return None

    def _forget(self, statement: Statement) -> None:
        if statement.identifier is not None:
            del self._by_id[statement.identifier]
        ends = self._ends(statement)
        if ends is not None:
            del self._by_ends[ends]

    def _ends(self, statement: Statement) -> tuple[str, str] | None:
        first, second = statement.terms[0], statement.terms[self._other]
        return None if first is None or second is None else (first, second)


def unify(known: Statement, other: Statement, number: int, findings: list[Finding]) -> Statement:
    """Give the one statement that two are; ``known`` itself if the other adds nothing.

    What keeps them from being one becomes a finding, and then ``known`` is given as well.
    """
    kind = KINDS[known.kind]
    clashes = []
    identifier = known.identifier if known.identifier is not None else other.identifier
    if other.identifier is not None and other.identifier != identifier:
        clashes.append(f"its id is {identifier} and {other.identifier}")
    terms = list(known.terms)
    for place, (ours, theirs) in enumerate(zip(known.terms, other.terms, strict=True)):
        if ours == theirs:
            continue
        nothing = ours is None or theirs is None
        if not nothing or kind.fixed[place]:
            formal = kind.formals[place]
            clashes.append(f"{formal} is {ours or 'nothing'} and {theirs or 'nothing'}")
            if formal == "prov:activity" and kind.fixed[place]:
                break  # a derivation's generation and usage mean other things without it
        elif ours is None:
            terms[place] = theirs
    times = list(known.times)
    for place, (now, then) in enumerate(zip(known.times, other.times, strict=True)):
        if now is None:
            times[place] = then
        elif then is not None and not xsd_datetime.same(now, then):
            clashes.append(f"{kind.times[place]} is {now} and {then}")
    if clashes:
        message = f"{other} says the same thing differently: {'; '.join(clashes)}"
        findings.append(error(rules.constraint(number), str(known), message))
        return known
    merged = (identifier, tuple(terms), tuple(times))
    if merged == (known.identifier, known.terms, known.times):
        return known
    return known._replace(identifier=identifier, terms=merged[1], times=merged[2])


def _inferred(said: Groups) -> Iterator[Statement]:
    """Give the generations and usages that other statements imply (Inferences 9 to 11)."""
    for kind, number in (("wasStartedBy", 9), ("wasEndedBy", 10)):
        for statement in said[kind]:
            _, trigger, maker = statement.terms
            if trigger is not None and maker is not None:
                yield Statement(
                    "wasGeneratedBy",
                    None,
                    (trigger, maker),
                    (None,),
                    because=f"{statement} by {rules.inference(number)}",
                )
    for statement in said["wasDerivedFrom"]:
        new, old, activity, generation, usage = statement.terms
        if activity is not None:
            because = f"{statement} by {rules.inference(11)}"
            yield Statement("wasGeneratedBy", generation, (new, activity), (None,), because=because)
            if usage is not None:
                yield Statement("used", usage, (activity, old), (None,), because=because)


def _bounds(said: Groups) -> Iterator[Finding]:
    """Compare the times of starts and ends with those that activities have themselves."""
    activities = {s.identifier: s for s in said["activity"]}
    for kind, number, place in _BOUNDS:
        for statement in said[kind]:
            activity = activities.get(statement.terms[0])
            (time,) = statement.times
            if activity is None or time is None:
                continue
            own = activity.times[place]
            if own is None:  # then it is this one, also for the next start or end
                times = (time, activity.times[1]) if place == 0 else (activity.times[0], time)
                activities[statement.terms[0]] = activity._replace(times=times)
            elif not xsd_datetime.same(own, time):
                what = KINDS["activity"].times[place]
                yield error(
                    rules.constraint(number),
                    str(statement),
                    f"it was at {time}, and {what} of {activity} is {own}",
                )
    said["activity"] = list(activities.values())


def _mentions(statements: Iterable[Statement]) -> Iterator[Finding]:
    known: dict[str | None, Statement] = {}
    for statement in statements:
        other = known.setdefault(statement.terms[0], statement)
        if other.terms != statement.terms:
            yield error(
                "PROV-LINKS: unique-mention",
                str(other),
                f"{statement} mentions another entity or bundle for the same one",
            )
