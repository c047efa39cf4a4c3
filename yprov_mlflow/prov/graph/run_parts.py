"""Runs with the activities inside of them, and the runs behind records of a graph."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from yprov_mlflow.prov.graph import things
from yprov_mlflow.prov.graph.lookup import about, iri, pointing, values
from yprov_mlflow.prov.graph.stores import Graph, Term

MOST_LEVELS = 20
"""Levels of parts in wholes to follow, in case that a foreign document has them in a circle."""

_OPERATIONS = frozenset(map(iri, ("mlf:StoreOperation", "mlf:RegistryOperation")))


class RunParts:
    """The runs of a graph, with their inputs and products; each record is looked up once."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._kinds: dict[str, str | None] = {}
        self._nodes: dict[str, str | None] = {}
        self._aliases: dict[str, str] = {}
        self._runs: dict[str, str | None] = {}
        self._is_operation: dict[str, bool] = {}
        self._makers: dict[str, tuple[str, ...]] = {}
        self._joined: dict[str, list[str]] = {}
        self._reads: dict[str, dict[str, float]] = {}

    def kind(self, name: str) -> str:
        """Return the kind of a thing."""
        return self._kind_of([name])[name] or things.CONTENT

    def _kind_of(self, names: Iterable[str]) -> dict[str, str | None]:
        names = list(dict.fromkeys(names))
        pending = [name for name in names if name not in self._kinds]
        kinds = things.kinds_of(self._graph, pending)
        for name in pending:
            self._kinds[name] = kinds.get(name)
        return {name: self._kinds[name] for name in names}

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
            names_another = self._kinds.get(name) == things.VERSION and origins(statements[name])
            makers = [] if names_another else [runs[activity] for activity in generated[name]]
            self._makers[name] = tuple(dict.fromkeys(m for m in makers if m is not None))
        return {name: self._makers[name] for name in nodes}

    def _inside(self, runs: Collection[str]) -> dict[str, list[str]]:
        """Return the activities of runs: they themselves, sessions, contexts, epochs, calls."""
        inside = {run: [run] for run in runs}
        owner = {run: run for run in runs}
        level = list(runs)
        for _ in range(MOST_LEVELS):
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
        for _ in range(MOST_LEVELS):
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

    def _of(self, name: str, predicate: str) -> list[Term]:
        return about(self._graph, [name], predicate)[name].get(predicate, [])


def origins(statements: dict[str, list[Term]]) -> list[str]:
    """Return the entities that one was derived from, without the version before it."""
    revised = values(statements.get("prov:wasRevisionOf", ()))
    derived = values(statements.get("prov:wasDerivedFrom", ()))
    return [name for name in derived if name not in revised]
