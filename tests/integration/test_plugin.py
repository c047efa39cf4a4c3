"""The store plugin on real backends: all ways to enable capture, and no effect without it."""

from __future__ import annotations

import hashlib
import time

import pytest
from mlflow import MlflowClient
from support import servers
from support.readers.documents import RunDocument, literal
from support.versions import since

from integration.conftest import Sandbox, Server
from yprov_mlflow.prov.events import ArtifactsLogged, ModelLogged
from yprov_mlflow.prov.journal import JournalDirectory, JournalReader

TRAIN = """
import json
import mlflow
{before}
with mlflow.start_run() as run:
    mlflow.log_param("lr", 0.1)
    for step in range(3):
        mlflow.log_metric("loss", 1.0 / (step + 1), step=step)
    mlflow.log_metrics({{"a": 1.0, "b": 2.0}}, step=9)
    mlflow.set_tag("stage", "done")
    mlflow.log_text("hello", "notes/hello.txt")
print(json.dumps(run.info.run_id))
"""

UNMODIFIED = TRAIN.format(before="")

HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def assert_trained(document: RunDocument) -> None:
    assert document.params == {"lr": "0.1"}
    assert document.values("loss") == [1.0, 0.5, 1.0 / 3]
    assert document.values("a") + document.values("b") == [1.0, 2.0]
    assert document.tags["stage"] == "done"
    assert document.artifacts["notes/hello.txt"] == HELLO
    assert document.status == "FINISHED"
    document.as_prov()


# -- ways to enable capture ------------------------------------------------------------------------


def test_capture_by_tracking_uri_variable(sandbox: Sandbox) -> None:
    run_id = sandbox.run(UNMODIFIED, f"yprov+{sandbox.sqlite}").json
    assert_trained(sandbox.document(run_id))


def test_capture_by_set_tracking_uri_with_file_store(sandbox: Sandbox) -> None:
    script = TRAIN.format(before=f'mlflow.set_tracking_uri("yprov+{sandbox.files}")')
    run_id = sandbox.run(script).json
    assert_trained(sandbox.document(run_id, sandbox.files))


def test_capture_by_yprov_mlflow_variable(sandbox: Sandbox) -> None:
    run_id = sandbox.run(UNMODIFIED, sandbox.sqlite, YPROV_MLFLOW="1").json
    assert_trained(sandbox.document(run_id))


def test_invalid_yprov_mlflow_variable_warns_and_counts_as_off(sandbox: Sandbox) -> None:
    done = sandbox.run(UNMODIFIED, sandbox.sqlite, YPROV_MLFLOW="maybe")
    assert not sandbox.journals()
    assert done.err.count("YPROV_MLFLOW cannot be 'maybe'") == 1
    assert "1, true, yes or on; 0, false, no or off" in done.err
    done = sandbox.run(UNMODIFIED, f"yprov+{sandbox.sqlite}", YPROV_MLFLOW="maybe")
    assert_trained(sandbox.document(done.json))
    assert done.err.count("YPROV_MLFLOW cannot be 'maybe'") == 1


def test_capture_by_dropin_import(sandbox: Sandbox) -> None:
    script = UNMODIFIED.replace("import mlflow", "import yprov_mlflow as mlflow")
    run_id = sandbox.run(script, sandbox.sqlite).json
    assert_trained(sandbox.document(run_id))


def test_capture_by_run_command(sandbox: Sandbox) -> None:
    script = sandbox.folder / "train.py"
    script.write_text(UNMODIFIED, "utf-8")
    done = sandbox.call("yprov-mlflow", "run", str(script), uri=sandbox.sqlite)
    run_id = next(line.strip('"') for line in done.out.splitlines() if len(line) == 34)
    assert_trained(sandbox.document(run_id))


def test_capture_with_path_as_tracking_uri(sandbox: Sandbox) -> None:
    folder = sandbox.folder / "plain path"
    run_id = sandbox.train(UNMODIFIED, f"yprov+{folder}").json
    assert_trained(sandbox.document(run_id, str(folder)))
    assert not (sandbox.folder / "yprov+").exists()


def test_capture_with_postgresql_does_not_store_password(
    sandbox: Sandbox, postgres_address: str
) -> None:
    pytest.importorskip("psycopg2")
    plain = f"postgresql+psycopg2://{postgres_address}/postgres"
    # SQLAlchemy's own choice of a driver may be one that is not installed.
    done = sandbox.train(UNMODIFIED, f"yprov+{plain.replace('+psycopg2', '')}")
    assert_trained(sandbox.document(done.json, plain))
    assert "se-cret" not in done.out + done.err
    for path in sandbox.journals():
        assert b"se-cret" not in path.read_bytes()
    assert "se-cret" not in str(sandbox.document(done.json, plain).data)


