"""Each rule, with statements that violate it and statements that barely comply."""

from __future__ import annotations

import pytest
from support.oracles.provn_validation import error_rules, validate_statements, warning_rules

VIOLATIONS = {
    "22: two ends": (
        "activity(a, 2026-01-01T00:00:00, -) activity(a, -, 2026-01-02T00:00:00)"
        "activity(a, -, 2026-01-03T00:00:00)",
        "Constraint 22",
    ),
    "22: zones make another time": (
        "activity(a, 2026-01-01T00:00:00Z, -) activity(a, 2026-01-01T00:00:00+01:00, -)",
        "Constraint 22",
    ),
    "23: other entity": ("used(u; a, e, -) used(u; a, f, -)", "Constraint 23"),
    "23: plan and no plan": (
        "wasAssociatedWith(w; a, g, p) wasAssociatedWith(w; a, g, -)",
        "Constraint 23",
    ),
    "23: activity and no activity": (
        "wasDerivedFrom(d; e2, e1, a, -, -) wasDerivedFrom(d; e2, e1)",
        "Constraint 23",
    ),
    "23: an influence that is a usage": (
        "used(u; a, e, -) wasInfluencedBy(u; a, f)",
        "Constraint 23",
    ),
    "23: a derivation and a generation": (
        "wasDerivedFrom(d; e2, e1) wasGeneratedBy(d; e3, -, -)",
        "Constraint 23",
    ),
    "23: the generation implied by a derivation": (
        "wasDerivedFrom(d; e2, e1, a, g, -) wasGeneratedBy(g; e3, a, -)",
        "Constraint 23",
    ),
    "23: the usage implied by a derivation": (
        "wasDerivedFrom(d; e2, e1, a, -, u) used(u; b, e1, -)",
        "Constraint 23",
    ),
    "24: two ids": ("wasGeneratedBy(g1; e, a, -) wasGeneratedBy(g2; e, a, -)", "Constraint 24"),
    "24: the id from a derivation": (
        "wasDerivedFrom(d; e2, e1, a, g1, -) wasGeneratedBy(g2; e2, a, -)",
        "Constraint 24",
    ),
    "24: the activity from an influence": (
        "wasGeneratedBy(g1; e, -, 2026-01-01T00:00:00) wasInfluencedBy(g1; e, a)"
        "wasGeneratedBy(e, a, 2026-01-02T00:00:00) activity(a)",
        "Constraint 24",
    ),
    "24: after merging by id": (
        "wasGeneratedBy(g1; e, -, 2026-01-01T00:00:00) wasGeneratedBy(g1; e, a, -)"
        "wasGeneratedBy(e, a, 2026-01-02T00:00:00)",
        "Constraint 24",
    ),
    "25": (
        "wasInvalidatedBy(e, a, 2026-01-01T00:00:00) wasInvalidatedBy(e, a, 2026-01-02T00:00:00)",
        "Constraint 25",
    ),
    "26": ("wasStartedBy(s; a, -, b, -) wasStartedBy(t; a, -, b, -)", "Constraint 26"),
    "27: two triggers": ("wasEndedBy(a, e, b, -) wasEndedBy(a, f, b, -)", "Constraint 27"),
    "28": (
        "activity(a, 2026-01-01T00:00:00, -) wasStartedBy(a, -, b, 2026-01-02T00:00:00)",
        "Constraint 28",
    ),
    "28: two starters of an activity without times": (
        "activity(a) wasStartedBy(a, -, b, 2026-01-01T00:00:00)"
        "wasStartedBy(a, -, c, 2026-01-02T00:00:00)",
        "Constraint 28",
    ),
    "29": (
        "activity(a, -, 2026-01-01T00:00:00) wasEndedBy(a, e, -, 2026-01-02T00:00:00)",
        "Constraint 29",
    ),
    "42: itself": ("wasDerivedFrom(e, e)", "Constraint 42"),
    "42: a cycle": (
        "wasDerivedFrom(e2, e1) wasDerivedFrom(e3, e2) wasDerivedFrom(e1, e3)",
        "Constraint 42",
    ),
    "42: a specialization generated before its origin": (
        "wasDerivedFrom(e2, e1) specializationOf(e1, e2)",
        "Constraint 42",
    ),
    "42: it triggered the start of its generator": (
        "wasDerivedFrom(e2, e1) wasGeneratedBy(e1, a, -) wasStartedBy(a, e2, -, -)",
        "Constraint 42",
    ),
    "42: its generator was started by the generator of its derivative": (
        "wasDerivedFrom(e2, e1) wasGeneratedBy(e1, a, -) wasStartedBy(a, -, b, -)"
        "wasStartedBy(b, e2, -, -)",
        "Constraint 42",
    ),
    "42: responsible for its own origin": (
        "entity(g) wasAttributedTo(e1, g) wasDerivedFrom(g, e1)",
        "Constraint 42",
    ),
    "51: generation": ("wasDerivedFrom(e2, e1, -, g, -)", "Constraint 51"),
    "51: usage": ("wasDerivedFrom(e2, e1, -, -, u)", "Constraint 51"),
    "52: itself": ("specializationOf(e, e)", "Constraint 52"),
    "52: a cycle": (
        "specializationOf(e2, e1) specializationOf(e3, e2) specializationOf(e1, e3)",
        "Constraint 52",
    ),
    "52: mentions are specializations": (
        "mentionOf(e2, e1, b) specializationOf(e1, e2)",
        "Constraint 52",
    ),
    "53": ("used(r; a, e, -) wasStartedBy(r; a, e, -, -)", "Constraint 53"),
    "54": ("agent(r) wasAttributedTo(r; e, g)", "Constraint 54"),
    "55: declared": ("entity(x) activity(x)", "Constraint 55"),
    "55: used": ("wasInformedBy(a, x) used(a, x, -)", "Constraint 55"),
    "55: plan": ("activity(x) wasAssociatedWith(a, g, x)", "Constraint 55"),
    "55: of an influence": (
        "wasGeneratedBy(i; e, -, -) wasInfluencedBy(i; e, x) entity(x)",
        "Constraint 55",
    ),
    "56": ("entity(c, [prov:type='prov:EmptyCollection']) hadMember(c, e)", "Constraint 56"),
    "56: of a specialization": (
        "entity(c, [prov:type='prov:EmptyCollection']) specializationOf(d, c) hadMember(d, e)",
        "Constraint 56",
    ),
    "56: of a specialization of a specialization": (
        "entity(c, [prov:type='prov:EmptyCollection']) specializationOf(d, c)"
        "specializationOf(f, d) hadMember(f, e)",
        "Constraint 56",
    ),
    "only one argument": ("used(a)", "PROV-DM 5.1.4"),
    "two mentions": ("mentionOf(e, f, b) mentionOf(e, f, c)", "PROV-LINKS"),
}

