"""Directed graphs of integers: strongly connected components in topological order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

Edge = tuple[int, Any, Any]
"""The target, the rule that requires the edge, and the statement the rule was applied to."""


def components(edges: Sequence[Sequence[Edge]]) -> list[list[int]]:
    """Return the strongly connected components in topological order.

    Args:
        edges: The edges that leave each node.
    """
    order, others = _topological(edges)
    # Most documents are free of cycles, and Kahn's algorithm is much faster than Tarjan's.
    sorted_components = [[node] for node in order]
    if others:
        sorted_components += reversed(list(_tarjan(edges, others)))
    return sorted_components


def _topological(edges: Sequence[Sequence[Edge]]) -> tuple[list[int], list[int]]:
    """Sort the nodes that no cycle leads to (Kahn's algorithm), and return the others, too."""
    incoming = [0] * len(edges)
    for leaving in edges:
        for edge in leaving:
            incoming[edge[0]] += 1
    order = [node for node, count in enumerate(incoming) if not count]
    for node in order:  # grows meanwhile
        for edge in edges[node]:
            target = edge[0]
            incoming[target] -= 1
            if not incoming[target]:
                order.append(target)
    if len(order) == len(edges):
        return order, []
    return order, [node for node, count in enumerate(incoming) if count]


def _tarjan(edges: Sequence[Sequence[Edge]], roots: Sequence[int]) -> Iterator[list[int]]:
    """Yield strongly connected components in reverse topological order (Tarjan's algorithm)."""
    # Without recursion: a chain of derivations may be as long as the file.
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()

    def visit(node: int) -> tuple[int, Iterator[Edge]]:
        index[node] = low[node] = len(index)
        stack.append(node)
        on_stack.add(node)
        return node, iter(edges[node])

    for root in roots:
        if root in index:
            continue
        path = [visit(root)]
        while path:
            node, remaining = path[-1]
            for target, _, _ in remaining:
                if target not in index:
                    path.append(visit(target))
                    break
                if target in on_stack:
                    low[node] = min(low[node], index[target])
            else:
                path.pop()
                if path:
                    parent = path[-1][0]
                    low[parent] = min(low[parent], low[node])
                if low[node] == index[node]:
                    component: list[int] = []
                    while not component or component[-1] != node:
                        component.append(stack.pop())
                    on_stack.difference_update(component)
                    yield component
