"""Drawings of graphs: no node covers another, and what comes first is on the left."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from yprov_mlflow.prov.report.layered_layout import lay_out

NAMES = st.sampled_from("abcdefghijkl")
EDGES = st.lists(st.tuples(NAMES, NAMES), max_size=30)
SIZES = st.dictionaries(
    NAMES, st.tuples(st.floats(10, 300), st.floats(10, 60)), min_size=12, max_size=12
)


@given(SIZES, EDGES)
def test_no_node_covers_another(sizes, edges):
    drawing = lay_out(sizes, edges)
    boxes = [(*drawing.centers[name], *sizes[name]) for name in sizes]
    for number, (x, y, width, height) in enumerate(boxes):
        assert x - width / 2 >= -0.001 and x + width / 2 <= drawing.width + 0.001
        assert y - height / 2 >= -0.001 and y + height / 2 <= drawing.height + 0.001
        for other_x, other_y, other_width, other_height in boxes[:number]:
            apart = abs(x - other_x) >= (width + other_width) / 2 - 0.001
            above = abs(y - other_y) >= (height + other_height) / 2 - 0.001
            assert apart or above


@given(SIZES, EDGES)
def test_edges_without_cycles_lead_to_the_right(sizes, edges):
    ascending = [(a, b) for a, b in edges if a < b]
    drawing = lay_out(sizes, ascending)
    for first, second in ascending:
        assert drawing.centers[first][0] < drawing.centers[second][0]


@given(SIZES, EDGES)
def test_each_edge_leads_from_its_source_to_its_target(sizes, edges):
    drawing = lay_out(sizes, edges)
    assert set(drawing.routes) == {edge for edge in edges if edge[0] != edge[1]}
    for (first, second), route in drawing.routes.items():
        assert route[0] == drawing.centers[first] and route[-1] == drawing.centers[second]
    assert drawing == lay_out(sizes, edges)


def test_long_chains_need_no_recursion():
    names = [str(number) for number in range(3000)]
    drawing = lay_out(dict.fromkeys(names, (10.0, 10.0)), list(pairwise(names)))
    assert drawing.height == 10
