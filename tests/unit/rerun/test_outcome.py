"""A rerun compared with its first run."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from yprov_mlflow.prov.events import (
    Event,
    FactsCollected,
    MetricsLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
    SessionStarted,
)
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.rerun import outcome
from yprov_mlflow.prov.translate import translate
from yprov_mlflow.prov.views.summary import from_document
from yprov_mlflow.prov.views.summary_report import Summary


def events(
    run_id: str = "r", name: str = "fit", status: str = "FINISHED", loss: float = 0.5, **params: Any
) -> list[Event]:
    head = (run_id, "s")
    created = ("0", "Default", name, "ada", 1000, "/a", {}, {"uuid": "0" * 32, "uri": "x"})
    return [
        RunCreated(*head, 0, 10**9, *created),
        ParamsLogged(*head, 1, 10**9 + 1, {"lr": "0.1", **params}),
        MetricsLogged(*head, 2, 10**9 + 2, ["loss", "system/cpu"], [loss, 9.0], [1, 1], [0, 0]),
        RunUpdated(*head, 3, 10**9 + 3, status, 1001, None, None),
    ]


def run(*args: Any, **changes: Any) -> Summary:
    return from_document(translate(events(*args, **changes)))


def differences(first: Summary, rerun: Summary) -> dict[str, tuple[str, float | None]]:
    comparisons = outcome.compare(first, rerun).comparisons
    return {c.name: (c.verdict, c.by) for c in comparisons if c.verdict != "equal"}


def test_equal_runs_are_the_same() -> None:
    assert outcome.compare(run("r"), run("q")).is_same
    assert outcome.compare(run(loss=math.nan), run(loss=math.nan)).is_same


def test_metrics_differ_by_so_much() -> None:
    assert differences(run(loss=0.5), run(loss=0.4)) == {"loss": ("differs", pytest.approx(0.2))}
    assert differences(run(loss=0.5), run(loss=math.inf)) == {"loss": ("differs", None)}


def test_params_and_status_of_one_run_only() -> None:
    result = outcome.compare(run(a="1"), run(b="1", status="FAILED"))
    assert {c.name: c.verdict for c in result.comparisons if c.verdict != "equal"} == {
        "status": "differs",
        "a": "only first",
        "b": "only rerun",
    }
    assert not result.is_same


def test_a_difference_names_what_may_have_caused_it() -> None:
    def document(run_id: str, python: str) -> Document:
        facts = {"python": python, "packages": {"numpy": python}}
        environment = FactsCollected(run_id, "s", 4, 10**9 + 4, "environment", facts)
        started = SessionStarted(run_id, "s", 5, 10**9 - 1, {"argv": ["a.py"]})
        return translate([started, *events(run_id, status=python), environment])

    ids = ["1" * 32, "2" * 32]
    first, rerun = (document(i, p) for i, p in zip(ids, ("FINISHED", "FAILED"), strict=True))
    result = outcome.compare(from_document(first), from_document(rerun))
    reasons = outcome.with_reasons(result, first, rerun).reasons
    assert {(r.part, r.name) for r in reasons} >= {("environment", "numpy")}
    same = outcome.compare(from_document(first), from_document(first))
    assert outcome.with_reasons(same, first, first).reasons == ()


def test_files_decide_nothing() -> None:
    file = outcome.Comparison(part="artifact", name="a", first="1", rerun="2", verdict="differs")
    result = outcome.compare(run(), run())
    changed = dataclasses.replace(result, comparisons=(*result.comparisons, file))
    assert changed.is_same


def test_measurements_of_the_machine_are_not_compared() -> None:
    assert "system/cpu" not in {c.name for c in outcome.compare(run(), run()).comparisons}


def test_the_run_most_like_the_first_is_compared() -> None:
    others = [run("1", name="other"), run("2", lr="0.2"), run("3"), run("4", name="third")]
    match = outcome.counterpart(run(), others)
    assert match is not None and match.run.id == "3"
    assert outcome.counterpart(run(), []) is None
