"""Up and down in a graph: to the origins of a thing, and to its products.

``docs/lineage.md`` has the rules. Each step goes from things to the things before or after them;
what happens inside a run is taken together as the run.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import Literal, NamedTuple

from yprov_mlflow.prov.graph import things
from yprov_mlflow.prov.graph.lookup import about, first, iri, pointing, values
from yprov_mlflow.prov.graph.stores import Graph, Term
from yprov_mlflow.prov.graph.things import Thing

Direction = Literal["up", "down"]

_EMPTY = iri("sha256:") + "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_OF_EVERY_MODEL = frozenset(
    "MLmodel conda.yaml python_env.yaml requirements.txt registered_model_meta".split()
)
"""Files that MLflow writes into the folder of every model: equal ones say nothing about data."""

_OPERATIONS = frozenset(map(iri, ("mlf:StoreOperation", "mlf:RegistryOperation")))
_FIRST, _LAST = -math.inf, math.inf  # before and after all times
_MOST_LEVELS = 20  # of parts in wholes, in case that a foreign document has them in a circle


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


class Steps:
    """The steps from things to the things before and after them; each is looked up once."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._kinds: dict[str, str | None] = {}
        self._nodes: dict[str, str | None] = {}
        self._runs: dict[str, str | None] = {}
        self._is_operation: dict[str, bool] = {}
        self._makers: dict[str, tuple[str, ...]] = {}
        self._joined: dict[str, list[str]] = {}
        self._reads: dict[str, dict[str, float]] = {}

    def kind(self, name: str) -> str:
        """Return the kind of a thing."""
        return self._kind_of([name])[name] or things.CONTENT

    def nodes(self, records: Iterable[str]) -> list[str]:
        """Return the things that records are shown as: a file of a model is the model.

        Other records, such as params, are left out.
        """
        records = list(dict.fromkeys(records))
        pending = [name for name in records if name not in self._nodes]
        kinds = self._kind_of(pending)
        wholes = about(
            self._graph,
            [n for n in pending if kinds[n] in (things.FILE, things.FOLDER)],
            "dcterms:isPartOf",
        )
        owners = {
            name: owner
            for name, statements in wholes.items()
            for owner in values(statements.get("dcterms:isPartOf", ()))
        }
        kinds_of_owners = self._kind_of(owners.values())
        for name in pending:
            owner = owners.get(name)
            is_part = owner is not None and kinds_of_owners[owner] in (things.MODEL, things.TRACE)
            self._nodes[name] = owner if is_part else name if kinds[name] is not None else None
        self._join_equal_files(name for name in pending if self._nodes[name] == name)
        return list(dict.fromkeys(n for r in records if (n := self._nodes[r]) is not None))

    def without_copies(self, names: list[str]) -> list[str]:
        """Return the things of a file without the copies that runs logged of what they had read.

        They follow from the file, and are not its origins.
        """
        if things.CONTENT not in self._kind_of(names).values():
            return names
        makers = self._makers_of(names)
        written = set(self._written(name for name in names if makers[name]))
        return [name for name in names if not makers[name] or name in written]

    # -- up ----------------------------------------------------------------------------

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

    def _used(self, runs: Collection[str]) -> dict[str, list[str]]:
        parts = self._inside(runs)
        activities = {part: run for run, inner in parts.items() for part in inner}
        statements = about(self._graph, list(activities), "prov:used")
        self._roll_up(activities)
        used: dict[str, list[str]] = {run: [] for run in runs}
        for activity, run in activities.items():
            if not self._is_operation[activity]:
                used[run] += values(statements[activity].get("prov:used", ()))
        return used

    def _makers_of(self, nodes: Collection[str]) -> dict[str, tuple[str, ...]]:
        """Return for each thing the runs that made it."""
        pending = [name for name in nodes if name not in self._makers]
        statements = about(
            self._graph, pending, "prov:wasGeneratedBy", "prov:wasDerivedFrom", "prov:wasRevisionOf"
        )
        generated = {
            name: values(statements[name].get("prov:wasGeneratedBy", ())) for name in pending
        }
        runs = self._roll_up(activity for group in generated.values() for activity in group)
        for name in pending:
            # A version is a name for what it was registered from; only without that is the run
            # that registered it all that is known of its origin.
            names_another = self._kinds.get(name) == things.VERSION and _origins(statements[name])
            makers = [] if names_another else [runs[activity] for activity in generated[name]]
            self._makers[name] = tuple(dict.fromkeys(m for m in makers if m is not None))
        return {name: self._makers[name] for name in nodes}

    def _derived_from(self, parts: dict[str, list[str]]) -> dict[str, list[str]]:
        records = [part for group in parts.values() for part in group]
        statements = about(self._graph, records, "prov:wasDerivedFrom", "prov:wasRevisionOf")
        return {
            name: [
                node
                for node in self.nodes(o for part in group for o in _origins(statements[part]))
                if node != name
            ]
            for name, group in parts.items()
        }

    def _members(self, names: Collection[str]) -> dict[str, list[str]]:
        folders = [name for name in names if self._kinds.get(name) == things.FOLDER]
        statements = about(self._graph, folders, "prov:hadMember")
        return {
            folder: self.nodes(values(statements[folder].get("prov:hadMember", ())))
            for folder in folders
        }

    # -- equal content -----------------------------------------------------------------

    def _originals(self, names: Collection[str]) -> dict[str, list[str]]:
        """Return for files that no run wrote those of equal content that one wrote before."""
        contents = self._contents(name for name in names if not self._makers_of([name])[name])
        copies = pointing(self._graph, set(contents.values()), "prov:specializationOf")
        originals = {}
        for name, content in contents.items():
            read = self._read_time(name)
            originals[name] = [
                node
                for node in self._written(copies[content])
                if node != name and self._written_time(node) < read
            ]
        return originals

    def _join_equal_files(self, names: Iterable[str]) -> None:
        """Make files that no run wrote, and that have the same content and origins, one thing."""
        files = [name for name in names if self._kinds[name] == things.FILE]
        makers = self._makers_of(files)
        for name, content in self._contents(n for n in files if not makers[n]).items():
            copies = pointing(self._graph, [content], "prov:specializationOf")[content]
            read = self._read_time(name)
            if all(self._written_time(node) < read for node in self._written(copies)):
                self._nodes[name] = content
                self._joined.setdefault(content, []).append(name)

    def _readers_of_content(self, names: Collection[str]) -> dict[str, list[str]]:
        """Return for files that a run wrote those of equal content that were read later."""
        makers = self._makers_of(names)
        contents = self._contents(name for name in names if makers[name] and self._is_data(name))
        copies = pointing(self._graph, set(contents.values()), "prov:specializationOf")
        readers = {}
        for name, content in contents.items():
            if name not in self._written(copies[content]):
                continue
            written = self._written_time(name)
            others = self.nodes(copies[content])
            if self._leads_on(content):
                others.append(content)
            of_others = self._makers_of(others)
            readers[name] = [
                node
                for node in dict.fromkeys(others)
                if not of_others[node] and written < self._read_time(node)
            ]
        return readers

    def _written(self, records: Iterable[str]) -> list[str]:
        """Return the files with a new content: the run that wrote it had not read it before."""
        files = [name for name in records if self._is_data(name)]
        makers = self._makers_of(files)
        written = []
        for name in files:
            content = set(values(self._of(name, "prov:specializationOf")))
            when = min(self._generation_times(name), default=_LAST)
            if makers[name] and not any(
                read < when
                for run in makers[name]
                for same, read in self._contents_read(run).items()
                if same in content
            ):
                written.append(name)
        return self.nodes(written)

    def _contents_read(self, run: str) -> dict[str, float]:
        """Return the contents that a run read, with the time when it first did."""
        if run not in self._reads:
            activities = self._inside([run])[run]
            usages = [
                usage
                for of_one in about(self._graph, activities, "prov:qualifiedUsage").values()
                for usage in values(of_one.get("prov:qualifiedUsage", ()))
            ]
            times = dict.fromkeys(self._used([run])[run], _LAST)
            for of_usage in about(self._graph, usages, "prov:entity", "prov:atTime").values():
                entity = first(of_usage, "prov:entity")
                if entity in times:
                    read = min(_instants(of_usage), default=_FIRST)
                    times[entity] = min(times[entity], read)
            reads = dict(times)
            level = list(times)
            predicates = "prov:specializationOf", "prov:wasDerivedFrom", "prov:hadMember"
            for _ in range(_MOST_LEVELS):
                reached = {
                    (other, reads[entity])
                    for entity, of_one in about(self._graph, level, *predicates).items()
                    for predicate in predicates
                    for other in values(of_one.get(predicate, ()))
                }
                level = [other for other, _ in reached if other not in reads]
                for other, time in reached:
                    reads[other] = min(reads.get(other, _LAST), time)
                if not level:
                    break
            self._reads[run] = reads
        return self._reads[run]

    def _contents(self, names: Iterable[str]) -> dict[str, str]:
        """Return the contents of files; not that of empty ones, which says nothing."""
        files = [n for n in names if self._kinds.get(n) in (things.FILE, things.CONTENT)]
        statements = about(self._graph, files, "prov:specializationOf")
        contents = {n: n for n in files if self._kinds.get(n) == things.CONTENT}
        for name, about_name in statements.items():
            for content in values(about_name.get("prov:specializationOf", ())):
                if content.startswith(iri("sha256:")):
                    contents[name] = content
        return {name: content for name, content in contents.items() if content != _EMPTY}

    def _of(self, name: str, predicate: str) -> list[Term]:
        return about(self._graph, [name], predicate)[name].get(predicate, [])

    def _is_data(self, name: str) -> bool:
        path = next(iter(values(self._of(name, "mlf:path"))), "")
        return path.rpartition("/")[2] not in _OF_EVERY_MODEL

    def _generation_times(self, name: str) -> list[float]:
        generations = values(self._of(name, "prov:qualifiedGeneration"))
        of_all = about(self._graph, generations, "prov:atTime")
        return [time for statements in of_all.values() for time in _instants(statements)]

    def _written_time(self, name: str) -> float:
        written = self._generation_times(name)
        if not written:
            runs = about(self._graph, self._makers_of([name])[name], "prov:startedAtTime")
            written = [time for s in runs.values() for time in _instants(s, "prov:startedAtTime")]
        return min(written, default=_FIRST)

    def _read_time(self, name: str) -> float:
        """Return when a file was last read: itself, or as the source of a dataset."""
        records = [name, *pointing(self._graph, [name], "prov:wasDerivedFrom")[name]]
        records += self._joined.get(name, [])
        of_records = pointing(self._graph, records, "prov:entity").values()
        usages = [usage for group in of_records for usage in group]
        of_all = about(self._graph, usages, "prov:atTime").values()
        # Without a time, it may have been read after everything else.
        return max((time for s in of_all for time in _instants(s)), default=_LAST)

    # -- down --------------------------------------------------------------------------

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

    def _leads_on(self, record: str) -> bool:
        """Return whether a content or folder, or a folder around it, was used or derived from."""
        for _ in range(_MOST_LEVELS):
            for predicate in ("prov:used", "prov:wasDerivedFrom"):
                if pointing(self._graph, [record], predicate)[record]:
                    return True
            outer = pointing(self._graph, [record], "prov:hadMember")[record]
            if not outer:
                break
            record = outer[0]
        return False

    # -- records -----------------------------------------------------------------------

    def _split(self, names: Collection[str]) -> tuple[list[str], list[str]]:
        kinds = self._kind_of(names)
        activities = [name for name in names if kinds[name] in things.ACTIVITIES]
        return activities, [name for name in names if kinds[name] not in things.ACTIVITIES]

    def _kind_of(self, names: Iterable[str]) -> dict[str, str | None]:
        names = list(dict.fromkeys(names))
        pending = [name for name in names if name not in self._kinds]
        kinds = things.kinds_of(self._graph, pending)
        for name in pending:
            self._kinds[name] = kinds.get(name)
        return {name: self._kinds[name] for name in names}

    def _parts(self, names: Collection[str]) -> dict[str, list[str]]:
        """Return things with the records that are parts of them, such as the files of a model."""
        wholes = [n for n in names if self._kinds.get(n) in (things.MODEL, things.TRACE)]
        inner = pointing(self._graph, wholes, "dcterms:isPartOf")
        contents = [name for name in names if self._kinds.get(name) == things.CONTENT]
        for content, copies in pointing(self._graph, contents, "prov:specializationOf").items():
            self.nodes(copies)
            inner[content] = self._joined.get(content, [])
        return {name: [name, *inner.get(name, ())] for name in names}

    def _inside(self, runs: Collection[str]) -> dict[str, list[str]]:
        """Return the activities of runs: they themselves, sessions, contexts, epochs, calls."""
        inside = {run: [run] for run in runs}
        owner = {run: run for run in runs}
        level = list(runs)
        for _ in range(_MOST_LEVELS):
            parts = pointing(self._graph, level, "dcterms:isPartOf")
            level = []
            for whole, inner in parts.items():
                for part in inner:
                    if part not in owner:
                        owner[part] = owner[whole]
                        inside[owner[whole]].append(part)
                        level.append(part)
            if not level:
                break
        return inside

    def _roll_up(self, activities: Iterable[str]) -> dict[str, str | None]:
        """Return for each activity the run or task that it is, or is part of."""
        activities = list(dict.fromkeys(activities))
        chains = {name: name for name in activities if name not in self._runs}
        level = chains
        for _ in range(_MOST_LEVELS):
            if not level:
                break
            statements = about(self._graph, set(level.values()), "rdf:type", "dcterms:isPartOf")
            outer = {}
            for name, current in level.items():
                types = set(values(statements[current].get("rdf:type", ())))
                self._is_operation.setdefault(name, not types.isdisjoint(_OPERATIONS))
                wholes = values(statements[current].get("dcterms:isPartOf", ()))
                is_thing = iri("mlf:Run") in types or iri("mlf:WorkflowTask") in types
                self._runs[name] = current if is_thing else None
                if not is_thing and wholes:
                    outer[name] = wholes[0]
            level = outer
        return {name: self._runs.get(name) for name in activities}


def _origins(statements: dict[str, list[Term]]) -> list[str]:
    """Return the entities that one was derived from, without the version before it."""
    revised = values(statements.get("prov:wasRevisionOf", ()))
    derived = values(statements.get("prov:wasDerivedFrom", ()))
    return [name for name in derived if name not in revised]


def _instants(statements: dict[str, list[Term]], predicate: str = "prov:atTime") -> list[float]:
    """Return times as seconds; texts of equal times differ in their digits."""
    times = []
    for time in values(statements.get(predicate, ())):
        try:
            times.append(datetime.fromisoformat(time).timestamp())
        except ValueError:  # of another program
            continue
    return times
