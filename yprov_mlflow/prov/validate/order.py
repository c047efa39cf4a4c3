"""The order of events that PROV-CONSTRAINTS requires (Constraints 30 to 49), as a graph.

To PROV, all generations of an entity are simultaneous, and so are all its invalidations, all
starts of an activity and all its ends (Constraints 31, 32, 39, 40). Each of these is one event
here. Each usage is an event of its own.
"""

from __future__ import annotations

from yprov_mlflow.prov.validate.graph import Edge
from yprov_mlflow.prov.validate.roles import Roles
from yprov_mlflow.prov.validate.rules import constraint, definition, inference
from yprov_mlflow.prov.validate.statements import Groups, Statement, specializations

STRICT = constraint(42)
"""The only rule that requires an event to come before another, and not at the same time."""


class EventOrder:
    """Events as numbers, the edges between them, and their times.

    Attributes:
        edges: For each event the events that it cannot come after.
        times: The times of events, each with the statement that has it.
        descriptions: For each event its type and its subject, such as an entity.
        declared: Activities that have an ``activity`` statement.
    """

    def __init__(self, groups: Groups, roles: Roles) -> None:
        self.edges: list[list[Edge]] = []
        self.times: dict[int, list[tuple[str, Statement]]] = {}
        self.descriptions: list[tuple[str, str]] = []
        self.declared = {statement.identifier for statement in groups["activity"]}
        self._groups = groups
        self._roles = roles
        self._generations: dict[str, int] = {}
        self._invalidations: dict[str, int] = {}
        self._starts: dict[str, int] = {}
        self._ends: dict[str, int] = {}
        self._usages: dict[str, int] = {}
        # Only these entities have an invalidation: they, or a general entity of theirs, end.
        invalidated = [s.terms[0] for s in groups["wasInvalidatedBy"] if s.terms[0] is not None]
        self._perishable = specializations(groups, invalidated) if invalidated else {}
        self._add_activities()
        self._add_lifetimes()
        self._add_usages()
        self._add_triggers()
        self._add_communications()
        self._add_derivations()
        self._add_specializations()
        self._add_agents()

    def name(self, event: int) -> str:
        """Return an event in words, such as ``the generation of ex:e``."""
        return " ".join(self.descriptions[event])

    # -- events --------------------------------------------------------------------------

    def _new(self, description: str, subject: str) -> int:
        self.edges.append([])
        self.descriptions.append((description, subject))
        return len(self.edges) - 1

    def _event(self, events: dict[str, int], description: str, subject: str) -> int:
        # Closures over these dicts would be shorter, but keep the graph in memory as a cycle.
        event = events.get(subject)
        if event is None:
            event = events[subject] = self._new(description, subject)
        return event

    def _generation(self, entity: str) -> int:
        return self._event(self._generations, "the generation of", entity)

    def _invalidation(self, entity: str) -> int:
        return self._event(self._invalidations, "the invalidation of", entity)

    def _start(self, activity: str) -> int:
        return self._event(self._starts, "the start of", activity)

    def _end(self, activity: str) -> int:
        return self._event(self._ends, "the end of", activity)

    def _set_time(self, event: int, time: str | None, statement: Statement) -> None:
        if time is not None:
            self.times.setdefault(event, []).append((time, statement))

    def _before_invalidation(
        self, event: int, entity: str, rule: str, statement: Statement
    ) -> None:
        # Most entities are never invalidated: without an event for them, the graph is smaller.
        if entity in self._perishable:
            self.edges[event].append((self._invalidation(entity), rule, statement))

    def _during(
        self, activity: str, event: int, rules: tuple[str, str], statement: Statement
    ) -> None:
        """Put an event between start and end of an activity."""
        self.edges[self._start(activity)].append((event, rules[0], statement))
        self.edges[event].append((self._end(activity), rules[1], statement))

    # -- rules ---------------------------------------------------------------------------

    def _add_activities(self) -> None:
        rule = constraint(30)
        for statement in self._groups["activity"]:
            assert statement.identifier is not None
            start, end = self._start(statement.identifier), self._end(statement.identifier)
            self.edges[start].append((end, rule, statement))
            self._set_time(start, statement.times[0], statement)
            self._set_time(end, statement.times[1], statement)

    def _add_lifetimes(self) -> None:
        # No constraint says that an invalidation lies within its activity; PROV-DM does.
        within = (definition("wasStartedBy"), definition("wasEndedBy"))
        for kind, event_of, during in (
            ("wasGeneratedBy", self._generation, (constraint(34), constraint(34))),
            ("wasInvalidatedBy", self._invalidation, within),
        ):
            for statement in self._groups[kind]:
                entity, activity = statement.terms
                assert entity is not None
                event = event_of(entity)
                self._set_time(event, statement.times[0], statement)
                if kind == "wasInvalidatedBy":
                    self.edges[self._generation(entity)].append((event, constraint(36), statement))
                if activity is not None:
                    self._during(activity, event, during, statement)

    def _add_usages(self) -> None:
        during = (constraint(33), constraint(33))
        for statement in self._groups["used"]:
            activity, entity = statement.terms
            assert activity is not None
            # PROV lets an activity use an entity many times, so usages never share an event.
            event = self._new("the use by", f"{activity} of {entity or 'something'}")
            if statement.identifier is not None:
                self._usages[statement.identifier] = event
            self._set_time(event, statement.times[0], statement)
            self._during(activity, event, during, statement)
            if entity is not None:
                edges = self.edges[self._generation(entity)]
                edges.append((event, constraint(37), statement))
                self._before_invalidation(event, entity, constraint(38), statement)

    def _add_triggers(self) -> None:
        for kind, event_of, number, inferred in (
            ("wasStartedBy", self._start, 43, 9),
            ("wasEndedBy", self._end, 44, 10),
        ):
            rule = constraint(number)
            for statement in self._groups[kind]:
                activity, trigger, starter = statement.terms
                assert activity is not None
                event = event_of(activity)
                self._set_time(event, statement.times[0], statement)
                bounds = (self._end(activity), constraint(30), statement)
                self.edges[self._start(activity)].append(bounds)
                if trigger is not None:
                    self.edges[self._generation(trigger)].append((event, rule, statement))
                    self._before_invalidation(event, trigger, rule, statement)
                elif starter is not None:  # the starter generated an unnamed trigger
                    edge = (event, inference(inferred), statement)
                    self.edges[self._start(starter)].append(edge)

    def _add_communications(self) -> None:
        # The informant started before the informed ended; their other ends may be in any order.
        rule = constraint(35)
        for statement in self._groups["wasInformedBy"]:
            informed, informant = statement.terms
            assert informed is not None and informant is not None
            self.edges[self._start(informant)].append((self._end(informed), rule, statement))

    def _add_derivations(self) -> None:
        for statement in self._groups["wasDerivedFrom"]:
            new, old, activity, _, usage = statement.terms
            assert new is not None and old is not None
            generation = self._generation(new)
            self.edges[self._generation(old)].append((generation, STRICT, statement))
            use = None if activity is None or usage is None else self._usages.get(usage)
            # Constraint 41 needs both ends in one activity, which only a known usage shows.
            if use is not None:
                self.edges[use].append((generation, constraint(41), statement))

    def _add_specializations(self) -> None:
        # A specialization neither precedes nor outlives the general entity; a mention is one, too.
        for statement in (*self._groups["specializationOf"], *self._groups["mentionOf"]):
            specific, general = statement.terms[:2]
            assert specific is not None and general is not None
            edge = (self._generation(specific), constraint(45), statement)
            self.edges[self._generation(general)].append(edge)
            if general in self._perishable:
                end = self._invalidation(specific)
                self._before_invalidation(end, general, constraint(46), statement)

    def _add_agents(self) -> None:
        for statement in self._groups["wasAttributedTo"]:
            entity, agent = statement.terms
            assert entity is not None and agent is not None
            self._agent_before(agent, self._generation(entity), constraint(48), statement)
        for statement in self._groups["wasAssociatedWith"]:
            activity, agent, _ = statement.terms
            assert activity is not None
            if agent is not None:
                self._associate(activity, agent, statement)
        for statement in self._groups["actedOnBehalfOf"]:
            delegate, responsible, activity = statement.terms
            assert delegate is not None and responsible is not None
            if activity is not None:  # both are associated with it (Inference 14)
                self._associate(activity, delegate, statement)
                self._associate(activity, responsible, statement)
            # Somebody cannot act for an agent that begins only after the delegate's end.
            rule = constraint(49)
            if responsible in self._roles["entity"]:
                event = self._generation(responsible)
                self._before_invalidation(event, delegate, rule, statement)
            if {delegate, responsible} <= self._roles["activity"].keys():
                edge = (self._end(delegate), rule, statement)
                self.edges[self._start(responsible)].append(edge)

    def _associate(self, activity: str, agent: str, statement: Statement) -> None:
        # An agent may be anything; only entities and activities have a beginning and an end.
        rule = constraint(47)
        self._agent_before(agent, self._end(activity), rule, statement)
        start = self._start(activity)
        self._before_invalidation(start, agent, rule, statement)
        if agent in self._roles["activity"]:
            self.edges[start].append((self._end(agent), rule, statement))

    def _agent_before(self, agent: str, event: int, rule: str, statement: Statement) -> None:
        """Put the beginning of an agent before an event, if it is an entity or an activity."""
        if agent in self._roles["entity"]:
            self.edges[self._generation(agent)].append((event, rule, statement))
        if agent in self._roles["activity"]:
            self.edges[self._start(agent)].append((event, rule, statement))
