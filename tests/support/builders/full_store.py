"""Fills a store with objects of every kind that MLflow 3 stores, through MLflow's own classes."""

from __future__ import annotations

import base64
import json
from typing import Any, NamedTuple

import pytest

RUNS = ("parent", "child", "deleted", "failed", "bare")
TIME_MS = 1_700_000_000_123


class StoreIds(NamedTuple):
    """Ids of the objects in a filled store, by name."""

    experiments: dict[str, str]
    runs: dict[str, str]
    models: dict[str, str]
    traces: dict[str, str]


def fill(uri: str, *, case_sensitive: bool = True) -> StoreIds:
    """Fill the store at ``uri``, which may belong to a server.

    ``case_sensitive`` adds keys that differ only in case, which MySQL considers equal.
    """
    pytest.importorskip("mlflow", minversion="3.10")
    from mlflow.tracking._model_registry.utils import _get_store as registry_of
    from mlflow.tracking._tracking_service.utils import _get_store as tracking_of

    store, registry = tracking_of(uri), registry_of(uri)
    experiments = _experiments(store)
    runs = _runs(store, experiments["main"], *(("LR", "Loss") if case_sensitive else ("R", "Oss")))
    models = _models(store, experiments["main"], runs)
    traces = _traces(store, experiments["main"], runs["parent"])
    _registry(registry, runs, models)
    _evaluation(store, experiments["main"])
    _webhook(registry)
    store.delete_run(runs["deleted"])
    store.delete_experiment(experiments["gone"])
    return StoreIds(experiments, runs, models, traces)


def _experiments(store: Any) -> dict[str, str]:
    from mlflow.entities import ExperimentTag

    ids = {name: store.create_experiment(name) for name in ("main", "gone", "ä / ö")}
    store.set_experiment_tag(ids["main"], ExperimentTag("team", "näher\nlines"))
    return ids


def _runs(store: Any, experiment_id: str, param: str, metric: str) -> dict[str, str]:
    from mlflow.entities import Metric, Param, RunStatus, RunTag

    runs = {}
    for number, name in enumerate(RUNS):
        tags = [RunTag("mlflow.parentRunId", runs["parent"])] if name == "child" else []
        run = store.create_run(experiment_id, "ada", TIME_MS + number, tags, name)
        runs[name] = run.info.run_id
    points = [
        *(Metric("loss", 1.0 / (i + 1), TIME_MS + i, i) for i in range(50)),
        Metric("loss", 0.0, TIME_MS, 0),
        Metric("odd", float("nan"), TIME_MS, 1),
        Metric("odd", 0.0, TIME_MS, 1),
        Metric("odd", float("inf"), TIME_MS, 2),
        Metric("odd", float("-inf"), TIME_MS, 3),
        Metric("odd", -0.0, TIME_MS - 5, -7),
        Metric("a/b c", 1e-300, 0, 0),
        Metric(metric, 2.5, 5, 2**40),
    ]
    values = {"lr": "0.1", "text": "näher\nlines", "a/b": "", param: "1"}
    params = [Param(key, value) for key, value in values.items()]
    tags = [RunTag("note", "x" * 3000), RunTag("mlflow.source.name", "train.py")]
    store.log_batch(runs["parent"], points, params, tags)
    store.log_batch(runs["child"], [Metric("loss", 0.25, TIME_MS, 0)], params[:1], [])
    store.log_batch(runs["deleted"], [Metric("loss", 0.5, TIME_MS, 0)], params[:2], [])
    for name, status in (("parent", RunStatus.FINISHED), ("failed", RunStatus.FAILED)):
        store.update_run_info(runs[name], status, TIME_MS + 9000, None)
    return runs


def _models(store: Any, experiment_id: str, runs: dict[str, str]) -> dict[str, str]:
    from mlflow.entities import (
        Dataset,
        DatasetInput,
        InputTag,
        LoggedModelInput,
        LoggedModelOutput,
        LoggedModelParameter,
        LoggedModelStatus,
        LoggedModelTag,
        Metric,
    )

    def model(name: str, run: str | None) -> str:
        logged_model = store.create_logged_model(
            experiment_id,
            name,
            runs[run] if run else None,
            [LoggedModelTag("kind", name)],
            [LoggedModelParameter("depth", "3")],
            "tree",
        )
        return str(logged_model.model_id)

    ids = {"own": model("own", "parent"), "loose": model("loose", None)}
    ids["second"] = model("second", "parent")
    store.finalize_logged_model(ids["own"], LoggedModelStatus.READY)
    store.set_logged_model_tags(ids["own"], [LoggedModelTag("stage", "gold")])
    shared = [
        Metric("accuracy", 0.9, TIME_MS, 1, ids["own"], "iris", "d1", runs["parent"]),
        Metric("accuracy", 0.9, TIME_MS, 1, ids["second"], None, None, runs["parent"]),
        Metric("accuracy", 0.8, TIME_MS, 0, ids["loose"], None, None, runs["parent"]),
    ]
    for metric in shared:
        store.log_metric(runs["parent"], metric)
    store.log_metric(runs["parent"], Metric("accuracy", 0.7, TIME_MS + 1, 2))
    datasets = [
        DatasetInput(
            Dataset("iris", digest, "local", '{"uri": "x.csv"}', '{"a": 1}', '{"rows": 3}'),
            [InputTag("mlflow.data.context", context)],
        )
        for digest, context in (("d1", "train"), ("d2", "eval"))
    ]
    store.log_inputs(runs["parent"], datasets)
    store.log_inputs(runs["child"], datasets[:1], [LoggedModelInput(ids["own"])])
    store.log_outputs(runs["parent"], [LoggedModelOutput(ids["own"], 3)])
    return ids


