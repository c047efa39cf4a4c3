"""What MLflow's client says of a store, as facts that documents can be compared with."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run, Trace, ViewType

Facts = dict[str, Counter[tuple[Any, ...]]]
"""Facts by kind. A fact starts with the id of the run or object that it is about."""

OUTSIDE_OF_RUNS = "store"
"""The owner of what belongs to no run."""

NOT_LOGGED = "registered_model_meta"
"""A file that MLflow writes beside a model when it loads the model by its registered name."""

TAGS_OF_STORE = ("mlflow.artifactLocation", "mlflow.trace.spansLocation")
"""Tags of traces that a store sets on its own and that no call has; conversion reads them."""


def read_store(uri: str) -> Facts:
    """Return all facts of a store."""
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    facts: Facts = defaultdict(Counter)
    experiments = [e.experiment_id for e in client.search_experiments(view_type=ViewType.ALL)]
    runs = client.search_runs(experiments, run_view_type=ViewType.ALL, max_results=1000)
    for run in runs:
        for kind, rows in _run_facts(client, run):
            facts[kind].update(rows)
    for model in client.search_logged_models(experiments, max_results=1000):
        for kind, rows in _model_facts(model):
            facts[kind].update(rows)
    for of_prompts in ("", "tag.`mlflow.prompt.is_prompt` = 'true'"):  # else they are left out
        for version in client.search_model_versions(of_prompts, max_results=1000):
            facts["versions"][version.name, str(version.version), version.source] += 1
    known = {run.info.run_id for run in runs}
    for trace in client.search_traces(locations=experiments, max_results=500):
        for kind, rows in _trace_facts(trace, known):
            facts[kind].update(rows)
    return facts


def _run_facts(client: MlflowClient, run: Run) -> Iterator[tuple[str, Iterable[Any]]]:
    run_id, info, data = run.info.run_id, run.info, run.data
    parent = data.tags.get("mlflow.parentRunId", "")
    yield "runs", [(run_id, info.run_name, info.status, parent, info.start_time, info.end_time)]
    yield "params", [(run_id, *item) for item in data.params.items()]
    yield "tags", [(run_id, *item) for item in data.tags.items()]
    for key, last in data.metrics.items():
        points = client.get_metric_history(run_id, key)
        yield "points", [(run_id, key, p.step, p.timestamp, repr(p.value)) for p in points]
        yield "series", [(run_id, key, len(points), repr(last))]
    for used in run.inputs.dataset_inputs:
        context = {tag.key: tag.value for tag in used.tags}.get("mlflow.data.context")
        yield "datasets", [(run_id, used.dataset.name, used.dataset.digest, context)]
    inputs = client.get_run(run_id).inputs  # a search leaves models out
    yield "model inputs", [(run_id, used.model_id) for used in inputs.model_inputs]
    yield "outputs", [(run_id, o.model_id, o.step) for o in run.outputs.model_outputs]
    yield "files", [(run_id, *file) for file in _files(info.artifact_uri)]


def _model_facts(model: Any) -> Iterator[tuple[str, Iterable[Any]]]:
    model_id = model.model_id
    yield "models", [(model_id, model.name, str(model.status), model.source_run_id or "")]
    yield "model params", [(model_id, *item) for item in (model.params or {}).items()]
    yield "model tags", [(model_id, *item) for item in (model.tags or {}).items()]
    yield (
        "model points",
        {
            (m.run_id, model_id, m.key, m.step, m.timestamp, repr(m.value), m.dataset_digest)
            for m in model.metrics or ()
        },
    )
    yield "files", [(model_id, *file) for file in _files(model.artifact_location)]


def _files(location: str) -> Iterator[tuple[str, str]]:
    """Yield path and SHA-256 of each file; capture's own documents are not part of a store."""
    root = Path(location.removeprefix("file://"))
    for path in root.rglob("*"):
        relative = path.relative_to(root)
        is_logged = relative.parts[0] not in ("provenance", NOT_LOGGED)
        if path.is_file() and is_logged:
            yield str(relative), hashlib.sha256(path.read_bytes()).hexdigest()


def _trace_facts(trace: Trace, runs: set[str]) -> Iterator[tuple[str, Iterable[Any]]]:
    info = trace.info
    named = info.trace_metadata.get("mlflow.sourceRun")
    owner = named if named in runs else OUTSIDE_OF_RUNS
    yield "traces", [(owner, info.trace_id, str(info.state.value))]
    tags = [item for item in info.tags.items() if item[0] not in TAGS_OF_STORE]
    yield "trace tags", [(owner, info.trace_id, *item) for item in tags]
    for span in trace.data.spans:
        about = (owner, info.trace_id, span.span_id)
        times = (span.start_time_ns // 1000, span.end_time_ns // 1000)
        status = span.status.status_code.value
        yield "spans", [(*about, span.name, span.parent_id or "", status, *times)]
        for end, value in (("in", span.inputs), ("out", span.outputs)):
            if value is not None:
                yield "span values", [(*about, end, comparable(value))]
    for assessment in info.assessments:
        feedback, expectation = assessment.feedback, assessment.expectation
        value = feedback.value if feedback else expectation.value if expectation else None
        yield (
            "assessments",
            [
                (
                    *(owner, info.trace_id, assessment.assessment_id, assessment.name),
                    *(comparable(value), assessment.rationale or "", assessment.valid),
                    assessment.source.source_id,
                )
            ],
        )


def comparable(value: Any) -> str:
    """Return a value as text, the same for a value and for its JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return value
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
