"""Graphs of integers, as lists of successors: what lies on circles, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

Edge = tuple[int, Any, Any]
"""Where it leads, the rule that says so, and the statement that the rule was applied to."""


def components(edges: Sequence[Sequence[Edge]]) -> list[list[int]]:
    """Give nodes in an order that follows the edges; those on one circle come as one.

    No recursion: a chain may be as long as a file.
    """
    order, left = _uncircular(edges)
    found = [[node] for node in order]
    if left:
        circular = list(_tarjan(edges, left))
        found += reversed(circular)
    return found


def _uncircular(edges: Sequence[Sequence[Edge]]) -> tuple[list[int], list[int]]:
    """Sort what no circle comes before (Kahn), and give what is left."""
    before = [0] * len(edges)
    for leaving in edges:
        for edge in leaving:
            before[edge[0]] += 1
    order = [node for node, count in enumerate(before) if not count]
    for node in order:  # grows as it goes
        for edge in edges[node]:
            target = edge[0]
            before[target] -= 1
            if not before[target]:
                order.append(target)
    if len(order) == len(edges):
        return order, []
    return order, [node for node, count in enumerate(before) if count]


def _tarjan(edges: Sequence[Sequence[Edge]], roots: Sequence[int]) -> Iterator[list[int]]:
    """Find strongly connected components, those that are reached before those that reach."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    waiting: set[int] = set()
    for root in roots:
        if root in index:
            continue
        path = [(root, iter(edges[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        waiting.add(root)
        while path:
            node, following = path[-1]
            for edge in following:
                target = edge[0]
                if target not in index:
                    index[target] = low[target] = len(index)
                    stack.append(target)
                    waiting.add(target)
                    path.append((target, iter(edges[target])))
                    break
                if target in waiting:
                    low[node] = min(low[node], index[target])
            else:
                path.pop()
                if path:
                    above = path[-1][0]
                    low[above] = min(low[above], low[node])
                if low[node] == index[node]:
                    yield _pop(stack, waiting, node)


def _pop(stack: list[int], waiting: set[int], last: int) -> list[int]:
    component = []
    while True:
        node = stack.pop()
        waiting.discard(node)
        component.append(node)
        if node == last:
            return component
