"""The store plugin on real backends: every way in, and nothing for those who do not use it."""

from __future__ import annotations

import hashlib
import time

import pytest
from mlflow import MlflowClient

from integration import servers
from integration.conftest import Server, Workplace
from integration.documents import RunDocument, literal
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


# -- ways in ---------------------------------------------------------------------------------------


def test_unmodified_script_with_the_environment_variable(workplace: Workplace) -> None:
    run_id = workplace.run(UNMODIFIED, f"yprov+{workplace.sqlite}").made
    assert_trained(workplace.document(run_id))


def test_set_tracking_uri_in_the_script_on_files(workplace: Workplace) -> None:
    script = TRAIN.format(before=f'mlflow.set_tracking_uri("yprov+{workplace.files}")')
    run_id = workplace.run(script).made
    assert_trained(workplace.document(run_id, workplace.files))


def test_switch_in_the_environment_with_a_plain_uri(workplace: Workplace) -> None:
    run_id = workplace.run(UNMODIFIED, workplace.sqlite, YPROV_MLFLOW="1").made
    assert_trained(workplace.document(run_id))


def test_switch_that_is_set_to_nonsense_counts_as_off(workplace: Workplace) -> None:
    done = workplace.run(UNMODIFIED, workplace.sqlite, YPROV_MLFLOW="maybe")
    assert not workplace.journals()
    assert done.err.count("YPROV_MLFLOW cannot be 'maybe'") == 1
    assert "1, true, yes or on; 0, false, no or off" in done.err
    done = workplace.run(UNMODIFIED, f"yprov+{workplace.sqlite}", YPROV_MLFLOW="maybe")
    assert_trained(workplace.document(done.made))
    assert done.err.count("YPROV_MLFLOW cannot be 'maybe'") == 1


def test_import_that_becomes_ours(workplace: Workplace) -> None:
    script = UNMODIFIED.replace("import mlflow", "import yprov_mlflow as mlflow")
    run_id = workplace.run(script, workplace.sqlite).made
    assert_trained(workplace.document(run_id))


def test_command_that_runs_a_script(workplace: Workplace) -> None:
    script = workplace.folder / "train.py"
    script.write_text(UNMODIFIED, "utf-8")
    done = workplace.yprov("run", str(script), uri=workplace.sqlite)
    run_id = next(line.strip('"') for line in done.out.splitlines() if len(line) == 34)
    assert_trained(workplace.document(run_id))


def test_path_without_a_scheme(workplace: Workplace) -> None:
    folder = workplace.folder / "plain path"
    run_id = workplace.run(UNMODIFIED, f"yprov+{folder}").made
    assert_trained(workplace.document(run_id, str(folder)))
    assert not (workplace.folder / "yprov+").exists()


def test_postgresql_with_a_driver_in_the_uri(workplace: Workplace, postgres_address: str) -> None:
    pytest.importorskip("psycopg2")
    plain = f"postgresql+psycopg2://{postgres_address}/postgres"
    done = workplace.run(UNMODIFIED, f"yprov+{plain}")
    assert_trained(workplace.document(done.made, plain))
    assert "se-cret" not in done.out + done.err
    for path in workplace.journals():
        assert b"se-cret" not in path.read_bytes()
    assert "se-cret" not in str(workplace.document(done.made, plain).data)


def test_client_that_captures_over_http(workplace: Workplace, plain_server: Server) -> None:
    done = workplace.run(UNMODIFIED, f"yprov+{plain_server.uri}")
    assert_trained(workplace.document(done.made, plain_server.uri))
    assert workplace.journals()
    assert not plain_server.journal.exists()


@pytest.mark.parametrize("kind", ["capturing_server", "app_server"])
def test_server_that_captures_for_a_plain_client(
    workplace: Workplace,
    kind: str,
    request: pytest.FixtureRequest,
    interpreter_without_package: list[str],
) -> None:
    server: Server = request.getfixturevalue(kind)
    done = workplace.call(*interpreter_without_package, "-c", UNMODIFIED, uri=server.uri)
    document = RunDocument.fetch(done.made, server.uri)
    assert_trained(document)
    assert list(document.artifacts) == ["notes/hello.txt"]
    assert not workplace.journals()


def test_client_and_server_that_both_capture_make_one_document(
    workplace: Workplace, capturing_server: Server
) -> None:
    done = workplace.run(UNMODIFIED, f"yprov+{capturing_server.uri}")
    time.sleep(3)
    document = RunDocument.fetch(done.made, capturing_server.uri)
    assert_trained(document)
    assert len(document.values("loss")) == 3
    # Only the client knows its code and packages: its document is the one that stays.
    assert document.of_type("mlf:Environment")


# -- all of MLflow through it ----------------------------------------------------------------------

