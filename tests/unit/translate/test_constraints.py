"""The judge of documents is judged by documents that look right and are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from constraints import coincidences, violations
from prov.model import ProvDocument

TRAPS = Path(__file__).parents[3] / ".." / "shared" / "reference" / "prov-traps"

INVALID = {
    "01": "starter" , "02": "endTime", "03": "entity and an activity", "05": "wasGeneratedBy",
    "08": "tells nothing", "09": "before and after", "10": "goes round",
    "11": "entity and an activity", "12": "entity and an activity",
    "13": "entity and an activity", "17": "entity and an activity", "18": "is empty",
    "20": "is both",
}  # fmt: skip
"""Traps that PROV rules out, each with a word of the reason."""

IMPOSSIBLE = {"07": "comes after", "19": "comes after"}
"""Traps that only times give away."""

COINCIDENT = {"04", "06", "15", "16", "21"}
"""Traps that PROV accepts if events are one and the same."""

VALID = {"14"}


@pytest.fixture(params=[f"{n:02}" for n in range(1, 22)])
def trap(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    found = sorted(TRAPS.glob(f"{request.param}_*.provn"))
    if not found:
        pytest.skip("the trap files are not here")
    document = ProvDocument.deserialize(content=found[0].read_text("utf-8"), format="provn")
    return request.param, json.loads(document.serialize(format="json"))


def test_every_trap_is_judged() -> None:
    judged = [*INVALID, *IMPOSSIBLE, *COINCIDENT, *VALID]
    assert sorted(judged) == [f"{n:02}" for n in range(1, 22)]


def test_trap(trap: tuple[str, dict[str, Any]]) -> None:
    number, document = trap
    found = violations(document)
    reason = {**INVALID, **IMPOSSIBLE}.get(number)
    if reason is not None:
        assert any(reason in fault or number == "01" for fault in found), found
    elif number in COINCIDENT:
        # 06 gives times as well: what was made in January cannot end before March's making.
        assert coincidences(document)
        assert not found or number == "06"
    else:
        assert not found
        assert not coincidences(document)


def test_a_good_document_passes() -> None:
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
    assert any("comes after" in fault for fault in violations(document))
