"""Times that contradict the order of events, which W3C's rules do not check."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from support.oracles.provn_validation import error_rules, validate_statements

RUN = "activity(a, 2026-01-02T00:00:00Z, 2026-01-03T00:00:00Z)"
BEFORE, DURING, AFTER = "2026-01-01T00:00:00Z", "2026-01-02T12:00:00Z", "2026-01-04T00:00:00Z"

IMPOSSIBLE = {
    "it ends before it starts": (
        f"activity(a, {AFTER}, {BEFORE})",
        "30",
    ),
    "generated after its activity ended": (f"{RUN} wasGeneratedBy(e, a, {AFTER})", "34"),
    "generated before its activity started": (f"{RUN} wasGeneratedBy(e, a, {BEFORE})", "34"),
    "used after the activity ended": (f"{RUN} used(a, e, {AFTER})", "33"),
    "used before it was generated": (
        f"{RUN} used(a, e, {DURING}) wasGeneratedBy(e, -, {AFTER})",
        "37",
    ),
    "used after it was invalidated": (
        f"{RUN} used(a, e, {DURING}) wasInvalidatedBy(e, -, {BEFORE})",
        "38",
    ),
    "invalidated before it was generated": (
        f"wasInvalidatedBy(e, -, {BEFORE}) wasGeneratedBy(e, -, {AFTER})",
        "36",
    ),
    "derived from a later entity": (
        f"wasDerivedFrom(f, e) wasGeneratedBy(f, -, {BEFORE}) wasGeneratedBy(e, -, {AFTER})",
        "42",
    ),
    "a specialization of a later entity": (
        f"specializationOf(f, e) wasGeneratedBy(f, -, {BEFORE}) wasGeneratedBy(e, -, {AFTER})",
        "45",
    ),
    "invalidated later than the general entity": (
        f"specializationOf(f, e) wasInvalidatedBy(f, -, {AFTER}) wasInvalidatedBy(e, -, {BEFORE})",
        "46",
    ),
    "triggered before the trigger existed": (
        f"wasStartedBy(a, e, -, {BEFORE}) wasGeneratedBy(e, -, {AFTER})",
        "43",
    ),
    "ended by an invalidated entity": (
        f"wasEndedBy(a, e, -, {AFTER}) wasInvalidatedBy(e, -, {BEFORE})",
        "44",
    ),
    "informed by an activity that started after its end": (
        f"wasInformedBy(a, b) activity(a, -, {BEFORE}) activity(b, {AFTER}, -)",
        "35",
    ),
    "started by an activity that started later": (
        f"wasStartedBy(a, -, b, {BEFORE}) activity(b, {AFTER}, -)",
        "Inference 9",
    ),
    "associated with a later agent": (
        f"{RUN} wasAssociatedWith(a, g, -) entity(g) wasGeneratedBy(g, -, {AFTER})",
        "47",
    ),
    "associated with an invalidated agent": (
        f"{RUN} wasAssociatedWith(a, g, -) wasInvalidatedBy(g, -, {BEFORE})",
        "47",
    ),
    "the responsible agent is later": (
        f"{RUN} actedOnBehalfOf(g, h, a) wasGeneratedBy(h, -, {AFTER})",
        "47",
    ),
    "attributed to a later agent": (
        f"wasAttributedTo(e, g) wasGeneratedBy(e, -, {BEFORE}) wasGeneratedBy(g, -, {AFTER})",
        "48",
    ),
    "acted for an agent later than its own end": (
        f"actedOnBehalfOf(g, h) wasInvalidatedBy(g, -, {BEFORE}) wasGeneratedBy(h, -, {AFTER})",
        "49",
    ),
    "it ends before it starts, and is not declared": (
        f"wasStartedBy(a, e, -, {AFTER}) wasEndedBy(a, f, -, {BEFORE})",
        "30",
    ),
    "the acting agent is later": (
        f"{RUN} actedOnBehalfOf(g, h, a) entity(g) wasGeneratedBy(g, -, {AFTER})",
        "47",
    ),
    "an activity acted for one that started after its end": (
        f"actedOnBehalfOf(g, h) activity(g, -, {BEFORE}) activity(h, {AFTER}, -)",
        "49",
    ),
    "associated with an activity that had ended": (
        f"{RUN} wasAssociatedWith(a, g, -) activity(g, -, {BEFORE})",
        "47",
    ),
    "associated with an activity that had not started": (
        f"{RUN} wasAssociatedWith(a, g, -) activity(g, {AFTER}, -)",
        "47",
    ),
    "attributed to an activity that had not started": (
        f"wasAttributedTo(e, g) wasGeneratedBy(e, -, {BEFORE}) activity(g, {AFTER}, -)",
        "48",
    ),
    "two activities at two times": (
        f"wasGeneratedBy(e, a, {BEFORE}) wasGeneratedBy(e, b, {AFTER})",
        "39",
    ),
    "usage after the derived entity": (
        f"wasDerivedFrom(f, e, a, -, u) used(u; a, e, {AFTER}) wasGeneratedBy(f, a, {DURING})",
        "41",
    ),
    "invalidated by an activity that had ended": (
        f"{RUN} wasInvalidatedBy(e, a, {AFTER})",
        "PROV-DM 5.1.7",
    ),
}


@pytest.mark.parametrize(("statements", "rule"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_contradicting_times_are_an_error(statements: str, rule: str) -> None:
    rule = rule if " " in rule else f"Constraint {rule}"
    assert error_rules(statements) == [f"Times against {rule}"]


@pytest.mark.parametrize(("statements", "rule"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_equal_times_never_contradict(statements: str, rule: str) -> None:
    for moment in (BEFORE, AFTER):
        statements = statements.replace(moment, DURING)
    assert error_rules(statements.replace(RUN, f"activity(a, {DURING}, {DURING})")) == []


def test_times_are_compared_along_paths() -> None:
    findings = validate_statements(
        f"activity(a, {AFTER}, -) wasGeneratedBy(e, a, -) used(b, e, -) activity(b, -, {BEFORE})"
    )
    (finding,) = findings
    assert finding.rule == "Times against Constraint 34, Constraint 37, Constraint 33"
    assert finding.record == f"activity(b, -, {BEFORE})"
    for part in (
        f"the end of b is at {BEFORE}, but the start of a, which cannot be later, is at {AFTER}",
        "the start of a comes no later than the generation of e (Constraint 34)",
        "the generation of e comes no later than the use by b of e (Constraint 37)",
    ):
        assert part in finding.message


def test_specialization_ends_with_the_general_entity() -> None:
    rules = error_rules(
        f"used(a, e3, {DURING}) wasInvalidatedBy(e1, -, {BEFORE})"
        "specializationOf(e3, e2) specializationOf(e2, e1)"
    )
    assert rules == ["Times against Constraint 38, Constraint 46"]


def test_one_wrong_clock_is_one_finding() -> None:
    chain = " ".join(
        f"wasDerivedFrom(e{n}, e{n - 1}) wasGeneratedBy(e{n}, -, 2026-01-{n:02}T00:00:00Z)"
        for n in range(2, 28)
    )
    wrong = "wasGeneratedBy(e1, -, 2027-01-01T00:00:00Z)"
    assert len(validate_statements(f"{chain} {wrong}")) == 1


def test_long_paths_take_linear_time() -> None:
    steps = range(1, 20_000)
    chain = "\n".join(
        f"wasDerivedFrom(e{n}, e{n - 1}) used(b{n}, e{n}, -) activity(b{n}, -, {BEFORE})"
        for n in steps
    )
    start = time.process_time()
    findings = validate_statements(f"wasGeneratedBy(e0, -, {AFTER}) {chain}")
    assert time.process_time() - start < 20
    assert findings[0].rule == "Times against Constraint 42, Constraint 37, Constraint 33"
    assert findings[-1].message.endswith("(over many steps)")


def test_simultaneous_events_have_the_same_time() -> None:
    cycle = "wasStartedBy(a, -, b, {}) wasStartedBy(b, -, a, {})"
    assert error_rules(cycle.format(DURING, DURING)) == []
    assert error_rules(cycle.format(DURING, AFTER)) == ["Times"]


def test_times_without_a_zone() -> None:
    activity = "activity(a, {}, {})"
    assert error_rules(activity.format("2026-01-01T12:00:00", "2026-01-01T11:59:59.999"))
    assert not error_rules(activity.format("2026-01-01T12:00:00", "2026-01-01T11:00:00Z"))
    assert error_rules(activity.format("2026-01-03T12:00:00", "2026-01-01T11:00:00Z"))
    assert error_rules(activity.format("2026-01-01T12:00:00+02:00", "2026-01-01T12:00:00+03:00"))


def test_nanoseconds_count() -> None:
    activity = "activity(a, 2026-01-01T00:00:00.00000000{}Z, 2026-01-01T00:00:00.00000000{}Z)"
    assert error_rules(activity.format(2, 1))
    assert not error_rules(activity.format(1, 2))


def test_unset_clocks_and_future_times_are_a_warning() -> None:
    now = datetime(2026, 6, 1, tzinfo=UTC)
    statements = "wasGeneratedBy(e{}, -, {}) wasGeneratedBy(f{}, -, {})"
    findings = validate_statements(
        statements.format(1, "1970-01-20T11:00:00Z", 1, "1889-01-01T00:00:00"), now
    )
    assert [(f.severity, f.rule) for f in findings] == [("warning", "Times")]
    assert "(and 1 more)" in findings[0].message
    late = statements.format(1, "2026-06-03T00:00:00Z", 2, "57999-01-01T00:00:00Z")
    assert [f.severity for f in validate_statements(late, now)] == ["warning"]
    assert (
        validate_statements(statements.format(1, "2026-06-01T12:00:00Z", 2, "2026-06-01T00:00:00"))
        == []
    )
    assert (
        validate_statements(statements.format(1, "2099-01-01T00:00:00Z", 2, "2098-01-01T00:00:00Z"))
        == []
    )
