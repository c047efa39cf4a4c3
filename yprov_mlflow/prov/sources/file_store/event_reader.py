"""Events of one run, or of everything in a store that belongs to no run."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.sources.file_store import decoding, runs
from yprov_mlflow.prov.sources.file_store.artifacts import ARTIFACTS, find_artifacts, list_artifacts
from yprov_mlflow.prov.sources.file_store.experiments import (
    ExperimentFolder,
    experiment_record,
    run_folders,
)
from yprov_mlflow.prov.sources.file_store.meta import META, Meta
from yprov_mlflow.prov.sources.file_store.metric_lines import Columns, MetricFile, in_events
from yprov_mlflow.prov.sources.file_store.models import (
    ModelFolder,
    SharedPoints,
    metric_files,
    model_folders,
    model_record,
    point_argument,
    read_models,
    runs_measured,
)
from yprov_mlflow.prov.sources.file_store.registry import registry_events
from yprov_mlflow.prov.sources.file_store.runs import RunLinks
from yprov_mlflow.prov.sources.file_store.store_files import StoreFiles
from yprov_mlflow.prov.sources.file_store.traces import (
    SPANS,
    TraceFolder,
    assessments,
    read_spans,
    read_traces,
    trace_folders,
    trace_meta,
    trace_record,
)
from yprov_mlflow.prov.sources.source import RunRef
from yprov_mlflow.prov.sources.state_events import MOST_POINTS, TRACE_LOCATION, EventFactory

_PARTS = frozenset({"metrics", "params", "tags", ARTIFACTS, "inputs", "outputs"})


class OwnerIndex:
    """Logged models and traces by the key of their run; by None without a run in this store.

    Each part is built on first use. Without models and traces, an experiment costs two lookups.
    """

    def __init__(self, files: StoreFiles, experiments: Sequence[ExperimentFolder]) -> None:
        self._files = files
        self._experiments = experiments

    @cached_property
    def _keys(self) -> dict[str, list[str]]:
        """Keys of runs by folder name; several if experiments have a run of the same name."""
        keys: dict[str, list[str]] = {}
        for experiment in self._experiments:
            for run in run_folders(self._files, experiment):
                keys.setdefault(run.name, []).append(f"{experiment.key}/{run.name}")
        return keys

    def run_key(self, run_id: str | None, experiment: ExperimentFolder) -> str | None:
        """Return the key of a run; among several, that of the run in this experiment."""
        keys = self._keys.get(run_id, ()) if run_id else ()
        key = f"{experiment.key}/{run_id}"
        return key if key in keys else next(iter(keys), None)

    @cached_property
    def _all_models(self) -> list[ModelFolder]:
        models = [model for item in self._experiments for model in read_models(self._files, item)]
        return sorted(models, key=lambda model: model.model_id)

    @cached_property
    def models(self) -> dict[str | None, list[ModelFolder]]:
        """Models by the run that logged them."""
        models: dict[str | None, list[ModelFolder]] = {}
        for model in self._all_models:
            key = self.run_key(model.source_run_id, model.experiment)
            models.setdefault(key, []).append(model)
        return models

    @cached_property
    def measured_models(self) -> dict[str | None, list[ModelFolder]]:
        """Models by the runs in their metric points."""
        models: dict[str | None, list[ModelFolder]] = {}
        for model in self._all_models:
            run_ids = runs_measured(self._files, model)
            for key in {self.run_key(run_id, model.experiment) for run_id in run_ids}:
                models.setdefault(key, []).append(model)
        return models

    @cached_property
    def traces(self) -> dict[str | None, list[TraceFolder]]:
        """Traces by the run that created them."""
        traces: dict[str | None, list[TraceFolder]] = {}
        folders = [trace for item in self._experiments for trace in read_traces(self._files, item)]
        for trace in sorted(folders, key=lambda trace: os.path.basename(trace.path)):
            key = self.run_key(trace.source_run_id, trace.experiment)
            traces.setdefault(key, []).append(trace)
        return traces


class EventReader:
    """Reads the events of one run, or of everything that belongs to no run.

    Args:
        files: The store.
        index: Owners of logged models and traces.
        bases: Folders that may have artifacts.
        run_id: Id for the events.
        key: Key of the run; None for everything that belongs to no run.
    """

    def __init__(
        self,
        files: StoreFiles,
        index: OwnerIndex,
        bases: tuple[str, ...],
        run_id: str,
        key: str | None,
    ) -> None:
        self._files = files
        self._bases = bases
        self._run_id = run_id
        self._has_run = key is not None
        self._run_key = index.run_key
        self._models = index.models.get(key, [])
        self._measured_models = index.measured_models.get(key, [])
        self._traces = index.traces.get(key, [])
        # Models with points of runs that are not in this store.
        self._foreign_models = {model.path for model in index.measured_models.get(None, ())}
        self._events = EventFactory(run_id)
        # By metric; several models may have points of the same metric.
        self._shared: dict[str, list[SharedPoints]] = {}

    # -- a run -------------------------------------------------------------------------

    def run_events(
        self, ref: RunRef, folder: str, links: RunLinks, store: Mapping[str, str]
    ) -> Iterator[Event]:
        """Yield all events of a run."""
        files, events = self._files, self._events
        parts = files.parts(folder, META, _PARTS)
        meta = Meta()
        if META in parts:
            meta = files.meta(parts[META])
        else:
            files.report(folder, decoding.NO_META, "the run's status, times, user and name")
        runs.check_run(files, os.path.join(folder, META), meta)
        before_1_0 = runs.is_before_1_0(meta)
        tags = meta.tags()
        if "tags" in parts:
            tags |= files.values(parts["tags"])
        run = runs.run_record(meta, ref, tags, dict(store))
        if before_1_0 and runs.has_seconds(files.quiet, os.path.join(folder, "metrics")):
            run.fields["metric_timestamps"] = "s"
        yield from events.run(run)
        run.params = files.values(parts["params"]) if "params" in parts else {}
        if before_1_0:
            # These versions ended each param with a line feed.
            run.params = {key: value.removesuffix("\n") for key, value in run.params.items()}
        yield from events.params(run)
        yield from events.tags(run)
        yield from self._metrics(parts.get("metrics"), note_seconds=not before_1_0)
        if "inputs" in parts:
            run.datasets, run.input_models = links.inputs(folder, os.path.dirname(folder))
            yield from events.inputs(run)
        # Models precede outputs, which refer to them.
        yield from self._logged_models()
        if "outputs" in parts:
            run.output_models = links.outputs(folder)
            yield from events.outputs(run)
        yield from self._artifacts(folder, run.artifact_uri)
        yield from self._models_and_traces()

    # -- metrics -----------------------------------------------------------------------

    def _metrics(self, folder: str | None, *, note_seconds: bool) -> Iterator[Event]:
        self._open_shared_points()
        for entry in self._files.walk(folder) if folder is not None else ():
            file = MetricFile(self._files, entry.path)
            shared = self._shared.get(entry.name, [])
            for columns in in_events(file.columns()):
                yield self._points(entry.name, columns, shared)
            if file.in_seconds and note_seconds:
                self._files.note(entry.path, "has timestamps in seconds, converted to milliseconds")

    def _open_shared_points(self) -> None:
        """Open the metric files of models that may have points of this run."""
        own = {model.path: model for model in self._models}
        measured = {model.path: model for model in self._measured_models}
        for path, model in {**own, **measured}.items():
            # Problems with a model are reported once, with the run that logged it.
            files = self._files if path in own else self._files.quiet
            for entry in metric_files(files, model):
                points = SharedPoints(files, model, entry, self._run_id)
                self._shared.setdefault(entry.name, []).append(points)

    def _points(self, key: str, columns: Columns, shared: list[SharedPoints]) -> Event:
        models: list[str | None] | None = None
        if shared:
            models = [
                next((points.model_id for points in shared if points.take(row)), None)
                for row in columns.rows()
            ]
        return self._events.metrics(
            key, columns.values, columns.timestamps, columns.steps, models, columns.datasets
        )

    # -- models, artifacts, traces -------------------------------------------------------

    def _logged_models(self) -> Iterator[Event]:
        for model in self._models:
            yield from self._events.logged_model(model_record(self._files, model))

    def _artifacts(
        self, folder: str, uri: str | None, owner: tuple[str, str] | None = None
    ) -> Iterator[Event]:
        location = find_artifacts(self._files, folder, uri, self._bases)
        if location.path is not None:
            files = list(list_artifacts(self._files, location.path))
            yield from self._events.artifacts(files, owner)
        elif location.reason:
            self._files.report(folder, location.reason, "its artifacts, if there are any")

    def _models_and_traces(self) -> Iterator[Event]:
        """Yield artifacts and remaining points of models, and everything of traces."""
        for model in self._models:
            meta = self._files.quiet.folder_meta(model.path)
            uri = meta.text("artifact_location")
            yield from self._artifacts(model.path, uri, ("model", model.model_id))
        yield from self._remaining_points()
        for trace in self._traces:
            yield from self._trace(trace)

    def _remaining_points(self) -> Iterator[Event]:
        """Yield points of models that the run does not have, and those of runs not in the store."""
        remaining: dict[str, list[Iterator[dict[str, Any]]]] = {}
        for shared in itertools.chain.from_iterable(self._shared.values()):
            remaining.setdefault(shared.model_id, []).append(shared.remaining())
        for model in self._models:
            if model.path in self._foreign_models or not self._has_run:
                remaining.setdefault(model.model_id, []).append(self._foreign_points(model))
        for model_id, iterators in sorted(remaining.items()):
            points = itertools.chain.from_iterable(iterators)
            while batch := list(itertools.islice(points, MOST_POINTS)):
                batch.sort(key=_point_order)
                yield from self._events.model_points(model_id, batch)

    def _foreign_points(self, model: ModelFolder) -> Iterator[dict[str, Any]]:
        """Yield a model's points of runs that are not in the store."""
        files = self._files.quiet if self._has_run else self._files
        for entry in metric_files(files, model):
            for columns in MetricFile(files, entry.path, of_model=True).columns():
                for row in columns.rows():
                    if self._run_key(row[4], model.experiment) is None:
                        yield point_argument(entry.name, row)

    def _trace(self, folder: TraceFolder) -> Iterator[Event]:
        trace_id, uri = os.path.basename(folder.path), None
        meta = trace_meta(self._files, folder)
        if meta is not None:
            trace = trace_record(self._files, folder, meta)
            trace_id, uri = trace.trace_id, trace.tags.get(TRACE_LOCATION)
            yield self._events.trace(trace)
            path = os.path.join(folder.path, ARTIFACTS, SPANS)
            yield from self._events.spans(trace_id, read_spans(self._files, path, trace_id))
            for assessment in assessments(self._files, folder, meta):
                yield self._events.assessment(trace_id, assessment)
        yield from self._artifacts(folder.path, uri, ("trace", trace_id))

    # -- no run --------------------------------------------------------------------------

    def store_events(
        self, experiments: Iterable[ExperimentFolder], links: RunLinks
    ) -> Iterator[Event]:
        """Yield all events of everything that belongs to no run."""
        for experiment in experiments:
            record = experiment_record(self._files, experiment)
            if record is not None:
                yield from self._events.experiment(record)
            # Only for their problems: the index reads these folders without reporting any.
            model_folders(self._files, experiment)
            trace_folders(self._files, experiment)
            folders = (folder.path for folder in run_folders(self._files.quiet, experiment))
            datasets = links.unused_datasets(experiment.path, folders)
            if datasets:
                subjects = {"experiment": experiment.experiment_id}
                arguments = {"experiment_id": experiment.experiment_id, "rows": datasets}
                yield self._events.call("record_datasets", subjects, arguments)
        yield from self._logged_models()
        yield from registry_events(self._files, self._events)
        yield from self._models_and_traces()


def _point_order(point: Mapping[str, Any]) -> tuple[Any, ...]:
    # As a database sorts them; NaN compares as 0, for it has no order.
    value = point["value"]
    return point["key"], point["timestamp"], point["step"], value if value == value else 0.0
