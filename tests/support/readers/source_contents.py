"""Everything that a source yields, with short accessors for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from yprov_mlflow.prov.events import Event, MetricsLogged, ParamsLogged, StoreCalled, TagsSet
from yprov_mlflow.prov.sources import Problem, RunRef, open_source

EventType = TypeVar("EventType", bound=Event)


class SourceContents:
    """The events of all runs and of the store, and all problems.

    Methods with a ``key`` are about the run with that key, or with that run folder, or with a key
    that ends in it; without a key, about the only run.
    """

    def __init__(self, path: Path | str, **options: Any) -> None:
        self.source = open_source(str(path), **options)
        self.refs: list[RunRef] = list(self.source.runs())
        self.runs = {ref.key: list(self.source.events(ref)) for ref in self.refs}
        self.store = list(self.source.store_events())
        self.problems: list[Problem] = self.source.problems()

    def run_events(self, key: str | Path | None = None) -> list[Event]:
        """Return the events of a run."""
        suffix = key.name if isinstance(key, Path) else key
        matches = [e for k, e in self.runs.items() if suffix is None or k.endswith(suffix)]
        assert len(matches) == 1, list(self.runs)
        return matches[0]

    def select(self, kind: type[EventType], key: str | Path | None = None) -> list[EventType]:
        """Return the events of a run that have this type."""
        return [event for event in self.run_events(key) if isinstance(event, kind)]

    def single(self, kind: type[EventType], key: str | Path | None = None) -> EventType:
        """Return the only event of a run that has this type."""
        (event,) = self.select(kind, key)
        return event

    def params(self, key: str | Path | None = None) -> dict[str, str]:
        return dict(next((e.params for e in self.select(ParamsLogged, key)), {}))

    def tags(self, key: str | Path | None = None) -> dict[str, str]:
        return dict(next((e.tags for e in self.select(TagsSet, key)), {}))

    def points(self, metric: str, key: str | Path | None = None) -> list[tuple[int, float, int]]:
        """Return timestamp in ms, value and step of each point of a metric."""
        return [
            point
            for event in self.select(MetricsLogged, key)
            if event.keys[0] == metric
            for point in zip(event.timestamps_ms, event.values, event.steps, strict=True)
        ]

    def calls(self, method: str) -> list[StoreCalled]:
        """Return the calls of a method of the store."""
        return [e for e in self.store if isinstance(e, StoreCalled) and e.method == method]

    def reasons(self, location: str = "") -> list[str]:
        """Return the reasons of the problems whose place contains ``location``."""
        return [problem.reason for problem in self.problems if location in problem.place]

    def losses(self) -> dict[str, str]:
        """Return the lost data of each problem, by the last two parts of its place."""
        return {
            "/".join(Path(problem.place).parts[-2:]): problem.lost
            for problem in self.problems
            if problem.lost
        }
