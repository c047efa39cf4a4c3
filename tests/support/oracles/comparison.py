"""Compare a source with the MLflow store that was restored from it, field by field.

    python tests/comparison.py SOURCE TRACKING_URI

The source is read through ``yprov_mlflow.prov.sources``, the store through ``MlflowClient`` alone.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from yprov_mlflow.prov.events import (
    Event,
    InputsLogged,
    MetricsLogged,
    ModelLogged,
    OutputsLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
    StoreCalled,
    TagsSet,
)
from yprov_mlflow.prov.sources import open_source

Point = tuple[float, int, int]
Store = dict[str, dict[str, Any]]
"""Records by kind and id; a record is a tree of dicts, lists and values."""

MISSING = "(missing)"


@dataclasses.dataclass(frozen=True)
class Difference:
    """A field that differs: its path, and its value on each side."""

    path: tuple[str, ...]
    expected: object
    actual: object

    def __str__(self) -> str:
        return f"{' / '.join(self.path)}: {self.expected!r} became {self.actual!r}"


@dataclasses.dataclass
class Comparison:
    """The number of compared fields, and those that differ."""

    fields: int = 0
    differences: list[Difference] = dataclasses.field(default_factory=list)

    def compare(self, expected: Any, actual: Any, path: tuple[str, ...] = ()) -> None:
        """Add the differences between two trees."""
        if isinstance(expected, Mapping) and isinstance(actual, Mapping):
            for key in [*expected, *(key for key in actual if key not in expected)]:
                self.compare(
                    expected.get(key, MISSING), actual.get(key, MISSING), (*path, str(key))
                )
            return
        self.fields += len(expected) if isinstance(expected, list) else 1
        if _plain(expected) != _plain(actual):
            self.differences.append(Difference(path, expected, actual))


def _plain(value: Any) -> Any:
    """Return a value for comparison, in which NaN equals NaN."""
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


# -- the source --------------------------------------------------------------------------


def read_source(location: str, **options: Any) -> Store:
    """Return the content of a source."""
    source = open_source(location, **options)
    store: Store = {kind: {} for kind in KINDS}
    for ref in source.runs():
        _add_run(store, source.events(ref))
    _add_others(store, source.store_events())
    source.close()
    return store


KINDS = ("experiments", "runs", "logged models", "registered models", "traces")


def _add_run(store: Store, events: Iterable[Event]) -> None:
    run: dict[str, Any] = {
        "params": {},
        "tags": {},
        "metrics": {},
        "inputs": [],
        "model inputs": [],
        "outputs": [],
    }
    others = []
    for event in events:
        if isinstance(event, RunCreated):
            store["runs"][event.run_id] = run
            run["experiment_id"] = event.experiment_id
            run["name"], run["user_id"] = event.run_name, event.user_id
            run["start_time"], run["artifact_uri"] = event.start_time_ms, event.artifact_uri
            store["experiments"].setdefault(
                event.experiment_id, {"name": event.experiment_name or event.experiment_id}
            )
        elif isinstance(event, RunUpdated):
            run["status"], run["end_time"] = event.status, event.end_time_ms
            run["lifecycle"] = event.lifecycle or "active"
        elif isinstance(event, ParamsLogged):
            run["params"].update(event.params)
        elif isinstance(event, TagsSet):
            run["tags"].update(event.tags)
        elif isinstance(event, MetricsLogged):
            points = zip(event.values, event.steps, event.timestamps_ms, strict=True)
            for key, point in zip(event.keys, points, strict=True):
                run["metrics"].setdefault(key, []).append(point)
        elif isinstance(event, InputsLogged):
            run["inputs"] += map(_dataset, event.datasets)
            run["model inputs"] += event.models
        elif isinstance(event, OutputsLogged):
            run["outputs"] += [tuple(pair) for pair in event.models]
        else:
            others.append(event)
    run["inputs"].sort(key=str)
    run["model inputs"].sort()
    run["outputs"].sort()
    _add_others(store, others)


def _dataset(logged: Mapping[str, Any]) -> dict[str, Any]:
    fields = ("name", "digest", "source_type", "source", "schema", "profile")
    return {
        **{field: logged.get(field) for field in fields},
        "tags": dict(logged.get("tags") or {}),
    }


def _add_others(store: Store, events: Iterable[Event]) -> None:
    for event in events:
        if isinstance(event, ModelLogged):
            _add_model(store["logged models"], event)
        elif isinstance(event, StoreCalled):
            _add_call(store, event.method, event.arguments)


def _add_model(models: dict[str, Any], event: ModelLogged) -> None:
    if event.status == "DELETED":
        models[event.model_id]["lifecycle"] = "deleted"
        return
    fields = event.fields or {}
    models[event.model_id] = {
        "experiment_id": event.experiment_id,
        "name": event.name,
        "type": event.model_type or "",
        "status": event.status,
        "location": event.artifact_uri,
        "created": event.creation_time_ms,
        "updated": fields.get("last_updated_timestamp_ms"),
        "source_run_id": fields.get("source_run_id") or "",
        "params": dict(event.params or {}),
        "tags": dict(event.tags or {}),
        "lifecycle": fields.get("lifecycle") or "active",
    }


def _add_call(store: Store, method: str, arguments: Mapping[str, Any]) -> None:
    experiments, registered = store["experiments"], store["registered models"]
    if method == "create_experiment":
        experiments[arguments["experiment_id"]] = {
            "name": arguments.get("name") or arguments["experiment_id"],
            "artifact_location": arguments.get("artifact_location"),
            "lifecycle": arguments.get("lifecycle_stage") or "active",
            "creation_time": arguments.get("creation_time"),
            "last_update_time": arguments.get("last_update_time"),
            "tags": dict(arguments.get("tags") or {}),
        }
    elif method == "create_registered_model":
        registered[arguments["name"]] = {
            "description": arguments.get("description") or "",
            "created": arguments.get("creation_timestamp"),
            "updated": arguments.get("last_updated_timestamp"),
            "tags": dict(arguments.get("tags") or {}),
            "aliases": {},
            "versions": {},
        }
    elif method == "set_registered_model_alias":
        registered[arguments["name"]]["aliases"][arguments["alias"]] = str(arguments["version"])
    elif method == "create_model_version":
        _add_version(registered[arguments["name"]]["versions"], arguments)
    elif method == "transition_model_version_stage":
        registered[arguments["name"]]["versions"][str(arguments["version"])]["stage"] = arguments[
            "stage"
        ]
    elif method == "delete_model_version":
        del registered[arguments["name"]]["versions"][str(arguments["version"])]
    elif method == "start_trace":
        info = arguments["trace_info"]
        store["traces"][info["trace_id"]] = {
            "state": info.get("state"),
            "time": info.get("request_time"),
            "duration": info.get("execution_duration"),
            "request": info.get("request_preview"),
            "response": info.get("response_preview"),
            "client id": info.get("client_request_id"),
            "tags": dict(info.get("tags") or {}),
            "metadata": dict(info.get("trace_metadata") or {}),
            "spans": {},
            "assessments": {},
        }
    elif method == "log_spans":
        for span in arguments["spans"]:
            trace_id, span_id, shown = _span(span)
            store["traces"][trace_id]["spans"][span_id] = shown
    elif method == "create_assessment":
        assessment = arguments["assessment"]
        store["traces"][assessment["trace_id"]]["assessments"][assessment["assessment_id"]] = {
            "name": assessment.get("name"),
            "value": (assessment.get("feedback") or assessment.get("expectation") or {}).get(
                "value"
            ),
            "rationale": assessment.get("rationale"),
            "source": (assessment.get("source") or {}).get("source_id"),
            "created": assessment.get("create_time_ms"),
        }


def _add_version(versions: dict[str, Any], arguments: Mapping[str, Any]) -> None:
    versions[str(arguments["version"])] = {
        "source": arguments.get("source"),
        "run_id": arguments.get("run_id"),
        "run_link": arguments.get("run_link"),
        "description": arguments.get("description") or "",
        "user_id": arguments.get("user_id"),
        "created": arguments.get("creation_timestamp"),
        "updated": arguments.get("last_updated_timestamp"),
        "status": arguments.get("status") or "READY",
        "status_message": arguments.get("status_message"),
        "stage": "None",
        "tags": dict(arguments.get("tags") or {}),
    }


def _span(span: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Return trace id, span id and content of a span in MLflow's JSON."""
    import base64

    attributes = {k: _decoded(v) for k, v in (span.get("attributes") or {}).items()}
    span_id, parent = span["span_id"], span.get("parent_span_id") or None
    ids = [
        base64.b64decode(text).hex() if text is not None and len(text) == 12 else text
        for text in (span_id, parent)
    ]
    events = [event.get("name") for event in span.get("events") or ()]
    return (
        attributes["mlflow.traceRequestId"],
        str(ids[0]),
        {
            "parent": ids[1],
            "name": span.get("name"),
            "start": int(span["start_time_unix_nano"]),
            "end": int(span["end_time_unix_nano"] or 0),
            "attributes": attributes,
            "events": events,
        },
    )