EVERYTHING = """
import json, pickle, sys, time
import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking._tracking_service.utils import _get_store
made = {}
client = MlflowClient()

store = _get_store()
assert isinstance(store, SqlAlchemyStore)
assert type(store).__name__ == "SqlAlchemyStore"
assert type(store).__module__ == SqlAlchemyStore.__module__

# batches and asynchronous logging
with mlflow.start_run() as run:
    made["batch"] = run.info.run_id
    points = [Metric("big", float(i), 1_700_000_000_000 + i, i) for i in range(1000)]
    tags = [RunTag("t", "2")]
    client.log_batch(run.info.run_id, metrics=points, params=[Param("p", "1")], tags=tags)
    waiting = [
        mlflow.log_metric("later", float(i), step=i, synchronous=False) for i in range(50)
    ]
    mlflow.log_params({"q": "r"}, synchronous=False)
    mlflow.set_tags({"u": "v"}, synchronous=False)

# more points than samples: a file beside the document
with mlflow.start_run() as run:
    made["many"] = run.info.run_id
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
    made["autolog"] = run.info.run_id
    LogisticRegression(C=0.25, max_iter=50).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
mlflow.sklearn.autolog(disable=True)

# system metrics
mlflow.set_system_metrics_sampling_interval(0.2)
mlflow.set_system_metrics_samples_before_logging(1)
with mlflow.start_run(log_system_metrics=True) as run:
    made["system"] = run.info.run_id
    time.sleep(1.0)

# as Lightning's logger does it: a client of its own, and the URI set once more
logger = MlflowClient(tracking_uri=mlflow.get_tracking_uri())
mlflow.set_tracking_uri(mlflow.get_tracking_uri())
run = logger.create_run("0", tags={"by": "logger"})
made["logger"] = run.info.run_id
for step in range(3):
    logger.log_batch(run.info.run_id, metrics=[Metric("train_loss", 0.5, 1_700_000_000_000, step)])
logger.log_batch(run.info.run_id, params=[Param("hidden", "64")])
logger.set_terminated(run.info.run_id, "FINISHED")

# traces, sent from MLflow's threads
with mlflow.start_run() as run:
    made["traced"] = run.info.run_id
    @mlflow.trace
    def add(a, b):
        return a + b
    assert add(1, 2) == 3
    mlflow.flush_trace_async_logging()
print(json.dumps(made))
"""


@pytest.fixture(scope="module")
def everything(shared_workplace: Workplace) -> dict[str, RunDocument]:
    made = shared_workplace.run(EVERYTHING, f"yprov+{shared_workplace.sqlite}").made
    return {name: shared_workplace.document(run_id) for name, run_id in made.items()}


def test_batches_and_asynchronous_logging(everything: dict[str, RunDocument]) -> None:
    document = everything["batch"]
    assert document.values("big") == [float(i) for i in range(1000)]
    assert document.values("later") == [float(i) for i in range(50)]
    assert document.params == {"p": "1", "q": "r"}
    assert document.tags["t"] + document.tags["u"] == "2v"


def test_many_points_go_to_a_file_without_loss(everything: dict[str, RunDocument]) -> None:
    document = everything["many"]
    assert document.counts() == {"loss": 5000}
    assert not document.of_type("mlf:MetricSample")
    assert document.points["loss"] == [(i, 1_700_000_000_000 + i, i / 3) for i in range(5000)]
    [series] = document.of_type("mlf:MetricSeries").values()
    found = {word: literal(series[f"mlf:{word}"]) for word in ("first", "last", "min", "max")}
    assert found == {"first": 0.0, "last": 4999 / 3, "min": 0.0, "max": 4999 / 3}
    [file] = document.of_type("mlf:MetricPoints").values()
    content = (document.folder / literal(file["mlf:path"])).read_bytes()
    assert literal(file["mlf:sha256"]) == _sha256(content)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_autologging_of_scikit_learn(everything: dict[str, RunDocument]) -> None:
    document = everything["autolog"]
    assert document.params["C"] == "0.25"
    assert "training_accuracy_score" in document.points
    assert len(document.models) == 1
    assert "estimator.html" in document.artifacts


def test_system_metrics_come_from_their_thread(everything: dict[str, RunDocument]) -> None:
    points = everything["system"].points
    assert "system/cpu_utilization_percentage" in points


def test_logger_with_a_client_of_its_own(everything: dict[str, RunDocument]) -> None:
    document = everything["logger"]
    assert [point.step for point in document.points["train_loss"]] == [0, 1, 2]
    assert document.params == {"hidden": "64"}
    assert document.tags["by"] == "logger"


def test_trace_is_in_the_document_of_its_run(everything: dict[str, RunDocument]) -> None:
    spans = everything["traced"].of_type("mlf:Span")
    assert [span["prov:label"] for span in spans.values()] == ["add"]


