"""Compares what a source has with what a store of MLflow has after ``restore``, field by field.

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
"""All things by kind and id; a thing is a tree of dicts, lists and values."""

MISSING = "(missing)"


@dataclasses.dataclass(frozen=True)
class Difference:
    """One field that is not the same: where, and what it is on each side."""

    place: tuple[str, ...]
    expected: object
    found: object

    def __str__(self) -> str:
        return f"{' / '.join(self.place)}: {self.expected!r} became {self.found!r}"


@dataclasses.dataclass
class Comparison:
    """What was compared: the number of fields, and those that differ."""

    fields: int = 0
    differences: list[Difference] = dataclasses.field(default_factory=list)

    def compare(self, expected: Any, found: Any, place: tuple[str, ...] = ()) -> None:
        """Compare two trees: what is in the first has to be in the second, and no more."""
        if isinstance(expected, Mapping) and isinstance(found, Mapping):
            for key in [*expected, *(key for key in found if key not in expected)]:
                self.compare(
                    expected.get(key, MISSING), found.get(key, MISSING), (*place, str(key))
                )
            return
        self.fields += len(expected) if isinstance(expected, list) else 1
        if _plain(expected) != _plain(found):
            self.differences.append(Difference(place, expected, found))


def _plain(value: Any) -> Any:
    """Give what compares: NaN equals NaN; lists as they are."""
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return value


# -- the source --------------------------------------------------------------------------


def read_source(location: str, **options: Any) -> Store:
    """Give all that a source has."""
    source = open_source(location, **options)
    store: Store = {kind: {} for kind in KINDS}
    for ref in source.runs():
        _take_run(store, source.events(ref))
    _take_others(store, source.store_events())
    source.close()
    return store


KINDS = ("experiments", "runs", "logged models", "registered models", "traces")


def _take_run(store: Store, events: Iterable[Event]) -> None:
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
            run["inputs"] += [_dataset(one) for one in event.datasets]
            run["model inputs"] += event.models
        elif isinstance(event, OutputsLogged):
            run["outputs"] += [tuple(pair) for pair in event.models]
        else:
            others.append(event)
    run["inputs"].sort(key=str)
    run["model inputs"].sort()
    run["outputs"].sort()
    _take_others(store, others)


def _dataset(given: Mapping[str, Any]) -> dict[str, Any]:
    fields = ("name", "digest", "source_type", "source", "schema", "profile")
    return {**{field: given.get(field) for field in fields}, "tags": dict(given.get("tags") or {})}


def _take_others(store: Store, events: Iterable[Event]) -> None:
    for event in events:
        if isinstance(event, ModelLogged):
            _take_model(store["logged models"], event)
        elif isinstance(event, StoreCalled):
            _take_call(store, event.method, event.arguments)


def _take_model(models: dict[str, Any], event: ModelLogged) -> None:
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


def _take_call(store: Store, method: str, given: Mapping[str, Any]) -> None:
    experiments, registered = store["experiments"], store["registered models"]
    if method == "create_experiment":
        experiments[given["experiment_id"]] = {
            "name": given.get("name") or given["experiment_id"],
            "artifact_location": given.get("artifact_location"),
            "lifecycle": given.get("lifecycle_stage") or "active",
            "creation_time": given.get("creation_time"),
            "last_update_time": given.get("last_update_time"),
            "tags": dict(given.get("tags") or {}),
        }
    elif method == "create_registered_model":
        registered[given["name"]] = {
            "description": given.get("description") or "",
            "created": given.get("creation_timestamp"),
            "updated": given.get("last_updated_timestamp"),
            "tags": dict(given.get("tags") or {}),
            "aliases": {},
            "versions": {},
        }
    elif method == "set_registered_model_alias":
        registered[given["name"]]["aliases"][given["alias"]] = str(given["version"])
    elif method == "create_model_version":
        _take_version(registered[given["name"]]["versions"], given)
    elif method == "transition_model_version_stage":
        registered[given["name"]]["versions"][str(given["version"])]["stage"] = given["stage"]
    elif method == "delete_model_version":
        del registered[given["name"]]["versions"][str(given["version"])]
    elif method == "start_trace":
        info = given["trace_info"]
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
        for span in given["spans"]:
            trace_id, span_id, shown = _span(span)
            store["traces"][trace_id]["spans"][span_id] = shown
    elif method == "create_assessment":
        found = given["assessment"]
        store["traces"][found["trace_id"]]["assessments"][found["assessment_id"]] = {
            "name": found.get("name"),
            "value": (found.get("feedback") or found.get("expectation") or {}).get("value"),
            "rationale": found.get("rationale"),
            "source": (found.get("source") or {}).get("source_id"),
            "created": found.get("create_time_ms"),
        }


def _take_version(versions: dict[str, Any], given: Mapping[str, Any]) -> None:
    versions[str(given["version"])] = {
        "source": given.get("source"),
        "run_id": given.get("run_id"),
        "run_link": given.get("run_link"),
        "description": given.get("description") or "",
        "user_id": given.get("user_id"),
        "created": given.get("creation_timestamp"),
        "updated": given.get("last_updated_timestamp"),
        "status": given.get("status") or "READY",
        "status_message": given.get("status_message"),
        "stage": "None",
        "tags": dict(given.get("tags") or {}),
    }


def _span(span: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Give a span's ids and what it says, from MLflow's JSON."""
    import base64

    attributes = {k: _decoded(v) for k, v in (span.get("attributes") or {}).items()}
    span_id, parent = span["span_id"], span.get("parent_span_id") or None
    ids = [
        base64.b64decode(one).hex() if one is not None and len(one) == 12 else one
        for one in (span_id, parent)
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
    """Give all that a store has, as ``MlflowClient`` shows it."""
    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    client = MlflowClient(tracking_uri, tracking_uri)
    store: Store = {kind: {} for kind in KINDS}
    for found in _pages(client.search_experiments, view_type=ViewType.ALL):
        store["experiments"][found.experiment_id] = {
            "name": found.name,
            "artifact_location": found.artifact_location,
            "lifecycle": found.lifecycle_stage,
            "creation_time": found.creation_time,
            "last_update_time": found.last_update_time,
            "tags": dict(found.tags),
        }
    ids = list(store["experiments"])
    for found in _pages(lambda **page: client.search_runs(ids, run_view_type=ViewType.ALL, **page)):
        store["runs"][found.info.run_id] = _run_of_client(client, found)
    for found in _pages(client.search_registered_models):
        store["registered models"][found.name] = _registered_of_client(client, found)
    _read_models(client, store, ids)
    _read_traces(client, store, ids)
    return store


def _pages(search: Any, **given: Any) -> Iterator[Any]:
    token = None
    while True:
        page = search(page_token=token, **given)
        yield from page
        token = page.token
        if not token:
            return


def _run_of_client(client: Any, found: Any) -> dict[str, Any]:
    info, data = found.info, found.data
    inputs, outputs = found.inputs, getattr(found, "outputs", None)
    datasets = [
        {
            **{
                field: getattr(one.dataset, field)
                for field in ("name", "digest", "source_type", "source", "schema", "profile")
            },
            "tags": {tag.key: tag.value for tag in one.tags},
        }
        for one in (inputs.dataset_inputs if inputs else ())
    ]
    models = [one.model_id for one in (getattr(inputs, "model_inputs", None) or ())]
    made = [(one.model_id, one.step) for one in (getattr(outputs, "model_outputs", None) or ())]
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
        "outputs": sorted(made),
    }


