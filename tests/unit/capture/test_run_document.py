"""The state that a run should have according to its events."""

from __future__ import annotations

from yprov_mlflow.prov.capture.run_document import ExpectedState
from yprov_mlflow.prov.events import MetricsLogged, RunCreated, TagsSet

HEAD = ("r", "s", 0, 0)


def test_latest_point_has_the_greatest_step_timestamp_and_value():
    state = ExpectedState()
    state.feed(MetricsLogged(*HEAD, ["a", "a", "b"], [9.0, 1.0, 5.0], [30, 10, 0], [1, 2, 0]))
    assert state.metrics == {"a": (2, 10, 1.0), "b": (0, 0, 5.0)}
    state.feed(MetricsLogged(*HEAD, ["a", "b", "b"], [0.5, 4.0, 6.0], [11, 0, 0], [2, 0, 0]))
    assert state.metrics == {"a": (2, 11, 0.5), "b": (0, 0, 6.0)}


def test_nan_does_not_replace_an_equal_point():
    state = ExpectedState()
    state.feed(MetricsLogged(*HEAD, ["a", "a"], [1.0, float("nan")], [0, 0], [0, 0]))
    assert state.metrics == {"a": (0, 0, 1.0)}


def test_run_is_joined_until_the_event_of_its_creation():
    state = ExpectedState()
    state.feed(TagsSet(*HEAD, {"t": "1"}))
    assert state.joined
    state.feed(RunCreated(*HEAD, "0", None, "name", None, 0, None, {}, {}))
    assert not state.joined
