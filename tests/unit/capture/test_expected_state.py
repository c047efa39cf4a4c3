from yprov_mlflow.prov.capture.expected_state import ExpectedState
from yprov_mlflow.prov.events import MetricsLogged, RunCreated, TagsSet

HEAD = ("r", "s", 0, 0)


def test_the_latest_point_is_mlflows():
    tally = ExpectedState()
    tally.feed(MetricsLogged(*HEAD, ["a", "a", "b"], [9.0, 1.0, 5.0], [30, 10, 0], [1, 2, 0]))
    assert tally.metrics == {"a": (2, 10, 1.0), "b": (0, 0, 5.0)}
    tally.feed(MetricsLogged(*HEAD, ["a", "b", "b"], [0.5, 4.0, 6.0], [11, 0, 0], [2, 0, 0]))
    assert tally.metrics == {"a": (2, 11, 0.5), "b": (0, 0, 6.0)}


def test_a_run_is_joined_until_its_beginning_is_fed():
    tally = ExpectedState()
    tally.feed(TagsSet(*HEAD, {"t": "1"}))
    assert tally.joined
    tally.feed(RunCreated(*HEAD, "0", None, "name", None, 0, None, {}, {}))
    assert not tally.joined
