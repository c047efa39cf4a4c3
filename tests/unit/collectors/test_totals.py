import pytest
from hypothesis import given
from hypothesis import strategies as st

from yprov_mlflow.prov.collectors.counters import Counter, Integral

steps = st.lists(st.tuples(st.floats(0.01, 60), st.floats(0, 2000)), min_size=1, max_size=30)
"""Seconds to the next reading, and watts until then."""


def counts(steps, begin, span):
    """What a counter of millijoules shows over time, and the joules it should come to."""
    time_s, true_j = 0.0, 0.0
    yield time_s, begin % span, true_j
    for seconds, watts in steps:
        time_s += seconds
        true_j += seconds * watts
        # A float beside the counter: added to it, 2 to the 53rd and more would lose counts.
        yield time_s, (begin + int(true_j * 1000)) % span, true_j


@given(steps, st.sampled_from([2**32, 2**64]), st.integers(0, 2**64 - 2))
def test_a_counter_gives_what_was_taken_over_any_wrap(steps, span, begin):
    counter = Counter(0.001)
    for time_s, count, true_j in counts(steps, begin % span, span):
        assert counter.add(count, time_s) == pytest.approx(true_j, abs=1 + true_j * 1e-3)


@given(steps, st.integers(0, 10**12), st.data())
def test_what_a_reset_loses_stays_lost_and_nothing_is_invented(steps, begin, data):
    counter, total, offset = Counter(0.001), 0.0, 0
    for time_s, count, true_j in counts(steps, begin, 2**64):
        if data.draw(st.booleans()):
            offset = count
        found = counter.add(count - offset, time_s)
        if found is not None:
            assert total <= found <= true_j + 1
            total = found


@pytest.mark.parametrize(
    ("count", "odd"),
    [(10**10, 0), (10**10, 10**15), (5 * 10**6, 0), (5 * 10**6, 5 * 10**6 - 1000)],
)
def test_one_odd_reading_invents_nothing(count, odd):
    counter = Counter(0.001)
    found = [counter.add(one, step) for step, one in enumerate((count, odd, count + 2000))]
    assert found == [0, None, pytest.approx(2)]


def test_an_odd_reading_is_forgotten_after_a_good_one():
    counter = Counter(0.001)
    counts = (9_000_000, 8 * 10**9, 9_300_000, 8 * 10**9 + 1000, 9_600_000)
    found = [counter.add(one, step) for step, one in enumerate(counts)]
    assert found == [0, None, pytest.approx(300), None, pytest.approx(600)]


def test_what_a_counter_shows_late_counts():
    counter = Counter(0.001)
    counter.add(10**9, 0)
    assert counter.add(10**9 + 3 * 10**6, 0.1) == pytest.approx(3000)


def test_a_small_step_back_is_no_wrap():
    counter = Counter(0.001)
    found = [
        counter.add(count, 600 * step) for step, count in enumerate((4e9, 4e9 - 1, 4e9 + 1000))
    ]
    assert found == [0, None, pytest.approx(1)]


@given(steps)
def test_an_integral_of_steady_power_is_power_by_time(steps):
    integral, time_s = Integral(), 0.0
    assert integral.add(250, 0) == 0
    for seconds, _ in steps:
        time_s += seconds
        assert integral.add(250, time_s) == pytest.approx(250 * time_s)


def test_an_integral_over_a_gap_is_a_straight_line():
    integral = Integral()
    found = [integral.add(watts, time_s) for time_s, watts in ((0, 100), (1, None), (2, 300))]
    assert found == [0, None, 400]