def test_store_survives_pickling_and_captures_on(
    workplace: Workplace, plain_server: Server
) -> None:
    """Stores of http clients can be pickled, as process pools do; so can ours."""
    done = workplace.run(
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
    document = workplace.document(done.made, plain_server.uri)
    assert document.values("m") == [0.0, 1.0]


def test_files_of_a_model_without_a_run_are_of_its_own_store(workplace: Workplace) -> None:
    workplace.run(
        f"""
        from mlflow import MlflowClient
        first = MlflowClient("yprov+{workplace.sqlite}")
        first.create_run("0")
        second = MlflowClient("yprov+{workplace.files}")
        model = second.create_logged_model(second.create_experiment("models"), name="m")
        with open("weights.bin", "w") as file:
            file.write("0")
        second.log_model_artifact(model.model_id, "weights.bin")
        """
    )
    events = [
        event
        for folder in JournalDirectory.all(workplace.journal)
        for path in folder.files()
        for event in JournalReader(path)
    ]
    [model] = [event for event in events if isinstance(event, ModelLogged)]
    [files] = [event for event in events if isinstance(event, ArtifactsLogged)]
    assert list(files.owner) == ["model", model.model_id]
    assert files.run_id == model.run_id


def test_an_experiment_that_was_renamed_has_its_new_name(workplace: Workplace) -> None:
    done = workplace.run(
        """
        import json
        from mlflow import MlflowClient
        client = MlflowClient()
        experiment = client.create_experiment("old")
        made = []
        for _ in range(2):
            made.append(client.create_run(experiment).info.run_id)
            client.set_terminated(made[-1])
            client.rename_experiment(experiment, "new")
        print(json.dumps(made))
        """,
        f"yprov+{workplace.sqlite}",
    )
    for run_id, name in zip(done.made, ("old", "new"), strict=True):
        [experiment] = workplace.document(run_id).of_type("mlf:Experiment").values()
        assert literal(experiment["schema:name"]) == name


def test_child_processes_capture_too(workplace: Workplace) -> None:
    """Fork, spawn and a subprocess, all with the URI that their parent set."""
    done = workplace.run(
        f"""
        import json, multiprocessing, os, subprocess, sys
        import mlflow

        def work(how):
            with mlflow.start_run(run_name=how):
                mlflow.log_metric("m", 1.0)

        if __name__ == "__main__":
            mlflow.set_tracking_uri("yprov+{workplace.sqlite}")
            for how in ("fork", "spawn"):
                context = multiprocessing.get_context(how)
                child = context.Process(target=work, args=(how,))
                child.start()
                child.join()
                assert child.exitcode == 0
            code = "import mlflow; mlflow.start_run(run_name='sub'); mlflow.log_metric('m', 1.0)"
            subprocess.run([sys.executable, "-c", code], check=True)
            runs = mlflow.search_runs(output_format="list")
            print(json.dumps({{run.info.run_name: run.info.run_id for run in runs}}))
        """
    )
    assert set(done.made) == {"fork", "spawn", "sub"}
    for name, run_id in done.made.items():
        document = workplace.document(run_id)
        assert document.name == name
        assert document.values("m") == [1.0]
        assert document.status == "FINISHED"


def test_mlflows_own_command_line(workplace: Workplace) -> None:
    uri = f"yprov+{workplace.sqlite}"
    made = workplace.call("mlflow", "experiments", "create", "-n", "from the shell", uri=uri)
    assert "Created experiment" in made.out
    listed = workplace.call("mlflow", "experiments", "search", uri=uri)
    assert "from the shell" in listed.out


# -- whoever does not use it -----------------------------------------------------------------------


def test_plain_use_is_untouched(workplace: Workplace) -> None:
    """Nothing is captured, whatever else of Python's machinery looks at all modules."""
    done = workplace.run(
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
            mlflow.sklearn.log_model(model, name="m", pip_requirements=["scikit-learn"])
        pickle.dumps(function_of_the_script)
        cloudpickle.dumps(lambda x: function_of_the_script(x))
        assert type(_get_store()) is SqlAlchemyStore
        package = "yprov_mlflow.prov."
        ours = {package + name for name in ("capture.wrappers", "sampling", "settings")}
        found = sorted(({"prov", "rdflib"} | ours) & set(sys.modules))
        print(json.dumps([run.info.run_id, found, mlflow.get_tracking_uri()]))
        """,
        workplace.sqlite,
    )
    run_id, imported, uri = done.made
    assert imported == []
    assert uri == workplace.sqlite
    assert not workplace.journal.exists()
    client = MlflowClient(tracking_uri=workplace.sqlite)
    assert [file.path for file in client.list_artifacts(run_id)] == ["hello.txt"]
    assert not [tag for tag in client.get_run(run_id).data.tags if "yprov" in tag]


def test_failing_plugin_module_cannot_break_plain_users(workplace: Workplace) -> None:
    """A folder without rights, a home that is not there: plain MLflow does not notice."""
    done = workplace.run(
        UNMODIFIED,
        workplace.sqlite,
        YPROV_MLFLOW_DIR="/proc/no/such/folder",
        YPROV_MLFLOW_MAX_SAMPLES="not a number",
        HOME="/nonexistent",
    )
    assert MlflowClient(tracking_uri=workplace.sqlite).get_run(done.made).info.status == "FINISHED"
    assert "rovenance" not in done.err


# -- the test kit itself ---------------------------------------------------------------------------


def test_missing_server_is_skipped_or_fails_where_it_was_promised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(servers.REQUIRE, raising=False)
    with pytest.raises(pytest.skip.Exception, match="no such thing"):
        servers.missing("no such thing")
    monkeypatch.setenv(servers.REQUIRE, "1")
    with pytest.raises(pytest.fail.Exception, match="no such thing"):
        servers.missing("no such thing")
