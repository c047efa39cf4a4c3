"""Documents that look plausible, but violate PROV."""

from __future__ import annotations

from pathlib import Path

import pytest

from yprov_mlflow.prov.validate import documents

DATA = Path(__file__).parents[2] / "data"

INVALID = {
    "01": "Constraint 26",
    "02": "Constraint 22",
    "03": "Constraint 55",
    "05": "Constraint 24",
    "09": "Constraint 42",
    "10": "Constraint 52",
    "11": "Constraint 55",
    "12": "Constraint 55",
    "13": "Constraint 55",
    "17": "Constraint 55",
    "18": "Constraint 56",
    "20": "Constraint 23",
}
"""Invalid documents, with the violated rule."""

IMPOSSIBLE = {
    "06": "Times against Constraint 39",
    "07": "Times against Constraint 34",
    "19": "Times against Constraint 37",
}
"""Documents that PROV accepts, but that have contradicting times."""

COINCIDENT = {"04": "Constraint 39", "16": "Inference 9", "21": "PROV-DM 5.1.7, Constraint 44"}
"""Documents that are valid only if several events are simultaneous: a warning."""

EMPTY = {"08": "PROV-DM 5.1.7"}
"""Called invalid where the traps are listed, but valid by the Recommendations: ``b`` starts
``a``, uses what ``a`` makes, and ends; no rule puts any of that the other way round. Its
``wasEndedBy`` says nothing but its own id, which PROV-DM 5.1.7 allows ("at least one" of id,
trigger, ender, time and attributes), and PROV-N has ``wasEndedBy(ex:end; ex:act2)`` as an
example. So it is a warning."""

VALID = {"14", "15"}
"""15: two activities that inform each other need only overlap (Constraint 35)."""


@pytest.fixture(params=[f"{n:02}" for n in range(1, 22)])
def trap(request: pytest.FixtureRequest) -> tuple[str, Path]:
    (path,) = (DATA / "traps").glob(f"{request.param}_*.provn")
    return request.param, path


def test_every_trap_has_an_expectation() -> None:
    expected = [*INVALID, *IMPOSSIBLE, *COINCIDENT, *EMPTY, *VALID]
    assert sorted(expected) == [f"{n:02}" for n in range(1, 22)]


def test_trap(trap: tuple[str, Path]) -> None:
    number, path = trap
    report = documents.check(path)
    rules = {
        severity: {f.rule.partition(":")[0] for f in report.findings if f.severity == severity}
        for severity in ("error", "warning")
    }
    reason = {**INVALID, **IMPOSSIBLE}.get(number)
    assert report.valid is (reason is None)
    if reason is not None:
        assert reason in rules["error"]
        if number in INVALID:
            assert not any(rule.startswith("Times") for rule in rules["error"])
    assert rules["warning"] >= {
        rule for rules_of in (COINCIDENT, EMPTY) for n, rule in rules_of.items() if n == number
    }
    if number in VALID:
        assert not report.findings


@pytest.mark.parametrize("suffix", ["json", "provn", "ttl"])
def test_reference_document_is_valid(suffix: str) -> None:
    report = documents.check(DATA / "reference" / f"run-example.{suffix}")
    assert report.findings == []
    assert report.records == 143
