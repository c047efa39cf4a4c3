"""One run of a tracking server, as events."""

from __future__ import annotations

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from yprov_mlflow.prov import serialize
from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.sources.rest.server_client import NotOffered, Refused
from yprov_mlflow.prov.sources.rest.server_reading import Reading
from yprov_mlflow.prov.sources.source import Problem
from yprov_mlflow.prov.sources.state_events import MOST_POINTS, SOURCE_RUN, batches
from yprov_mlflow.prov.state import Run

_PAGE = 25_000  # points in one request, the most that MLflow allows

Point = tuple[int, int, str]


class ServerRun:
    """Reads one run, part by part: what the server refuses does not affect the other parts."""

    def __init__(
        self, reading: Reading, run_id: str, experiment_name: str | None, store: dict[str, str]
    ) -> None:
        self._reading = reading
        self._server = reading.server
        self._events = reading.events
        self._run_id = run_id
        self._run = Run(run_id, experiment_name=experiment_name, store=store)
        self._entity: Any = None
        # Points of logged models that are not assigned to a point of the run yet, by key.
        self._model_metrics: dict[str, dict[Point, list[Any]]] = defaultdict(dict)

    def events(self) -> Iterator[Event]:
        """Yield the events of the run, in the order that all sources have."""
        try:
            self._entity = self._server.ask(self._server.store.get_run, self._run_id)
        except Refused as error:
            self._reading.report(Problem(f"run {self._run_id}", str(error), "the run"))
            return
        yield from self._info()
        parts: tuple[tuple[str, Callable[[], Iterable[Event]]], ...] = (
            ("which points are of models", self._read_model_metrics),
            ("metric points from there on", self._metrics),
            ("inputs", self._inputs),
            ("logged models", self._models),
            ("output models", self._outputs),
            ("artifacts", self._artifacts),
            ("metric points of models", self._model_points),
            ("traces", self._traces),
        )
        for lost, read in parts:
            yield from self._reading.guard(f"run {self._run_id}", lost, read())
        for problem in self._events.possibly_infinite():
            self._reading.report(problem)

    def _info(self) -> Iterator[Event]:
        run, info, data = self._run, self._entity.info, self._entity.data
        run.params = dict(sorted(dict(data.params).items()))
        run.tags = dict(sorted(dict(data.tags).items()))
        run.experiment_id = str(info.experiment_id)
        # Empty text and zero stand for absent values in MLflow's messages.
        run.name = info.run_name or run.tags.get("mlflow.runName") or None
        run.user_id = info.user_id or None
        run.status = info.status
        run.start_time_ms = info.start_time or None
        run.end_time_ms = info.end_time or None
        run.lifecycle = info.lifecycle_stage
        run.artifact_uri = info.artifact_uri or None
        yield from self._events.run(run)
        yield from self._events.params(run)
        yield from self._events.tags(run)

    # -- metrics -----------------------------------------------------------------------

    def _read_model_metrics(self) -> Iterator[Event]:
        """Read the points that logged models have from the run; yield nothing."""
        for model_id in self._reading.index.measured(self._run_id):
            model = self._reading.model(model_id)
            for metric in getattr(model, "metrics", None) or ():
                if metric.run_id == self._run_id:
                    by_point = self._model_metrics[metric.key]
                    by_point.setdefault(_point(metric), []).append((model_id, metric))
        return iter(())

    def _metrics(self) -> Iterator[Event]:
        for key in sorted(self._entity.data.metrics):
            history = self._server.pages(
                self._server.store.get_metric_history, self._run_id, key, max_results=_PAGE
            )
            for metrics in batches(history, MOST_POINTS):
                yield self._points(key, metrics)

    def _points(self, key: str, metrics: list[Any]) -> Event:
        """Return points with their models; a point of several models comes once for each."""
        unassigned = self._model_metrics.get(key, {})
        rows: list[tuple[Any, str | None, Any]] = []
        left = Counter(map(_point, metrics)) if unassigned else Counter[Point]()
        for metric in metrics:
            point = _point(metric)
            equal = unassigned.get(point, [])
            rows.append((metric, *(equal.pop(0) if equal else (None, None))))
            left[point] -= 1
            if equal and not left[point]:
                rows += [(metric, model_id, named) for model_id, named in equal]
                equal.clear()
        return self._events.metrics(
            key,
            array("d", [metric.value for metric, _, _ in rows]),
            [metric.timestamp for metric, _, _ in rows],
            [metric.step or 0 for metric, _, _ in rows],
            [model_id for _, model_id, _ in rows],
            [_dataset(named) for _, _, named in rows],
        )

    def _model_points(self) -> Iterator[Event]:
        """Yield the metric points that models have from the run and that the run lacks."""
        points_by_model: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for _, by_point in sorted(self._model_metrics.items()):
            for point in sorted(by_point):
                for model_id, metric in by_point[point]:
                    points_by_model[model_id].append(_model_point(metric))
        for model_id, points in sorted(points_by_model.items()):
            yield from self._events.model_points(model_id, points)

    # -- inputs, models, artifacts, traces ---------------------------------------------

    def _inputs(self) -> Iterator[Event]:
        # MLflow before 2.4 lacks inputs, before 3 models in them.
        inputs = getattr(self._entity, "inputs", None)
        datasets = getattr(inputs, "dataset_inputs", None) or ()
        self._run.datasets = sorted(
            map(serialize.dataset, datasets), key=lambda d: (str(d["name"]), str(d["digest"]))
        )
        models = getattr(inputs, "model_inputs", None) or ()
        self._run.input_models = sorted(model.model_id for model in models)
        yield from self._events.inputs(self._run)

    def _outputs(self) -> Iterator[Event]:
        outputs = getattr(getattr(self._entity, "outputs", None), "model_outputs", None) or ()
        self._run.output_models = sorted((output.model_id, output.step or 0) for output in outputs)
        yield from self._events.outputs(self._run)

    def _models(self) -> Iterator[Event]:
        for model_id in self._reading.index.models(self._run_id):
            yield from self._reading.logged_model(model_id)

    def _artifacts(self) -> Iterator[Event]:
        list_files = self._server.client.list_artifacts
        files = self._reading.files(self._entity.info.artifact_uri, self._run_id, list_files)
        yield from self._events.artifacts(files)
        for model_id in self._reading.index.models(self._run_id):
            yield from self._reading.model_artifacts(model_id)

    def _traces(self) -> Iterator[Event]:
        try:
            traces = list(self._reading.search_traces(None, self._run_id))
        except NotOffered:
            return
        linked = []
        for trace, assessments in sorted(traces, key=lambda item: item[0].trace_id):
            if trace.metadata.get(SOURCE_RUN) == self._run_id:
                yield from self._reading.trace(trace, assessments)
            else:
                linked.append(trace.trace_id)
        yield from self._events.linked_traces(self._run_id, linked)


def _point(metric: Any) -> Point:
    """Return what equal points of a run and of a model have in common.

    MLflow's table of models' metrics stores NaN as zero.
    """
    value = 0.0 if math.isnan(metric.value) else metric.value + 0.0
    return metric.timestamp, metric.step or 0, repr(value)


def _dataset(metric: Any) -> list[str] | None:
    name = getattr(metric, "dataset_name", None)
    digest = getattr(metric, "dataset_digest", None)
    return [name, digest] if name and digest else None


def _model_point(metric: Any) -> dict[str, Any]:
    names = ("key", "timestamp", "step", "value", "run_id", "dataset_name", "dataset_digest")
    return {**serialize.fields(metric, *names), "step": metric.step or 0}
