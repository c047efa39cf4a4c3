"""The validator agrees with independent checks: our documents, any document, unification."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support.builders.strategies import runs
from support.oracles.constraints import violations

from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.translate import translate
from yprov_mlflow.prov.validate import Statement, validate

bounded = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
thorough = settings(max_examples=120, deadline=None)


def errors(document: Any, **options: Any) -> list[str]:
    return [f.rule for f in validate(document, **options) if f.severity == "error"]


# -- our documents ------------------------------------------------------------------------


def ends_before_start(document: dict[str, Any]) -> None:
    """Make the run end before it starts."""
    document["activity"]["run:run"]["prov:startTime"] = "2026-01-02T00:00:00Z"
    document["activity"]["run:run"]["prov:endTime"] = "2026-01-01T00:00:00Z"
    document.pop("wasEndedBy", None)


def derived_from_itself(document: dict[str, Any]) -> None:
    ends = {"prov:generatedEntity": "run:record", "prov:usedEntity": "run:record"}
    document.setdefault("wasDerivedFrom", {})["run:derivation"] = ends


def entity_and_activity(document: dict[str, Any]) -> None:
    document["entity"]["run:run"] = {}


def member_of_empty_collection(document: dict[str, Any]) -> None:
    document["entity"]["run:none"] = {
        "prov:type": {"$": "prov:EmptyCollection", "type": "prov:QUALIFIED_NAME"}
    }
    document.setdefault("hadMember", {})["_:m"] = {
        "prov:collection": "run:none",
        "prov:entity": "run:record",
    }


def specializes_itself(document: dict[str, Any]) -> None:
    ends = {"prov:specificEntity": "run:record", "prov:generalEntity": "run:record"}
    document.setdefault("specializationOf", {})["_:s"] = ends


def generated_twice(document: dict[str, Any]) -> None:
    generations = document.setdefault("wasGeneratedBy", {})
    for name, day in (("run:g1", 1), ("run:g2", 2)):
        generations[name] = {
            "prov:entity": "run:new",
            "prov:activity": "run:new-activity",
            "prov:time": f"2026-01-0{day}T00:00:00Z",
        }


def used_before_generation(document: dict[str, Any]) -> None:
    document.setdefault("wasGeneratedBy", {})["run:g"] = {
        "prov:entity": "run:new",
        "prov:time": "2026-01-02T00:00:00Z",
    }
    document.setdefault("used", {})["run:u"] = {
        "prov:entity": "run:new",
        "prov:activity": "run:new-activity",
        "prov:time": "2026-01-01T00:00:00Z",
    }


def shared_id(document: dict[str, Any]) -> None:
    document.setdefault("used", {})["run:twice"] = [
        {"prov:activity": "run:run", "prov:entity": entity} for entity in ("run:a", "run:b")
    ]


DAMAGE = (
    ends_before_start,
    derived_from_itself,
    entity_and_activity,
    member_of_empty_collection,
    specializes_itself,
    generated_twice,
    used_before_generation,
    shared_id,
)


@bounded
@given(runs())
def test_our_documents_are_valid(events: list[Event]) -> None:
    document = translate(events)
    assert errors(document) == []
    assert errors(json.loads(prov_json.dumps(document))) == []


@bounded
@given(runs(most=8), st.sampled_from(DAMAGE))
def test_damage_is_found(events: list[Event], damage: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(prov_json.dumps(translate(events)))
    assume("run:run" in document.get("activity", {}))
    assert not violations(document)
    damage(document)
    assert violations(document)
    assert errors(document)


# -- any document -------------------------------------------------------------------------

entities = st.sampled_from(["e1", "e2", "e3"])
activities = st.sampled_from(["a1", "a2"])
names = st.sampled_from(["r1", "r2", "r3", "r4"])
times = st.none() | st.sampled_from([f"2026-01-0{day}T00:00:00Z" for day in (1, 2, 3)])
no_time = st.none()


def relation(*terms: st.SearchStrategy[Any], time: bool = True) -> st.SearchStrategy[Any]:
    return st.tuples(names, st.tuples(*terms), times if time else no_time)


RELATIONS = {
    "wasGeneratedBy": relation(entities, st.none() | activities),
    "used": relation(activities, entities),
    "wasInformedBy": relation(activities, activities, time=False),
    "wasStartedBy": relation(activities, st.none() | entities, st.none() | activities),
    "wasEndedBy": relation(activities, st.none() | entities, st.none() | activities),
    "wasInvalidatedBy": relation(entities, st.none() | activities),
    "wasDerivedFrom": relation(entities, entities, time=False),
    "wasAttributedTo": relation(entities, entities, time=False),
    "wasAssociatedWith": relation(activities, entities, time=False),
    "specializationOf": relation(entities, entities, time=False),
}
ENDS = {
    "wasGeneratedBy": ("entity", "activity"),
    "used": ("activity", "entity"),
    "wasInformedBy": ("informed", "informant"),
    "wasStartedBy": ("activity", "trigger", "starter"),
    "wasEndedBy": ("activity", "trigger", "ender"),
    "wasInvalidatedBy": ("entity", "activity"),
    "wasDerivedFrom": ("generatedEntity", "usedEntity"),
    "wasAttributedTo": ("entity", "agent"),
    "wasAssociatedWith": ("activity", "agent"),
    "specializationOf": ("specificEntity", "generalEntity"),
}


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    document: dict[str, Any] = {
        "prefix": {"default": "http://example.org/"},
        "activity": {
            activity: {
                key: time
                for key in ("prov:startTime", "prov:endTime")
                if (time := draw(times)) is not None
            }
            for activity in ("a1", "a2")
        },
    }
    for kind, strategy in RELATIONS.items():
        for number, (name, terms, time) in enumerate(draw(st.lists(strategy, max_size=3))):
            ends = zip(ENDS[kind], terms, strict=True)
            record = {f"prov:{end}": term for end, term in ends if term is not None}
            if time is not None:
                record["prov:time"] = time
            document.setdefault(kind, {})[f"{kind}-{name}-{number}"] = record
    return document


@thorough
@given(documents())
def test_violations_of_the_simple_checker_are_errors(document: dict[str, Any]) -> None:
    """The simple checker knows fewer rules, except one: starts and ends need an argument."""
    expected = [text for text in violations(document) if " has only " not in text]
    if expected:
        assert errors(document), expected


@thorough
@given(documents(), st.randoms(use_true_random=False))
def test_order_of_statements_does_not_matter(document: dict[str, Any], chance: Any) -> None:
    shuffled = {
        section: dict(chance.sample(list(records.items()), len(records)))
        for section, records in chance.sample(list(document.items()), len(document))
    }
    assert bool(errors(document)) is bool(errors(shuffled))


@thorough
@given(documents())
def test_repeating_statements_changes_nothing(document: dict[str, Any]) -> None:
    doubled = copy.deepcopy(document)
    for section, records in doubled.items():
        if section != "prefix":
            doubled[section] = {name: [record, dict(record)] for name, record in records.items()}
    assert bool(errors(document)) is bool(errors(doubled))


# -- unification, literally as in the Recommendation ------------------------------------------


class Clash(Exception):
    """Two different constants that would have to be equal."""


class Chase:
    """Applies Constraints 22 to 29 and the inferences they need, literally, with variables.

    Slow but simple, for comparison. A term is a constant, or a number for a variable; ``None``
    is PROV-N's ``-`` where it means that there is nothing.
    """

    PAIRED = ("wasGeneratedBy", "wasInvalidatedBy", "wasStartedBy", "wasEndedBy")

    def __init__(self, statements: list[Statement]) -> None:
        self.bound: dict[int, Any] = {}
        self.fresh = itertools.count()
        self.facts: list[tuple[str, list[Any]]] = []
        for statement in statements:
            self._add(statement)

    def _add(self, statement: Statement) -> None:
        fields = [statement.identifier, *statement.terms, *statement.times]
        kind = statement.kind
        fixed = set()
        if kind == "wasAssociatedWith":
            fixed = {3}
        elif kind == "wasDerivedFrom":
            fixed = {3} if statement.terms[2] is not None else {3, 4, 5}
        filled = [
            next(self.fresh) if field is None and place not in fixed else field
            for place, field in enumerate(fields)
        ]
        self.facts.append((kind, filled))

    def value(self, term: Any) -> Any:
        while isinstance(term, int) and term in self.bound:
            term = self.bound[term]
        return term

    def unify(self, first: Any, other: Any) -> bool:
        first, other = self.value(first), self.value(other)
        if first == other and type(first) is type(other):
            return False
        if isinstance(first, int):
            self.bound[first] = other
        elif isinstance(other, int):
            self.bound[other] = first
        else:
            raise Clash(first, other)
        return True

    def infer(self) -> None:
        for kind, (_, *terms) in list(self.facts):
            if kind in ("wasStartedBy", "wasEndedBy"):
                self._generated(next(self.fresh), terms[1], terms[2])
            elif kind == "wasDerivedFrom" and terms[2] is not None:
                new, old, activity, generation, usage = terms
                self._generated(generation, new, activity)
                self.facts.append(("used", [usage, activity, old, next(self.fresh)]))

    def _generated(self, identifier: Any, entity: Any, activity: Any) -> None:
        self.facts.append(("wasGeneratedBy", [identifier, entity, activity, next(self.fresh)]))

    def run(self) -> None:
        self.infer()
        while any(
            [self._step(left, right) for left, right in itertools.combinations(self.facts, 2)]
        ):
            pass

    def _step(self, left: tuple[str, list[Any]], right: tuple[str, list[Any]]) -> bool:
        return any([self.unify(first, second) for first, second in self._equal(left, right)])

    def _equal(
        self, left: tuple[str, list[Any]], right: tuple[str, list[Any]]
    ) -> Iterator[tuple[Any, Any]]:
        (kind, ours), (other_kind, theirs) = left, right
        if kind == other_kind:
            if self._same(ours[0], theirs[0]):
                yield from zip(ours, theirs, strict=True)
            far = 3 if kind in ("wasStartedBy", "wasEndedBy") else 2
            if (
                kind in self.PAIRED
                and self._same(ours[1], theirs[1])
                and self._same(ours[far], theirs[far])
            ):
                yield ours[0], theirs[0]
        for activity, relation in ((left, right), (right, left)):
            for bound, place in (("wasStartedBy", 1), ("wasEndedBy", 2)):
                if (activity[0], relation[0]) == ("activity", bound) and self._same(
                    activity[1][0], relation[1][1]
                ):
                    yield activity[1][place], relation[1][4]

    def _same(self, left: Any, right: Any) -> bool:
        left, right = self.value(left), self.value(right)
        return type(left) is type(right) and left == right


few = st.none() | st.sampled_from(["r1", "r2"])
some_entity, some_activity = st.none() | entities, st.none() | activities
statements = st.one_of(
    st.builds(lambda i, *t: Statement("activity", i, (), t), activities, times, times),
    st.builds(
        lambda i, e, a, t: Statement("wasGeneratedBy", i and f"g{i}", (e, a), (t,)),
        few, entities, some_activity, times,
    ),
    st.builds(
        lambda i, e, a, t: Statement("wasInvalidatedBy", i and f"i{i}", (e, a), (t,)),
        few, entities, some_activity, times,
    ),
    st.builds(
        lambda i, a, e, t: Statement("used", i and f"u{i}", (a, e), (t,)),
        few, activities, some_entity, times,
    ),
    st.builds(
        lambda i, a, e, m, t: Statement("wasStartedBy", i and f"s{i}", (a, e, m), (t,)),
        few, activities, some_entity, some_activity, times,
    ),
    st.builds(
        lambda i, a, e, m, t: Statement("wasEndedBy", i and f"e{i}", (a, e, m), (t,)),
        few, activities, some_entity, some_activity, times,
    ),
    st.builds(
        lambda i, new, old, a, g, u: Statement(
            "wasDerivedFrom",
            i and f"d{i}",
            (new, old, a, g and f"g{g}", u and f"u{u}") if a else (new, old, None, None, None),
        ),
        few, entities, entities, some_activity, few, few,
    ),
    st.builds(
        lambda i, a, g, p: Statement("wasAssociatedWith", i and f"w{i}", (a, g, p)),
        few, activities, st.none() | st.just("g1"), some_entity,
    ),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(statements, min_size=2, max_size=7))
def test_unification(statements_: list[Statement]) -> None:
    try:
        Chase(statements_).run()
        unified = True
    except Clash:
        unified = False
    rules = errors(statements_, prefixes={"default": "http://example.org/"})
    uniqueness = [rule for rule in rules if rule[11:13] in {str(n) for n in range(22, 30)}]
    assert bool(uniqueness) is not unified, rules