def _span(trace_id: str, span_id: int, parent: int | None) -> dict[str, Any]:
    def text(number: int, size: int) -> str:
        return base64.b64encode(number.to_bytes(size, "big")).decode()

    return {
        "trace_id": text(int(trace_id.removeprefix("tr-"), 16), 16),
        "span_id": text(span_id, 8),
        "parent_span_id": text(parent, 8) if parent is not None else None,
        "name": f"span {span_id}",
        "start_time_unix_nano": TIME_MS * 1_000_000 + span_id,
        "end_time_unix_nano": TIME_MS * 1_000_000 + 500 + span_id,
        "events": [],
        "status": {"code": "STATUS_CODE_OK", "message": ""},
        "attributes": {
            "mlflow.traceRequestId": json.dumps(trace_id),
            "mlflow.spanInputs": json.dumps({"x": [1, 2.5, None]}),
            "mlflow.spanOutputs": json.dumps("ünder"),
            "mlflow.spanType": json.dumps("LLM"),
        },
        "links": [],
    }


def _traces(store: Any, experiment_id: str, run_id: str) -> dict[str, str]:
    from mlflow.entities import AssessmentSource, Expectation, Feedback, Span, TraceInfo, TraceState
    from mlflow.entities.trace_location import TraceLocation

    ids = {}
    for number, name in enumerate(("of the run", "loose", "linked"), 1):
        trace_id = ids[name] = f"tr-{number:032x}"
        metadata = {"mlflow.sourceRun": run_id} if name == "of the run" else {}
        info = TraceInfo(
            trace_id,
            TraceLocation.from_experiment_id(experiment_id),
            TIME_MS + number,
            TraceState.OK,
            request_preview='{"x": 1}',
            execution_duration=5,
            trace_metadata={**metadata, "mlflow.trace.session": "s-1", "own": "1"},
            tags={"mlflow.traceName": name, "kind": "test"},
        )
        store.start_trace(info)
        spans = [Span.from_dict(_span(trace_id, 1, None)), Span.from_dict(_span(trace_id, 2, 1))]
        store.log_spans(experiment_id, spans)
    human = AssessmentSource("HUMAN", "ada")
    common = {"trace_id": ids["of the run"], "source": human}
    first = store.create_assessment(
        Feedback("good", {"score": 0.5}, rationale="so so", metadata={"a": "b"}, **common)
    )
    corrected = Feedback("good", True, overrides=first.assessment_id, **common)
    store.create_assessment(corrected)
    store.create_assessment(Expectation("answer", ["a", 1], span_id="0001", **common))
    store.link_traces_to_run([ids["linked"]], run_id)
    return ids


def _registry(registry: Any, runs: dict[str, str], models: dict[str, str]) -> None:
    from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag

    registry.create_registered_model("iris", [RegisteredModelTag("team", "a")], "flowers")
    registry.create_registered_model("it's empty")
    for number in range(1, 4):
        registry.create_model_version(
            "iris",
            f"s3://bucket/{number}",
            runs["parent"],
            [ModelVersionTag("number", str(number))],
            None,
            f"version {number}",
        )
    registry.transition_model_version_stage("iris", "2", "Production", False)
    registry.delete_model_version("iris", "3")
    registry.set_registered_model_alias("iris", "champion", "2")
    registry.set_registered_model_alias("iris", "challenger", "1")
    registry.create_prompt("hello", "greets", {"lang": "de"})
    registry.create_prompt_version("hello", "Hallo {{name}}", "first", {"tone": "warm"})


def _evaluation(store: Any, experiment_id: str) -> None:
    dataset = store.create_dataset("cases", {"level": "easy"}, [experiment_id])
    records = [
        {"inputs": {"q": "1+1"}, "expectations": {"a": 2}, "tags": {"t": "1"}},
        {"inputs": {"q": "näher"}, "outputs": {"a": [1, None]}},
    ]
    store.upsert_dataset_records(dataset.dataset_id, records)
    for version in ("one", "two"):
        store.register_scorer(experiment_id, "strict", json.dumps({"name": version}))


def _webhook(registry: Any) -> None:
    from mlflow.entities.webhook import WebhookAction, WebhookEntity, WebhookEvent

    event = WebhookEvent(WebhookEntity.REGISTERED_MODEL, WebhookAction.CREATED)
    url = "https://93.184.215.14/T0PSECRET"
    registry.create_webhook("hook", url, [event], "says so", "hush-hush-secret")


def dispose_engines(uri: str) -> None:
    """Close MLflow's connections to a database, so that its server can stop."""
    from mlflow.tracking._model_registry.utils import _get_store as registry_of
    from mlflow.tracking._tracking_service.utils import _get_store as tracking_of

    for store in (tracking_of(uri), registry_of(uri)):
        store.engine.dispose()