VALID = {
    "omitted arguments match anything": (
        "activity(a, 2026-01-01T00:00:00, -) activity(a, -, 2026-01-02T00:00:00) activity(a)"
    ),
    "the same time in two zones": (
        "activity(a, 2026-01-01T00:00:00Z, -) activity(a, 2026-01-01T01:00:00+01:00, -)"
    ),
    "without a zone it may be the same time": (
        "activity(a, 2026-01-01T00:00:00Z, -) activity(a, 2026-01-01T05:00:00, -)"
    ),
    "an agent may be either": "agent(x) entity(x) agent(y) activity(y)",
    "an influence and a derivation are one": "wasInfluencedBy(i; f, e) wasDerivedFrom(i; f, e)",
    "many usages": (
        "used(u; a, e, 2026-01-01T00:00:00) used(v; a, e, 2026-01-02T00:00:00) used(a, e, -)"
    ),
    "a derivation with its generation and usage": (
        "used(u; a, e1, 2026-01-01T00:00:00) wasGeneratedBy(g; e2, a, 2026-01-02T00:00:00)"
        "wasDerivedFrom(d; e2, e1, a, g, u) wasDerivedFrom(d; e2, e1, a, -, -)"
    ),
    "the undescribed usage of a derivation": "wasDerivedFrom(d; e2, e1, a, -, u)",
    "transitive specialization": (
        "specializationOf(e3, e2) specializationOf(e2, e1) specializationOf(e3, e1)"
    ),
    "alternates": "alternateOf(e, f) alternateOf(f, e) alternateOf(e, e)",
    "an empty collection without members": (
        "entity(c, [prov:type='prov:EmptyCollection']) hadMember(e, c)"
    ),
    "activities that inform each other": "wasInformedBy(a, b) wasInformedBy(b, a)",
    "an activity that uses the output of one that it started": (
        "wasStartedBy(a, -, b, -) wasGeneratedBy(e, a, -) used(b, e, -)"
    ),
    "bundles are independent": (
        "entity(x) bundle b1 activity(x) endBundle bundle b2 used(x; a, e, -) endBundle"
    ),
}

