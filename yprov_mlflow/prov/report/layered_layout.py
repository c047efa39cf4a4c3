"""Layered drawing of a directed graph, from its sources on the left to its sinks on the right.

The usual steps for such drawings (Sugiyama, Tagawa and Toda 1981): break cycles, put nodes into
layers, order each layer so that few edges cross, and place the nodes close to their neighbors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

_GAP_X = 56.0  # between layers, wide enough for the label of an edge
_GAP_Y = 14.0
_SWEEPS = 8

Point = tuple[float, float]
Edge = tuple[str, str]


class Drawing(NamedTuple):
    """Centers of nodes, and the points that each edge passes, from its source to its target."""

    centers: Mapping[str, Point]
    routes: Mapping[Edge, Sequence[Point]]
    width: float
    height: float


def lay_out(sizes: Mapping[str, tuple[float, float]], edges: Iterable[Edge]) -> Drawing:
    """Return a drawing of nodes with widths and heights, in the order of ``sizes`` where free."""
    edges = [edge for edge in dict.fromkeys(edges) if edge[0] != edge[1]]
    forward = _without_cycles(list(sizes), edges)
    ranks = _ranks(list(sizes), [(b, a) if flipped else (a, b) for (a, b), flipped in forward])
    chains = {edge: _chain(edge if not flipped else edge[::-1], ranks) for edge, flipped in forward}
    # An edge over several layers has a node of no size in each of them, so that it keeps clear of
    # the nodes there.
    layers = _ordered(_layers(ranks, chains.values()), chains.values())
    boxes = defaultdict(lambda: (0.0, 0.0), sizes)
    rows = _rows(layers, boxes, chains.values())
    columns, width = _columns(layers, boxes)
    centers = {
        name: (columns[rank], rows[name]) for rank, names in layers.items() for name in names
    }
    routes = {}
    for (edge, flipped), chain in zip(forward, chains.values(), strict=True):
        points = [centers[name] for name in chain]
        routes[edge] = points[::-1] if flipped else points
    # The rows are relative to the middle of the first layer.
    top = min((rows[name] - boxes[name][1] / 2 for name in rows), default=0.0)
    height = max((rows[name] + boxes[name][1] / 2 for name in rows), default=0.0) - top
    return Drawing(
        {name: (centers[name][0], centers[name][1] - top) for name in sizes},
        {edge: [(x, y - top) for x, y in points] for edge, points in routes.items()},
        width,
        height,
    )


def _without_cycles(nodes: Sequence[str], edges: Sequence[Edge]) -> list[tuple[Edge, bool]]:
    """Return each edge, and whether it has to be reversed so that the graph lacks cycles."""
    # Depth-first, with a stack of its own: lineage may be deeper than Python's.
    following = defaultdict(list)
    for edge in edges:
        following[edge[0]].append(edge)
    back: set[Edge] = set()
    state: dict[str, bool] = {}  # True while the node is on the path, False after it
    for start in nodes:
        stack = [] if start in state else [(start, iter(following[start]))]
        state.setdefault(start, True)
        while stack:
            name, further = stack[-1]
            step = next(further, None)
            if step is None:
                state[name] = False
                stack.pop()
            elif step[1] not in state:
                state[step[1]] = True
                stack.append((step[1], iter(following[step[1]])))
            elif state[step[1]]:
                back.add(step)
    return [(edge, edge in back) for edge in edges]


def _ranks(nodes: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """Return the layer of each node: after its predecessors, sources next to successors."""
    following, waiting = defaultdict(list), dict.fromkeys(nodes, 0)
    for before, after in edges:
        following[before].append(after)
        waiting[after] += 1
    sources = [name for name in nodes if not waiting[name]]
    ranks, ready = dict.fromkeys(nodes, 0), list(sources)
    while ready:
        name = ready.pop()
        for after in following[name]:
            ranks[after] = max(ranks[after], ranks[name] + 1)
            waiting[after] -= 1
            if not waiting[after]:
                ready.append(after)
    # The first step leaves all sources in the first layer, far from edges that start late.
    for name in sources:
        ranks[name] = min((ranks[after] - 1 for after in following[name]), default=0)
    return ranks


def _chain(edge: Edge, ranks: Mapping[str, int]) -> list[str]:
    """Return the nodes of an edge with one between them for each layer that it crosses."""
    first, last = edge
    between = range(ranks[first] + 1, ranks[last])
    # No id of a record has this character.
    return [first, *(f"\0{first}\0{last}\0{rank}" for rank in between), last]


def _layers(ranks: Mapping[str, int], chains: Iterable[Sequence[str]]) -> dict[int, list[str]]:
    layers: dict[int, list[str]] = defaultdict(list)
    for name, rank in ranks.items():
        layers[rank].append(name)
    for chain in chains:
        for rank, name in enumerate(chain[1:-1], ranks[chain[0]] + 1):
            layers[rank].append(name)
    return dict(sorted(layers.items()))


def _neighbors(chains: Iterable[Sequence[str]]) -> tuple[dict[str, list[str]], ...]:
    before, after = defaultdict(list), defaultdict(list)
    for chain in chains:
        for first, second in pairwise(chain):
            after[first].append(second)
            before[second].append(first)
    return before, after


def _ordered(layers: dict[int, list[str]], chains: Iterable[Sequence[str]]) -> dict[int, list[str]]:
    """Order each layer by the mean position of neighbors in the layer before, then after."""
    before, after = _neighbors(chains)
    # Sorting is stable: nodes without neighbors keep the order of the document, so that equal
    # documents make equal pictures.
    position = {name: float(i) for names in layers.values() for i, name in enumerate(names)}
    for sweep in range(_SWEEPS):
        near = after if sweep % 2 else before
        for rank in sorted(layers, reverse=bool(sweep % 2)):
            names = layers[rank]
            means = {
                name: _mean([position[n] for n in near[name]], position[name]) for name in names
            }
            layers[rank] = sorted(names, key=means.__getitem__)
            position |= {name: float(i) for i, name in enumerate(layers[rank])}
    return layers


def _mean(numbers: Sequence[float], default: float) -> float:
    return sum(numbers) / len(numbers) if numbers else default


def _rows(
    layers: Mapping[int, Sequence[str]],
    boxes: Mapping[str, tuple[float, float]],
    chains: Iterable[Sequence[str]],
) -> dict[str, float]:
    """Return the vertical centers: as close to the neighbors as the order of layers allows."""
    before, after = _neighbors(chains)
    rows: dict[str, float] = {}
    for names in layers.values():
        offsets = _offsets(names, boxes)
        middle = offsets[-1] / 2
        rows |= {name: offset - middle for name, offset in zip(names, offsets, strict=True)}
    # Backward first: the products are fewer than the inputs, and hold the picture together.
    for sweep in range(_SWEEPS):
        near = before if sweep % 2 else after
        for rank in sorted(layers, reverse=not sweep % 2):
            names = layers[rank]
            offsets = _offsets(names, boxes)
            wished = [_mean([rows[n] for n in near[name]], rows[name]) for name in names]
            shifts = _ascending([w - o for w, o in zip(wished, offsets, strict=True)])
            rows |= {n: s + o for n, s, o in zip(names, shifts, offsets, strict=True)}
    return rows


def _offsets(names: Sequence[str], boxes: Mapping[str, tuple[float, float]]) -> list[float]:
    """Return the least distances of the centers of a layer's nodes from the first one."""
    offsets = [0.0]
    for upper, lower in pairwise(names):
        offsets.append(offsets[-1] + (boxes[upper][1] + boxes[lower][1]) / 2 + _GAP_Y)
    return offsets


def _ascending(numbers: Sequence[float]) -> list[float]:
    """Return the ascending numbers with the least sum of squared differences to these.

    Isotonic regression: neighbors in the wrong order get their common mean.
    """
    blocks: list[tuple[float, int]] = []
    for number in numbers:
        total, count = number, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            earlier = blocks.pop()
            total, count = total + earlier[0], count + earlier[1]
        blocks.append((total, count))
    return [total / count for total, count in blocks for _ in range(count)]


def _columns(
    layers: Mapping[int, Sequence[str]], boxes: Mapping[str, tuple[float, float]]
) -> tuple[dict[int, float], float]:
    """Return the horizontal center of each layer, and the width of all."""
    columns, left = {}, 0.0
    for rank, names in layers.items():
        width = max(boxes[name][0] for name in names)
        columns[rank] = left + width / 2
        left += width + _GAP_X
    return columns, max(0.0, left - _GAP_X)