def _registered_of_client(client: Any, found: Any) -> dict[str, Any]:
    quoted = found.name.replace("'", "''")
    versions = _pages(lambda **page: client.search_model_versions(f"name='{quoted}'", **page))
    return {
        "description": found.description or "",
        "created": found.creation_timestamp,
        "updated": found.last_updated_timestamp,
        "tags": dict(found.tags),
        "aliases": {alias: str(version) for alias, version in found.aliases.items()},
        "versions": {
            str(one.version): {
                "source": one.source,
                "run_id": one.run_id,
                "run_link": one.run_link,
                "description": one.description or "",
                "user_id": one.user_id,
                "created": one.creation_timestamp,
                "updated": one.last_updated_timestamp,
                "status": one.status,
                "status_message": one.status_message,
                "stage": one.current_stage,
                "tags": dict(one.tags),
            }
            for one in versions
        },
    }


def _read_models(client: Any, store: Store, experiments: list[str]) -> None:
    if not hasattr(client, "search_logged_models"):
        return
    for found in _pages(lambda **page: client.search_logged_models(experiments, **page)):
        store["logged models"][found.model_id] = {
            "experiment_id": found.experiment_id,
            "name": found.name,
            "type": found.model_type or "",
            "status": str(found.status.value),
            "location": found.artifact_location,
            "created": found.creation_timestamp,
            "updated": found.last_updated_timestamp,
            "source_run_id": found.source_run_id or "",
            "params": dict(found.params),
            "tags": dict(found.tags),
            "lifecycle": "active",
        }


