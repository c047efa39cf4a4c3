"""What a store holds, through MLflow's client: the same for equal stores of any kind."""

from __future__ import annotations

import hashlib
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import ViewType

LOCATIONS = ("mlflow.artifactLocation", "mlflow.trace.spansLocation")
Contents = dict[str, Any]


def contents(uri: str, *, runs_only: bool = False) -> Contents:
    """Return experiments, runs, models, registry and traces of a store by their ids."""
    client: Any = mlflow.MlflowClient(uri, uri)
    experiments = client.search_experiments(ViewType.ALL)
    ids = [experiment.experiment_id for experiment in experiments]
    runs = client.search_runs(ids, run_view_type=ViewType.ALL, max_results=50_000)
    result: Contents = {
        "experiments": {
            e.experiment_id: (e.name, e.lifecycle_stage, dict(e.tags)) for e in experiments
        },
        "runs": {run.info.run_id: _run(client, run) for run in runs},
    }
    if runs_only:
        return result
    return {
        **result,
        "models": {m.model_id: _model(m) for m in client.search_logged_models(ids)},
        "registry": {m.name: _registered(client, m) for m in client.search_registered_models()},
        "traces": {
            trace.info.trace_id: _trace(trace)
            for trace in client.search_traces(locations=ids, max_results=500)
        },
    }


def _run(client: Any, run: Any) -> Contents:
    info, run_id = run.info, run.info.run_id
    histories = {key: client.get_metric_history(run_id, key) for key in run.data.metrics}
    inputs = run.inputs.dataset_inputs if run.inputs else []
    return {
        "info": (info.experiment_id, info.run_name, info.user_id, info.status),
        "times": (info.start_time, info.end_time, info.lifecycle_stage),
        "params": dict(run.data.params),
        "tags": {k: v for k, v in run.data.tags.items() if not k.startswith("yprov.")},
        # Databases merge equal points.
        "metrics": {key: sorted(set(map(_point, points))) for key, points in histories.items()},
        "latest": {key: _number(value) for key, value in run.data.metrics.items()},
        "datasets": sorted(
            (i.dataset.name, i.dataset.digest, sorted((t.key, t.value) for t in i.tags))
            for i in inputs
        ),
        "models": (
            sorted(m.model_id for m in getattr(run.inputs, "model_inputs", None) or ()),
            sorted((m.model_id, m.step) for m in getattr(run.outputs, "model_outputs", None) or ()),
        ),
        "artifacts": {} if info.lifecycle_stage == "deleted" else _artifacts(run_id, client),
    }


def _point(point: Any) -> tuple[int, int, str]:
    return point.step, point.timestamp, _number(point.value)


def _number(value: float) -> str:
    # Databases keep the largest float for infinity, and SQLite has no negative zero.
    if math.isinf(value):
        value = math.copysign(sys.float_info.max, value)
    return repr(value + 0.0)


def _artifacts(run_id: str, client: Any) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as out:
        paths = [info.path for info in client.list_artifacts(run_id)]
        for path in paths:
            if path != "provenance":
                client.download_artifacts(run_id, path, out)
        files = sorted(file for file in Path(out).rglob("*") if file.is_file())
        hashes = {
            str(file.relative_to(out)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in files
        }
    return {**hashes, **({"provenance": "there"} if "provenance" in paths else {})}


def _model(model: Any) -> Contents:
    return {
        "info": (model.name, model.experiment_id, str(model.status), model.source_run_id),
        "params": dict(model.params),
        "tags": {k: v for k, v in model.tags.items() if not k.startswith("yprov.")},
        "metrics": sorted((m.key, *_point(m), m.run_id) for m in model.metrics or ()),
    }


def _registered(client: Any, model: Any) -> Contents:
    versions = client.search_model_versions(f"name = '{model.name}'")
    return {
        "description": model.description or "",
        "tags": {k: v for k, v in model.tags.items() if not k.startswith("yprov.")},
        "aliases": {alias: str(version) for alias, version in dict(model.aliases).items()},
        "versions": {
            str(v.version): (v.source, v.run_id, v.current_stage, v.description or "", v.tags)
            for v in versions
        },
    }


def _trace(trace: Any) -> Contents:
    info = trace.info
    return {
        "info": (info.experiment_id, str(info.state), info.request_time),
        "tags": {key: value for key, value in info.tags.items() if key not in LOCATIONS},
        "spans": sorted(
            (span.span_id, span.name, span.parent_id or "") for span in trace.data.spans
        ),
        "assessments": sorted((a.name, _text(a.value)) for a in info.assessments),
    }


def _text(value: object) -> str:
    # Servers answer with floats only.
    return repr(float(value)) if isinstance(value, int | float) else str(value)
