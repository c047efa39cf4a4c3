"""A tracking server gives the same events as its database, except for a declared list."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import json
import pickle
import shutil
import threading
import time
from collections import Counter, defaultdict

import pytest
from support import servers
from support.builders import full_store
from support.readers.source_contents import SourceContents

from integration.conftest import environment
from yprov_mlflow.prov.errors import StoreError
from yprov_mlflow.prov.events import ArtifactsLogged, MetricsLogged, RunCreated, StoreCalled
from yprov_mlflow.prov.sources import open_source
from yprov_mlflow.prov.sources.rest import ServerSource, store_contents
from yprov_mlflow.prov.sources.rest import rest_source as source
from yprov_mlflow.prov.sources.rest import server_reading as reading_module
from yprov_mlflow.prov.sources.rest import server_run as run
from yprov_mlflow.prov.sources.rest.server_client import Refused, Server

DECLARED = {
    ("RunCreated", "fields", "deleted_time"),
    ("create_model_version", "arguments", "storage_location"),
}
"""Fields that only the database provides, by call and part of it."""

NOT_SERVED = {"create_webhook"}
"""Calls that only the database provides, besides those of deleted versions."""


@pytest.fixture(scope="module")
def store(tmp_path_factory, empty_database):
    """A filled SQLite file behind a server: its path, address, and the ids of its contents."""
    folder = tmp_path_factory.mktemp("served")
    path = folder / "mlflow.db"
    shutil.copy(empty_database, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        made = full_store.fill(f"sqlite:///{path}")
        full_store.dispose_engines(f"sqlite:///{path}")
    options = ("--backend-store-uri", f"sqlite:///{path}")
    with servers.mlflow_server(folder, environment(folder / "state"), *options) as (uri, _):
        yield path, uri, made


@pytest.fixture(scope="module")
def served(store):
    return SourceContents(store[1])


@pytest.fixture(scope="module")
def stored(store):
    return SourceContents(str(store[0]))


def flat(event):
    """Return an event as JSON, without the store's URI and the sequence number."""
    fields = {f.name: getattr(event, f.name) for f in dataclasses.fields(event)}
    fields = {k: list(v) if hasattr(v, "typecode") else v for k, v in fields.items()}
    kind = fields.get("method") or type(event).__name__
    del fields["seq"]
    fields.pop("store", None)
    plain = json.loads(json.dumps(fields))
    for span in plain["arguments"]["spans"] if kind == "log_spans" else ():
        # The same JSON with other spacing.
        span["attributes"] = {k: json.loads(v) for k, v in span["attributes"].items()}
    for name, part, field in DECLARED:
        if name == kind:
            plain[part].pop(field, None)
    return kind, json.dumps(plain, sort_keys=True)


def test_runs_equal_those_of_the_database(served, stored):
    assert {ref.run_id: ref for ref in served.refs} == {ref.run_id: ref for ref in stored.refs}


def test_events_of_runs_equal_those_of_the_database(served, stored):
    for run_id, events in stored.runs.items():
        assert [flat(event) for event in served.runs[run_id]] == [flat(event) for event in events]
        assert [event.seq for event in served.runs[run_id]] == list(range(len(events)))


def test_events_of_the_store_equal_those_of_the_database(served, stored):
    deleted = {str(call.subjects) for call in stored.calls("delete_model_version")}
    assert len(deleted) == 1
    expected = [
        event
        for event in stored.store
        if getattr(event, "method", "") not in NOT_SERVED
        and str(getattr(event, "subjects", "")) not in deleted
    ]
    assert Counter(map(flat, served.store)) == Counter(map(flat, expected))
    assert [event.seq for event in served.store] == list(range(len(served.store)))


def test_store_has_the_same_uuid(served, stored, store):
    assert served.source.store()["uuid"] == stored.source.store()["uuid"]
    assert served.source.store()["uri"] == store[1] == served.source.location


def test_limits_of_servers_are_reported(served):
    (problem,) = (problem for problem in served.problems if "deleted" in problem.reason)
    assert problem.lost == "" and "database" in problem.reason


def test_small_pages_give_the_same_events(store, served, monkeypatch):
    for module in (store_contents, reading_module, source):
        monkeypatch.setattr(module, "_PAGE", 1)
    monkeypatch.setattr(run, "_PAGE", 7)
    again = SourceContents(store[1])
    assert again.refs == served.refs
    assert repr(again.runs) == repr(served.runs)
    assert Counter(map(flat, again.store)) == Counter(map(flat, served.store))


def test_pickled_source_reads_the_same(served):
    copy = pickle.loads(pickle.dumps(served.source))
    assert list(copy.runs()) == served.refs
    ref = served.refs[0]
    assert repr(list(copy.events(ref))) == repr(served.runs[ref.key])
    assert copy.fingerprint(ref) == served.source.fingerprint(ref)
    copy.close()
    assert list(copy.runs()) == served.refs


def test_yprov_prefix_is_stripped(store, served):
    prefixed = open_source(f"yprov+{store[1]}")
    assert isinstance(prefixed, ServerSource) and prefixed.location == store[1]
    assert list(prefixed.runs()) == served.refs


