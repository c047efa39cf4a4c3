"""Use every call of MLflow 3.17 that writes something at least once.

Run it with plain MLflow, with the drop-in import, or with the tracking URI that captures::

    python examples/every_call.py                                   # plain: nothing is captured
    EVERY_CALL_IMPORT=yprov_mlflow python examples/every_call.py    # import yprov_mlflow as mlflow
    MLFLOW_TRACKING_URI=yprov+sqlite:///mlflow.db python examples/every_call.py

The last line of output is a JSON object with the ids of the objects that the script created.
Values, steps and timestamps are fixed where MLflow accepts them as arguments, so that two runs of
the script are comparable. Calls that a backend does not support (MLflow's file store has no
evaluation datasets, for example) are skipped and listed in ``"left_out"``.

``DOES_NOT_WRITE`` and ``CANNOT_BE_SHOWN`` list all other public names with the reason why the
script does not call them.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

IMPORT = os.environ.get("EVERY_CALL_IMPORT", "mlflow")
mlflow = importlib.import_module(IMPORT)
tracking = importlib.import_module(f"{IMPORT}.tracking")
entities = importlib.import_module(f"{IMPORT}.entities")
MlflowClient = tracking.MlflowClient

START_MS = 1_700_000_000_000
"""A fixed time for timestamps that MLflow accepts as arguments."""

DOES_NOT_WRITE = {
    "ActiveModel": "a class",
    "ActiveRun": "a class",
    "MlflowClient": "a class",
    "MlflowException": "a class",
    "active_run": "reads",
    "clear_active_model": "a setting of this process",
    "context": "a module of tracing contexts",
    "disable_system_metrics_logging": "a setting of this process",
    "doctor": "prints installed versions",
    "enable_system_metrics_logging": "a setting of this process",
    "gateway": "a module for AI gateways",
    "get_active_model_id": "reads",
    "get_active_trace_id": "reads",
    "get_artifact_uri": "reads",
    "get_assessment": "reads",
    "get_current_active_span": "reads",
    "get_dataset": "reads",
    "get_experiment": "reads",
    "get_experiment_by_name": "reads",
    "get_last_active_trace_id": "reads",
    "get_latest_mcp_server_version": "reads",
    "get_latest_versions": "reads",
    "get_logged_model": "reads",
    "get_mcp_access_endpoint": "reads",
    "get_mcp_server": "reads",
    "get_mcp_server_version": "reads",
    "get_mcp_server_version_by_alias": "reads",
    "get_metric_history": "reads",
    "get_model_version": "reads",
    "get_model_version_by_alias": "reads",
    "get_model_version_download_uri": "reads",
    "get_model_version_stages": "reads",
    "get_parent_run": "reads",
    "get_prompt": "reads",
    "get_prompt_version": "reads",
    "get_prompt_version_by_alias": "reads",
    "get_registered_model": "reads",
    "get_registry_uri": "reads",
    "get_run": "reads",
    "get_trace": "reads",
    "get_tracking_uri": "reads",
    "get_webhook": "reads",
    "get_workspace": "reads",
    "get_workspace_store_uri": "reads",
    "is_tracking_uri_set": "reads",
    "last_active_run": "reads",
    "last_logged_model": "reads",
    "list_artifacts": "reads",
    "list_logged_model_artifacts": "reads",
    "list_logged_prompts": "reads",
    "list_webhooks": "reads",
    "list_workspaces": "reads",
    "load_table": "reads",
    "parse_prompt_uri": "parses a string",
    "pyfunc": "a module",
    "search_datasets": "reads",
    "search_experiments": "reads",
    "search_logged_models": "reads",
    "search_mcp_access_endpoints": "reads",
    "search_mcp_server_versions": "reads",
    "search_mcp_servers": "reads",
    "search_model_versions": "reads",
    "search_prompt_versions": "reads",
    "search_prompts": "reads",
    "search_registered_models": "reads",
    "search_runs": "reads",
    "search_sessions": "reads",
    "search_traces": "reads",
    "set_active_model": "a setting of this process",
    "set_registry_uri": "a setting of this process",
    "set_system_metrics_node_id": "a setting of this process",
    "set_system_metrics_samples_before_logging": "a setting of this process",
    "set_system_metrics_sampling_interval": "a setting of this process",
    "set_tracking_uri": "a setting of this process",
    "set_workspace": "a setting of this process",
    "test": "marks a pytest test",
    "tracking_uri": "reads",
    "validate_evaluation_results": "compares existing results",
}
"""Public names that write nothing to a store, with the reason."""

CANNOT_BE_SHOWN = {
    "create_workspace": "needs a server started with --enable-workspaces",
    "delete_workspace": "needs a server started with --enable-workspaces",
    "detach_prompt_from_run": "rejects links created by this version of MLflow",
    "import_checkpoints": "works on Databricks only",
    "login": "asks for Databricks credentials",
    "refresh_mcp_server_version_tools": "needs a running MCP server",
    "test_webhook": "sends a request to the webhook's URL and writes nothing",
    "unlink_traces_from_run": "works on Databricks only",
    "update_workspace": "needs a server started with --enable-workspaces",
}
"""Public names that need more than this script has, with the reason."""

Results = dict[str, Any]
Step = Callable[[Any, Results], None]
STEPS: list[Step] = []


def step(function: Step) -> Step:
    """Register a step; steps run in the order of their definition."""
    STEPS.append(function)
    return function


@step
def experiments(client: Any, results: Results) -> None:
    """Create, rename, tag, delete and restore experiments."""
    results["experiment"] = mlflow.create_experiment("every call", tags={"purpose": "a tour"})
    mlflow.set_experiment("every call")
    mlflow.set_experiment_tag("color", "blue")
    mlflow.set_experiment_tags({"shape": "round", "size": "small"})
    mlflow.delete_experiment_tag("size")
    other = client.create_experiment("every call, renamed later", tags={"order": "2"})
    client.rename_experiment(other, "every call / renamed")
    client.set_experiment_tag(other, "color", "red")
    client.delete_experiment_tag(other, "order")
    mlflow.delete_experiment(other)
    client.restore_experiment(other)
    client.delete_experiment(other)
    mlflow.restore_experiment(other)
    results["other_experiment"] = other


@step
def params_metrics_tags(client: Any, results: Results) -> None:
    """Start the run that most steps write to, and log params, metrics and tags."""
    run = mlflow.start_run(run_name="main", tags={"stage": "draft"}, description="The tour's run.")
    results["run"] = run_id = run.info.run_id
    mlflow.log_param("optimizer", "adam")
    mlflow.log_params({"lr": 0.01, "layers": [64, 32], "data/path": "in.csv"})
    mlflow.log_metric("loss", 0.9, step=0, timestamp=START_MS)
    mlflow.log_metric("loss", 0.5, step=1, timestamp=START_MS + 1000)
    mlflow.log_metrics({"acc": 0.1, "train/f1": 0.2}, step=0, timestamp=START_MS)
    mlflow.set_tag("stage", "final")
    mlflow.set_tags({"team": "red", "temporary": "yes"})
    mlflow.delete_tag("temporary")
    client.log_param(run_id, "client_param", 7)
    client.log_metric(run_id, "client_metric", 2.5, timestamp=START_MS + 5, step=3)
    client.set_tag(run_id, "client_tag", "set")
    client.set_tag(run_id, "client_gone", "soon")
    client.delete_tag(run_id, "client_gone")
    client.log_batch(
        run_id,
        metrics=[entities.Metric("batch", i / 4, START_MS + i, i) for i in range(8)],
        params=[entities.Param("batch_size", "8")],
        tags=[entities.RunTag("batched", "yes")],
    )


@step
def asynchronous(client: Any, results: Results) -> None:
    """Log asynchronously."""
    for i in range(4):
        mlflow.log_metric("async_loss", 2.0**-i, i, timestamp=START_MS + i, synchronous=False)
    mlflow.log_params({"async_param": "later"}, synchronous=False)
    mlflow.set_tag("async_tag", "later", synchronous=False)
    client.log_batch(
        results["run"], [entities.Metric("async_batch", 4.0, START_MS, 0)], synchronous=False
    ).wait()
    mlflow.flush_async_logging()


@step
def artifacts(client: Any, results: Results) -> None:
    """Log artifacts with every call, and overwrite an artifact."""
    import numpy as np
    import pandas as pd

    run_id = results["run"]
    folder = Path("to_log")
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("alpha\n", "utf-8")
    (folder / "deep" / "b c.txt").write_text("beta\n", "utf-8")
    mlflow.log_artifact(str(folder / "a.txt"))
    mlflow.log_artifact(str(folder / "a.txt"), artifact_path="texts")
    mlflow.log_artifacts(str(folder), artifact_path="folder")
    mlflow.log_text("first", "notes/overwritten.txt")
    mlflow.log_text("second", "notes/overwritten.txt")
    mlflow.log_dict({"b": [1, 2], "a": None}, "config.json")
    mlflow.log_table({"question": ["a", "b"], "answer": [1, 2]}, "table.json")
    mlflow.log_stream(io.BytesIO(b"streamed bytes"), "stream.bin")
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    mlflow.log_image(mlflow.Image(pixels), "pixels.png")
    mlflow.log_image(pixels, key="steps", step=1, timestamp=START_MS, synchronous=True)
    mlflow.log_image(pixels, key="steps", step=2, timestamp=START_MS)
    mlflow.flush_artifact_async_logging()
    figure = _figure()
    if figure is None:
        results["left_out"].append("log_figure (matplotlib is not installed)")
    else:
        mlflow.log_figure(figure, "figure.png")
        client.log_figure(run_id, figure, "client/figure.png")
    client.log_artifact(run_id, str(folder / "a.txt"), "client")
    client.log_artifacts(run_id, str(folder), "client/folder")
    client.log_text(run_id, "text", "client/text.txt")
    client.log_dict(run_id, {"k": "v"}, "client/dict.yaml")
    client.log_table(run_id, pd.DataFrame({"x": [1.5, 2.5]}), "client/table.json")
    client.log_stream(run_id, io.BytesIO(b"more bytes"), "client/stream.bin")
    client.log_image(run_id, pixels, "client/image.png")
    client.download_artifacts(run_id, "texts/a.txt")


def _figure() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([0, 1], [1, 0])
    return figure


@step
def datasets(client: Any, results: Results) -> None:
    """Log the input datasets of the run with the fluent API and the client."""
    import pandas as pd

    data = importlib.import_module(f"{IMPORT}.data")
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [0, 1, 0]})
    train = data.from_pandas(frame, source="https://example.org/train.csv", name="train")
    valid = data.from_pandas(frame.head(2), source="https://example.org/valid.csv", name="valid")
    test = data.from_pandas(frame.tail(1), source="https://example.org/test.csv", name="test")
    mlflow.log_input(train, context="training", tags={"split": "0"})
    mlflow.log_inputs([valid], contexts=["validation"], tags_list=[None])
    dataset_input = entities.DatasetInput(
        dataset=test._to_mlflow_entity(), tags=[entities.InputTag("mlflow.data.context", "testing")]
    )
    client.log_inputs(results["run"], [dataset_input])
    mlflow.log_metric("on_data", 0.75, step=0, timestamp=START_MS, dataset=train)


@step
def models(client: Any, results: Results) -> None:
    """Log, load, tag, finalize and delete models; log metrics of a model."""
    from sklearn.linear_model import LogisticRegression

    sklearn = importlib.import_module(f"{IMPORT}.sklearn")
    infer_signature = importlib.import_module(f"{IMPORT}.models").infer_signature
    features, labels = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]
    model = LogisticRegression().fit(features, labels)
    info = sklearn.log_model(
        model,
        name="classifier",
        signature=infer_signature(features, labels),
        pip_requirements=["scikit-learn"],
        step=2,
    )
    results["model"] = info.model_id
    mlflow.log_metric("model_acc", 1.0, step=2, timestamp=START_MS, model_id=info.model_id)
    mlflow.log_metric("model_acc", 0.5, step=1, timestamp=START_MS, model_id=info.model_id)
    mlflow.set_active_model(model_id=info.model_id)
    mlflow.clear_active_model()
    sklearn.load_model(info.model_uri)

    run_id = results["run"]
    by_hand = mlflow.initialize_logged_model(
        "by_hand", source_run_id=run_id, params={"depth": "3"}, model_type="tree"
    )
    results["model_by_hand"] = by_hand.model_id
    mlflow.log_model_params({"leaves": "8"}, model_id=by_hand.model_id)
    mlflow.set_logged_model_tags(by_hand.model_id, {"kept": "1", "deleted": "2"})
    mlflow.delete_logged_model_tag(by_hand.model_id, "deleted")
    mlflow.finalize_logged_model(by_hand.model_id, "READY")
    mlflow.log_input(model=entities.LoggedModelInput(by_hand.model_id))
    mlflow.log_outputs([entities.LoggedModelOutput(by_hand.model_id, 5)])
    external = mlflow.create_external_model("external", source_run_id=run_id)
    results["external_model"] = external.model_id

    experiment = results["experiment"]
    by_client = client.create_logged_model(experiment, "by_client", run_id, tags={"a": "b"})
    results["model_by_client"] = by_client.model_id
    Path("weights.bin").write_bytes(b"\x00" * 64)
    client.log_model_artifact(by_client.model_id, "weights.bin")
    client.log_model_artifacts(by_client.model_id, "to_log")
    client.log_model_params(by_client.model_id, {"width": "2"})
    client.set_logged_model_tags(by_client.model_id, {"tagged": "yes"})
    client.delete_logged_model_tag(by_client.model_id, "a")
    client.finalize_logged_model(by_client.model_id, "FAILED")
    client.log_outputs(run_id, [entities.LoggedModelOutput(by_client.model_id, 1)])
    client.delete_logged_model(by_client.model_id)


@step
def registry(client: Any, results: Results) -> None:
    """Register, tag, copy, rename and delete models; set aliases and stages; create webhooks."""
    uri = f"models:/{results['model']}"
    version = mlflow.register_model(uri, "tour", tags={"from": "the run"})
    mlflow.set_model_version_tag("tour", version.version, "checked", "yes")
    client.update_registered_model("tour", description="A model of the tour.")
    client.set_registered_model_tag("tour", "owner", "me")
    client.set_registered_model_tag("tour", "gone", "soon")
    client.delete_registered_model_tag("tour", "gone")
    client.create_registered_model("tour two", tags={"n": "2"}, description="Another.")
    second = client.create_model_version(
        "tour", uri, results["run"], tags={"n": "2"}, model_id=results["model"]
    )
    client.update_model_version("tour", second.version, "The second.")
    client.set_model_version_tag("tour", second.version, "good", "yes")
    client.set_model_version_tag("tour", second.version, "gone", "soon")
    client.delete_model_version_tag("tour", second.version, "gone")
    client.set_registered_model_alias("tour", "champion", "1")
    client.set_registered_model_alias("tour", "champion", second.version)
    client.set_registered_model_alias("tour", "rival", "1")
    client.delete_registered_model_alias("tour", "rival")
    client.transition_model_version_stage("tour", "1", "Staging")
    client.copy_model_version("models:/tour/1", "tour copy")
    client.delete_model_version("tour copy", "1")
    client.rename_registered_model("tour two", "tour renamed")
    client.delete_registered_model("tour renamed")
    # A numeric address avoids a DNS lookup by MLflow; no request is ever sent to it.
    client.create_webhook(
        "hook", "https://93.184.215.14/", ["model_version.created"], secret="hush-hush-hush"
    )
    hook = client.list_webhooks()[0]
    client.update_webhook(hook.webhook_id, description="never called")
    client.delete_webhook(hook.webhook_id)


@step
def prompts(client: Any, results: Results) -> None:
    """Register prompts, and link them to the run and to a model (and to a trace in ``traces``)."""
    first = mlflow.register_prompt("greeting", "Hello {{ name }}", tags={"tone": "kind"})
    mlflow.set_prompt_alias("greeting", "live", first.version)
    mlflow.load_prompt("prompts:/greeting@live")
    client.register_prompt("greeting", "Good day {{ name }}", commit_message="more formal")
    client.create_prompt("farewell", description="For the end.", tags={"tone": "kind"})
    client.create_prompt_version("farewell", "Bye {{ name }}", description="short")
    client.create_prompt_version("farewell", "Goodbye {{ name }}")
    client.set_prompt_tag("farewell", "kept", "1")
    client.set_prompt_tag("farewell", "gone", "2")
    client.delete_prompt_tag("farewell", "gone")
    client.set_prompt_version_tag("farewell", 1, "kept", "1")
    client.set_prompt_version_tag("farewell", 1, "gone", "2")
    client.delete_prompt_version_tag("farewell", 1, "gone")
    client.set_prompt_alias("farewell", "live", 1)
    client.delete_prompt_alias("farewell", "live")
    mlflow.set_prompt_alias("greeting", "old", 1)
    mlflow.delete_prompt_alias("greeting", "old")
    client.load_prompt("prompts:/greeting/1")
    client.link_prompt_version_to_run(results["run"], "prompts:/greeting/1")
    client.link_prompt_version_to_model("greeting", "1", results["model"])
    client.delete_prompt_version("farewell", "2")
    client.delete_prompt_version("farewell", "1")
    client.delete_prompt("farewell")


@step
def traces(client: Any, results: Results) -> None:
    """Create traces with every call, and tag, link and delete traces."""

    @mlflow.trace(name="decorated", span_type="CHAIN", attributes={"kind": "tour"})
    def double(number: int) -> int:
        mlflow.update_current_trace(tags={"updated": "yes"})
        with mlflow.start_span(name="inside") as span:
            span.set_inputs({"number": number})
            span.set_outputs(number * 2)
        return number * 2

    double(21)
    results["trace"] = decorated = mlflow.get_last_active_trace_id()
    root = mlflow.start_span_no_context(
        "no context", inputs={"a": 1}, start_time_ns=START_MS * 10**6
    )
    root.end(outputs={"b": 2}, end_time_ns=(START_MS + 7) * 10**6)
    mlflow.log_trace(
        name="logged",
        request="q",
        response="a",
        intermediate_outputs={"m": 1},
        tags={"t": "1"},
        start_time_ms=START_MS,
        execution_time_ms=3,
    )
    mlflow.flush_trace_async_logging()
    with mlflow.start_span(name="target of add_trace") as span:
        mlflow.add_trace(mlflow.get_trace(decorated), target=span)
    parent = client.start_trace("by client", inputs={"x": 1}, tags={"via": "client"})
    child = client.start_span("step", parent.trace_id, parent.span_id, inputs={"x": 1})
    client.end_span(child.trace_id, child.span_id, outputs={"y": 2})
    client.end_trace(parent.trace_id, outputs={"y": 2})
    mlflow.flush_trace_async_logging()
    results["client_trace"] = parent.trace_id
    mlflow.set_trace_tag(decorated, "rated", "yes")
    mlflow.set_trace_tag(decorated, "gone", "soon")
    mlflow.delete_trace_tag(decorated, "gone")
    client.set_trace_tag(parent.trace_id, "rated", "no")
    client.delete_trace_tag(parent.trace_id, "rated")
    if results["sql"]:
        client.link_traces_to_run([parent.trace_id], results["run"])
        client.link_prompt_versions_to_trace([client.get_prompt_version("greeting", 1)], decorated)
    else:
        results["left_out"].append("links of traces (not supported by the file store)")
    client.delete_traces(results["experiment"], trace_ids=[parent.trace_id])


@step
def assessments(client: Any, results: Results) -> None:
    """Log, update, override and delete assessments of a trace."""
    trace = results["trace"]
    human = entities.AssessmentSource(source_type="HUMAN", source_id="ada")
    feedback = mlflow.log_feedback(trace_id=trace, name="correct", value=True, source=human)
    mlflow.log_expectation(trace_id=trace, name="expected", value=42, source=human)
    assessment = entities.Feedback(name="polite", value=0.5, source=human, rationale="so so")
    polite = mlflow.log_assessment(trace_id=trace, assessment=assessment)
    mlflow.update_assessment(
        trace_id=trace,
        assessment_id=polite.assessment_id,
        assessment=entities.Feedback(name="polite", value=0.75, source=human),
    )
    mlflow.override_feedback(trace_id=trace, assessment_id=feedback.assessment_id, value=False)
    spare = mlflow.log_feedback(trace_id=trace, name="spare", value=1, source=human)
    mlflow.delete_assessment(trace_id=trace, assessment_id=spare.assessment_id)
    if not results["sql"]:
        results["left_out"].append("log_issue (not supported by the file store)")
        return
    # MLflow creates issues with an LLM; without it, only the private store can create them.
    store = importlib.import_module(f"{IMPORT}.tracking._tracking_service.utils")._get_store()
    pending = importlib.import_module(f"{IMPORT}.entities.issue").IssueStatus.PENDING
    issue = store.create_issue(results["experiment"], "too slow", "Takes long.", pending)
    mlflow.log_issue(trace_id=trace, issue_id=issue.issue_id, source=human)


@step
def evaluation_datasets(client: Any, results: Results) -> None:
    """Create, fill, tag, share and delete evaluation datasets."""
    if not results["sql"]:
        results["left_out"].append("evaluation datasets (not supported by the file store)")
        return
    experiment, other = results["experiment"], results["other_experiment"]
    dataset = client.create_dataset("questions", experiment, tags={"domain": "tour"})
    dataset.merge_records([{"inputs": {"q": "six by nine"}, "expectations": {"a": 42}}])
    client.set_dataset_tags(dataset.dataset_id, {"reviewed": "yes", "gone": "soon"})
    client.delete_dataset_tag(dataset.dataset_id, "gone")
    client.add_dataset_to_experiments(dataset.dataset_id, [other])
    client.remove_dataset_from_experiments(dataset.dataset_id, [other])
    results["dataset"] = dataset.dataset_id
    spare = client.create_dataset("spare", experiment)
    client.delete_dataset(spare.dataset_id)


@step
def mcp_registry(client: Any, results: Results) -> None:
    """Register an MCP server with a version, tags and an endpoint, and delete all of them."""
    if not results["sql"]:
        results["left_out"].append("MCP servers (not supported by the file store)")
        return
    name = "org.example/tour"
    server = {"name": name, "version": "1.0.0", "description": "A tour."}
    client.create_mcp_server(name, description="A tour.")
    client.update_mcp_server(name, display_name="Tour")
    client.set_mcp_server_tag(name, "kept", "1")
    client.delete_mcp_server_tag(name, "kept")
    status = importlib.import_module(f"{IMPORT}.entities.mcp_server").MCPStatus
    client.create_mcp_server_version(server, source="https://example.org/mcp", tools=[])
    client.update_mcp_server_version(name, "1.0.0", status=status.ACTIVE)
    client.set_mcp_server_version_tag(name, "1.0.0", "kept", "1")
    client.delete_mcp_server_version_tag(name, "1.0.0", "kept")
    client.set_mcp_server_alias(name, "live", "1.0.0")
    endpoint = client.create_mcp_access_endpoint(
        name, "https://example.org/mcp", server_version="1.0.0"
    )
    client.update_mcp_access_endpoint(name, endpoint.id, url="https://example.org/m2")
    client.delete_mcp_access_endpoint(name, endpoint.id)
    client.delete_mcp_server_alias(name, "live")
    client.update_mcp_server_version(name, "1.0.0", status=status.DEPRECATED)
    client.delete_mcp_server_version(name, "1.0.0")
    client.delete_mcp_server(name)


@step
def nested(client: Any, results: Results) -> None:
    """Start a nested run and end it as failed."""
    with mlflow.start_run(run_name="child", nested=True) as child:
        results["child"] = child.info.run_id
        mlflow.log_param("fold", 1)
        mlflow.log_metric("loss", 0.25, step=0, timestamp=START_MS)
        mlflow.end_run("FAILED")


@step
def evaluation(client: Any, results: Results) -> None:
    """Evaluate existing predictions."""
    import pandas as pd

    frame = pd.DataFrame({"truth": [1.0, 2.0, 3.0, 4.0], "predicted": [1.0, 2.0, 3.5, 4.0]})
    with mlflow.start_run(run_name="evaluation", nested=True) as run:
        results["evaluation"] = run.info.run_id
        mlflow.evaluate(
            data=frame, targets="truth", predictions="predicted", model_type="regressor"
        )


@step
def autologging(client: Any, results: Results) -> None:
    """Enable autologging of scikit-learn."""
    from sklearn.linear_model import Ridge

    mlflow.set_system_metrics_sampling_interval(1)
    sklearn = importlib.import_module(f"{IMPORT}.sklearn")
    mlflow.autolog(log_models=False, silent=True)
    sklearn.autolog(log_models=False, silent=True)
    with mlflow.start_run(run_name="autologged", nested=True) as run:
        results["autologged"] = run.info.run_id
        Ridge(alpha=0.5).fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0])
    mlflow.autolog(disable=True, silent=True)
    sklearn.autolog(disable=True, silent=True)


@step
def project(client: Any, results: Results) -> None:
    """Run an MLflow project, whose process writes to a run that this process creates."""
    folder = Path("project")
    folder.mkdir()
    (folder / "MLproject").write_text(
        "name: tour\nentry_points:\n  main:\n    parameters:\n"
        "      depth: {type: int, default: 3}\n"
        f"    command: '\"{sys.executable}\" train.py {{depth}}'\n",
        "utf-8",
    )
    (folder / "train.py").write_text(
        "import sys\n\nimport mlflow\n\nwith mlflow.start_run():\n"
        "    mlflow.log_metric('depth_seen', float(sys.argv[1]))\n",
        "utf-8",
    )
    submitted = mlflow.run(
        str(folder),
        parameters={"depth": 4},
        env_manager="local",
        experiment_id=results["experiment"],
        run_name="project",
    )
    results["project"] = submitted.run_id


@step
def runs_by_client(client: Any, results: Results) -> None:
    """Create, rename, terminate, delete and restore runs with the client."""
    run = client.create_run(
        results["experiment"], start_time=START_MS, run_name="by client", tags={"by": "client"}
    )
    results["client_run"] = run_id = run.info.run_id
    client.log_param(run_id, "p", "1")
    client.update_run(run_id, name="renamed")
    client.set_terminated(run_id, status="KILLED", end_time=START_MS + 60_000)
    client.delete_run(run_id)
    client.restore_run(run_id)
    mlflow.delete_run(run_id)
    mlflow.end_run()
    spare = client.create_run(results["experiment"], start_time=START_MS, run_name="restored")
    results["restored_run"] = spare.info.run_id
    client.set_terminated(spare.info.run_id, end_time=START_MS + 1000)
    client.delete_run(spare.info.run_id)
    if hasattr(mlflow, "restore_run"):
        mlflow.restore_run(spare.info.run_id)


def run_steps() -> Results:
    """Run all steps in the working directory, and return the ids of the created objects.

    For debugging, the variable ``EVERY_CALL_UNTIL`` can name the last step to run.
    """
    uri = mlflow.get_tracking_uri()
    is_file_store = str(uri).removeprefix("yprov+").startswith(("file:", "/", "."))
    results: Results = {"left_out": [], "sql": not is_file_store}
    client = MlflowClient()
    last = os.environ.get("EVERY_CALL_UNTIL")
    for run_step in STEPS:
        run_step(client, results)
        if run_step.__name__ == last:
            mlflow.end_run()
            break
    return results


if __name__ == "__main__":
    print(json.dumps(run_steps()))
