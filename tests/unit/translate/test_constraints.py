"""The checks of the tests themselves find documents that look valid but are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prov.model import ProvDocument
from support.oracles.constraints import coincidences, violations

TRAPS = Path(__file__).parents[2] / "data" / "traps"

INVALID = {
    "01": "starter" , "02": "endTime", "03": "entity and an activity", "05": "wasGeneratedBy",
    "08": "has only", "09": "ordering cycle", "10": "specialization cycle",
    "11": "entity and an activity", "12": "entity and an activity",
    "13": "entity and an activity", "17": "entity and an activity", "18": "is empty",
    "20": "is both",
}  # fmt: skip
"""Traps that PROV forbids, each with a word of the reason."""

IMPOSSIBLE = {"07": "must follow", "19": "must follow"}
"""Traps that only times reveal."""

COINCIDENT = {"04", "06", "15", "16", "21"}
"""Traps that PROV accepts if events coincide."""

VALID = {"14"}


@pytest.fixture(params=[f"{n:02}" for n in range(1, 22)])
def trap(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    (path,) = TRAPS.glob(f"{request.param}_*.provn")
    document = ProvDocument.deserialize(content=path.read_text("utf-8"), format="provn")
    return request.param, json.loads(document.serialize(format="json"))


def test_every_trap_has_an_expected_verdict() -> None:
    judged = [*INVALID, *IMPOSSIBLE, *COINCIDENT, *VALID]
    assert sorted(judged) == [f"{n:02}" for n in range(1, 22)]


def test_trap_gets_its_verdict(trap: tuple[str, dict[str, Any]]) -> None:
    number, document = trap
    faults = violations(document)
    reason = {**INVALID, **IMPOSSIBLE}.get(number)
    if reason is not None:
        assert any(reason in fault or number == "01" for fault in faults), faults
    elif number in COINCIDENT:
        # 06 has times, too: generated in January, it cannot end before a generation in March.
        assert coincidences(document)
        assert not faults or number == "06"
    else:
        assert not faults
        assert not coincidences(document)


def test_a_valid_document_passes() -> None:
    document = {
        "entity": {"e": {}, "f": {}},
        "activity": {"a": {"prov:startTime": "2026-01-01T00:00:00"}},
        "wasGeneratedBy": {"g": {"prov:entity": "e", "prov:activity": "a"}},
        "wasDerivedFrom": {"d": {"prov:generatedEntity": "e", "prov:usedEntity": "f"}},
    }
    assert violations(document) == coincidences(document) == []


def test_times_are_compared_along_paths() -> None:
    document = {
        "entity": {"e": {}},
        "activity": {
            "a": {"prov:startTime": "2026-01-03T00:00:00"},
            "b": {"prov:endTime": "2026-01-02T00:00:00"},
        },
        "wasGeneratedBy": {"g": {"prov:entity": "e", "prov:activity": "a"}},
        "used": {"u": {"prov:activity": "b", "prov:entity": "e"}},
    }
    assert any("must follow" in fault for fault in violations(document))