def _decoded(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


# -- a store, through its client ---------------------------------------------------------


def read_store(tracking_uri: str) -> Store:
    """Return the content of a store as ``MlflowClient`` shows it."""
    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    client = MlflowClient(tracking_uri, tracking_uri)
    store: Store = {kind: {} for kind in KINDS}
    for experiment in _pages(client.search_experiments, view_type=ViewType.ALL):
        store["experiments"][experiment.experiment_id] = {
            "name": experiment.name,
            "artifact_location": experiment.artifact_location,
            "lifecycle": experiment.lifecycle_stage,
            "creation_time": experiment.creation_time,
            "last_update_time": experiment.last_update_time,
            "tags": dict(experiment.tags),
        }
    ids = list(store["experiments"])
    for run in _pages(lambda **page: client.search_runs(ids, run_view_type=ViewType.ALL, **page)):
        store["runs"][run.info.run_id] = _run_of_client(client, run)
    for model in _pages(client.search_registered_models):
        store["registered models"][model.name] = _registered_of_client(client, model)
    _read_models(client, store, ids)
    _read_traces(client, store, ids)
    return store


def _pages(search: Any, **options: Any) -> Iterator[Any]:
    token = None
    while True:
        page = search(page_token=token, **options)
        yield from page
        token = page.token
        if not token:
            return


def _run_of_client(client: Any, run: Any) -> dict[str, Any]:
    info, data = run.info, run.data
    inputs, outputs = run.inputs, getattr(run, "outputs", None)
    datasets = [
        {
            **{
                field: getattr(item.dataset, field)
                for field in ("name", "digest", "source_type", "source", "schema", "profile")
            },
            "tags": {tag.key: tag.value for tag in item.tags},
        }
        for item in (inputs.dataset_inputs if inputs else ())
    ]
    models = [item.model_id for item in (getattr(inputs, "model_inputs", None) or ())]
    output_models = [
        (item.model_id, item.step) for item in (getattr(outputs, "model_outputs", None) or ())
    ]
    return {
        "experiment_id": info.experiment_id,
        "name": info.run_name,
        "user_id": info.user_id,
        "status": info.status,
        "start_time": info.start_time,
        "end_time": info.end_time,
        "lifecycle": info.lifecycle_stage,
        "artifact_uri": info.artifact_uri,
        "params": dict(data.params),
        "tags": dict(data.tags),
        "metrics": {
            key: [
                (point.value, point.step, point.timestamp)
                for point in client.get_metric_history(info.run_id, key)
            ]
            for key in data.metrics
        },
        "inputs": sorted(datasets, key=str),
        "model inputs": sorted(models),
        "outputs": sorted(output_models),
    }


def _registered_of_client(client: Any, model: Any) -> dict[str, Any]:
    quoted = model.name.replace("'", "''")
    versions = _pages(lambda **page: client.search_model_versions(f"name='{quoted}'", **page))
    return {
        "description": model.description or "",
        "created": model.creation_timestamp,
        "updated": model.last_updated_timestamp,
        "tags": dict(model.tags),
        "aliases": {alias: str(version) for alias, version in model.aliases.items()},
        "versions": {
            str(version.version): {
                "source": version.source,
                "run_id": version.run_id,
                "run_link": version.run_link,
                "description": version.description or "",
                "user_id": version.user_id,
                "created": version.creation_timestamp,
                "updated": version.last_updated_timestamp,
                "status": version.status,
                "status_message": version.status_message,
                "stage": version.current_stage,
                "tags": dict(version.tags),
            }
            for version in versions
        },
    }


def _read_models(client: Any, store: Store, experiments: list[str]) -> None:
    if not hasattr(client, "search_logged_models"):
        return
    for model in _pages(lambda **page: client.search_logged_models(experiments, **page)):
        store["logged models"][model.model_id] = {
            "experiment_id": model.experiment_id,
            "name": model.name,
            "type": model.model_type or "",
            "status": str(model.status.value),
            "location": model.artifact_location,
            "created": model.creation_timestamp,
            "updated": model.last_updated_timestamp,
            "source_run_id": model.source_run_id or "",
            "params": dict(model.params),
            "tags": dict(model.tags),
            "lifecycle": "active",
        }


def _read_traces(client: Any, store: Store, experiments: list[str]) -> None:
    if not hasattr(client, "search_traces"):
        return
    for listed in _pages(
        lambda **page: client.search_traces(experiments, include_spans=False, **page)
    ):
        info = listed.info
        trace = client.get_trace(info.trace_id, display=False) if _in_store(info) else listed
        spans = [_span(span.to_dict()) for span in trace.data.spans]
        store["traces"][info.trace_id] = {
            "state": str(info.state.value),
            "time": info.request_time,
            "duration": info.execution_duration,
            "request": info.request_preview,
            "response": info.response_preview,
            "client id": info.client_request_id,
            "tags": dict(info.tags),
            "metadata": dict(info.trace_metadata),
            "spans": {span_id: shown for _, span_id, shown in spans},
            "assessments": {
                assessment.assessment_id: {
                    "name": assessment.name,
                    "value": getattr(assessment.feedback or assessment.expectation, "value", None),
                    "rationale": assessment.rationale,
                    "source": assessment.source.source_id,
                    "created": assessment.create_time_ms,
                }
                for assessment in info.assessments
            },
        }


def _in_store(info: Any) -> bool:
    return bool(info.tags.get("mlflow.trace.spansLocation") == "TRACKING_STORE")


# -- points ------------------------------------------------------------------------------


def collapsed(points: Iterable[Point]) -> list[Point]:
    """Return points as a database holds them: points with equal primary keys once."""
    distinct: dict[tuple[Any, ...], Point] = {}
    for value, step, timestamp in points:
        number = "NaN" if math.isnan(value) else value
        distinct.setdefault((number, step, timestamp), (value, step, timestamp))
    return list(distinct.values())


def as_database(store: Store) -> int:
    """Change a source's points to those of a database; return the number of equal points.

    MLflow's databases keep equal points once; its client sorts them by time, step and value.
    """
    equal = 0
    for run in store["runs"].values():
        for key, points in run["metrics"].items():
            distinct = collapsed(points)
            equal += len(points) - len(distinct)
            run["metrics"][key] = sorted(distinct, key=_shown)
    return equal


def _shown(point: Point) -> tuple[int, int, float]:
    value, step, timestamp = point
    return timestamp, step, 0.0 if math.isnan(value) else value


def order_of_logging(path: str) -> dict[tuple[str, str], list[Point]]:
    """Return all points of a SQLite store in order of logging."""
    logged: dict[tuple[str, str], list[Point]] = {}
    connection = sqlite3.connect(path)
    for run_id, key, value, step, timestamp, is_nan in connection.execute(
        "SELECT run_uuid, key, value, step, timestamp, is_nan FROM metrics ORDER BY rowid"
    ):
        point = (math.nan if is_nan else value, step, timestamp)
        logged.setdefault((run_id, key), []).append(point)
    connection.close()
    return logged


def compare(expected: Store, actual: Store) -> Comparison:
    """Compare two stores."""
    result = Comparison()
    for kind in KINDS:
        result.compare(expected[kind], actual[kind], (kind,))
    return result


def main(source: str, tracking_uri: str) -> int:
    """Print all differences; return 1 if there are any."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    expected = read_source(source)
    equal = as_database(expected)
    result = compare(expected, read_store(tracking_uri))
    for difference in result.differences:
        print(difference)
    print(
        f"{result.fields} fields compared, {len(result.differences)} differ;"
        f" {equal} points were equal to others"
    )
    return 1 if result.differences else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