SIMULTANEOUS = {
    "41, Constraint 43, Constraint 33": "wasDerivedFrom(f, e, a, -, u) wasStartedBy(a, f, -, -)",
    "31": "wasStartedBy(a, -, b, -) wasStartedBy(a, -, c, -)",
    "32": "wasEndedBy(a, e, b, -) wasEndedBy(a, f, c, -)",
    "39": "wasGeneratedBy(e, a, -) wasGeneratedBy(e, b, -)",
    "40": "wasInvalidatedBy(e, a, -) wasInvalidatedBy(e, b, -)",
}


@pytest.mark.parametrize(("statements", "rule"), VIOLATIONS.values(), ids=VIOLATIONS)
def test_violation_is_an_error(statements: str, rule: str) -> None:
    rules = [rule.partition(" (")[0] for rule in error_rules(statements)]
    assert [r for r in rules if not r.startswith("Times")] == [rule]


@pytest.mark.parametrize("statements", VALID.values(), ids=VALID)
def test_valid_statements_have_no_findings(statements: str) -> None:
    assert validate_statements(statements) == []


@pytest.mark.parametrize(("number", "statements"), SIMULTANEOUS.items())
def test_simultaneous_events_are_a_warning(number: str, statements: str) -> None:
    assert error_rules(statements) == []
    assert f"Constraint {number}" in warning_rules(statements)


@pytest.mark.parametrize(("statements", "rule"), VIOLATIONS.values(), ids=VIOLATIONS)
def test_violation_in_a_bundle(statements: str, rule: str) -> None:
    findings = validate_statements(f"entity(other) bundle ex:b {statements} endBundle")
    assert any(f.rule.startswith(rule) and f.bundle == "ex:b" for f in findings)


def test_message_names_both_statements() -> None:
    (finding,) = validate_statements("entity(ex:x) activity(ex:a) wasInformedBy(ex:a, ex:x)")
    assert finding.record == "entity(ex:x)"
    assert finding.message == (
        "ex:x is an entity here, and an activity in wasInformedBy(ex:a, ex:x)"
    )
    (finding,) = validate_statements("wasDerivedFrom(d; f, e, a, g, -) wasGeneratedBy(h; f, a, -)")
    assert finding.record == "wasGeneratedBy(h; f, a)"
    assert finding.message.startswith(
        "wasGeneratedBy(g; f, a), which follows from wasDerivedFrom(d; f, e, a, g) by Inference 11"
    )
    (finding,) = validate_statements("wasDerivedFrom(f, e) wasDerivedFrom(e, f)")
    assert (
        "ordering cycle: the generation of e comes before the generation of f (Constraint 42)"
        in finding.message
    )


def test_specialization_cycle_is_reported_once() -> None:
    assert len(validate_statements("specializationOf(e, f) specializationOf(f, e)")) == 1


@pytest.mark.parametrize(("arguments", "kind"), [("g, -", "generation"), ("-, u", "usage")])
def test_generation_or_usage_of_a_derivation_needs_an_activity(arguments: str, kind: str) -> None:
    (finding,) = validate_statements(f"wasDerivedFrom(e, f, -, {arguments})")
    assert finding.message == f"it has a {kind}, but no activity"
