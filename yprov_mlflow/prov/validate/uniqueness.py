"""Uniqueness of statements (Constraints 22 to 29), and ids of several kinds (53 and 54).

Statements that describe the same thing are merged. An omitted argument takes the value of the
other statement: PROV-CONSTRAINTS puts a variable there. Such a variable occurs in one statement
only, except in the inferences drawn here. So merging whole statements until nothing changes is
all the unification that is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from yprov_mlflow.prov.model.relations import ELEMENTS, KINDS
from yprov_mlflow.prov.validate import xsd_datetime
from yprov_mlflow.prov.validate.rules import Finding, constraint, error, inference
from yprov_mlflow.prov.validate.statements import Groups, MutableGroups, Statement

# Kinds that are unique between two ends: the constraint, and the position of the second end.
_PAIRS: Mapping[str, tuple[int, int]] = {
    "wasGeneratedBy": (24, 1),
    "wasInvalidatedBy": (25, 1),
    "wasStartedBy": (26, 2),
    "wasEndedBy": (27, 2),
}

# Kinds whose time is one of the activity's: the constraint, and which of the two times.
_BOUNDS = (("wasStartedBy", 28, 0), ("wasEndedBy", 29, 1))

# An id makes these unique, but their ends do not: an activity may use an entity twice.
_UNIQUE_BY_ID = (
    "wasInformedBy wasAttributedTo wasAssociatedWith actedOnBehalfOf wasInfluencedBy used".split()
)
_WITH_ID = tuple(name for name, kind in KINDS.items() if kind.formals and kind.named)
# Relations of which no two share an id (Constraint 53).
# A derivation or any other relation may also be an influence, so those two are left out.
_DISJOINT = frozenset(_WITH_ID) - {"wasDerivedFrom", "wasInfluencedBy"}


# -- statements of the same kind ---------------------------------------------------------


def merge(groups: MutableGroups) -> list[Finding]:
    """Merge equal statements, after adding those that derivations, starts and ends imply.

    Args:
        groups: The statements by kind; changed in place.

    Returns:
        An error for each two statements that must be equal but are not.
    """
    findings: list[Finding] = []
    groups["activity"] = _merge_by_id(groups["activity"], 22, findings)
    groups["wasDerivedFrom"] = _merge_by_id(groups["wasDerivedFrom"], 23, findings)
    # Starts and ends first: merged, they may imply generations, which are merged after that.
    for kind in ("wasStartedBy", "wasEndedBy"):
        groups[kind] = _PairMerger(kind, findings).merge(groups[kind])
    for statement in list(_inferred(groups)):
        groups[statement.kind].append(statement)
    for kind in ("wasGeneratedBy", "wasInvalidatedBy"):
        groups[kind] = _PairMerger(kind, findings).merge(groups[kind])
    for kind in _UNIQUE_BY_ID:
        groups[kind] = _merge_by_id(groups[kind], 23, findings)
    findings += _different_bounds(groups)
    findings += _different_mentions(groups["mentionOf"])
    return findings


def _merge_by_id(
    statements: Iterable[Statement], number: int, findings: list[Finding]
) -> list[Statement]:
    by_id: dict[str, Statement] = {}
    unnamed = []
    for statement in statements:
        if (identifier := statement.identifier) is None:
            unnamed.append(statement)
        elif (first := by_id.setdefault(identifier, statement)) is not statement:
            by_id[identifier] = unify(first, statement, number, findings)
    return [*unnamed, *by_id.values()]


class _PairMerger:
    """Merges statements of a kind that have the same id, or the same two ends."""

    def __init__(self, kind: str, findings: list[Finding]) -> None:
        self._constraint, self._second = _PAIRS[kind]
        self._findings = findings
        self._by_id: dict[str, Statement] = {}
        self._by_ends: dict[tuple[str, str], Statement] = {}
        self._neither: list[Statement] = []

    def merge(self, statements: Iterable[Statement]) -> list[Statement]:
        """Return the statements with those that are equal merged."""
        for statement in statements:
            merged: Statement | None = statement
            # A merged statement may have an id or end that makes it equal to a third one.
            while merged is not None:
                merged = self._add(merged)
        unnamed = (s for s in self._by_ends.values() if s.identifier is None)
        return [*self._neither, *self._by_id.values(), *unnamed]

    def _add(self, statement: Statement) -> Statement | None:
        """Store a statement, or remove an equal one and return both merged."""
        identifier, ends = statement.identifier, self._ends(statement)
        equal = None if identifier is None else self._by_id.get(identifier)
        number = 23  # the constraint for equal ids
        if equal is None and ends is not None:
            equal, number = self._by_ends.get(ends), self._constraint
        if equal is not None:
            merged = unify(equal, statement, number, self._findings)
            if merged is equal:
                return None
            self._remove(equal)
            return merged
        if identifier is not None:
            self._by_id[identifier] = statement
        if ends is not None:
            self._by_ends[ends] = statement
        elif identifier is None:
            self._neither.append(statement)
        return None

    def _remove(self, statement: Statement) -> None:
        if statement.identifier is not None:
            del self._by_id[statement.identifier]
        ends = self._ends(statement)
        if ends is not None:
            del self._by_ends[ends]

    def _ends(self, statement: Statement) -> tuple[str, str] | None:
        first, second = statement.terms[0], statement.terms[self._second]
        return None if first is None or second is None else (first, second)


def unify(first: Statement, other: Statement, number: int, findings: list[Finding]) -> Statement:
    """Merge two equal statements; return ``first`` itself if the other one adds nothing.

    Differences become a finding of constraint ``number``; then ``first`` is returned, too.
    """
    kind = KINDS[first.kind]
    differences = []
    identifier = first.identifier if first.identifier is not None else other.identifier
    if other.identifier is not None and other.identifier != identifier:
        differences.append(f"its id is {identifier} and {other.identifier}")
    terms = list(first.terms)
    for position, (ours, theirs) in enumerate(zip(first.terms, other.terms, strict=True)):
        if ours == theirs:
            continue
        # An omitted argument is a variable that matches anything, unless PROV fixes it as absent.
        omitted = ours is None or theirs is None
        if not omitted or kind.fixed[position]:
            formal = kind.formals[position]
            differences.append(f"{formal} is {ours or 'absent'} and {theirs or 'absent'}")
            if formal == "prov:activity" and kind.fixed[position]:
                break  # without an activity, generation and usage of a derivation differ anyway
        elif ours is None:
            terms[position] = theirs
    times = list(first.times)
    for position, (ours, theirs) in enumerate(zip(first.times, other.times, strict=True)):
        if ours is None:
            times[position] = theirs
        elif theirs is not None and not xsd_datetime.may_be_same(ours, theirs):
            differences.append(f"{kind.times[position]} is {ours} and {theirs}")
    if differences:
        message = f"{other} must be the same statement, but differs: {'; '.join(differences)}"
        findings.append(error(constraint(number), first, message))
        return first
    merged = first._replace(identifier=identifier, terms=tuple(terms), times=tuple(times))
    return first if merged == first else merged


def _inferred(groups: Groups) -> Iterator[Statement]:
    """Yield the generations and usages that other statements imply (Inferences 9 to 11)."""
    for kind, number in (("wasStartedBy", 9), ("wasEndedBy", 10)):
        for statement in groups[kind]:
            _, trigger, starter = statement.terms
            if trigger is not None and starter is not None:
                because = f"{statement} by {inference(number)}"
                terms = (trigger, starter)
                yield Statement("wasGeneratedBy", None, terms, (None,), because=because)
    for statement in groups["wasDerivedFrom"]:
        new, old, activity, generation, usage = statement.terms
        if activity is not None:
            because = f"{statement} by {inference(11)}"
            yield Statement("wasGeneratedBy", generation, (new, activity), (None,), because=because)
            if usage is not None:
                yield Statement("used", usage, (activity, old), (None,), because=because)


def _different_bounds(groups: MutableGroups) -> Iterator[Finding]:
    """Compare the times of starts and ends with those of their activities."""
    activities = {s.identifier: s for s in groups["activity"]}
    for kind, number, position in _BOUNDS:
        for statement in groups[kind]:
            activity = activities.get(statement.terms[0])
            (time,) = statement.times
            if activity is None or time is None:
                continue
            own = activity.times[position]
            if own is None:  # this is its time, also for the next start or end
                times = (time, activity.times[1]) if position == 0 else (activity.times[0], time)
                activities[statement.terms[0]] = activity._replace(times=times)
            elif not xsd_datetime.may_be_same(own, time):
                name = KINDS["activity"].times[position]
                message = f"its time is {time}, but {name} of {activity} is {own}"
                yield error(constraint(number), statement, message)
    groups["activity"] = list(activities.values())


def _different_mentions(statements: Iterable[Statement]) -> Iterator[Finding]:
    by_entity: dict[str | None, Statement] = {}
    for statement in statements:
        first = by_entity.setdefault(statement.terms[0], statement)
        if first.terms != statement.terms:
            message = f"{statement} mentions another entity or bundle for the same entity"
            yield error("PROV-LINKS: unique-mention", first, message)


# -- statements of several kinds ---------------------------------------------------------


def unify_shared_ids(groups: MutableGroups) -> list[Finding]:
    """Find ids that relations of different kinds, or a relation and an element, cannot share.

    A derivation is also an influence, and so is every other relation with an id (Inference 15).
    So an influence with the id of another relation has the same two ends; omitted ends are
    filled in, in ``groups``.
    """
    first, shared = _shared_ids(groups)
    findings = [*_shared_with_elements(groups, first), *_shared_by_disjoint(shared)]
    ends: dict[str, Statement] = {}
    for identifier, statements in shared.items():
        head, *others = statements
        # Disjoint kinds are already reported by Constraint 53, equal ones by Constraint 23.
        comparable = [
            other
            for other in others
            if head.kind != other.kind and not {head.kind, other.kind} <= _DISJOINT
        ]
        clashes = [clash for other in comparable for clash in _different_ends(head, other)]
        findings += clashes
        complete = [statement for statement in statements if None not in statement.terms[:2]]
        if complete and not clashes:
            ends[identifier] = complete[0]
    if ends:
        for kind in _WITH_ID:
            groups[kind] = [_filled(s, ends.get(s.identifier or "")) for s in groups[kind]]
    return findings


def _shared_ids(groups: Groups) -> tuple[dict[str, Statement], dict[str, list[Statement]]]:
    """Return the first relation of each id, and all relations of ids that several kinds share."""
    first: dict[str, Statement] = {}
    shared: dict[str, list[Statement]] = {}
    # Two passes would be simpler, but most documents share no ids, and this is the fast case.
    for kind in _WITH_ID:
        for statement in groups[kind]:
            if (identifier := statement.identifier) is not None:
                head = first.setdefault(identifier, statement)
                if head.kind != kind:
                    shared.setdefault(identifier, [head]).append(statement)
    return first, shared


def _shared_with_elements(groups: Groups, relations: Mapping[str, Statement]) -> Iterator[Finding]:
    for kind in ELEMENTS if relations else ():  # most documents give relations no ids
        for statement in groups[kind]:
            if (relation := relations.get(statement.identifier or "")) is not None:
                message = f"{statement.identifier} is also the id of {relation}"
                yield error(constraint(54), statement, message)


def _shared_by_disjoint(shared: Mapping[str, list[Statement]]) -> Iterator[Finding]:
    for identifier, statements in shared.items():
        disjoint = {s.kind: s for s in statements if s.kind in _DISJOINT}
        if len(disjoint) > 1:
            first, *others = disjoint.values()
            message = f"{identifier} is also the id of {', '.join(map(str, others))}"
            yield error(constraint(53), first, message)


def _different_ends(first: Statement, other: Statement) -> Iterator[Finding]:
    differences = [
        f"{theirs} and not {ours}"
        for ours, theirs in zip(first.terms[:2], other.terms[:2], strict=True)
        if ours != theirs and ours is not None and theirs is not None
    ]
    if differences:
        names = ", ".join(differences)
        message = f"{other} has the same id, so both are one influence, but names {names}"
        yield error(f"{constraint(23)} (with {inference(15)})", first, message)


def _filled(statement: Statement, complete: Statement | None) -> Statement:
    if complete is None or None not in statement.terms[:2]:
        return statement
    pairs = zip(statement.terms[:2], complete.terms[:2], strict=True)
    terms = tuple(ours if ours is not None else theirs for ours, theirs in pairs)
    return statement._replace(terms=terms + statement.terms[2:])
