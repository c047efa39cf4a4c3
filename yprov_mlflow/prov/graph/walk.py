"""Up and down in a graph: to the origins of a thing, and to its products.

``docs/lineage.md`` has the rules. Each step goes from things to the things before or after them;
what happens inside a run is taken together as the run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator
from typing import Literal, NamedTuple

from yprov_mlflow.prov.graph import things
from yprov_mlflow.prov.graph.equal_content import EqualContent
from yprov_mlflow.prov.graph.lookup import about, pointing, values
from yprov_mlflow.prov.graph.run_parts import origins
from yprov_mlflow.prov.graph.stores import Graph
from yprov_mlflow.prov.graph.things import Thing

Direction = Literal["up", "down"]


class Link(NamedTuple):
    """One step of lineage: ``after`` was made from ``before``, or by it."""

    before: str
    after: str
    relation: str


@dataclasses.dataclass(frozen=True)
class Lineage:
    """The origins of a thing, or its products.

    Attributes:
        direction: ``up`` or ``down``.
        start: The things that the question was about.
        things: All things by their IRIs, with the start, in the order of their distance.
        links: The steps between them.
        is_complete: Whether the depth asked for left nothing out.
    """

    direction: Direction
    start: tuple[str, ...]
    things: dict[str, Thing]
    links: tuple[Link, ...]
    is_complete: bool


def walk(
    graph: Graph, start: Iterable[str], direction: Direction, depth: int | None = None
) -> Lineage:
    """Return the lineage of things.

    Args:
        graph: The documents.
        start: IRIs of records.
        direction: Up to the origins of the things, or down to their products.
        depth: Number of steps; by default all.
    """
    steps = Steps(graph)
    frontier = steps.without_copies(steps.nodes(start))
    first_things = tuple(frontier)
    visited = dict.fromkeys(frontier)
    links: dict[Link, None] = {}
    level = 0
    while frontier and (depth is None or level < depth):
        reached: dict[str, None] = {}
        for link in steps.up(frontier) if direction == "up" else steps.down(frontier):
            links.setdefault(link)
            reached.setdefault(link.before if direction == "up" else link.after)
        frontier = [name for name in reached if name not in visited]
        visited.update(reached)
        level += 1
    further = steps.up(frontier) if direction == "up" else steps.down(frontier)
    described = things.describe(graph, {name: steps.kind(name) for name in visited})
    is_complete = next(iter(further), None) is None
    return Lineage(direction, first_things, described, tuple(links), is_complete)


class Steps(EqualContent):
    """The steps from things to the things before and after them."""

    def up(self, names: Collection[str]) -> Iterator[Link]:
        """Yield the steps to the origins of things."""
        activities, entities = self._split(names)
        for run, used in self._used(activities).items():
            nodes = self.nodes(used)
            makers = self._makers_of(nodes)
            for node in nodes:
                # What a run wrote itself and then read is not its input.
                if run not in makers[node]:
                    yield Link(node, run, "used")
        for name, makers_of_name in self._makers_of(entities).items():
            for maker in makers_of_name:
                yield Link(maker, name, "wasGeneratedBy")
        parts = self._parts(entities)
        for name, sources in self._derived_from(parts).items():
            for source in sources:
                yield Link(source, name, "wasDerivedFrom")
        for name, members in self._members(entities).items():
            for member in members:
                yield Link(member, name, "hadMember")
        for name, originals in self._originals(entities).items():
            for original in originals:
                yield Link(original, name, "equal content")

    def _derived_from(self, parts: dict[str, list[str]]) -> dict[str, list[str]]:
        records = [part for group in parts.values() for part in group]
        statements = about(self._graph, records, "prov:wasDerivedFrom", "prov:wasRevisionOf")
        derived = {}
        for name, group in parts.items():
            records = [origin for part in group for origin in origins(statements[part])]
            if self._kinds.get(name) == things.VERSION:
                records = things.latest_origins(self._graph, name) or records
            derived[name] = [node for node in self.nodes(records) if node != name]
        return derived

    def _members(self, names: Collection[str]) -> dict[str, list[str]]:
        folders = [name for name in names if self._kinds.get(name) == things.FOLDER]
        statements = about(self._graph, folders, "prov:hadMember")
        return {
            folder: self.nodes(values(statements[folder].get("prov:hadMember", ())))
            for folder in folders
        }

    def down(self, names: Collection[str]) -> Iterator[Link]:
        """Yield the steps to the products of things."""
        activities, entities = self._split(names)
        for run, generated in self._generated(activities).items():
            for node in generated:
                yield Link(run, node, "wasGeneratedBy")
        makers = self._makers_of(entities)
        parts = self._parts(entities)
        records = [part for group in parts.values() for part in group]
        users = pointing(self._graph, records, "prov:used")
        runs = self._roll_up(activity for group in users.values() for activity in group)
        derived = self._derivatives(records)
        for name, group in parts.items():
            for activity in dict.fromkeys(a for part in group for a in users[part]):
                user = runs[activity]
                if user and user not in makers[name] and not self._is_operation[activity]:
                    yield Link(name, user, "used")
            for node in self.nodes(d for part in group for d in derived[part]):
                if node != name:
                    yield Link(name, node, "wasDerivedFrom")
        for name, folders in pointing(self._graph, entities, "prov:hadMember").items():
            kinds = self._kind_of(folders)
            for folder in self.nodes(f for f in folders if kinds[f] == things.FOLDER):
                if self._leads_on(folder):
                    yield Link(name, folder, "hadMember")
        for name, readers in self._readers_of_content(entities).items():
            for reader in readers:
                yield Link(name, reader, "equal content")

    def _generated(self, runs: Collection[str]) -> dict[str, list[str]]:
        parts = self._inside(runs)
        of_activity = pointing(
            self._graph, [part for inner in parts.values() for part in inner], "prov:wasGeneratedBy"
        )
        generated = {}
        for run, inner in parts.items():
            nodes = self.nodes(record for part in inner for record in of_activity[part])
            makers = self._makers_of(nodes)
            generated[run] = [node for node in nodes if run in makers[node]]
        return generated

    def _derivatives(self, records: Collection[str]) -> dict[str, list[str]]:
        derived = pointing(self._graph, records, "prov:wasDerivedFrom")
        revisions = pointing(self._graph, records, "prov:wasRevisionOf")
        return {
            record: [name for name in derived[record] if name not in revisions[record]]
            for record in records
        }

    def _split(self, names: Collection[str]) -> tuple[list[str], list[str]]:
        kinds = self._kind_of(names)
        activities = [name for name in names if kinds[name] in things.ACTIVITIES]
        return activities, [name for name in names if kinds[name] not in things.ACTIVITIES]

    def _parts(self, names: Collection[str]) -> dict[str, list[str]]:
        """Return things with the records that are parts of them, such as the files of a model."""
        wholes = [n for n in names if self._kinds.get(n) in (things.MODEL, things.TRACE)]
        inner = pointing(self._graph, wholes, "dcterms:isPartOf")
        contents = [name for name in names if self._kinds.get(name) == things.CONTENT]
        for content, copies in pointing(self._graph, contents, "prov:specializationOf").items():
            self.nodes(copies)
            inner[content] = self._joined.get(content, [])
        files = [name for name in names if self._kinds.get(name) == things.FILE]
        inner.update(self._named_by_readers(files))
        return {name: [name, *inner.get(name, ())] for name in names}
