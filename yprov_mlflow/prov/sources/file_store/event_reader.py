"""Events of one run, or of everything in a store that belongs to no run."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any

from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.sources.file_store import models, runs, traces
from yprov_mlflow.prov.sources.file_store.artifacts import ARTIFACTS, find_artifacts, list_artifacts
from yprov_mlflow.prov.sources.file_store.meta import META
from yprov_mlflow.prov.sources.file_store.metric_lines import Columns, MetricFile, in_events
from yprov_mlflow.prov.sources.file_store.models import SharedPoints
from yprov_mlflow.prov.sources.file_store.runs import ExperimentFolder, OwnedFolder, RunLinks
from yprov_mlflow.prov.sources.file_store.store_files import StoreFiles
from yprov_mlflow.prov.sources.source import RunRef
from yprov_mlflow.prov.sources.state_events import MOST_POINTS, TRACE_LOCATION, EventFactory

_PARTS = frozenset({"metrics", "params", "tags", ARTIFACTS, "inputs", "outputs"})

_Folders = dict[str | None, list[OwnedFolder]]


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
            for run in runs.run_folders(self._files, experiment):
                keys.setdefault(run.name, []).append(f"{experiment.key}/{run.name}")
        return keys

    def run_key(self, run_id: str | None, experiment: ExperimentFolder) -> str | None:
        """Return the key of a run; among several, that of the run in this experiment."""
        keys = self._keys.get(run_id, ()) if run_id else ()
        key = f"{experiment.key}/{run_id}"
        return key if key in keys else next(iter(keys), None)

    def _by_creator(self, folders: list[OwnedFolder]) -> _Folders:
        return _grouped((self.run_key(f.source_run_id, f.experiment), f) for f in folders)

    @cached_property
    def _all_models(self) -> list[OwnedFolder]:
        folders = (models.read_models(self._files, item) for item in self._experiments)
        return _by_id(folders)

    @cached_property
    def models(self) -> _Folders:
        """Models by the run that logged them."""
        return self._by_creator(self._all_models)

    @cached_property
    def measured_models(self) -> _Folders:
        """Models by the runs in their metric points."""
        return _grouped(
            (key, model)
            for model in self._all_models
            for key in {
                self.run_key(run_id, model.experiment)
                for run_id in models.runs_measured(self._files, model)
            }
        )

    @cached_property
    def traces(self) -> _Folders:
        """Traces by the run that created them."""
        folders = (traces.read_traces(self._files, item) for item in self._experiments)
        return self._by_creator(_by_id(folders))


def _by_id(folders: Iterable[Iterator[OwnedFolder]]) -> list[OwnedFolder]:
    return sorted(itertools.chain.from_iterable(folders), key=attrgetter("item_id"))


def _grouped(pairs: Iterable[tuple[str | None, OwnedFolder]]) -> _Folders:
    groups: _Folders = {}
    for key, item in pairs:
        groups.setdefault(key, []).append(item)
    return groups


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

    def run_events(
        self, ref: RunRef, folder: str, links: RunLinks, store: Mapping[str, str]
    ) -> Iterator[Event]:
        """Yield all events of a run."""
        files, events = self._files, self._events
        lost = "the run's status, times, user and name"
        meta, parts = files.described_parts(folder, _PARTS, lost)
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
            for entry in models.metric_files(files, model):
                points = SharedPoints(files, model, entry, self._run_id)
                self._shared.setdefault(entry.name, []).append(points)

    def _points(self, key: str, columns: Columns, shared: list[SharedPoints]) -> Event:
        model_ids: list[str | None] | None = None
        if shared:
            model_ids = [
                next((points.model_id for points in shared if points.take(row)), None)
                for row in columns.rows()
            ]
        return self._events.metrics(
            key, columns.values, columns.timestamps, columns.steps, model_ids, columns.datasets
        )

    # -- models, artifacts, traces -------------------------------------------------------

    def _logged_models(self) -> Iterator[Event]:
        for model in self._models:
            yield from self._events.logged_model(models.model_record(self._files, model))

    def _artifacts(
        self, folder: str, uri: str | None, owner: tuple[str, str] | None = None
    ) -> Iterator[Event]:
        location = find_artifacts(self._files, folder, uri, self._bases)
        if location.path is not None:
            files = list(list_artifacts(self._files, location.path))
            yield from self._events.artifacts(files, owner)
        elif location.reason:
            lost = "its artifacts, if there are any"
            self._files.report(folder, location.reason, lost, "artifacts")

    def _models_and_traces(self) -> Iterator[Event]:
        for model in self._models:
            meta = self._files.quiet.folder_meta(model.path)
            uri = meta.text("artifact_location")
            yield from self._artifacts(model.path, uri, ("model", model.item_id))
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
                remaining.setdefault(model.item_id, []).append(self._foreign_points(model))
        for model_id, iterators in sorted(remaining.items()):
            points = itertools.chain.from_iterable(iterators)
            while batch := list(itertools.islice(points, MOST_POINTS)):
                batch.sort(key=_point_order)
                yield from self._events.model_points(model_id, batch)

    def _foreign_points(self, model: OwnedFolder) -> Iterator[dict[str, Any]]:
        """Yield a model's points of runs that are not in the store."""
        files = self._files.quiet if self._has_run else self._files
        for entry in models.metric_files(files, model):
            for columns in MetricFile(files, entry.path, of_model=True).columns():
                for row in columns.rows():
                    if self._run_key(row[4], model.experiment) is None:
                        yield models.point_argument(entry.name, row)

    def _trace(self, folder: OwnedFolder) -> Iterator[Event]:
        trace_id, uri = folder.item_id, None
        meta = traces.trace_meta(self._files, folder)
        if meta is not None:
            trace = traces.trace_record(self._files, folder, meta)
            trace_id, uri = trace.trace_id, trace.tags.get(TRACE_LOCATION)
            yield self._events.trace(trace)
            path = os.path.join(folder.path, ARTIFACTS, traces.SPANS)
            yield from self._events.spans(trace_id, traces.read_spans(self._files, path, trace_id))
            for assessment in traces.assessments(self._files, folder, meta):
                yield self._events.assessment(trace_id, assessment)
        yield from self._artifacts(folder.path, uri, ("trace", trace_id))

    def store_events(
        self, experiments: Iterable[ExperimentFolder], links: RunLinks
    ) -> Iterator[Event]:
        """Yield all events of everything that belongs to no run."""
        for experiment in experiments:
            record = runs.experiment_record(self._files, experiment)
            if record is not None:
                yield from self._events.experiment(record)
            # Only for their problems: the index reads these folders without reporting any.
            models.model_folders(self._files, experiment)
            traces.trace_folders(self._files, experiment)
            folders = (folder.path for folder in runs.run_folders(self._files.quiet, experiment))
            datasets = links.unused_datasets(experiment.path, folders)
            if datasets:
                subjects = {"experiment": experiment.experiment_id}
                arguments = {"experiment_id": experiment.experiment_id, "rows": datasets}
                yield self._events.call("record_datasets", subjects, arguments)
        yield from self._logged_models()
        yield from models.registry_events(self._files, self._events)
        yield from self._models_and_traces()


def _point_order(point: Mapping[str, Any]) -> tuple[Any, ...]:
    # As a database sorts them; NaN compares as 0, for it has no order.
    value = point["value"]
    return point["key"], point["timestamp"], point["step"], value if value == value else 0.0
