"""What the package says about the lineage of pipelines, compared with the truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lineage_scenarios.pipelines import Node, Pipeline
from yprov_mlflow.prov.graph.lineage_report import of_thing
from yprov_mlflow.prov.graph.stores import Graph
from yprov_mlflow.prov.graph.things import Thing
from yprov_mlflow.prov.graph.walk import Direction

DIRECTIONS: tuple[Direction, ...] = ("up", "down")


class Outcome(NamedTuple):
    """One answer: what is true of it, what is false, what is missing."""

    question: str
    true: int
    false: frozenset[Node]
    missing: frozenset[Node]


def outcomes(graph: Graph, pipelines: Iterable[Pipeline]) -> Iterator[Outcome]:
    """Yield the outcome of both questions about each node of pipelines."""
    for pipeline in pipelines:
        for node in sorted(pipeline.nodes()):
            for direction in DIRECTIONS:
                expected = pipeline.lineage(node, direction)
                answer = of_thing(graph, _name(node), direction).lineage
                nodes = {_node(thing) for thing in answer.things.values()} - {None}
                starts = {_node(answer.things[start]) for start in answer.start}
                # Equal content is one thing, so a file's name may stand for all copies.
                actual = {n for n in nodes if n not in starts or n in expected}
                yield Outcome(
                    f"{pipeline.name}: {node} {direction}",
                    len(actual & expected),
                    frozenset(actual - expected),
                    frozenset(expected - actual),
                )


def _name(node: Node) -> str:
    kind, *parts = node
    if kind == "artifact":
        return f"runs:/{parts[0]}/{parts[1]}"
    if kind == "version":
        return f"models:/{parts[0]}/{parts[1]}"
    if kind == "model":
        return f"models:/{parts[0]}"
    return f"{'file' if kind == 'content' else kind}:{parts[0]}"


def _node(thing: Thing) -> Node | None:
    details = {key: str(value) for key, value in thing.details.items()}
    if thing.kind == "run":
        return ("run", details["run_id"])
    if thing.kind == "model":
        return ("model", details["model_id"])
    if thing.kind == "version":
        return ("version", details["name"], details["version"])
    if thing.kind == "dataset":
        return ("dataset", details["digest"])
    if thing.kind == "folder":
        return None  # the files in it count
    if "run_id" in details:
        return ("artifact", details["run_id"], details["path"])
    # The pipelines name files by content: one without a hash is a wrong answer.
    return ("content", details.get("sha256", str(details)))