def test_client_captures_with_http_server(sandbox: Sandbox, plain_server: Server) -> None:
    done = sandbox.train(UNMODIFIED, f"yprov+{plain_server.uri}")
    assert_trained(sandbox.document(done.json, plain_server.uri))
    assert sandbox.journals()
    assert not plain_server.journal.exists()


@pytest.mark.parametrize("kind", ["capturing_server", "app_server"])
def test_server_captures_for_plain_client(
    sandbox: Sandbox,
    kind: str,
    request: pytest.FixtureRequest,
    interpreter_without_package: list[str],
) -> None:
    server: Server = request.getfixturevalue(kind)
    done = sandbox.call(*interpreter_without_package, "-c", UNMODIFIED, uri=server.uri)
    document = RunDocument.fetch(done.json, server.uri)
    assert_trained(document)
    assert list(document.artifacts) == ["notes/hello.txt"]
    assert not sandbox.journals()


def test_client_document_wins_if_server_captures_too(
    sandbox: Sandbox, capturing_server: Server
) -> None:
    done = sandbox.train(UNMODIFIED, f"yprov+{capturing_server.uri}")
    time.sleep(3)
    document = RunDocument.fetch(done.json, capturing_server.uri)
    assert_trained(document)
    assert len(document.values("loss")) == 3
    # Only the client knows its code and packages, so its document must be the final one.
    assert document.of_type("mlf:Environment")


# -- features of MLflow ----------------------------------------------------------------------------

FEATURES = """
import json, pickle, sys, time
import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking._tracking_service.utils import _get_store
run_ids = {}
client = MlflowClient()

store = _get_store()
assert isinstance(store, SqlAlchemyStore)
assert type(store).__name__ == "SqlAlchemyStore"
assert type(store).__module__ == SqlAlchemyStore.__module__

# batches and asynchronous logging
with mlflow.start_run() as run:
    run_ids["batch"] = run.info.run_id
    points = [Metric("big", float(i), 1_700_000_000_000 + i, i) for i in range(1000)]
    tags = [RunTag("t", "2")]
    client.log_batch(run.info.run_id, metrics=points, params=[Param("p", "1")], tags=tags)
    waiting = [
        mlflow.log_metric("later", float(i), step=i, synchronous=False) for i in range(50)
    ]
    mlflow.log_params({"q": "r"}, synchronous=False)
    mlflow.set_tags({"u": "v"}, synchronous=False)

# more points than max-samples: they go to a Parquet file
with mlflow.start_run() as run:
    run_ids["many"] = run.info.run_id
    for chunk in range(5):
        client.log_batch(
            run.info.run_id,
            metrics=[
                Metric("loss", i / 3, 1_700_000_000_000 + i, i)
                for i in range(chunk * 1000, chunk * 1000 + 1000)
            ],
        )

# autolog
from sklearn.linear_model import LogisticRegression
mlflow.sklearn.autolog(silent=True)
with mlflow.start_run() as run:
    run_ids["autolog"] = run.info.run_id
    LogisticRegression(C=0.25, max_iter=50).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
mlflow.sklearn.autolog(disable=True)

# system metrics
mlflow.set_system_metrics_sampling_interval(0.2)
mlflow.set_system_metrics_samples_before_logging(1)
with mlflow.start_run(log_system_metrics=True) as run:
    run_ids["system"] = run.info.run_id
    time.sleep(1.0)

# like Lightning's logger: a separate client, and the tracking URI set again
logger = MlflowClient(tracking_uri=mlflow.get_tracking_uri())
mlflow.set_tracking_uri(mlflow.get_tracking_uri())
run = logger.create_run("0", tags={"by": "logger"})
run_ids["logger"] = run.info.run_id
for step in range(3):
    logger.log_batch(run.info.run_id, metrics=[Metric("train_loss", 0.5, 1_700_000_000_000, step)])
logger.log_batch(run.info.run_id, params=[Param("hidden", "64")])
logger.set_terminated(run.info.run_id, "FINISHED")

# traces, which MLflow sends from its own threads
with mlflow.start_run() as run:
    run_ids["traced"] = run.info.run_id
    @mlflow.trace
    def add(a, b):
        return a + b
    assert add(1, 2) == 3
    mlflow.flush_trace_async_logging()
print(json.dumps(run_ids))
"""


@pytest.fixture(scope="module")
def documents(shared_sandbox: Sandbox) -> dict[str, RunDocument]:
    run_ids = shared_sandbox.train(FEATURES, f"yprov+{shared_sandbox.sqlite}").json
    return {name: shared_sandbox.document(run_id) for name, run_id in run_ids.items()}


