"""What a run's events say that a store should hold: to be compared with what it holds."""

from __future__ import annotations

from yprov_mlflow.prov.events import (
    Event,
    InputsLogged,
    MetricsLogged,
    OutputsLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
    TagDeleted,
    TagsSet,
)

Latest = tuple[int, int, float]
"""Step, timestamp in ms and value: MLflow's latest point is the greatest by this order."""


class ExpectedState:
    """Fed with a run's events, has what the run should look like in its store.

    ``metrics`` has MLflow's latest point for each key; ``joined`` tells that the events do not
    go back to the beginning of the run.
    """

    def __init__(self) -> None:
        """Start with a run of which nothing is known."""
        self.joined = True
        self.params: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.metrics: dict[str, Latest] = {}
        self.datasets: set[tuple[str, str]] = set()
        self.models_in: set[str] = set()
        self.models_out: set[str] = set()
        self.status: str | None = None
        self.end_time_ms: int | None = None
        self.run_name: str | None = None
        self.lifecycle: str | None = None
        self.events = 0

    def feed(self, event: Event) -> None:
        """Take one event into account."""
        self.events += 1
        match event:
            case MetricsLogged():
                self._points(event)
            case ParamsLogged():
                self.params.update(event.params)
            case TagsSet():
                self.tags.update(event.tags)
            case TagDeleted():
                self.tags.pop(event.key, None)
            case InputsLogged():
                self.datasets.update((str(d["name"]), str(d["digest"])) for d in event.datasets)
                self.models_in.update(event.models)
            case OutputsLogged():
                self.models_out.update(model for model, _ in event.models)
            case RunCreated():
                self.joined = False
                self.tags.update(event.tags)
                self.run_name = event.run_name
                self.status = self.status or "RUNNING"
            case RunUpdated():
                self.status = event.status or self.status
                self.end_time_ms = event.end_time_ms or self.end_time_ms
                self.run_name = event.run_name or self.run_name
                self.lifecycle = event.lifecycle or self.lifecycle

    def _points(self, event: MetricsLogged) -> None:
        metrics = self.metrics
        for key, value, timestamp, step in zip(
            event.keys, event.values, event.timestamps_ms, event.steps, strict=True
        ):
            latest = metrics.get(key)
            point = (step, timestamp, value)
            if (
                latest is None
                or point[:2] > latest[:2]
                or (point[:2] == latest[:2] and value > latest[2])
            ):
                metrics[key] = point
