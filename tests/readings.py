"""Reads a tree, and gives what a test wants to know of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from yprov_mlflow.prov.events import Event, MetricsLogged, ParamsLogged, StoreCalled, TagsSet
from yprov_mlflow.prov.sources import Problem, RunRef, open_source

Kind = TypeVar("Kind", bound=Event)


class Reading:
    """All events of all runs and of the store, and all problems."""

    def __init__(self, path: Path | str, **options: Any) -> None:
        self.source = open_source(str(path), **options)
        self.refs: list[RunRef] = list(self.source.runs())
        self.runs = {ref.key: list(self.source.events(ref)) for ref in self.refs}
        self.store = list(self.source.store_events())
        self.problems: list[Problem] = self.source.problems()

    def of(self, key: str | Path | None = None) -> list[Event]:
        """Give the events of a run by its key or the end of its folder; of the only one."""
        wanted = key.name if isinstance(key, Path) else key
        found = [e for k, e in self.runs.items() if wanted is None or k.endswith(wanted)]
        assert len(found) == 1, list(self.runs)
        return found[0]

    def all(self, kind: type[Kind], key: str | Path | None = None) -> list[Kind]:
        return [event for event in self.of(key) if isinstance(event, kind)]

    def one(self, kind: type[Kind], key: str | Path | None = None) -> Kind:
        (found,) = self.all(kind, key)
        return found

    def params(self, key: str | Path | None = None) -> dict[str, str]:
        return dict(next((e.params for e in self.all(ParamsLogged, key)), {}))

    def tags(self, key: str | Path | None = None) -> dict[str, str]:
        return dict(next((e.tags for e in self.all(TagsSet, key)), {}))

    def points(self, metric: str, key: str | Path | None = None) -> list[tuple[int, float, int]]:
        return [
            point
            for event in self.all(MetricsLogged, key)
            if event.keys[0] == metric
            for point in zip(event.timestamps_ms, event.values, event.steps, strict=True)
        ]

    def calls(self, method: str) -> list[StoreCalled]:
        return [e for e in self.store if isinstance(e, StoreCalled) and e.method == method]

    def reasons(self, place: str = "") -> list[str]:
        return [problem.reason for problem in self.problems if place in problem.place]

    def losses(self) -> dict[str, str]:
        """Give what was lost, by the ends of the places."""
        return {
            "/".join(Path(problem.place).parts[-2:]): problem.lost
            for problem in self.problems
            if problem.lost
        }
