"""Databases that MLflow filled with all it can store: each kind is read completely."""

from __future__ import annotations

import hashlib
import math
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import servers
from support.builders import full_store
from support.builders.full_store import TIME_MS
from support.readers.source_contents import SourceContents

from yprov_mlflow.prov.errors import MissingExtraError, StoreError
from yprov_mlflow.prov.events import (
    ArtifactsLogged,
    InputsLogged,
    MetricsLogged,
    ModelLogged,
    OutputsLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
    StoreCalled,
)
from yprov_mlflow.prov.ids import store_uuid
from yprov_mlflow.prov.sources import open_source
from yprov_mlflow.prov.translate import translate

LARGEST = 1.7976931348623157e308

SERVERS = {
    "postgresql": ("postgres_address", "postgresql+psycopg2", "postgres"),
    "mysql": ("mariadb_address", "mysql+pymysql", ""),
}
"""Fixtures with addresses, the URI scheme, and the database to connect to first."""


def make_database(kind, request, folder):
    """Create a database, with MLflow's tables or empty; return its URI."""
    import sqlalchemy

    if kind == "sqlite":
        shutil.copy(request.getfixturevalue("empty_database"), folder / "mlflow.db")
        return f"sqlite:///{folder / 'mlflow.db'}"
    fixture, server, named = SERVERS[kind]
    uri = f"{server}://{request.getfixturevalue(fixture)}"
    engine = sqlalchemy.create_engine(f"{uri}/{named}", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        words = "CHARACTER SET utf8mb4" if kind == "mysql" else ""
        connection.exec_driver_sql(f"CREATE DATABASE full_store {words}")
    engine.dispose()
    return f"{uri}/full_store"


@pytest.fixture(scope="module", params=["sqlite", *SERVERS])
def database(request, tmp_path_factory):
    """A database of each kind: its URI, and the ids of its contents."""
    folder = tmp_path_factory.mktemp("full")
    uri = make_database(request.param, request, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        yield uri, full_store.fill(uri, case_sensitive=request.param != "mysql")
        full_store.dispose_engines(uri)


@pytest.fixture(scope="module")
def reading(database):
    reading = SourceContents(database[0])
    yield reading
    reading.source.close()


@pytest.fixture
def made(database):
    return database[1]


def test_all_runs_are_listed(reading, made):
    assert {ref.run_id: ref.lifecycle for ref in reading.refs} == {
        run_id: "deleted" if name == "deleted" else "active" for name, run_id in made.runs.items()
    }
    ref = next(ref for ref in reading.refs if ref.run_id == made.runs["parent"])
    assert (ref.experiment_id, ref.experiment_name) == (made.experiments["main"], "main")
    assert (ref.status, ref.start_time_ms, ref.key) == ("FINISHED", TIME_MS, ref.run_id)


def test_run_attributes(reading, made):
    created = reading.single(RunCreated, made.runs["parent"])
    assert (created.run_name, created.user_id) == ("parent", "ada")
    assert created.start_time_ms == TIME_MS and created.tags == {} and created.fields == {}
    updated = reading.single(RunUpdated, made.runs["parent"])
    assert (updated.status, updated.end_time_ms) == ("FINISHED", TIME_MS + 9000)
    assert (updated.run_name, updated.lifecycle) == (None, None)
    deleted = reading.run_events(made.runs["deleted"])
    assert deleted[1].lifecycle == "deleted" and deleted[1].status == "RUNNING"
    assert deleted[0].fields.keys() == {"deleted_time"}
    assert reading.single(RunUpdated, made.runs["failed"]).status == "FAILED"
    assert [event.seq for event in deleted] == list(range(len(deleted)))
    assert {event.time_ns for event in deleted} == {0}


def test_params_and_tags(reading, made):
    params = reading.params(made.runs["parent"])
    assert {params.pop("LR", "1"), params.pop("R", "1")} == {"1"}
    assert params == {"lr": "0.1", "text": "näher\nlines", "a/b": ""}
    tags = reading.tags(made.runs["parent"])
    assert tags["note"] == "x" * 3000 and tags["mlflow.source.name"] == "train.py"
    assert reading.tags(made.runs["child"])["mlflow.parentRunId"] == made.runs["parent"]
    assert not reading.select(ParamsLogged, made.runs["bare"])


def test_points_have_the_order_of_mlflow(reading, made, database):
    from mlflow import MlflowClient

    run_id = made.runs["parent"]
    client = MlflowClient(tracking_uri=database[0])
    keys = [event.keys[0] for event in reading.select(MetricsLogged, run_id)]
    assert keys == sorted(client.get_run(run_id).data.metrics)
    for key in keys:
        history = client.get_metric_history(run_id, key)
        expected = [(point.timestamp, repr(point.value), point.step) for point in history]
        points = [(t, repr(v), s) for t, v, s in reading.points(key, run_id)]
        # A point of two models comes twice.
        assert list(dict.fromkeys(points)) == list(dict.fromkeys(expected))
    odd = reading.points("odd", run_id)
    assert [point[1] for point in odd if not math.isnan(point[1])] == [0.0, 0.0, LARGEST, -LARGEST]
    assert [point[2] for point in odd if math.isnan(point[1])] == [1]
    assert odd[0] == (TIME_MS - 5, 0.0, -7)


def test_points_name_their_logged_models(reading, made):
    run_id = made.runs["parent"]
    (event,) = [e for e in reading.select(MetricsLogged, run_id) if e.keys[0] == "accuracy"]
    first, second = sorted((made.models["own"], made.models["second"]))
    assert [*event.values] == [0.8, 0.9, 0.9, 0.7]
    assert event.models == [made.models["loose"], first, second, None]
    iris = [None, ["iris", "d1"]]
    both = iris[::-1] if first == made.models["own"] else iris
    assert event.datasets == [None, *both, None]


def test_inputs_and_outputs(reading, made):
    inputs = reading.single(InputsLogged, made.runs["parent"])
    assert [(d["name"], d["digest"]) for d in inputs.datasets] == [("iris", "d1"), ("iris", "d2")]
    assert inputs.datasets[0]["tags"] == {"mlflow.data.context": "train"}
    assert inputs.datasets[0]["source"] == '{"uri": "x.csv"}'
    assert inputs.datasets[0]["schema"] == '{"a": 1}' and inputs.models == []
    child = reading.single(InputsLogged, made.runs["child"])
    assert [d["digest"] for d in child.datasets] == ["d1"] and child.models == [made.models["own"]]
    outputs = reading.single(OutputsLogged, made.runs["parent"])
    assert outputs.models == [(made.models["own"], 3)]


def test_logged_models(reading, made):
    models = {event.model_id: event for event in reading.select(ModelLogged, made.runs["parent"])}
    assert models.keys() == {made.models["own"], made.models["second"]}
    own = models[made.models["own"]]
    assert (own.name, own.model_type, own.status) == ("own", "tree", "READY")
    assert (own.params, own.tags) == ({"depth": "3"}, {"kind": "own", "stage": "gold"})
    assert own.fields["source_run_id"] == made.runs["parent"]
    assert models[made.models["second"]].status == "PENDING"
    (loose,) = [event for event in reading.store if isinstance(event, ModelLogged)]
    assert loose.model_id == made.models["loose"]


def test_traces_belong_to_their_run_or_to_the_store(reading, made):
    calls = [
        event for event in reading.run_events(made.runs["parent"]) if isinstance(event, StoreCalled)
    ]
    methods = [event.method for event in calls]
    assert methods == [
        *("start_trace", "log_spans"),
        *["create_assessment"] * 3,
        "link_traces_to_run",
    ]
    info = calls[0].arguments["trace_info"]
    assert (info["trace_id"], info["state"]) == (made.traces["of the run"], "OK")
    assert info["tags"]["mlflow.traceName"] == "of the run"
    assert info["trace_metadata"]["mlflow.trace.session"] == "s-1"
    spans = calls[1].arguments["spans"]
    assert [span["name"] for span in spans] == ["span 1", "span 2"]
    assert spans[0]["attributes"]["mlflow.spanInputs"] == '{"x": [1, 2.5, null]}'
    first, second, third = (event.arguments["assessment"] for event in calls[2:5])
    assert first["feedback"] == {"value": {"score": 0.5}} and first["valid"] is False
    assert first["metadata"] == {"a": "b"} and first["source"]["source_id"] == "ada"
    assert second["overrides"] == first["assessment_id"] and second["feedback"]["value"] is True
    assert third["expectation"] == {"value": ["a", 1]}
    assert calls[-1].arguments["trace_ids"] == [made.traces["linked"]]
    loose = {call.subjects["trace"] for call in reading.calls("start_trace")}
    assert loose == {made.traces["loose"], made.traces["linked"]}


def test_experiments(reading, made):
    calls = {call.arguments["name"]: call for call in reading.calls("create_experiment")}
    assert calls.keys() == {"Default", *made.experiments}
    assert calls["main"].result == made.experiments["main"]
    assert calls["main"].arguments["tags"] == {"team": "näher\nlines"}
    assert calls["gone"].arguments["lifecycle_stage"] == "deleted"
    (deleted,) = reading.calls("delete_experiment")
    assert deleted.arguments == {"experiment_id": made.experiments["gone"]}
    first = calls["Default"].arguments
    uuid = store_uuid(first["creation_time"], first["artifact_location"], "")
    assert reading.source.store()["uuid"] == uuid


def test_registry(reading, made):
    calls = {call.arguments["name"]: call for call in reading.calls("create_registered_model")}
    assert calls.keys() == {"iris", "it's empty", "hello"}
    assert calls["iris"].arguments["description"] == "flowers"
    assert calls["iris"].arguments["tags"] == {"team": "a"}
    assert calls["hello"].arguments["tags"]["mlflow.prompt.is_prompt"] == "true"
    iris = [event for event in reading.store if getattr(event, "subjects", {}).get("model") == IRIS]
    assert [event.method for event in iris] == [
        "create_registered_model",
        *("create_model_version",) * 2,
        "transition_model_version_stage",
        "create_model_version",
        "delete_model_version",
        *("set_registered_model_alias",) * 2,
    ]
    version = iris[2].arguments
    assert (version["version"], version["source"]) == ("2", "s3://bucket/2")
    assert (version["run_id"], version["tags"]) == (made.runs["parent"], {"number": "2"})
    assert iris[3].arguments["stage"] == "Production"
    assert iris[5].arguments == {"name": IRIS, "version": "3"}
    assert [(e.arguments["alias"], e.arguments["version"]) for e in iris[6:]] == [
        ("challenger", "1"),
        ("champion", "2"),
    ]


IRIS = "iris"


def test_evaluation(reading, made):
    (dataset,) = reading.calls("create_dataset")
    assert (dataset.arguments["name"], dataset.arguments["tags"]) == ("cases", {"level": "easy"})
    assert dataset.arguments["experiment_ids"] == [made.experiments["main"]]
    (records,) = reading.calls("upsert_dataset_records")
    rows = {str(row["inputs"]): row for row in records.arguments["records"]}
    assert rows["{'q': '1+1'}"]["expectations"] == {"a": 2}
    assert rows["{'q': 'näher'}"]["outputs"] == {"a": [1, None]}
    scorers = [call.arguments["serialized_scorer"] for call in reading.calls("register_scorer")]
    assert scorers == ['{"name": "one"}', '{"name": "two"}']


def test_secrets_are_withheld(reading):
    (hook,) = reading.calls("create_webhook")
    assert hook.arguments["name"] == "hook"
    assert hook.arguments["events"] == ["registered_model.created"]
    text = repr([*reading.store, *reading.runs.values(), *reading.problems, reading.source.store()])
    assert not any(secret in text for secret in ("T0PSECRET", "hush-hush", "se-cret"))
    assert "se-cret" not in reading.source.location + repr(reading.source.store())


def test_events_can_be_translated(reading):
    for events in (*reading.runs.values(), reading.store):
        assert translate(events).records["entity"]


def test_pickled_source_reads_the_same(database, reading):
    source = pickle.loads(pickle.dumps(reading.source))
    refs = list(source.runs())
    assert refs == reading.refs
    # As text, because NaN is not equal to itself.
    assert repr([list(source.events(ref)) for ref in refs]) == repr([*reading.runs.values()])
    assert [source.fingerprint(ref) for ref in refs] == [*map(reading.source.fingerprint, refs)]
    source.close()


def test_fingerprints_change_with_their_run_only(database, reading, made):
    from mlflow.entities import Metric, RunTag
    from mlflow.tracking._tracking_service.utils import _get_store

    store = _get_store(database[0])
    refs = {ref.run_id: ref for ref in reading.refs}
    before = {run_id: reading.source.fingerprint(ref) for run_id, ref in refs.items()}
    assert len(set(before.values())) == len(before)
    changes = {
        "bare": lambda run: store.set_tag(run, RunTag("later", "1")),
        "child": lambda run: store.log_metric(run, Metric("loss", 0.1, TIME_MS - 9, -9)),
        "failed": lambda run: store.delete_run(run),
    }
    for name, change in changes.items():
        change(made.runs[name])
    store.restore_run(made.runs["failed"])
    fresh = open_source(database[0])
    changed = {run_id for run_id, ref in refs.items() if fresh.fingerprint(ref) != before[run_id]}
    assert changed == {made.runs["bare"], made.runs["child"]}
    reading.source.close()
    fresh.close()


def test_database_is_not_changed(database, made):
    uri = database[0]
    before = contents(uri)
    source = open_source(uri)
    for ref in source.runs():
        source.fingerprint(ref)
        list(source.events(ref))
    list(source.store_events())
    source.close()
    assert contents(uri) == before


def contents(uri):
    """Return all rows by table; for a SQLite file, digests of it and the files beside it."""
    if uri.startswith("sqlite"):
        path = Path(uri.removeprefix("sqlite:///"))
        return {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest()
            for file in path.parent.glob("mlflow.db*")
        }
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri)
    with engine.connect() as connection:
        tables = sqlalchemy.inspect(connection).get_table_names()
        rows = {
            table: sorted(map(repr, connection.execute(sqlalchemy.text(f"SELECT * FROM {table}"))))
            for table in tables
        }
    engine.dispose()
    return rows


def test_transactions_are_read_only(database):
    import sqlalchemy

    from yprov_mlflow.prov.sources.sql.connection import Database

    opened = Database(database[0])
    with opened.transaction() as reader, pytest.raises(sqlalchemy.exc.DBAPIError):
        reader.connection.exec_driver_sql("UPDATE runs SET name = 'hacked'")
    opened.close()


def test_events_of_a_run_are_one_snapshot(database, made):
    """Points that are logged while a run is read are not in its events."""
    from mlflow.entities import Metric
    from mlflow.tracking._tracking_service.utils import _get_store

    if database[0].startswith("sqlite"):
        pytest.skip("a writer of a SQLite file waits for its readers")
    source = open_source(database[0])
    ref = next(ref for ref in source.runs() if ref.run_id == made.runs["child"])
    events = source.events(ref)
    first = next(events)
    _get_store(database[0]).log_metric(made.runs["child"], Metric("late", 1.0, TIME_MS, 0))
    keys = [event.keys[0] for event in events if isinstance(event, MetricsLogged)]
    assert isinstance(first, RunCreated) and "late" not in keys
    later = [e.keys[0] for e in source.events(ref) if isinstance(e, MetricsLogged)]
    assert "late" in later
    source.close()


def test_artifacts_are_found_in_place_and_after_a_move(tmp_path, empty_database):
    database = tmp_path / "mlflow.db"
    shutil.copy(empty_database, database)
    uri = f"sqlite:///{database}"
    code = f"""
import mlflow
mlflow.set_tracking_uri({uri!r})
mlflow.set_experiment(experiment_id=mlflow.create_experiment("x", {str(tmp_path / "files")!r}))
with mlflow.start_run() as run:
    mlflow.log_text("hello", "a/ä b.txt")
    mlflow.log_text("ours", "provenance/prov.json")
model = mlflow.initialize_logged_model("m", source_run_id=run.info.run_id)
client = mlflow.MlflowClient()
client.log_model_artifact(model.model_id, __file__)
"""
    script = tmp_path / "script.py"
    script.write_text(code, "utf-8")
    environment = {"PATH": "/usr/bin:/bin", "MLFLOW_DISABLE_TELEMETRY": "true"}
    subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, check=True)
    reading = SourceContents(uri)
    of_run, of_model = reading.select(ArtifactsLogged)
    sha256 = hashlib.sha256(b"hello").hexdigest()
    assert of_run.files == [{"path": "a/ä b.txt", "size": 5, "sha256": sha256}]
    assert of_run.owner is None and of_model.owner[0] == "model"
    assert [file["path"] for file in of_model.files] == ["script.py"]
    assert reading.problems == []
    # After a move, the end of the URI is enough to find them.
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.move(tmp_path / "files", moved / "files")
    shutil.move(database, moved / "mlflow.db")
    again = SourceContents(str(moved / "mlflow.db"), artifacts=str(moved))
    files = [event.files for event in again.select(ArtifactsLogged)]
    assert files == [of_run.files, of_model.files]
    lost = SourceContents(str(moved / "mlflow.db"), artifacts=str(tmp_path / "nowhere"))
    shutil.move(moved / "files", tmp_path / "hidden")
    lost = SourceContents(str(moved / "mlflow.db"))
    assert not lost.select(ArtifactsLogged)
    (problem,) = lost.problems
    assert "--artifacts" in problem.reason and "hashes" in problem.lost


