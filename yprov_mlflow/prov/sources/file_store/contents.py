"""What belongs to one run, or to no run, as events."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from yprov_mlflow.prov.events import (
    STORE_SESSION,
    ArtifactsLogged,
    Event,
    InputsLogged,
    Json,
    MetricsLogged,
    ModelLogged,
    OutputsLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
    StoreCalled,
    TagsSet,
)
from yprov_mlflow.prov.sources.file_store import runs
from yprov_mlflow.prov.sources.file_store.artifacts import ARTIFACTS, find_artifacts, list_artifacts
from yprov_mlflow.prov.sources.file_store.experiments import (
    DELETED,
    Experiment,
    experiment_calls,
    run_folders,
)
from yprov_mlflow.prov.sources.file_store.meta import META, read_meta, text_of
from yprov_mlflow.prov.sources.file_store.metric_lines import (
    MOST_POINTS,
    Columns,
    PointsFile,
    events_worth,
)
from yprov_mlflow.prov.sources.file_store.models import (
    Model,
    SharedPoints,
    is_deleted,
    metric_files,
    model_fields,
    model_folders,
    point_argument,
)
from yprov_mlflow.prov.sources.file_store.owner_index import Index
from yprov_mlflow.prov.sources.file_store.registry import registry_calls
from yprov_mlflow.prov.sources.file_store.run_inputs import Links
from yprov_mlflow.prov.sources.file_store.traces import Trace, trace_calls, trace_folders
from yprov_mlflow.prov.sources.file_store.tree_files import Files
from yprov_mlflow.prov.sources.file_store.values import read_values, tags_of
from yprov_mlflow.prov.sources.source import RunRef

_LOCATION = "artifact_location"
_PARTS = frozenset({"metrics", "params", "tags", ARTIFACTS, "inputs", "outputs"})


class Contents:
    """Makes the events of one run, or of what has no run, and numbers them.

    ``key`` is that of the run, None for what has none.
    """

    def __init__(
        self, files: Files, index: Index, bases: tuple[str, ...], run_id: str, key: str | None
    ) -> None:
        self._files = files
        self._index = index
        self._bases = bases
        self._run_id = run_id
        self._key = key
        self._seq = 0
        self._shared: dict[str, list[SharedPoints]] = {}

    def _event(self, cls: type[Event], *fields: Any) -> Event:
        seq = self._seq
        self._seq = seq + 1
        return cls(self._run_id, STORE_SESSION, seq, 0, *fields)

    # -- a run -------------------------------------------------------------------------

    def of_run(
        self, ref: RunRef, folder: str, links: Links, store: Mapping[str, str]
    ) -> Iterator[Event]:
        """Give all events of a run."""
        files = self._files
        parts = files.parts(folder, META, _PARTS)
        meta: dict[str, Json] = {}
        if META in parts:
            meta = read_meta(files, parts[META])
        else:
            files.report(folder, "has no meta.yaml", "the run's status, times, user and name")
        runs.check(files, os.path.join(folder, META), meta)
        before_1_0 = runs.is_before_1_0(meta)
        tags = tags_of(meta)
        if "tags" in parts:
            tags |= read_values(files, parts["tags"])
        fields = runs.created(meta, ref, tags, store)
        if before_1_0 and runs.has_seconds(self._files.quiet, os.path.join(folder, "metrics")):
            fields[-1]["metric_timestamps"] = "s"
        yield self._event(RunCreated, *fields)
        deleted = DELETED if ref.lifecycle == DELETED else None
        yield self._event(RunUpdated, ref.status, runs.end_time_ms(meta), None, deleted)
        params = read_values(files, parts["params"]) if "params" in parts else {}
        if before_1_0:
            params = {key: value.removesuffix("\n") for key, value in params.items()}
        if params:
            yield self._event(ParamsLogged, params)
        if tags:
            yield self._event(TagsSet, tags)
        yield from self._metrics(parts.get("metrics"), told=before_1_0)
        yield from self._inputs_and_outputs(folder, parts, links)
        yield from self._artifacts(folder, fields[5])
        yield from self._models_and_traces()

    # -- metrics -----------------------------------------------------------------------

    def _metrics(self, folder: str | None, *, told: bool) -> Iterator[Event]:
        self._share()
        for node in self._files.walk(folder) if folder is not None else ():
            file = PointsFile(self._files, node.path)
            shared = self._shared.get(node.name, ())
            for columns in events_worth(file.columns()):
                yield self._points(node.name, columns, shared)
            if file.in_seconds and not told:
                self._files.note(node.path, "has time stamps in seconds, which were made ms")

    def _share(self) -> None:
        """Open what models have of the run's points; of its own models all that they have."""
        own = {model.path: model for model in self._index.models.get(self._key, ())}
        others = {model.path: model for model in self._index.measured.get(self._key, ())}
        for path, model in {**own, **others}.items():
            files = self._files if path in own else self._files.quiet
            for node in metric_files(files, model):
                points = SharedPoints(files, model, node, self._run_id)
                self._shared.setdefault(node.name, []).append(points)

    def _points(self, key: str, columns: Columns, shared: list[SharedPoints] | Any) -> Event:
        models: list[str | None] | None = None
        if shared:
            models = [
                next((one.model_id for one in shared if one.take(row)), None)
                for row in columns.rows()
            ]
        return self._event(
            MetricsLogged,
            [key] * len(columns.values),
            columns.values,
            columns.timestamps,
            columns.steps,
            (),
            None,
            models if models and any(models) else None,
            columns.datasets,
        )

    # -- models, artifacts, traces -------------------------------------------------------

    def _inputs_and_outputs(
        self, folder: str, parts: Mapping[str, str], links: Links
    ) -> Iterator[Event]:
        if "inputs" in parts:
            datasets, models = links.inputs(folder, os.path.dirname(folder))
            if datasets or models:
                yield self._event(InputsLogged, datasets, models)
        yield from self._models()
        if "outputs" in parts:
            outputs = links.outputs(folder)
            if outputs:
                yield self._event(OutputsLogged, outputs)

    def _models(self) -> Iterator[Event]:
        for model in self._index.models.get(self._key, ()):
            fields = model_fields(self._files, model)
            yield self._event(ModelLogged, *fields)
            if is_deleted(fields):
                yield self._event(ModelLogged, model.model_id, None, None, "DELETED")

    def _artifacts(
        self, folder: str, uri: str | None, owner: tuple[str, str] | None = None
    ) -> Iterator[Event]:
        place = find_artifacts(self._files, folder, uri, self._bases)
        if place.path is None:
            if place.fault:
                self._files.report(folder, place.fault, "its artifacts, if there are any")
            return
        found = list(list_artifacts(self._files, place.path))
        if found:
            yield self._event(ArtifactsLogged, found, owner)

    def _models_and_traces(self) -> Iterator[Event]:
        """Give the artifacts and other points of models, and all of traces."""
        for model in self._index.models.get(self._key, ()):
            uri = text_of(read_meta(self._files.quiet, os.path.join(model.path, META)), _LOCATION)
            yield from self._artifacts(model.path, uri, ("model", model.model_id))
        yield from self._model_points()
        for trace in self._index.traces.get(self._key, ()):
            yield from self._trace(trace)

    def _model_points(self) -> Iterator[Event]:
        """Give the points of models that the run has not, and those of runs not here."""
        found: dict[str, list[Iterator[dict[str, Any]]]] = {}
        for points in itertools.chain.from_iterable(self._shared.values()):
            found.setdefault(points.model_id, []).append(points.rest())
        elsewhere = {model.path for model in self._index.measured.get(None, ())}
        for model in self._index.models.get(self._key, ()):
            if model.path in elsewhere or self._key is None:
                found.setdefault(model.model_id, []).append(self._points_elsewhere(model))
        for model_id, points_of_model in sorted(found.items()):
            every = itertools.chain.from_iterable(points_of_model)
            while some := list(itertools.islice(every, MOST_POINTS)):
                some.sort(key=_order)
                arguments = {"model_id": model_id, "metrics": some}
                subjects = {"logged-model": model_id}
                yield self._event(StoreCalled, "log_logged_model_metrics", subjects, arguments)

    def _points_elsewhere(self, model: Model) -> Iterator[dict[str, Any]]:
        files = self._files if self._key is None else self._files.quiet
        for node in metric_files(files, model):
            for columns in PointsFile(files, node.path, of_model=True).columns():
                for row in columns.rows():
                    if self._index.home(row[4], model.experiment) is None:
                        yield point_argument(node.name, row)

    def _trace(self, trace: Trace) -> Iterator[Event]:
        trace_id, uri = os.path.basename(trace.path), None
        for method, subjects, arguments in trace_calls(self._files, trace):
            if method == "start_trace":
                trace_id = subjects["trace"]
                uri = arguments["trace_info"]["tags"].get("mlflow.artifactLocation")
            yield self._event(StoreCalled, method, subjects, arguments)
        yield from self._artifacts(trace.path, uri, ("trace", trace_id))

    # -- no run --------------------------------------------------------------------------

    def of_store(self, experiments: Iterable[Experiment], links: Links) -> Iterator[Event]:
        """Give all events of what belongs to no run."""
        for experiment in experiments:
            for method, subjects, arguments, result in experiment_calls(self._files, experiment):
                yield self._event(StoreCalled, method, subjects, arguments, result)
            # The index reads these too, and tells nobody what is wrong with them.
            model_folders(self._files, experiment)
            trace_folders(self._files, experiment)
            folders = (folder.path for folder in run_folders(self._files.quiet, experiment))
            datasets = links.unused(experiment.path, folders)
            if datasets:
                subjects = {"experiment": experiment.experiment_id}
                arguments = {"experiment_id": experiment.experiment_id, "rows": datasets}
                yield self._event(StoreCalled, "record_datasets", subjects, arguments)
        yield from self._models()
        for method, subjects, arguments in registry_calls(self._files):
            yield self._event(StoreCalled, method, subjects, arguments)
        yield from self._models_and_traces()


def _order(point: Mapping[str, Any]) -> tuple[Any, ...]:
    """Sort points of models as a database would: what is not a number compares as 0."""
    value = point["value"]
    return point["key"], point["timestamp"], point["step"], value if value == value else 0.0
