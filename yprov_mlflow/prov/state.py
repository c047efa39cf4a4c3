"""The state of an MLflow store as typed records: runs, experiments, models, registry, traces.

Sources of existing runs build these records from database rows, REST objects or files, and
``sources.state_events`` turns them into events. ``restore.replay`` does the inverse.

Each ``fields`` mapping holds the columns or properties without an attribute of their own, by their
names in MLflow's API. Values are JSON; secrets are already withheld.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

from yprov_mlflow.prov.events import Json

# MLflow's version numbers are integers; a damaged store may hold other text, which is kept.
VersionNumber = int | str
# Name and digest of the dataset that a metric was measured on.
Dataset = tuple[str | None, str | None]
T = TypeVar("T")


class Values(dict[str, T]):
    """Tags or aliases that remember the values which were replaced or deleted: ``earlier``, by key.

    A target that holds an earlier value may get the present one. ``update`` and ``pop`` remember
    nothing.
    """

    def __init__(self, values: Mapping[str, T] = MappingProxyType({})) -> None:
        super().__init__(values)
        self.earlier: dict[str, set[T]] = {}

    def __setitem__(self, key: str, value: T) -> None:
        if self.get(key, value) != value:
            self.earlier.setdefault(key, set()).add(self[key])
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self.earlier.setdefault(key, set()).add(self[key])
        super().__delitem__(key)


def was(values: Mapping[str, T], key: str, value: T) -> bool:
    """Return whether a key had this value before the present one."""
    return isinstance(values, Values) and value in values.earlier.get(key, ())


@dataclass
class Points:
    """The points of one metric as columns, in logging order.

    ``models`` and ``datasets`` map the index of a point to its logged model and its dataset;
    points without one are absent.
    """

    values: array[float] = field(default_factory=lambda: array("d"))
    timestamps_ms: array[int] = field(default_factory=lambda: array("q"))
    steps: array[int] = field(default_factory=lambda: array("q"))
    models: dict[int, str] = field(default_factory=dict)
    datasets: dict[int, Dataset] = field(default_factory=dict)


@dataclass
class Run:
    """A run with everything logged to it.

    ``created`` is false until an event with the run's creation was seen; its experiment is
    unknown until then. ``whole`` is false if events of the run were lost. ``store`` has the
    ``uuid`` and ``uri`` of the store. ``output_models`` are pairs of model id and step.
    ``artifacts`` map a path to ``size`` and ``sha256``. ``earlier`` has the values that a field
    had before, by its name.
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
    created: bool = False
    store: dict[str, str] = field(default_factory=dict)
    fields: dict[str, Json] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=Values)
    points: dict[str, Points] = field(default_factory=dict)
    datasets: list[dict[str, Json]] = field(default_factory=list)
    input_models: list[str] = field(default_factory=list)
    output_models: list[tuple[str, int]] = field(default_factory=list)
    artifacts: dict[str, dict[str, Json]] = field(default_factory=dict)
    earlier: dict[str, set[Json]] = field(default_factory=dict, compare=False)
    whole: bool = True


@dataclass
class Experiment:
    """An experiment; ``earlier_names`` are those that it had before it was renamed."""

    experiment_id: str
    name: str | None = None
    artifact_location: str | None = None
    creation_time_ms: int | None = None
    last_update_time_ms: int | None = None
    lifecycle: str = "active"
    tags: dict[str, str] = field(default_factory=Values)
    fields: dict[str, Json] = field(default_factory=dict)
    earlier_names: set[str] = field(default_factory=set, compare=False)


@dataclass
class LoggedModel:
    """A logged model (MLflow 3).

    ``metrics`` are only the points that no run of the store has as well.
    """

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
    fields: dict[str, Json] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=Values)
    metrics: list[dict[str, Json]] = field(default_factory=list)
    artifacts: dict[str, dict[str, Json]] = field(default_factory=dict)


@dataclass
class ModelVersion:
    """A version of a registered model; ``fields`` has its other columns by their names."""

    version: VersionNumber
    stage: str | None = None
    fields: dict[str, Json] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=Values)


@dataclass
class RegisteredModel:
    """A registered model or a prompt, with its versions by number and its aliases."""

    name: str
    description: str | None = None
    creation_time_ms: int | None = None
    last_updated_ms: int | None = None
    tags: dict[str, str] = field(default_factory=Values)
    aliases: dict[str, VersionNumber] = field(default_factory=Values)
    versions: dict[VersionNumber, ModelVersion] = field(default_factory=dict)
    fields: dict[str, Json] = field(default_factory=dict)


@dataclass
class Trace:
    """A trace; spans and assessments are MLflow's objects as JSON, by their ids.

    ``started`` is false while only spans or assessments of the trace were seen. ``runs`` are
    the ids of runs that the trace is linked to, ``prompts`` are linked versions such as
    ``name/1``.
    """

    trace_id: str
    started: bool = False
    experiment_id: str | None = None
    request_time_ms: int | None = None
    duration_ms: int | None = None
    state: str | None = None
    request_preview: str | None = None
    response_preview: str | None = None
    client_request_id: str | None = None
    tags: dict[str, str] = field(default_factory=Values)
    metadata: dict[str, str] = field(default_factory=dict)
    fields: dict[str, Json] = field(default_factory=dict)
    spans: dict[str, dict[str, Json]] = field(default_factory=dict)
    assessments: dict[str, dict[str, Json]] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    artifacts: dict[str, dict[str, Json]] = field(default_factory=dict)


@dataclass
class EvaluationDataset:
    """A dataset kept in the store itself (MLflow 3).

    ``row`` and the records have the columns of MLflow's tables; ``experiments`` are ids.
    """

    dataset_id: str
    row: dict[str, Json] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=Values)
    experiments: list[str] = field(default_factory=list)
    records: dict[str, dict[str, Json]] = field(default_factory=dict)


@dataclass
class StoreState:
    """Everything in a store that belongs to no single run.

    ``scorers`` are rows with ``experiment_id``, ``name`` and the columns of a scorer's version.
    ``table_rows`` are rows of tables without a record type, by table. ``unhandled_calls`` are
    pairs of method and arguments that no state could be derived from.
    """

    experiments: dict[str, Experiment] = field(default_factory=dict)
    models: dict[str, LoggedModel] = field(default_factory=dict)
    registered_models: dict[str, RegisteredModel] = field(default_factory=dict)
    traces: dict[str, Trace] = field(default_factory=dict)
    evaluation_datasets: dict[str, EvaluationDataset] = field(default_factory=dict)
    scorers: list[dict[str, Json]] = field(default_factory=list)
    table_rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    unhandled_calls: list[tuple[str, dict[str, Json]]] = field(default_factory=list)
