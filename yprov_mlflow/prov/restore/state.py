"""What a store holds, as plain data: runs, experiments, models, the registry, traces."""

from __future__ import annotations

import dataclasses
from array import array
from typing import Any

from yprov_mlflow.prov.events import Json

Dataset = tuple[str | None, str | None]
"""Name and digest of the data set that a value was measured on."""


@dataclasses.dataclass
class Points:
    """The points of one metric, in the order in which they were logged.

    ``models`` and ``datasets`` are by position; what has neither is not in them.
    """

    values: array[float] = dataclasses.field(default_factory=lambda: array("d"))
    timestamps_ms: array[int] = dataclasses.field(default_factory=lambda: array("q"))
    steps: array[int] = dataclasses.field(default_factory=lambda: array("q"))
    models: dict[int, str] = dataclasses.field(default_factory=dict)
    datasets: dict[int, Dataset] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Run:
    """A run; ``fields`` is what else its store said of it.

    ``known`` is false while nothing told of its creation: then nobody knows its experiment.
    """

    run_id: str
    experiment_id: str = ""
    experiment_name: str | None = None
    name: str | None = None
    user_id: str | None = None
    status: str | None = None
    start_time_ms: int | None = None
    end_time_ms: int | None = None
    lifecycle: str = "active"
    artifact_uri: str | None = None
    known: bool = False
    store: dict[str, str] = dataclasses.field(default_factory=dict)
    fields: dict[str, Json] = dataclasses.field(default_factory=dict)
    params: dict[str, str] = dataclasses.field(default_factory=dict)
    tags: dict[str, str] = dataclasses.field(default_factory=dict)
    points: dict[str, Points] = dataclasses.field(default_factory=dict)
    datasets: list[dict[str, Json]] = dataclasses.field(default_factory=list)
    models_in: list[str] = dataclasses.field(default_factory=list)
    models_out: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    artifacts: dict[str, dict[str, Json]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Experiment:
    """An experiment."""

    experiment_id: str
    name: str | None = None
    artifact_location: str | None = None
    creation_time_ms: int | None = None
    last_update_time_ms: int | None = None
    lifecycle: str = "active"
    tags: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class LoggedModel:
    """A logged model (MLflow 3); ``metrics`` are those that no run of this estate has."""

    model_id: str
    experiment_id: str | None = None
    name: str | None = None
    model_type: str | None = None
    status: str | None = None
    status_message: str | None = None
    artifact_location: str | None = None
    source_run_id: str | None = None
    creation_time_ms: int | None = None
    last_updated_ms: int | None = None
    lifecycle: str = "active"
    fields: dict[str, Json] = dataclasses.field(default_factory=dict)
    params: dict[str, str] = dataclasses.field(default_factory=dict)
    tags: dict[str, str] = dataclasses.field(default_factory=dict)
    metrics: list[dict[str, Json]] = dataclasses.field(default_factory=list)
    artifacts: dict[str, dict[str, Json]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class ModelVersion:
    """A version of a registered model; ``fields`` has its other columns by their names."""

    version: int
    stage: str | None = None
    fields: dict[str, Json] = dataclasses.field(default_factory=dict)
    tags: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class RegisteredModel:
    """A registered model, or a prompt."""

    name: str
    description: str | None = None
    creation_time_ms: int | None = None
    last_updated_ms: int | None = None
    tags: dict[str, str] = dataclasses.field(default_factory=dict)
    aliases: dict[str, int] = dataclasses.field(default_factory=dict)
    versions: dict[int, ModelVersion] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Trace:
    """A trace; spans and assessments are MLflow's objects as JSON, by their ids.

    ``known`` is false while only spans or assessments of it are. ``runs`` are those that it was
    linked to, ``prompts`` are such as ``name/1``.
    """

    trace_id: str
    known: bool = False
    experiment_id: str | None = None
    request_time_ms: int | None = None
    duration_ms: int | None = None
    state: str | None = None
    request_preview: str | None = None
    response_preview: str | None = None
    client_request_id: str | None = None
    tags: dict[str, str] = dataclasses.field(default_factory=dict)
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)
    spans: dict[str, dict[str, Json]] = dataclasses.field(default_factory=dict)
    assessments: dict[str, dict[str, Json]] = dataclasses.field(default_factory=dict)
    runs: list[str] = dataclasses.field(default_factory=list)
    prompts: list[str] = dataclasses.field(default_factory=list)
    artifacts: dict[str, dict[str, Json]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class EvaluationDataset:
    """A data set that the store itself keeps; ``row`` and ``records`` are as its tables are."""

    dataset_id: str
    row: dict[str, Json] = dataclasses.field(default_factory=dict)
    tags: dict[str, str] = dataclasses.field(default_factory=dict)
    experiments: list[str] = dataclasses.field(default_factory=list)
    records: dict[str, dict[str, Json]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class StoreState:
    """All that belongs to no single run.

    ``rows`` are rows of tables that this package knows nothing else of, ``left`` the calls of
    which no state follows.
    """

    experiments: dict[str, Experiment] = dataclasses.field(default_factory=dict)
    models: dict[str, LoggedModel] = dataclasses.field(default_factory=dict)
    registered: dict[str, RegisteredModel] = dataclasses.field(default_factory=dict)
    traces: dict[str, Trace] = dataclasses.field(default_factory=dict)
    datasets: dict[str, EvaluationDataset] = dataclasses.field(default_factory=dict)
    scorers: list[dict[str, Json]] = dataclasses.field(default_factory=list)
    rows: dict[str, list[dict[str, Any]]] = dataclasses.field(default_factory=dict)
    left: list[tuple[str, dict[str, Json]]] = dataclasses.field(default_factory=list)