def test_artifacts_are_listed_and_hashed_if_reachable(store, tmp_path):
    from mlflow import MlflowClient

    path, uri, _ = store
    client = MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("with files")
    made = client.create_run(experiment)
    for name in ("a.txt", "deep/er/ä b.txt", "provenance/prov.json"):
        client.log_text(made.info.run_id, name, name)
    source = open_source(uri)
    (ref,) = (ref for ref in source.runs() if ref.run_id == made.info.run_id)
    before = source.fingerprint(ref)
    (event,) = (e for e in source.events(ref) if isinstance(e, ArtifactsLogged))
    assert event.files == [
        {"path": "a.txt", "size": 5, "sha256": None},
        {"path": "deep/er/ä b.txt", "size": 16, "sha256": None},
    ]
    assert source.problems() == []
    hashed = open_source(uri, artifacts=str(path.parent / "artifacts"))
    (again,) = (e for e in hashed.events(ref) if isinstance(e, ArtifactsLogged))
    assert [file["path"] for file in again.files] == [file["path"] for file in event.files]
    assert all(file["sha256"] for file in again.files)
    # New points change the fingerprint.
    client.log_metric(made.info.run_id, "loss", 1.0)
    assert source.fingerprint(ref) != before
    assert any(isinstance(event, MetricsLogged) for event in source.events(ref))


def test_missing_run_is_a_problem(store):
    source = open_source(store[1])
    ref = dataclasses.replace(next(iter(source.runs())), run_id="f" * 32, key="f" * 32)
    assert list(source.events(ref)) == []
    (problem,) = source.problems()
    assert problem.lost == "the run" and "f" * 32 in problem.place


# -- servers with unexpected answers ----------------------------------------------------------


@contextlib.contextmanager
def answering(answer):
    """Run a server with a fixed answer (status and body), or a function of path and body."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers.get("Content-Length") or 0)
            request = self.rfile.read(length)
            status, body = answer(self.path, request) if callable(answer) else answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def error_text(location):
    source = open_source(location)
    with pytest.raises(StoreError) as raised:
        list(source.runs())
    return str(raised.value)


def test_unreachable_server_fails_fast():
    start = time.monotonic()
    text = error_text(f"http://user:se-cret@127.0.0.1:{servers.free_port()}")
    assert time.monotonic() - start < 10
    assert (
        "cannot be reached" in text and "Check that it is running" in text and "se-cret" not in text
    )


@pytest.mark.parametrize("status", [401, 403])
def test_authentication_required(status):
    with answering((status, b"Unauthorized")) as address:
        text = error_text(f"http://{address}")
    assert "MLFLOW_TRACKING_USERNAME" in text and "MLFLOW_TRACKING_TOKEN" in text


@pytest.mark.parametrize("answer", [(200, b"<html>hello</html>"), (404, b"{}"), (200, b"[]")])
def test_server_that_is_not_a_tracking_server(answer):
    with answering(answer) as address:
        text = error_text(f"http://{address}")
    assert "does not answer as a tracking server does" in text and "MLFLOW_TRACKING_URI" in text


def test_truncated_answers_are_retried(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    requests = defaultdict(int)

    def answer(path, request):
        requests[path] += 1
        if path.endswith("runs/get") or "runs/get?" in path:
            return 200, b'{"run": {"info'
        if requests[path] == 2:
            return 200, b'{"experiments": [{"experime'
        named = {"experiment_id": "0", "name": "Default", "lifecycle_stage": "active"}
        return 200, json.dumps({"experiments": [named]}).encode()

    with answering(answer) as address:
        server = Server(f"http://{address}")
        experiments = list(server.pages(server.store.search_experiments, max_results=5))
        assert [experiment.name for experiment in experiments] == ["Default"]
        with pytest.raises(Refused, match="JSON"):
            server.ask(server.store.get_run, "1" * 32)


def test_server_of_mlflow_1_is_read():
    """MLflow 1 knew neither logged models nor traces, nor pages of points."""
    run = {
        "info": {
            "run_id": "1" * 32,
            "experiment_id": "0",
            "status": "FINISHED",
            "start_time": 5,
            "lifecycle_stage": "active",
            "artifact_uri": "/nowhere/0/" + "1" * 32 + "/artifacts",
        },
        "data": {
            "metrics": [{"key": "loss", "value": 0.5, "timestamp": 1, "step": 0}],
            "tags": [{"key": "mlflow.runName", "value": "old"}],
        },
    }
    experiment = {"experiment_id": "0", "name": "Default", "lifecycle_stage": "active"}
    answers = {
        "experiments/search": {"experiments": [experiment]},
        "experiments/get": {"experiment": experiment},
        "runs/search": {"runs": [run]},
        "runs/get": {"run": run},
        "metrics/get-history": {"metrics": run["data"]["metrics"]},
        "registered-models/search": {},
    }

    def answer(path, request):
        for name, content in answers.items():
            if f"/mlflow/{name}" in path:
                return 200, json.dumps(content).encode()
        return 404, json.dumps({"error_code": "ENDPOINT_NOT_FOUND", "message": path}).encode()

    with answering(answer) as address:
        reading = SourceContents(f"http://{address}")
        assert reading.single(RunCreated).run_name == "old"
        assert reading.points("loss") == [(1, 0.5, 0)]
        assert [call.method for call in reading.store] == ["create_experiment"]
        (problem,) = (problem for problem in reading.problems if problem.lost)
        assert problem.place == "/nowhere" and "another machine" in problem.reason


def test_runs_and_store_have_events(served):
    assert all(isinstance(events[0], RunCreated) for events in served.runs.values())
    assert any(isinstance(event, StoreCalled) for event in served.store)
