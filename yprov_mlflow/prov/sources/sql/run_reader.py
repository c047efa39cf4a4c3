"""One run of a database, as events."""

from __future__ import annotations

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
from yprov_mlflow.prov.sources.source import Problem
from yprov_mlflow.prov.sources.sql import metric_points, models, traces
from yprov_mlflow.prov.sources.sql.context import Reading
from yprov_mlflow.prov.sources.sql.event_factory import others, place, texts
from yprov_mlflow.prov.sources.sql.query_reader import Record, Unreadable

_OWN = frozenset(
    "run_uuid name user_id status start_time end_time lifecycle_stage artifact_uri"
    " experiment_id".split()
)
"""Columns that events have fields for; the others go into ``RunCreated.fields``."""

_RUN_NAME = "mlflow.runName"
_DATASET = ("name", "digest", "source_type", "source", "schema", "profile")


class RunReading:
    """Reads one run."""

    def __init__(self, reading: Reading, run_id: str, store: Mapping[str, str]) -> None:
        """Name the run and the store that it is in."""
        self._reading = reading
        self._reader = reading.reader
        self._entries = reading.entries
        self._run_id = run_id
        self._store = store

    def events(self) -> Iterator[Event]:
        """Give the events of the run, in the order of the contract."""
        try:
            found = next(self._reader.records("runs", {"run_uuid": self._run_id}), None)
        except Unreadable as error:
            self._report(f"cannot be read: {error}", "the run")
            return
        if found is None:
            self._report("it is not in the database any more", "the run")
            return
        parts: tuple[tuple[str, str, Callable[[Record], Iterable[Event]]], ...] = (
            ("runs", "status and end", self._info),
            ("params", "params", self._params),
            ("tags", "tags", self._tags),
            ("metrics", "metric points from there on", self._metrics),
            ("inputs", "inputs", self._inputs),
            ("logged_models", "logged models", self._models),
            ("inputs", "models that it put out", self._outputs),
            ("runs", "artifacts", self._artifacts),
            ("logged_model_metrics", "metric points of models", self._model_points),
            ("trace_info", "traces", self._traces),
        )
        for table, lost, read in parts:
            yield from self._reading.saved(f"{table}, run {self._run_id}", lost, read(found))

    def _report(self, reason: str, lost: str) -> None:
        self._reading.report(Problem(f"run {self._run_id}", reason, lost))

    # -- the run itself ----------------------------------------------------------------

    def _info(self, found: Record) -> Iterator[Event]:
        experiment_id = found.get("experiment_id")
        name = self._reading.index.experiment_name(self._reader, experiment_id)
        fields = _fields(found)
        if metric_points.in_seconds(self._reader, self._run_id):
            fields["metric_timestamps"] = "s"
        yield self._entries.event(
            RunCreated,
            str(experiment_id),
            name,
            found.get("name") or self._name_by_tag() or found.get("name"),
            found.get("user_id"),
            self._whole(found, "start_time"),
            place(found.get("artifact_uri")),
            {},
            self._store,
            fields,
        )
        yield self._entries.event(
            RunUpdated,
            found.get("status"),
            self._whole(found, "end_time"),
            None,
            "deleted" if found.get("lifecycle_stage") == "deleted" else None,
        )

    def _name_by_tag(self) -> str | None:
        """Give the name that MLflow before 1.28 kept in a tag alone."""
        where = {"run_uuid": self._run_id, "key": _RUN_NAME}
        return next((str(v) for (v,) in self._reader.rows("tags", ("value",), where) if v), None)

    def _whole(self, found: Record, column: str) -> int | None:
        value = found.get(column)
        if value is None or isinstance(value, int):
            return value
        self._report(f"{column} is no number: {value!r}", column)
        return None

    def _params(self, _: Record) -> Iterator[Event]:
        found = self._texts("params")
        if found:
            yield self._entries.event(ParamsLogged, found)

    def _tags(self, _: Record) -> Iterator[Event]:
        found = self._texts("tags")
        if found:
            yield self._entries.event(TagsSet, found)

    def _texts(self, table: str) -> dict[str, str]:
        return texts(self._reader.pairs(table, {"run_uuid": self._run_id}))

    # -- what it measured and read -----------------------------------------------------

    def _metrics(self, _: Record) -> Iterator[Event]:
        measured = self._reading.index.measured_models(self._reader, self._run_id)
        source = metric_points.Metrics(self._reader, self._run_id, measured)
        for columns in source.batches():
            yield self._entries.event(MetricsLogged, *columns)
        for reason, lost in source.problems():
            self._reading.report(Problem(f"metrics, run {self._run_id}", reason, lost))

    def _inputs(self, _: Record) -> Iterator[Event]:
        datasets = [self._dataset(*row) for row in self._dataset_inputs()]
        datasets.sort(key=lambda found: (str(found["name"]), str(found["digest"])))
        where = {
            "source_type": "RUN_INPUT",
            "source_id": self._run_id,
            "destination_type": "MODEL_INPUT",
        }
        found = [str(m) for (m,) in self._reader.rows("inputs", ("destination_id",), where)]
        if datasets or found:
            yield self._entries.event(InputsLogged, datasets, sorted(found))

    def _dataset_inputs(self) -> list[tuple[str, str]]:
        where = {"destination_type": "RUN", "destination_id": self._run_id}
        names = ("source_id", "input_uuid", "source_type")
        rows = self._reader.rows("inputs", names, where)
        return [(str(dataset), str(given)) for dataset, given, kind in rows if kind == "DATASET"]

    def _dataset(self, dataset_id: str, input_id: str) -> dict[str, Any]:
        found = next(self._reader.records("datasets", {"dataset_uuid": dataset_id}), None)
        tags = texts(self._reader.pairs("input_tags", {"input_uuid": input_id}, "name"))
        if found is None:
            self._report(f"its input {dataset_id} is no data set of the database", "the data set")
            found = {}
        return {**{n: found.get(n, found.get(f"dataset_{n}")) for n in _DATASET}, "tags": tags}

    # -- models, artifacts, traces -----------------------------------------------------

    def _models(self, _: Record) -> Iterator[Event]:
        ids = self._reading.index.models(self._reader, self._run_id)
        yield from models.logged(self._reading, ids)

    def _outputs(self, _: Record) -> Iterator[Event]:
        where = {
            "source_type": "RUN_OUTPUT",
            "source_id": self._run_id,
            "destination_type": "MODEL_OUTPUT",
        }
        rows = self._reader.rows("inputs", ("destination_id", "step"), where)
        found = sorted((str(model), step or 0) for model, step in rows)
        if found:
            yield self._entries.event(OutputsLogged, found)

    def _artifacts(self, found: Record) -> Iterator[Event]:
        files = self._reading.artifacts.files(found.get("artifact_uri"), self._run_id)
        if files:
            yield self._entries.event(ArtifactsLogged, files)
        ids = self._reading.index.models(self._reader, self._run_id)
        yield from models.artifacts(self._reading, ids)

    def _model_points(self, _: Record) -> Iterator[Event]:
        ids = self._reading.index.measured_models(self._reader, self._run_id)
        yield from models.points(self._reading, self._run_id, ids)

    def _traces(self, _: Record) -> Iterator[Event]:
        index = self._reading.index
        yield from traces.logged(self._reading, index.traces(self._reader, self._run_id))
        linked = index.linked_traces(self._reader, self._run_id)
        if linked:
            yield self._entries.linked_traces(self._run_id, linked)


def _fields(found: Record) -> dict[str, Any]:
    """Give what else the store says of a run; that it says nothing of its source is nothing."""
    fields = others(found, _OWN)
    if fields.get("source_type") == "UNKNOWN":
        del fields["source_type"]
    return {name: value for name, value in fields.items() if value != ""}
