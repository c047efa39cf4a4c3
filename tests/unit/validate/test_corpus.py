"""The constraint cases of ``prov``: the result is as in their names, or the reason is given."""

from __future__ import annotations

import re
from importlib.resources import files as resources
from pathlib import Path

import pytest

from yprov_mlflow.prov.formats import open_documents
from yprov_mlflow.prov.validate import documents

CORPUS = Path(str(resources("prov"))) / "tests" / "unification" / "constraints"
CASES = sorted(path for path in CORPUS.glob("*") if path.suffix in (".xml", ".provx"))

NO_RULE_FOR_USAGES = (
    "Valid by the Recommendation: of what lies between one entity and one activity, Constraint 24 "
    "makes generations unique, 25 invalidations, and 26 and 27 starts and ends. None speaks of "
    "usages: an activity may use an entity any number of times, at any number of times. "
    "ProvToolbox, from which the cases come, expects them to pass (ValidateTest: 'SUCCESS: no "
    "uniqueness')."
)
SOME_ACTIVITY = (
    "Valid by the Recommendation: the activity of a delegation is an expandable position "
    "(Definition 4; only an association's plan and a derivation's activity are not, and its "
    "generation and usage without one), so that saying none is saying that there is one, which "
    "can be the other statement's. ProvToolbox expects it to pass (ValidateTest: 'SUCCESS')."
)
RESPONSIBLE_IS_REQUIRED = (
    "Invalid by PROV-DM 5.3.4, by the grammar of PROV-N and by the schema of PROV-XML: the "
    "responsible agent of a delegation is not optional. ProvToolbox does not run these cases."
)
ARGUED = {
    "usage-fail1.xml": (True, NO_RULE_FOR_USAGES),
    "usage-fail5.xml": (True, NO_RULE_FOR_USAGES),
    "usage-fail6.xml": (True, NO_RULE_FOR_USAGES),
    "usage-fail7.xml": (True, NO_RULE_FOR_USAGES),
    "delegation-fail4.xml": (True, SOME_ACTIVITY),
    "delegation-success3.xml": (False, RESPONSIBLE_IS_REQUIRED),
    "delegation-success4.xml": (False, RESPONSIBLE_IS_REQUIRED),
}
"""Cases whose result differs from their name, with the reason."""

BY = {
    "activity-end-fail": {29},
    "activity-start-fail": {28},
    "association-fail": {23, "PROV-DM 5.3.3"},
    "attribution-fail": {"PROV-DM 5.3.2"},
    "bundle-fail": {55, 56},
    "communication-fail": {"PROV-DM 5.1.5"},
    "delegation-fail": {23, "PROV-DM 5.3.4"},
    "delegation-success": {"PROV-DM 5.3.4"},
    "derivation-fail": {23},
    "end-fail": {23, 27},
    "generation-fail": {23, 24},
    "influence-fail": {"PROV-DM 5.3.5"},
    "invalidation-fail": {23, 25},
    "membership-fail": {"PROV-DM 5.6.2"},
    "mention-fail": {"PROV-LINKS", "PROV-LINKS 3"},
    "specialization-fail": {52, "PROV-DM 5.5.1"},
    "start-fail": {23, 26},
    "usage-fail": {23},
}
"""The rules that a case may violate; it violates at least one."""


def is_named_valid(path: Path) -> bool:
    named = re.search(r"-(success|fail)\d+$|-(PASS|FAIL)-", path.stem)
    assert named is not None, path.name
    return (named[1] or named[2]) in ("success", "PASS")


def rules_for(path: Path) -> set[object]:
    numbers = re.search(r"-FAIL((?:-c\d+)+)$", path.stem)
    if numbers is not None:
        return {int(number) for number in re.findall(r"\d+", numbers[1])}
    return set(BY[re.sub(r"\d+$", "", path.stem)])


def number_of(rule: str) -> object:
    start = rule.partition(":")[0]
    return int(start.removeprefix("Constraint ")) if start.startswith("Constraint ") else start


def test_corpus_is_complete() -> None:
    assert len([path for path in CASES if path.suffix == ".xml"]) == 153
    assert len([path for path in CASES if path.suffix == ".provx"]) == 7
    assert set(ARGUED) <= {path.name for path in CASES}
    assert all(
        is_named_valid(path) != ARGUED[path.name][0] for path in CASES if path.name in ARGUED
    )


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name)
def test_case(path: Path) -> None:
    valid, _ = ARGUED.get(path.name, (is_named_valid(path), ""))
    report = documents.check(path)
    assert report.format == "prov-xml"
    assert report.records
    assert report.valid is valid, report.findings
    if valid:  # every valid document can be restored
        records = sum(map(len, open_documents(path)))
        assert 0 < records <= report.records
    else:
        broken = {number_of(f.rule) for f in report.findings if f.severity == "error"}
        broken = {rule for rule in broken if not str(rule).startswith("Times")}
        assert broken, report.findings
        assert broken <= rules_for(path)