def _read_traces(client: Any, store: Store, experiments: list[str]) -> None:
    if not hasattr(client, "search_traces"):
        return
    for found in _pages(
        lambda **page: client.search_traces(experiments, include_spans=False, **page)
    ):
        info = found.info
        trace = client.get_trace(info.trace_id, display=False) if _in_store(info) else found
        spans = [_span(one.to_dict()) for one in trace.data.spans]
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
                one.assessment_id: {
                    "name": one.name,
                    "value": getattr(one.feedback or one.expectation, "value", None),
                    "rationale": one.rationale,
                    "source": one.source.source_id,
                    "created": one.create_time_ms,
                }
                for one in info.assessments
            },
        }


def _in_store(info: Any) -> bool:
    return bool(info.tags.get("mlflow.trace.spansLocation") == "TRACKING_STORE")


# -- points ------------------------------------------------------------------------------


def collapsed(points: Iterable[Point]) -> list[Point]:
    """Give points as a database holds them: those that are equal in all of the key once."""
    found: dict[tuple[Any, ...], Point] = {}
    for value, step, timestamp in points:
        held = "NaN" if math.isnan(value) else value
        found.setdefault((held, step, timestamp), (value, step, timestamp))
    return list(found.values())


def as_database(store: Store) -> int:
    """Make of a source's points what a database holds and shows; gives how many were equal.

    MLflow's databases have each point once, and its client shows them by time, step, value.
    """
    equal = 0
    for run in store["runs"].values():
        for key, points in run["metrics"].items():
            kept = collapsed(points)
            equal += len(points) - len(kept)
            run["metrics"][key] = sorted(kept, key=_shown)
    return equal


def _shown(point: Point) -> tuple[int, int, float]:
    value, step, timestamp = point
    return timestamp, step, 0.0 if math.isnan(value) else value


def order_of_logging(path: str) -> dict[tuple[str, str], list[Point]]:
    """Give all points of a SQLite store in the order in which they were written."""
    found: dict[tuple[str, str], list[Point]] = {}
    connection = sqlite3.connect(path)
    for run_id, key, value, step, timestamp, is_nan in connection.execute(
        "SELECT run_uuid, key, value, step, timestamp, is_nan FROM metrics ORDER BY rowid"
    ):
        point = (math.nan if is_nan else value, step, timestamp)
        found.setdefault((run_id, key), []).append(point)
    connection.close()
    return found


def compare(expected: Store, found: Store) -> Comparison:
    """Compare two stores."""
    result = Comparison()
    for kind in KINDS:
        result.compare(expected[kind], found[kind], (kind,))
    return result


def main(source: str, tracking_uri: str) -> int:
    """Print all differences; the exit code says whether there are any."""
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
