"""The order of events: which of them cannot come after which others (Constraints 30 to 49).

All generations of an entity are one moment to PROV, and so are all its invalidations, all
starts of an activity and all its ends (Constraints 31, 32, 39, 40): each is one event here.
Usages are many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from yprov_mlflow.prov.validate import rules
from yprov_mlflow.prov.validate.graph import Edge
from yprov_mlflow.prov.validate.roles import Roles
from yprov_mlflow.prov.validate.statements import Statement

Groups = Mapping[str, Sequence[Statement]]
Mark = tuple[str, Statement]
"""A time that was given, and the statement that gives it."""

STRICT = rules.constraint(42)
"""The one rule by which an event comes truly before another, and not at the same time."""


class Order:
    """Events as numbers, with the edges between them, and the times they are said to have."""

    def __init__(self, said: Groups, roles: Roles) -> None:
        self.edges: list[list[Edge]] = []
        self.marks: dict[int, list[Mark]] = {}
        self.what: list[tuple[str, str]] = []
        self.declared = {statement.identifier for statement in said["activity"]}
        self._said = said
        self._roles = roles
        self._generations: dict[str, int] = {}
        self._invalidations: dict[str, int] = {}
        self._starts: dict[str, int] = {}
        self._ends: dict[str, int] = {}
        self._usages: dict[str, int] = {}
        self._perishable = _perishable(said)
        self._bounded()
        self._made()
        self._used()
        self._triggered()
        self._informed()
        self._derived()
        self._aspects()
        self._responsible()

    def name(self, event: int) -> str:
        """Say in words what an event is."""
        what, of = self.what[event]
        return f"{what} {of}"

    # -- events --------------------------------------------------------------------------

    def _event(self, known: dict[str, int], what: str, of: str) -> int:
        found = known.get(of)
        if found is None:
            found = known[of] = len(self.edges)
            self.edges.append([])
            self.what.append((what, of))
        return found

    def _generation(self, entity: str) -> int:
        return self._event(self._generations, "the generation of", entity)

    def _invalidation(self, entity: str) -> int:
        return self._event(self._invalidations, "the invalidation of", entity)

    def _start(self, activity: str) -> int:
        return self._event(self._starts, "the start of", activity)

    def _end(self, activity: str) -> int:
        return self._event(self._ends, "the end of", activity)

    def _mark(self, event: int, time: str | None, statement: Statement) -> None:
        if time is not None:
            self.marks.setdefault(event, []).append((time, statement))

    def _lasts(self, entity: str, event: int, rule: str, statement: Statement) -> None:
        """Say that an entity was still there: nothing to say if nothing can end it."""
        if entity in self._perishable:
            self.edges[event].append((self._invalidation(entity), rule, statement))

    # -- rules ---------------------------------------------------------------------------

    def _bounded(self) -> None:
        rule = rules.constraint(30)
        for statement in self._said["activity"]:
            assert statement.identifier is not None
            start, end = self._start(statement.identifier), self._end(statement.identifier)
            self.edges[start].append((end, rule, statement))
            self._mark(start, statement.times[0], statement)
            self._mark(end, statement.times[1], statement)

    def _within(self, activity: str, event: int, rules_: tuple[str, str], of: Statement) -> None:
        self.edges[self._start(activity)].append((event, rules_[0], of))
        self.edges[event].append((self._end(activity), rules_[1], of))

    def _made(self) -> None:
        inside = (rules.constraint(34), rules.constraint(34))
        for statement in self._said["wasGeneratedBy"]:
            entity, activity = statement.terms
            assert entity is not None
            event = self._generation(entity)
            self._mark(event, statement.times[0], statement)
            if activity is not None:
                self._within(activity, event, inside, statement)
        inside = (rules.definition("wasStartedBy"), rules.definition("wasEndedBy"))
        for statement in self._said["wasInvalidatedBy"]:
            entity, activity = statement.terms
            assert entity is not None
            event = self._invalidation(entity)
            self._mark(event, statement.times[0], statement)
            self.edges[self._generation(entity)].append((event, rules.constraint(36), statement))
            if activity is not None:
                self._within(activity, event, inside, statement)

    def _used(self) -> None:
        inside = (rules.constraint(33), rules.constraint(33))
        for statement in self._said["used"]:
            activity, entity = statement.terms
            assert activity is not None
            event = len(self.edges)
            self.edges.append([])
            self.what.append(("the use by", f"{activity} of {entity or 'something'}"))
            if statement.identifier is not None:
                self._usages[statement.identifier] = event
            self._mark(event, statement.times[0], statement)
            self._within(activity, event, inside, statement)
            if entity is not None:
                before = self.edges[self._generation(entity)]
                before.append((event, rules.constraint(37), statement))
                self._lasts(entity, event, rules.constraint(38), statement)

    def _triggered(self) -> None:
        for kind, event_of, number, inference in (
            ("wasStartedBy", self._start, 43, 9),
            ("wasEndedBy", self._end, 44, 10),
        ):
            rule = rules.constraint(number)
            for statement in self._said[kind]:
                activity, trigger, maker = statement.terms
                assert activity is not None
                event = event_of(activity)
                self._mark(event, statement.times[0], statement)
                bounds = (self._end(activity), rules.constraint(30), statement)
                self.edges[self._start(activity)].append(bounds)
                if trigger is not None:
                    self.edges[self._generation(trigger)].append((event, rule, statement))
                    self._lasts(trigger, event, rule, statement)
                elif maker is not None:  # it made a trigger that nobody names
                    why = rules.inference(inference)
                    self.edges[self._start(maker)].append((event, why, statement))

    def _informed(self) -> None:
        rule = rules.constraint(35)
        for statement in self._said["wasInformedBy"]:
            informed, informant = statement.terms
            assert informed is not None and informant is not None
            self.edges[self._start(informant)].append((self._end(informed), rule, statement))

    def _derived(self) -> None:
        for statement in self._said["wasDerivedFrom"]:
            new, old, activity, _, usage = statement.terms
            assert new is not None and old is not None
            made = self._generation(new)
            self.edges[self._generation(old)].append((made, STRICT, statement))
            used = None if activity is None or usage is None else self._usages.get(usage)
            if used is not None:
                self.edges[used].append((made, rules.constraint(41), statement))

    def _aspects(self) -> None:
        for statement in (*self._said["specializationOf"], *self._said["mentionOf"]):
            specific, general = statement.terms[:2]
            assert specific is not None and general is not None
            before = self.edges[self._generation(general)]
            before.append((self._generation(specific), rules.constraint(45), statement))
            if general in self._perishable:
                end = self._invalidation(specific)
                self._lasts(general, end, rules.constraint(46), statement)

    def _responsible(self) -> None:
        for statement in self._said["wasAttributedTo"]:
            entity, agent = statement.terms
            assert entity is not None and agent is not None
            self._before(agent, self._generation(entity), rules.constraint(48), statement)
        for statement in self._said["wasAssociatedWith"]:
            activity, agent, _ = statement.terms
            assert activity is not None
            if agent is not None:
                self._associated(activity, agent, statement)
        for statement in self._said["actedOnBehalfOf"]:
            delegate, responsible, activity = statement.terms
            assert delegate is not None and responsible is not None
            if activity is not None:  # both are associated with it (Inference 14)
                self._associated(activity, delegate, statement)
                self._associated(activity, responsible, statement)
            rule = rules.constraint(49)
            if responsible in self._roles["entity"]:
                self._lasts(delegate, self._generation(responsible), rule, statement)
            if {delegate, responsible} <= self._roles["activity"].keys():
                before = self.edges[self._start(responsible)]
                before.append((self._end(delegate), rule, statement))

    def _associated(self, activity: str, agent: str, statement: Statement) -> None:
        rule = rules.constraint(47)
        self._before(agent, self._end(activity), rule, statement)
        start = self._start(activity)
        self._lasts(agent, start, rule, statement)
        if agent in self._roles["activity"]:
            self.edges[start].append((self._end(agent), rule, statement))

    def _before(self, agent: str, event: int, rule: str, statement: Statement) -> None:
        """Say that an agent was there before an event, if it is an entity or an activity."""
        if agent in self._roles["entity"]:
            self.edges[self._generation(agent)].append((event, rule, statement))
        if agent in self._roles["activity"]:
            self.edges[self._start(agent)].append((event, rule, statement))


def _perishable(said: Groups) -> set[str]:
    """Give entities that come to an end, or of which something more general does."""
    found = {s.terms[0] for s in said["wasInvalidatedBy"] if s.terms[0] is not None}
    if not found:
        return found
    aspects: dict[str | None, list[str]] = {}
    for statement in (*said["specializationOf"], *said["mentionOf"]):
        if statement.terms[0] is not None:
            aspects.setdefault(statement.terms[1], []).append(statement.terms[0])
    ahead = list(found)
    for general in ahead:  # grows as it goes
        for specific in aspects.get(general, ()):
            if specific not in found:
                found.add(specific)
                ahead.append(specific)
    return found
