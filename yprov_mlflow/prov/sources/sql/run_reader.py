"""One run of a database, as events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.sources.source import Problem
from yprov_mlflow.prov.sources.sql import metric_points, models, reading, traces
from yprov_mlflow.prov.sources.sql.query_reader import Record, Unreadable
from yprov_mlflow.prov.sources.sql.reading import Reading, extra_fields, text_or_none
from yprov_mlflow.prov.state import Run

_COLUMNS = frozenset(
    "run_uuid name user_id status start_time end_time lifecycle_stage artifact_uri"
    " experiment_id".split()
)
_DATASET = ("name", "digest", "source_type", "source", "schema", "profile")


class RunReader:
    """Reads one run, part by part: what one table cannot provide does not affect the others."""

    def __init__(self, run_reading: Reading, run_id: str, store: dict[str, str]) -> None:
        self._reading = run_reading
        self._reader = run_reading.reader
        self._events = run_reading.events
        self._run_id = run_id
        self._run = Run(run_id, store=store)
        self._record: Record = {}

    def events(self) -> Iterator[Event]:
        """Yield the events of the run, in the order that all sources have."""
        try:
            record = next(self._reader.records("runs", {"run_uuid": self._run_id}), None)
        except Unreadable as error:
            self._report(f"cannot be read: {error}", "the run")
            return
        if record is None:
            self._report("it is no longer in the database", "the run")
            return
        self._record = record
        parts: tuple[tuple[str, str, Callable[[], Iterable[Event]]], ...] = (
            ("runs", "status and end", self._info),
            ("params", "params", self._params),
            ("tags", "tags", self._tags),
            ("metrics", "metric points from there on", self._metrics),
            ("inputs", "inputs", self._inputs),
            ("logged_models", "logged models", self._models),
            ("inputs", "output models", self._outputs),
            ("runs", "artifacts", self._artifacts),
            ("logged_model_metrics", "metric points of models", self._model_points),
            ("trace_info", "traces", self._traces),
        )
        for table, lost, read in parts:
            where = f"{table}, run {self._run_id}"
            yield from self._reading.guard(where, lost, read())
        for problem in self._events.possibly_infinite():
            self._reading.report(problem)

    def _ids(self, kind: str) -> list[str]:
        return self._reading.index.ids(self._reader, kind, self._run_id)

    def _report(self, reason: str, lost: str) -> None:
        self._reading.report(Problem(f"run {self._run_id}", reason, lost))

    # -- the run itself ----------------------------------------------------------------

    def _info(self) -> Iterator[Event]:
        run, record = self._run, self._record
        times = ("start_time", "end_time", "deleted_time")
        self._reading.whole_times(record, times, f"run {self._run_id}")
        experiment_id = record.get("experiment_id")
        run.experiment_id = str(experiment_id)
        run.experiment_name = self._reading.index.experiment_name(self._reader, experiment_id)
        run.name = record.get("name")
        if not run.name:
            # Before MLflow 1.28 the name was in a tag only. An empty name differs from NULL.
            where = {"run_uuid": self._run_id, "key": "mlflow.runName"}
            names = [str(name) for (name,) in self._reader.rows("tags", ("value",), where) if name]
            run.name = names[0] if names else run.name
        run.user_id, run.status = record.get("user_id"), record.get("status")
        run.start_time_ms, run.end_time_ms = record["start_time"], record["end_time"]
        run.lifecycle = record.get("lifecycle_stage") or "active"
        run.artifact_uri = text_or_none(record.get("artifact_uri"))
        run.fields = _fields(record)
        if metric_points.in_seconds(self._reader, self._run_id):
            run.fields["metric_timestamps"] = "s"
        yield from self._events.run(run)

    def _params(self) -> Iterator[Event]:
        self._run.params = self._reader.pairs("params", {"run_uuid": self._run_id})
        yield from self._events.params(self._run)

    def _tags(self) -> Iterator[Event]:
        self._run.tags = self._reader.pairs("tags", {"run_uuid": self._run_id})
        yield from self._events.tags(self._run)

    # -- metrics and inputs ------------------------------------------------------------

    def _metrics(self) -> Iterator[Event]:
        measured = self._ids(reading.MEASURED_MODELS)
        metrics = metric_points.Metrics(self._reader, self._run_id, measured)
        for batch in metrics.batches():
            yield self._events.metrics(*batch)
        for problem in metrics.problems():
            self._reading.report(Problem(f"metrics, run {self._run_id}", *problem))

    def _inputs(self) -> Iterator[Event]:
        where = {"destination_type": "RUN", "destination_id": self._run_id}
        columns = ("source_id", "input_uuid", "source_type")
        # All rows first: drivers run one query after the other.
        rows = list(self._reader.rows("inputs", columns, where))
        datasets = (self._dataset(str(d), str(i)) for d, i, kind in rows if kind == "DATASET")
        self._run.datasets = sorted(datasets, key=lambda d: (str(d["name"]), str(d["digest"])))
        models_used = self._model_rows("INPUT", "destination_id")
        self._run.input_models = sorted(str(model) for (model,) in models_used)
        yield from self._events.inputs(self._run)

    def _dataset(self, dataset_id: str, input_id: str) -> dict[str, Any]:
        record = next(self._reader.records("datasets", {"dataset_uuid": dataset_id}), None)
        tags = self._reader.pairs("input_tags", {"input_uuid": input_id}, ("name", "value"))
        if record is None:
            self._report(f"its input {dataset_id} is not in the table datasets", "the dataset")
            record = {}
        # The table has dataset_source, dataset_schema and so on, but name and digest.
        fields = {name: record.get(name, record.get(f"dataset_{name}")) for name in _DATASET}
        return {**fields, "tags": tags}

    def _model_rows(self, direction: str, *columns: str) -> Iterator[tuple[Any, ...]]:
        where = {
            "source_type": f"RUN_{direction}",
            "source_id": self._run_id,
            "destination_type": f"MODEL_{direction}",
        }
        return self._reader.rows("inputs", columns, where)

    # -- models, artifacts, traces -----------------------------------------------------

    def _models(self) -> Iterator[Event]:
        yield from models.logged(self._reading, self._ids(reading.MODELS))

    def _outputs(self) -> Iterator[Event]:
        rows = self._model_rows("OUTPUT", "destination_id", "step")
        where = f"outputs, run {self._run_id}"
        self._run.output_models = sorted(
            (str(model), self._reading.whole(step, "step", where) or 0) for model, step in rows
        )
        yield from self._events.outputs(self._run)

    def _artifacts(self) -> Iterator[Event]:
        files = self._reading.artifacts.files(self._record.get("artifact_uri"), self._run_id)
        yield from self._events.artifacts(files)
        yield from models.artifacts(self._reading, self._ids(reading.MODELS))

    def _model_points(self) -> Iterator[Event]:
        measured = self._ids(reading.MEASURED_MODELS)
        yield from models.points(self._reading, self._run_id, measured)

    def _traces(self) -> Iterator[Event]:
        yield from traces.logged(self._reading, self._ids(reading.TRACES))
        yield from self._events.linked_traces(self._run_id, self._ids(reading.LINKED_TRACES))


def _fields(record: Record) -> dict[str, Any]:
    """Return the remaining columns; the default ``UNKNOWN`` of source_type says nothing."""
    fields = extra_fields(record, _COLUMNS)
    if fields.get("source_type") == "UNKNOWN":
        del fields["source_type"]
    return {name: value for name, value in fields.items() if value != ""}
