"""The state of a run according to its events, to compare with its state in the store."""

from __future__ import annotations

import dataclasses

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
"""Step, timestamp in ms and value: MLflow's latest point is the greatest in this order."""


@dataclasses.dataclass
class ExpectedState:
    """The state that a run should have in its store after the events fed so far."""

    joined: bool = True  # the events lack the start of the run
    params: dict[str, str] = dataclasses.field(default_factory=dict)
    tags: dict[str, str] = dataclasses.field(default_factory=dict)
    metrics: dict[str, Latest] = dataclasses.field(default_factory=dict)  # as MLflow's latest
    datasets: set[tuple[str, str]] = dataclasses.field(default_factory=set)  # name and digest
    models_in: set[str] = dataclasses.field(default_factory=set)
    models_out: set[str] = dataclasses.field(default_factory=set)
    status: str | None = None
    end_time_ms: int | None = None
    run_name: str | None = None
    lifecycle: str | None = None
    events: int = 0  # number of events

    def feed(self, event: Event) -> None:
        """Apply one event."""
        self.events += 1
        match event:
            case MetricsLogged():
                self._feed_points(event)
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

    def _feed_points(self, event: MetricsLogged) -> None:
        metrics = self.metrics
        for key, value, timestamp, step in zip(
            event.keys, event.values, event.timestamps_ms, event.steps, strict=True
        ):
            latest = metrics.get(key)
            # Compared in two steps: a NaN compares false, and must not replace an equal point.
            if (
                latest is None
                or (step, timestamp) > latest[:2]
                or ((step, timestamp) == latest[:2] and value > latest[2])
            ):
                metrics[key] = (step, timestamp, value)