@pytest.mark.parametrize(
    ("name", "change", "cure"),
    [
        ("password", ("se-cret", "wr0ng"), "USER:PASSWORD"),
        ("port", None, "running and that its URI is right"),
        ("database", ("/postgres", "/nothing"), "running and that its URI is right"),
    ],
)
def test_unreachable_server_is_an_error_without_password(postgres_address, name, change, cure):
    uri = f"postgresql://{postgres_address}/postgres"
    if change is None:
        uri = f"postgresql://u:se-cret@127.0.0.1:{servers.free_port()}/x"
    else:
        uri = uri.replace(*change)
    with pytest.raises(StoreError) as raised:
        list(open_source(uri).runs())
    text = str(raised.value)
    assert cure in text and "se-cret" not in text and "wr0ng" not in text


def test_lost_connection_is_replaced(database, made):
    import sqlalchemy

    if not database[0].startswith("postgresql"):
        pytest.skip("one kind of server is enough")
    source = open_source(database[0])
    refs = list(source.runs())
    events = source.events(refs[0])
    next(events)
    engine = sqlalchemy.create_engine(database[0])
    with engine.connect() as connection:
        others = "FROM pg_stat_activity WHERE datname = 'full_store' AND pid <> pg_backend_pid()"
        connection.exec_driver_sql(f"SELECT pg_terminate_backend(pid) {others}")
    engine.dispose()
    with pytest.raises(StoreError, match="cannot be read"):
        list(events)
    assert next(source.events(refs[0])).run_id == refs[0].run_id
    source.close()


def test_database_of_another_program_is_an_error(postgres_address):
    with pytest.raises(StoreError, match="MLflow's tables are missing") as raised:
        list(open_source(f"postgresql://{postgres_address}/postgres").runs())
    assert "--backend-store-uri" in str(raised.value)


def test_missing_library_names_the_extra(monkeypatch, tmp_path):
    import importlib.util

    find = importlib.util.find_spec
    missing = {"sqlalchemy"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name in missing else find(name, *a)
    )
    with pytest.raises(MissingExtraError, match=r"pip install 'yprov-mlflow\[sql\]'"):
        open_source("postgresql://h/x").store()
    missing = {"psycopg2", "psycopg", "pg8000"}
    with pytest.raises(MissingExtraError, match=r"psycopg2.*pip install 'yprov-mlflow\[sql\]'"):
        open_source("postgresql://h/x").store()
