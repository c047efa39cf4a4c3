"""Lineage as a tree, a table, JSON, and pictures of Graphviz and Mermaid."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from yprov_mlflow.prov.graph import things
from yprov_mlflow.prov.graph.lookup import iri, pointing
from yprov_mlflow.prov.graph.stores import Graph
from yprov_mlflow.prov.graph.thing_names import Match, resolve
from yprov_mlflow.prov.graph.things import Thing
from yprov_mlflow.prov.graph.walk import Direction, Lineage, Link, Steps, walk

_SHOWN_DIGITS = 12
_SHAPES = {things.RUN: "box", things.TASK: "box", "commit": "note"}
DIRECTIONS: tuple[Direction, Direction] = ("up", "down")
"""To origins, and to products."""

RELATIONS = {
    "used": "used",
    "wasGeneratedBy": "made",
    "wasDerivedFrom": "source of",
    "hadMember": "in",
    "equal content": "equal content",
    "ran code": "ran code",
}
"""The word on the arrow of each step."""


def of_thing(
    graph: Graph, name: str, direction: Direction, depth: int | None = None
) -> LineageReport:
    """Return the lineage of the thing with a name.

    Raises:
        ThingError: Nothing in the graph has this name, or several things.
    """
    match = resolve(graph, name)
    if match.kind != "commit":
        return LineageReport(match, walk(graph, match.records, direction, depth))
    return LineageReport(match, _of_commit(graph, match, direction, depth))


def _of_commit(graph: Graph, match: Match, direction: Direction, depth: int | None) -> Lineage:
    """Return what was made with a commit: its runs, and what these made."""
    users = pointing(graph, match.records, "prov:used")
    records = (user for group in users.values() for user in group)
    runs = Steps(graph).nodes(records) if direction == "down" else []
    inner = None if depth is None else depth - 1
    after = walk(graph, runs, direction, inner) if depth != 0 else None
    commit = Thing(match.name, "commit", match.name.removeprefix("commit:")[:_SHOWN_DIGITS])
    links = tuple(Link(match.name, run, "ran code") for run in runs) if after else ()
    return Lineage(
        direction,
        (match.name,),
        {match.name: commit, **(after.things if after else {})},
        links + (after.links if after else ()),
        after.is_complete if after else not runs,
    )


class LineageReport:
    """The origins or the products of a thing, in several forms.

    Attributes:
        match: The thing that was asked for.
        lineage: The things and the steps between them.
    """

    def __init__(self, match: Match, lineage: Lineage) -> None:
        self.match = match
        self.lineage = lineage

    @property
    def things(self) -> list[Thing]:
        """The things, the start first and then by distance."""
        return list(self.lineage.things.values())

    @property
    def people(self) -> list[str]:
        """The people of all runs."""
        return self._of_runs("people")

    @property
    def commits(self) -> list[str]:
        """The commits of all runs."""
        return self._of_runs("commits")

    def __str__(self) -> str:
        return self.to_tree()

    def _of_runs(self, key: str) -> list[str]:
        lists = (thing.details.get(key, ()) for thing in self.things)
        return sorted({str(item) for part in lists if isinstance(part, list) for item in part})

    def to_dict(self) -> dict[str, Any]:
        """Return the lineage as a JSON object."""
        return {
            "direction": self.lineage.direction,
            "start": list(self.lineage.start),
            "things": [thing.to_dict() for thing in self.things],
            "links": [
                {"from": link.before, "to": link.after, "relation": link.relation}
                for link in self.lineage.links
            ],
            "people": self.people,
            "commits": self.commits,
            "complete": self.lineage.is_complete,
        }

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row for each thing: kind, name, id and more."""
        keys = ("run_id", "model_id", "sha256", "digest", "people", "commits", "aliases", "start")
        rows = []
        for thing in self.things:
            row: dict[str, Any] = {"kind": thing.kind, "name": thing.label}
            for key in keys:
                value = thing.details.get(key)
                row[key] = ", ".join(map(str, value)) if isinstance(value, list) else value
            rows.append(row | {"iri": thing.iri})
        return rows

    def to_pandas(self) -> Any:
        """Return the rows as a ``pandas.DataFrame``."""
        import pandas  # type: ignore[import-untyped] # MLflow's dependency; it takes a second to load

        return pandas.DataFrame(self.to_rows())

    def to_rdflib(self) -> Any:
        """Return the steps as an ``rdflib.Graph`` with PROV's relations."""
        import rdflib  # it takes as long to load as all of ours

        graph = rdflib.Graph()
        for link in self.lineage.links:
            before, after = rdflib.URIRef(link.before), rdflib.URIRef(link.after)
            name = link.relation if link.relation in _PROV else "wasInfluencedBy"
            ends = (before, after) if name == "hadMember" else (after, before)
            graph.add((ends[0], rdflib.URIRef(iri(f"prov:{name}")), ends[1]))
        return graph

    # -- text --------------------------------------------------------------------------

    def to_tree(self) -> str:
        """Return a tree; what stands in it before is marked and not repeated."""
        lines: list[str] = []
        seen: set[str] = set()
        for name in self.lineage.start:
            lines += self._branch(name, "", "", seen)
        if not self.lineage.is_complete:
            lines.append("… more beyond this depth")
        return "\n".join(lines)

    def _branch(self, name: str, first: str, others: str, seen: set[str]) -> Iterator[str]:
        # A stack instead of recursion: chains of runs may be longer than Python's.
        further = self._next()
        stack = [(name, first, others)]
        while stack:
            current, prefix, indent = stack.pop()
            repeated = current in seen and bool(further.get(current))
            yield prefix + line_of(self.lineage.things[current]) + ("  (above)" * repeated)
            if current in seen:
                continue
            seen.add(current)
            children = further.get(current, [])
            for number, child in reversed(list(enumerate(children))):
                last = number == len(children) - 1
                corner, bar = ("└── ", "    ") if last else ("├── ", "│   ")
                stack.append((child, indent + corner, indent + bar))

    def _next(self) -> dict[str, list[str]]:
        further: dict[str, list[str]] = {}
        for link in self.lineage.links:
            ends = (link.after, link.before)
            here, there = ends if self.lineage.direction == "up" else ends[::-1]
            names = further.setdefault(here, [])
            if there not in names:
                names.append(there)
        return further

    # -- pictures ----------------------------------------------------------------------

    def to_dot(self) -> str:
        """Return a picture for Graphviz."""
        numbers = {name: f"n{number}" for number, name in enumerate(self.lineage.things)}
        lines = ["digraph lineage {", "  rankdir=LR;"]
        for name, thing in self.lineage.things.items():
            shape = _SHAPES.get(thing.kind, "ellipse")
            lines.append(f"  {numbers[name]} [shape={shape}, label={_dot(line_of(thing))}];")
        for link in self.lineage.links:
            label = _dot(RELATIONS[link.relation])
            lines.append(f"  {numbers[link.before]} -> {numbers[link.after]} [label={label}];")
        return "\n".join([*lines, "}"])

    def to_mermaid(self) -> str:
        """Return a picture for Mermaid, which GitHub and MLflow's descriptions show."""
        numbers = {name: f"n{number}" for number, name in enumerate(self.lineage.things)}
        lines = ["flowchart LR"]
        for name, thing in self.lineage.things.items():
            left, right = ("[", "]") if thing.kind in _SHAPES else ("([", "])")
            lines.append(f"  {numbers[name]}{left}{_mermaid(line_of(thing))}{right}")
        for link in self.lineage.links:
            arrow = f"-->|{RELATIONS[link.relation]}|"
            lines.append(f"  {numbers[link.before]} {arrow} {numbers[link.after]}")
        return "\n".join(lines)

    def to_json(self) -> str:
        """Return the JSON object as text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)


_PROV = frozenset({"used", "wasGeneratedBy", "wasDerivedFrom", "hadMember"})


def line_of(thing: Thing) -> str:
    """Return a thing in one line of text."""
    details = thing.details
    parts = [f"{thing.kind} {thing.label}"]
    if thing.kind == things.RUN:
        parts.append(str(details.get("run_id", ""))[:8])
        for key, word in (("people", "by"), ("commits", "commit")):
            several = details.get(key)
            if isinstance(several, list):
                shown = several if key == "people" else [str(v)[:_SHOWN_DIGITS] for v in several]
                parts.append(f"{word} {', '.join(map(str, shown))}")
    elif thing.kind == things.MODEL:
        parts.append(str(details.get("model_id", "")))
    elif details.get("sha256"):
        parts.append(f"sha256 {str(details['sha256'])[:_SHOWN_DIGITS]}")
    elif details.get("digest"):
        parts.append(f"digest {details['digest']}")
    for key in ("aliases", "former_aliases"):
        aliases = details.get(key)
        if isinstance(aliases, list):
            word = "once " if key == "former_aliases" else ""
            parts.append(word + ", ".join(f"@{alias}" for alias in aliases))
    return "  ".join(part for part in parts if part)


def _dot(label: str) -> str:
    escaped = label.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f]", " ", escaped) + '"'


def _mermaid(label: str) -> str:
    # Mermaid has entities of its own: a number sign, the code point and a semicolon.
    return (
        '"' + "".join(c if c.isalnum() or c in " ./-_@:,=" else f"#{ord(c)};" for c in label) + '"'
    )
