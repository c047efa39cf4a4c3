import pytest
from hypothesis import given
from hypothesis import strategies as st

from yprov_mlflow.prov.collectors.counters import (
    EnergyCounter,
    EnergyShare,
    MonotonicTotal,
    PowerIntegral,
)

steps = st.lists(st.tuples(st.floats(0.01, 60), st.floats(0, 2000)), min_size=1, max_size=30)
"""Seconds to the next reading, and watts until then."""


def counts(steps, begin, span):
    """Yield the time, the count of a counter of millijoules, and the true joules."""
    time_s, true_j = 0.0, 0.0
    yield time_s, begin % span, true_j
    for seconds, watts in steps:
        time_s += seconds
        true_j += seconds * watts
        # The float is kept separate: added to a count above 2**53, it would lose precision.
        yield time_s, (begin + int(true_j * 1000)) % span, true_j


@given(steps, st.sampled_from([2**32, 2**64]), st.integers(0, 2**64 - 2))
def test_energy_counter_overflow(steps, span, begin):
    counter = EnergyCounter(0.001)
    for time_s, count, true_j in counts(steps, begin % span, span):
        assert counter.add(count, time_s) == pytest.approx(true_j, abs=1 + true_j * 1e-3)


# A reset of a counter that is close to its overflow looks like the overflow.
@given(steps, st.integers(2**32, 10**12), st.data())
def test_energy_counter_resets(steps, begin, data):
    counter, total, offset = EnergyCounter(0.001), 0.0, 0
    for time_s, count, true_j in counts(steps, begin, 2**64):
        if data.draw(st.booleans()):
            offset = count
        result = counter.add(count - offset, time_s)
        if result is not None:
            assert total <= result <= true_j + 1
            total = result


@pytest.mark.parametrize(
    ("count", "odd"),
    [(10**10, 0), (10**10, 10**15), (5 * 10**6, 0), (5 * 10**6, 5 * 10**6 - 1000)],
)
def test_single_implausible_count_is_ignored(count, odd):
    counter = EnergyCounter(0.001)
    result = [counter.add(value, step) for step, value in enumerate((count, odd, count + 2000))]
    assert result == [0, None, pytest.approx(2)]


def test_implausible_count_is_forgotten():
    counter = EnergyCounter(0.001)
    counts = (9_000_000, 8 * 10**9, 9_300_000, 8 * 10**9 + 1000, 9_600_000)
    result = [counter.add(value, step) for step, value in enumerate(counts)]
    assert result == [0, None, pytest.approx(300), None, pytest.approx(600)]


def test_late_counter_refresh_counts():
    counter = EnergyCounter(0.001)
    counter.add(10**9, 0)
    assert counter.add(10**9 + 3 * 10**6, 0.1) == pytest.approx(3000)


def test_small_step_back_is_not_an_overflow():
    counter = EnergyCounter(0.001)
    result = [
        counter.add(count, 600 * step) for step, count in enumerate((4e9, 4e9 - 1, 4e9 + 1000))
    ]
    assert result == [0, None, pytest.approx(1)]


@given(steps)
def test_integral_of_constant_power(steps):
    integral, time_s = PowerIntegral(), 0.0
    assert integral.add(250, 0) == 0
    for seconds, _ in steps:
        time_s += seconds
        assert integral.add(250, time_s) == pytest.approx(250 * time_s)


def test_integral_interpolates_gaps():
    integral = PowerIntegral()
    result = [integral.add(watts, time_s) for time_s, watts in ((0, 100), (1, None), (2, 300))]
    assert result == [0, None, 400]


@pytest.mark.parametrize(
    ("readings", "totals"),
    [
        ([100, 105, 107], [0, 5, 7]),
        ([100, None, 103], [0, None, 3]),
        ([None, 100, 101], [None, 0, 1]),
        # The 50 of a child are in transit for a moment, then added to its parent.
        ([100, 160, 110, 165], [0, 60, 60, 65]),
        ([100, 160, 110, 165, 120, 170], [0, 60, 60, 65, 65, 70]),
        # They are lost; growth counts again.
        ([100, 160, 110, 112, 120], [0, 60, 60, 60, 68]),
        ([100, 160, 110, 112, 50, 55, 60], [0, 60, 60, 60, 60, 60, 65]),
    ],
)
def test_monotonic_total(readings, totals):
    total = MonotonicTotal()
    assert [total.update(reading) for reading in readings] == totals


@pytest.mark.parametrize("step_s", [0.01, 0.1, 7.0])
def test_share_does_not_depend_on_interval(step_s):
    """Clocks tick in 1/100 s; the process uses 30 % of a node that draws 50 W."""
    share, shares, now_s = EnergyShare(), [0.0], 0.0
    while now_s < 140:
        now_s += step_s
        busy_s, own_s = (int(part * now_s * 100) / 100 for part in (2.0, 0.6))
        shares.append(share.update(50 * now_s, busy_s, own_s))
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(0.3 * 50 * now_s, rel=0.02)


def test_share_uses_energy_of_the_same_period():
    share = EnergyShare()
    assert share.update(1000, 10, 0) == 0
    assert share.update(1100, 20, 10) == 100  # at another power than before


def test_share_of_idle_node_is_zero():
    share = EnergyShare()
    assert share.update(100, 0, 0) == 0
    assert share.update(200, 2.0, 2.5) == 200  # the two clocks do not tick together
