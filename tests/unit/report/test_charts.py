"""Charts: thinned lines keep their peaks, and numbers that are none are shown as such."""

import math
import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from yprov_mlflow.prov.report.charts import Line, Spot, ThinnedLine, line_chart, spot_chart

FLOATS = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(FLOATS, min_size=1, max_size=2000), st.integers(0, 2000))
def test_thinned_line_keeps_extremes_and_what_is_no_number(values, announced):
    line = ThinnedLine(announced)
    for step, value in enumerate(values):
        line.add(step, value)
    kept = [value for _, value in line.points()]
    finite = [value for value in values if math.isfinite(value)]
    if finite:
        kept_finite = [value for value in kept if math.isfinite(value)]
        assert (min(kept_finite), max(kept_finite)) == (min(finite), max(finite))
    for odd in (math.inf, -math.inf):
        assert (odd in kept) == (odd in values)
    assert any(map(math.isnan, kept)) == any(map(math.isnan, values))


def test_a_million_points_become_few():
    line = ThinnedLine(1_000_000)
    for step in range(1_000_000):
        line.add(step, math.sin(step))
    assert len(line.points()) <= 302


@given(st.lists(st.lists(st.tuples(st.integers(-(2**63), 2**63), FLOATS)), max_size=3))
def test_any_points_make_a_chart(lines):
    drawn = line_chart("<loss>", [Line("a", points) for points in lines])
    root = ET.fromstring(drawn)
    for element in root.iter():
        for name in ("x", "y", "cx", "cy", "x1", "y1"):
            assert math.isfinite(float(element.get(name, "0")))
        assert "nan" not in element.get("d", "") and "inf" not in element.get("d", "")


@given(st.lists(st.tuples(st.floats(0, 1e9), FLOATS, st.booleans())))
def test_any_runs_make_a_chart(runs):
    spots = [Spot("&run", x, y, best) for x, y, best in runs]
    ET.fromstring(spot_chart("loss against energy", spots, "energy", "loss"))


def test_infinity_is_a_mark_and_nan_a_gap():
    points = [(0, 1.0), (1, 2.0), (2, math.nan), (3, 3.0), (4, 2.0), (5, math.inf)]
    drawn = line_chart("loss", [Line("", points)])
    assert drawn.count("<path") == 2 and "∞" in drawn