def test_batches_and_asynchronous_logging(documents: dict[str, RunDocument]) -> None:
    document = documents["batch"]
    assert document.values("big") == [float(i) for i in range(1000)]
    assert document.values("later") == [float(i) for i in range(50)]
    assert document.params == {"p": "1", "q": "r"}
    assert document.tags["t"] + document.tags["u"] == "2v"


def test_many_points_are_written_to_parquet(documents: dict[str, RunDocument]) -> None:
    document = documents["many"]
    assert document.counts() == {"loss": 5000}
    assert not document.of_type("mlf:MetricSample")
    assert document.points["loss"] == [(i, 1_700_000_000_000 + i, i / 3) for i in range(5000)]
    [series] = document.of_type("mlf:MetricSeries").values()
    summary = {word: literal(series[f"mlf:{word}"]) for word in ("first", "last", "min", "max")}
    assert summary == {"first": 0.0, "last": 4999 / 3, "min": 0.0, "max": 4999 / 3}
    [file] = document.of_type("mlf:MetricPoints").values()
    content = (document.folder / literal(file["mlf:path"])).read_bytes()
    assert literal(file["mlf:sha256"]) == _sha256(content)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@since("3.0", "logged models")
def test_autolog_of_scikit_learn(documents: dict[str, RunDocument]) -> None:
    document = documents["autolog"]
    assert document.params["C"] == "0.25"
    assert "training_accuracy_score" in document.points
    assert len(document.models) == 1
    assert "estimator.html" in document.artifacts


def test_system_metrics_of_mlflow_are_captured(documents: dict[str, RunDocument]) -> None:
    points = documents["system"].points
    assert "system/cpu_utilization_percentage" in points


def test_logger_with_separate_client(documents: dict[str, RunDocument]) -> None:
    document = documents["logger"]
    assert [point.step for point in document.points["train_loss"]] == [0, 1, 2]
    assert document.params == {"hidden": "64"}
    assert document.tags["by"] == "logger"


@since("3.0", "spans that current OpenTelemetry makes")
def test_trace_is_in_document_of_its_run(documents: dict[str, RunDocument]) -> None:
    spans = documents["traced"].of_type("mlf:Span")
    assert [span["prov:label"] for span in spans.values()] == ["add"]


def test_unpickled_store_captures(sandbox: Sandbox, plain_server: Server) -> None:
    # Process pools pickle the stores of HTTP clients.
    done = sandbox.train(
        """
        import copy, json, pickle
        import cloudpickle
        import mlflow
        from mlflow.entities import Metric
        from mlflow.store.tracking.rest_store import RestStore
        from mlflow.tracking._tracking_service.utils import _get_store
        run = mlflow.start_run()
        for number, dumps in enumerate((pickle.dumps, cloudpickle.dumps)):
            store = pickle.loads(dumps(_get_store()))
            assert isinstance(store, RestStore)
            store.log_metric(run.info.run_id, Metric("m", float(number), 1_700_000_000_000, number))
        mlflow.end_run()
        print(json.dumps(run.info.run_id))
        """,
        f"yprov+{plain_server.uri}",
    )
    document = sandbox.document(done.json, plain_server.uri)
    assert document.values("m") == [0.0, 1.0]


@since("3.0", "logged models")
def test_model_files_without_run_belong_to_store_of_model(sandbox: Sandbox) -> None:
    sandbox.train(
        f"""
        from mlflow import MlflowClient
        first = MlflowClient("yprov+{sandbox.sqlite}")
        first.create_run("0")
        second = MlflowClient("yprov+{sandbox.files}")
        model = second.create_logged_model(second.create_experiment("models"), name="m")
        with open("weights.bin", "w") as file:
            file.write("0")
        second.log_model_artifact(model.model_id, "weights.bin")
        """
    )
    events = [
        event
        for folder in JournalDirectory.all(sandbox.journal)
        for path in folder.files()
        for event in JournalReader(path)
    ]
    [model] = [event for event in events if isinstance(event, ModelLogged)]
    [files] = [event for event in events if isinstance(event, ArtifactsLogged)]
    assert list(files.owner) == ["model", model.model_id]
    assert files.run_id == model.run_id


def test_run_after_experiment_rename_has_new_name(sandbox: Sandbox) -> None:
    done = sandbox.train(
        """
        import json
        from mlflow import MlflowClient
        client = MlflowClient()
        experiment = client.create_experiment("old")
        run_ids = []
        for _ in range(2):
            run_ids.append(client.create_run(experiment).info.run_id)
            client.set_terminated(run_ids[-1])
            client.rename_experiment(experiment, "new")
        print(json.dumps(run_ids))
        """,
        f"yprov+{sandbox.sqlite}",
    )
    for run_id, name in zip(done.json, ("old", "new"), strict=True):
        [experiment] = sandbox.document(run_id).of_type("mlf:Experiment").values()
        assert literal(experiment["schema:name"]) == name


