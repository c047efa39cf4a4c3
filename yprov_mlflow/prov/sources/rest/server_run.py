"""One run of a tracking server, as events."""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from yprov_mlflow.prov.events import (
    ArtifactsLogged,
    Event,
    InputsLogged,
    MetricsLogged,
    OutputsLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
    TagsSet,
)
from yprov_mlflow.prov.sources.rest import plain_records
from yprov_mlflow.prov.sources.rest.common_reads import Reading
from yprov_mlflow.prov.sources.rest.server_client import NotOffered, Refused
from yprov_mlflow.prov.sources.source import Problem
from yprov_mlflow.prov.sources.sql.event_factory import place
from yprov_mlflow.prov.sources.sql.metric_points import MOST_POINTS

_PAGE = 25_000
"""Points asked for at once, the most that MLflow's own pages have."""

_RUN_NAME = "mlflow.runName"

Point = tuple[int, int, str]
Shared = dict[str, dict[Point, list[Any]]]


class RunReading:
    """Reads one run."""

    def __init__(
        self,
        reading: Reading,
        run_id: str,
        experiment_name: str | None,
        store: Mapping[str, str],
    ) -> None:
        """Name the run, its experiment and the store that it is in."""
        self._reading = reading
        self._server = reading.server
        self._entries = reading.entries
        self._run_id = run_id
        self._experiment_name = experiment_name
        self._store = store
        self._shared: Shared = defaultdict(lambda: defaultdict(list))

    def events(self) -> Iterator[Event]:
        """Give the events of the run, in the order of the contract."""
        try:
            run = self._server.ask(self._server.store.get_run, self._run_id)
        except Refused as error:
            self._reading.report(Problem(f"run {self._run_id}", str(error), "the run"))
            return
        yield from self._info(run)
        parts: tuple[tuple[str, Callable[[Any], Iterable[Event]]], ...] = (
            ("which points are of models", self._share),
            ("metric points from there on", self._metrics),
            ("inputs", self._inputs),
            ("logged models", self._models),
            ("models that it put out", self._outputs),
            ("artifacts", self._artifacts),
            ("metric points of models", self._model_points),
            ("traces", self._traces),
        )
        for lost, read in parts:
            yield from self._reading.saved(f"run {self._run_id}", lost, read(run))

    def _info(self, run: Any) -> Iterator[Event]:
        info, tags = run.info, dict(run.data.tags)
        yield self._entries.event(
            RunCreated,
            str(info.experiment_id),
            self._experiment_name,
            info.run_name or tags.get(_RUN_NAME) or None,
            info.user_id or None,
            info.start_time or None,
            place(info.artifact_uri or None),
            {},
            self._store,
            {},
        )
        deleted = "deleted" if info.lifecycle_stage == "deleted" else None
        yield self._entries.event(RunUpdated, info.status, info.end_time or None, None, deleted)
        params = dict(sorted(run.data.params.items()))
        if params:
            yield self._entries.event(ParamsLogged, params)
        if tags:
            yield self._entries.event(TagsSet, dict(sorted(tags.items())))

    # -- metrics -----------------------------------------------------------------------

    def _share(self, _: Any) -> Iterator[Event]:
        """Learn which models have metrics from the run."""
        for model_id in self._reading.index.measured(self._run_id):
            model = self._reading.model(model_id)
            for metric in getattr(model, "metrics", None) or ():
                if metric.run_id == self._run_id:
                    self._shared[metric.key][_point(metric)].append((model_id, metric))
        return iter(())

    def _metrics(self, run: Any) -> Iterator[Event]:
        for key in sorted(run.data.metrics):
            waiting: list[Any] = []
            history = self._server.pages(
                self._server.store.get_metric_history, self._run_id, key, max_results=_PAGE
            )
            for metric in history:
                waiting.append(metric)
                if len(waiting) == MOST_POINTS:
                    yield self._points(key, waiting)
                    waiting = []
            if waiting:
                yield self._points(key, waiting)

    def _points(self, key: str, metrics: list[Any]) -> Event:
        models: list[str | None] = []
        datasets: list[list[str] | None] = []
        shared = self._shared.get(key)
        for metric in metrics if shared else ():
            alike = shared.get(_point(metric)) if shared else None
            model_id, of_model = alike.pop(0) if alike else (None, None)
            models.append(model_id)
            datasets.append(_dataset(of_model))
        return self._entries.event(
            MetricsLogged,
            [key] * len(metrics),
            array("d", [metric.value for metric in metrics]),
            [metric.timestamp for metric in metrics],
            [metric.step or 0 for metric in metrics],
            (),
            None,
            models if any(models) else None,
            datasets if any(datasets) else None,
        )

    def _model_points(self, _: Any) -> Iterator[Event]:
        """Give metric points that models have from the run and that its own do not tell."""
        rest: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for key in sorted(self._shared):
            points = self._shared[key]
            for alike in (points[point] for point in sorted(points)):
                for model_id, metric in alike:
                    rest[model_id].append(_argument(metric))
        for model_id in sorted(rest):
            for start in range(0, len(rest[model_id]), MOST_POINTS):
                some = rest[model_id][start : start + MOST_POINTS]
                yield self._entries.model_points(model_id, some)

    # -- the rest ----------------------------------------------------------------------

    def _inputs(self, run: Any) -> Iterator[Event]:
        inputs = getattr(run, "inputs", None)
        datasets = [
            plain_records.dataset(one) for one in getattr(inputs, "dataset_inputs", None) or ()
        ]
        datasets.sort(key=lambda found: (str(found["name"]), str(found["digest"])))
        models = [one.model_id for one in getattr(inputs, "model_inputs", None) or ()]
        if datasets or models:
            yield self._entries.event(InputsLogged, datasets, sorted(models))

    def _outputs(self, run: Any) -> Iterator[Event]:
        outputs = getattr(getattr(run, "outputs", None), "model_outputs", None) or ()
        found = sorted((one.model_id, one.step or 0) for one in outputs)
        if found:
            yield self._entries.event(OutputsLogged, found)

    def _models(self, _: Any) -> Iterator[Event]:
        for model_id in self._reading.index.models(self._run_id):
            yield from self._reading.logged_model(model_id)

    def _artifacts(self, run: Any) -> Iterator[Event]:
        client = self._server.client
        uri = run.info.artifact_uri
        files = self._reading.files(uri, self._run_id, client.list_artifacts)
        if files:
            yield self._entries.event(ArtifactsLogged, files)
        for model_id in self._reading.index.models(self._run_id):
            yield from self._reading.model_artifacts(model_id)

    def _traces(self, run: Any) -> Iterator[Event]:
        try:
            found = list(self._reading.traces_of(str(run.info.experiment_id), self._run_id))
        except NotOffered:
            return
        own = [one for one in found if plain_records.source_run(one[0]) == self._run_id]
        for info, entity in sorted(own, key=lambda one: str(one[0]["trace_id"])):
            yield from self._reading.trace(info, entity)
        linked = sorted(str(one[0]["trace_id"]) for one in found if one not in own)
        if linked:
            yield self._entries.linked_traces(self._run_id, linked)


def _point(metric: Any) -> Point:
    """Give what a point of a run and that of a model have in common.

    In MLflow's tables a model's value that is no number is zero.
    """
    value = 0.0 if math.isnan(metric.value) else metric.value + 0.0
    return metric.timestamp, metric.step or 0, repr(value)


def _dataset(metric: Any) -> list[str] | None:
    name = getattr(metric, "dataset_name", None)
    digest = getattr(metric, "dataset_digest", None)
    return [name, digest] if name and digest else None


def _argument(metric: Any) -> dict[str, Any]:
    return {
        "key": metric.key,
        "timestamp": metric.timestamp,
        "step": metric.step or 0,
        "value": metric.value,
        "run_id": metric.run_id,
        "dataset_name": getattr(metric, "dataset_name", None) or None,
        "dataset_digest": getattr(metric, "dataset_digest", None) or None,
    }
