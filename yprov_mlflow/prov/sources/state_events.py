"""State records as the events that would have created them.

How a record is expressed as events is defined here once, for all kinds of stores. The inverse is
``restore.replay``, which rebuilds the same records from these events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from yprov_mlflow.prov import events, state
from yprov_mlflow.prov.events import LARGEST_FLOAT, Event, Json
from yprov_mlflow.prov.redaction import redact_event
from yprov_mlflow.prov.sources.source import Problem

DELETED = "deleted"  # lifecycle of a deleted run, experiment or logged model
DELETED_STAGE = "Deleted_Internal"  # stage of a deleted version of a registered model
SOURCE_RUN = "mlflow.sourceRun"  # metadata of a trace: id of the run that created it
TRACE_LOCATION = "mlflow.artifactLocation"  # tag of a trace: URI of its artifacts
SPANS_LOCATION = "mlflow.trace.spansLocation"  # tag of a trace: where its spans are stored
IN_DATABASE = "TRACKING_STORE"  # value of that tag: in the database, not among the artifacts
MOST_POINTS = 8192  # metric points in one event
MOST_ROWS = 500  # rows of a table, or records of a dataset, in one event

Fields = Mapping[str, Json]
_Item = TypeVar("_Item")

_VERSION_FIELDS = (
    "source run_id run_link description user_id model_id status status_message storage_location"
).split()
# Names of times in MLflow's tables, and in the calls of its API.
_VERSION_TIMES = {f"{name}_time": f"{name}_timestamp" for name in ("creation", "last_updated")}


class EventFactory:
    """Creates the events of one run, or of a store's other contents, numbered from 0.

    Args:
        run_id: Id of the run, or the store's (``ids.store_id``).
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self._seq = 0
        self._largest = 0

    def event(self, cls: type[Event], *fields: Any) -> Event:
        """Return the next event, with these fields after the header."""
        self._seq += 1
        fields = redact_event(cls.kind, fields)
        return cls(self.run_id, events.STORE_SESSION, self._seq - 1, 0, *fields)

    def call(
        self, method: str, subjects: Mapping[str, object], arguments: Fields, result: Json = None
    ) -> Event:
        """Return a call of a store method as the next event."""
        names = {kind: str(name) for kind, name in subjects.items()}
        return self.event(events.StoreCalled, method, names, dict(arguments), result)

    def possibly_infinite(self) -> Iterator[Problem]:
        """Yield a problem if points so far have the value that SQL stores write for infinity."""
        if self._largest:
            reason = (
                f"{self._largest} metric values are {LARGEST_FLOAT} or its negative, which MLflow's"
                " SQL stores write for INF and -INF (mlflow#22826); the values logged are unknown"
            )
            yield Problem(f"metrics, run {self.run_id}", reason, "")

    # -- runs --------------------------------------------------------------------------

    def run(self, run: state.Run) -> Iterator[Event]:
        """Yield the creation of a run, then its status, end and deletion."""
        yield self.event(
            events.RunCreated,
            run.experiment_id,
            run.experiment_name,
            run.name,
            run.user_id,
            run.start_time_ms,
            run.artifact_uri,
            {},
            run.store,
            run.fields,
        )
        lifecycle = DELETED if run.lifecycle == DELETED else None
        # Status and end are changes of a created run in live capture, and so they are here.
        yield self.event(events.RunUpdated, run.status, run.end_time_ms, None, lifecycle)

    def params(self, run: state.Run) -> Iterator[Event]:
        """Yield the params of a run."""
        if run.params:
            yield self.event(events.ParamsLogged, run.params)

    def tags(self, run: state.Run) -> Iterator[Event]:
        """Yield the tags of a run."""
        if run.tags:
            yield self.event(events.TagsSet, run.tags)

    def metrics(
        self,
        key: str,
        values: Sequence[float],
        timestamps_ms: Sequence[int],
        steps: Sequence[int],
        models: Sequence[str | None] | None = None,
        datasets: Sequence[Sequence[str] | None] | None = None,
    ) -> Event:
        """Return points of one metric, given as columns of at most ``MOST_POINTS``."""
        self._largest += values.count(LARGEST_FLOAT) + values.count(-LARGEST_FLOAT)
        return self.event(
            events.MetricsLogged,
            [key] * len(values),
            values,
            timestamps_ms,
            steps,
            (),
            None,
            models if models and any(models) else None,
            datasets if datasets and any(datasets) else None,
        )

    def inputs(self, run: state.Run) -> Iterator[Event]:
        """Yield the datasets and models that a run used."""
        if run.datasets or run.input_models:
            yield self.event(events.InputsLogged, run.datasets, run.input_models)

    def outputs(self, run: state.Run) -> Iterator[Event]:
        """Yield the models that a run logged as outputs."""
        if run.output_models:
            yield self.event(events.OutputsLogged, run.output_models)

    def artifacts(
        self, files: Sequence[Fields], owner: tuple[str, str] | None = None
    ) -> Iterator[Event]:
        """Yield the files of the run, or of an owner such as ``("model", "m-1")``."""
        if files:
            yield self.event(events.ArtifactsLogged, files, owner)

    # -- experiments and the registry --------------------------------------------------

    def experiment(self, experiment: state.Experiment) -> Iterator[Event]:
        """Yield the creation of an experiment, and its deletion."""
        experiment_id = experiment.experiment_id
        subjects, key = {"experiment": experiment_id}, {"experiment_id": experiment_id}
        arguments = {
            "name": experiment.name,
            **key,
            "artifact_location": experiment.artifact_location,
            "tags": experiment.tags,
            "creation_time": experiment.creation_time_ms,
            "last_update_time": experiment.last_update_time_ms,
            "lifecycle_stage": experiment.lifecycle,
            **experiment.fields,
        }
        yield self.call("create_experiment", subjects, arguments, experiment_id)
        if experiment.lifecycle == DELETED:
            yield self.call("delete_experiment", subjects, key)

    def registered_model(self, model: state.RegisteredModel) -> Event:
        """Return the creation of a registered model, without its versions and aliases."""
        arguments = {
            "name": model.name,
            "description": model.description,
            "creation_timestamp": model.creation_time_ms,
            "last_updated_timestamp": model.last_updated_ms,
            "tags": model.tags,
            **model.fields,
        }
        return self.call("create_registered_model", {"model": model.name}, arguments)

    def model_version(self, name: str, version: state.ModelVersion) -> Iterator[Event]:
        """Yield the creation of a version of the model ``name``, its stage, and its deletion."""
        number = str(version.version)
        subjects, key = {"model": name, "version": number}, {"name": name, "version": number}
        # Absent fields are recorded as null, so that all stores give the same arguments.
        arguments = {
            **key,
            **dict.fromkeys((*_VERSION_FIELDS, *_VERSION_TIMES.values())),
            **{_VERSION_TIMES.get(field, field): value for field, value in version.fields.items()},
            "tags": version.tags,
        }
        yield self.call("create_model_version", subjects, arguments)
        if version.stage == DELETED_STAGE:
            yield self.call("delete_model_version", subjects, key)
        elif version.stage not in (None, "", "None"):  # MLflow writes "None" for no stage
            transition = {**key, "stage": version.stage, "archive_existing_versions": False}
            yield self.call("transition_model_version_stage", subjects, transition)

    def aliases(self, model: state.RegisteredModel) -> Iterator[Event]:
        """Yield the aliases of a registered model, by name."""
        for alias, version in sorted(model.aliases.items()):
            arguments = {"name": model.name, "alias": alias, "version": str(version)}
            subjects = {"model": model.name, "alias": alias, "version": version}
            yield self.call("set_registered_model_alias", subjects, arguments)

    # -- logged models -----------------------------------------------------------------

    def logged_model(self, model: state.LoggedModel) -> Iterator[Event]:
        """Yield the creation of a logged model, and its deletion."""
        fields = {
            "last_updated_timestamp_ms": model.last_updated_ms,
            "lifecycle": model.lifecycle,
            "source_run_id": model.source_run_id,
            "status_message": model.status_message,
            **model.fields,
        }
        # Stores differ in how they express an absent value; their documents must not.
        fields = {name: v for name, v in fields.items() if v not in (None, "", "active")}
        yield self.event(
            events.ModelLogged,
            model.model_id,
            model.name,
            model.model_type,
            model.status,
            model.experiment_id,
            model.artifact_location,
            model.creation_time_ms,
            model.params,
            model.tags,
            None,
            fields or None,
        )
        if model.lifecycle == DELETED:
            yield self.event(events.ModelLogged, model.model_id, None, None, "DELETED")

    def model_points(self, model_id: str, points: Sequence[Fields]) -> Iterator[Event]:
        """Yield metric points of a logged model that its run does not have."""
        for batch in batches(points, MOST_POINTS):
            self._largest += sum(p.get("value") in (LARGEST_FLOAT, -LARGEST_FLOAT) for p in batch)
            arguments = {"model_id": model_id, "metrics": batch}
            yield self.call("log_logged_model_metrics", {"logged-model": model_id}, arguments)

    # -- traces ------------------------------------------------------------------------

    def trace(self, trace: state.Trace) -> Event:
        """Return the start of a trace, without its spans and assessments."""
        experiment = {"experiment_id": trace.experiment_id}
        info = {
            "trace_id": trace.trace_id,
            "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": experiment},
            "request_time": trace.request_time_ms,
            "execution_duration": trace.duration_ms,
            "state": trace.state,
            "request_preview": trace.request_preview,
            "response_preview": trace.response_preview,
            "client_request_id": trace.client_request_id,
            "trace_metadata": trace.metadata,
            "tags": trace.tags,
            **trace.fields,
        }
        return self.call("start_trace", {"trace": trace.trace_id}, {"trace_info": info})

    def spans(self, trace_id: str, spans: Sequence[Json]) -> Iterator[Event]:
        """Yield the spans of a trace, as MLflow's JSON has them."""
        if spans:
            yield self.call("log_spans", {"trace": trace_id}, {"spans": list(spans)})

    def assessment(self, trace_id: str, assessment: Fields) -> Event:
        """Return an assessment of a trace, with the fields of MLflow's ``Assessment``."""
        subjects = {"trace": trace_id, "assessment": assessment["assessment_id"]}
        arguments = {"assessment": {"trace_id": trace_id, **assessment}}
        return self.call("create_assessment", subjects, arguments)

    def linked_prompts(self, trace: state.Trace) -> Iterator[Event]:
        """Yield the links from a trace to versions of prompts."""
        if trace.prompts:
            parts = (prompt.rsplit("/", 1) for prompt in trace.prompts)
            versions = [dict(zip(("name", "version"), pair, strict=False)) for pair in parts]
            arguments = {"trace_id": trace.trace_id, "prompt_versions": versions}
            yield self.call("link_prompts_to_trace", {"trace": trace.trace_id}, arguments)

    def linked_traces(self, run_id: str, trace_ids: Sequence[str]) -> Iterator[Event]:
        """Yield the links from a run to traces that it did not create."""
        if trace_ids:
            arguments = {"trace_ids": list(trace_ids), "run_id": run_id}
            yield self.call("link_traces_to_run", {"run": run_id}, arguments)

    # -- evaluation and other tables ---------------------------------------------------

    def evaluation_dataset(self, dataset: state.EvaluationDataset) -> Event:
        """Return the creation of an evaluation dataset, without its records."""
        arguments = {
            "dataset_id": dataset.dataset_id,
            **dataset.row,
            "tags": dataset.tags,
            "experiment_ids": dataset.experiments,
        }
        return self.call("create_dataset", {"dataset": dataset.dataset_id}, arguments)

    def dataset_records(self, dataset: state.EvaluationDataset) -> Iterator[Event]:
        """Yield the records of an evaluation dataset."""
        for batch in batches(dataset.records.values(), MOST_ROWS):
            arguments = {"dataset_id": dataset.dataset_id, "records": batch}
            yield self.call("upsert_dataset_records", {"dataset": dataset.dataset_id}, arguments)

    def scorer(self, row: Fields) -> Event:
        """Return a version of a scorer."""
        subjects = {"experiment": row["experiment_id"], "name": row["name"]}
        return self.call("register_scorer", subjects, row)

    def table_rows(self, table: str, rows: Sequence[Fields]) -> Event:
        """Return rows of a table that no record type represents."""
        return self.call(f"record_{table}", {"table": table}, {"rows": list(rows)})


def batches(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    """Yield the items in lists of at most this size."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