def test_child_processes_inherit_capture(sandbox: Sandbox) -> None:
    """Check fork, spawn and subprocess after ``set_tracking_uri`` in the parent."""
    done = sandbox.run(
        f"""
        import json, multiprocessing, os, subprocess, sys
        import mlflow

        def work(method):
            with mlflow.start_run(run_name=method):
                mlflow.log_metric("m", 1.0)

        if __name__ == "__main__":
            mlflow.set_tracking_uri("yprov+{sandbox.sqlite}")
            for method in ("fork", "spawn"):
                context = multiprocessing.get_context(method)
                child = context.Process(target=work, args=(method,))
                child.start()
                child.join()
                assert child.exitcode == 0
            code = "import mlflow; mlflow.start_run(run_name='sub'); mlflow.log_metric('m', 1.0)"
            subprocess.run([sys.executable, "-c", code], check=True)
            runs = mlflow.search_runs(output_format="list")
            print(json.dumps({{run.info.run_name: run.info.run_id for run in runs}}))
        """
    )
    assert set(done.json) == {"fork", "spawn", "sub"}
    for name, run_id in done.json.items():
        document = sandbox.document(run_id)
        assert document.name == name
        assert document.values("m") == [1.0]
        assert document.status == "FINISHED"


def test_mlflow_command_line_accepts_yprov_uri(sandbox: Sandbox) -> None:
    uri = f"yprov+{sandbox.sqlite}"
    created = sandbox.call("mlflow", "experiments", "create", "-n", "from the shell", uri=uri)
    assert "Created experiment" in created.out
    listed = sandbox.call("mlflow", "experiments", "search", uri=uri)
    assert "from the shell" in listed.out


# -- plain MLflow ----------------------------------------------------------------------------------


def test_plain_mlflow_captures_and_imports_nothing(sandbox: Sandbox) -> None:
    # pickle and cloudpickle inspect all loaded modules, which must not activate capture.
    done = sandbox.run(
        """
        import json, pickle, sys
        import cloudpickle
        import mlflow
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
        from mlflow.tracking._tracking_service.utils import _get_store
        from sklearn.linear_model import LogisticRegression

        def function_of_the_script(x):
            return x

        with mlflow.start_run() as run:
            mlflow.log_param("lr", 0.1)
            mlflow.log_text("hello", "hello.txt")
            model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
            mlflow.sklearn.log_model(model, "m", pip_requirements=["scikit-learn"])
        pickle.dumps(function_of_the_script)
        cloudpickle.dumps(lambda x: function_of_the_script(x))
        assert type(_get_store()) is SqlAlchemyStore
        package = "yprov_mlflow.prov."
        ours = {package + name for name in ("capture.wrappers", "sampling", "settings")}
        imported = sorted(({"prov", "rdflib"} | ours) & set(sys.modules))
        print(json.dumps([run.info.run_id, imported, mlflow.get_tracking_uri()]))
        """,
        sandbox.sqlite,
    )
    run_id, imported, uri = done.json
    assert imported == []
    assert uri == sandbox.sqlite
    assert not sandbox.journal.exists()
    client = MlflowClient(tracking_uri=sandbox.sqlite)
    files = {file.path for file in client.list_artifacts(run_id)}
    assert "hello.txt" in files and "provenance" not in files
    assert not [tag for tag in client.get_run(run_id).data.tags if "yprov" in tag]


def test_invalid_settings_do_not_affect_plain_mlflow(sandbox: Sandbox) -> None:
    done = sandbox.run(
        UNMODIFIED,
        sandbox.sqlite,
        YPROV_MLFLOW_DIR="/proc/no/such/folder",
        YPROV_MLFLOW_MAX_SAMPLES="not a number",
        HOME="/nonexistent",
    )
    assert MlflowClient(tracking_uri=sandbox.sqlite).get_run(done.json).info.status == "FINISHED"
    assert "rovenance" not in done.err


# -- test support ----------------------------------------------------------------------------------


def test_missing_server_skips_test_or_fails_if_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(servers.REQUIRE, raising=False)
    with pytest.raises(pytest.skip.Exception, match="no such thing"):
        servers.skip_or_fail("no such thing")
    monkeypatch.setenv(servers.REQUIRE, "1")
    with pytest.raises(pytest.fail.Exception, match="no such thing"):
        servers.skip_or_fail("no such thing")
