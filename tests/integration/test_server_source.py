"""A tracking server tells over REST what its database holds, but for a declared list."""

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
from readings import Reading

from integration import full_store, servers
from integration.conftest import environment
from yprov_mlflow.prov.errors import StoreError
from yprov_mlflow.prov.events import ArtifactsLogged, MetricsLogged, RunCreated, StoreCalled
from yprov_mlflow.prov.sources import open_source
from yprov_mlflow.prov.sources.rest import ServerSource, store_contents
from yprov_mlflow.prov.sources.rest import common_reads as reading_module
from yprov_mlflow.prov.sources.rest import rest_source as source
from yprov_mlflow.prov.sources.rest import server_run as run
from yprov_mlflow.prov.sources.rest.server_client import Refused, Server

DECLARED = {
    # what servers do not tell
    ("RunCreated", "fields", "deleted_time"),
    ("create_model_version", "arguments", "storage_location"),
}
"""Fields that a database has and its server has not."""

NOT_TOLD = {"create_webhook"}
"""Calls that only a database has, besides those of deleted versions."""


@pytest.fixture(scope="module")
def store(tmp_path_factory, empty_database):
    """A SQLite file filled with everything, behind a server: its path, address, what was made."""
    folder = tmp_path_factory.mktemp("served")
    path = folder / "mlflow.db"
    shutil.copy(empty_database, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        made = full_store.fill(f"sqlite:///{path}")
        full_store.let_go(f"sqlite:///{path}")
    options = ("--backend-store-uri", f"sqlite:///{path}")
    with servers.mlflow_server(folder, environment(folder / "state"), *options) as (uri, _):
        yield path, uri, made


@pytest.fixture(scope="module")
def asked(store):
    return Reading(store[1])


@pytest.fixture(scope="module")
def read(store):
    return Reading(str(store[0]))


def flat(event):
    """Give an event as JSON: what a store is called, and in which order, is not compared."""
    fields = {f.name: getattr(event, f.name) for f in dataclasses.fields(event)}
    fields = {k: list(v) if hasattr(v, "typecode") else v for k, v in fields.items()}
    kind = fields.get("method") or type(event).__name__
    del fields["seq"]
    fields.pop("store", None)
    found = json.loads(json.dumps(fields))
    for span in found["arguments"]["spans"] if kind == "log_spans" else ():
        # The same JSON, spelt by another program.
        span["attributes"] = {k: json.loads(v) for k, v in span["attributes"].items()}
    for name, part, field in DECLARED:
        if name == kind:
            found[part].pop(field, None)
    return kind, json.dumps(found, sort_keys=True)


def test_runs_are_the_same(asked, read):
    assert {ref.run_id: ref for ref in asked.refs} == {ref.run_id: ref for ref in read.refs}


def test_events_of_runs_are_the_same_in_the_same_order(asked, read):
    for run_id, events in read.runs.items():
        assert [flat(event) for event in asked.runs[run_id]] == [flat(event) for event in events]
        assert [event.seq for event in asked.runs[run_id]] == list(range(len(events)))


def test_events_of_the_store_are_the_same(asked, read):
    deleted = {str(call.subjects) for call in read.calls("delete_model_version")}
    assert len(deleted) == 1
    told = [
        event
        for event in read.store
        if getattr(event, "method", "") not in NOT_TOLD
        and str(getattr(event, "subjects", "")) not in deleted
    ]
    assert Counter(map(flat, asked.store)) == Counter(map(flat, told))
    assert [event.seq for event in asked.store] == list(range(len(asked.store)))


def test_the_store_has_the_same_name(asked, read, store):
    assert asked.source.store()["uuid"] == read.source.store()["uuid"]
    assert asked.source.store()["uri"] == store[1] == asked.source.location


def test_what_is_not_told_is_said(asked):
    (problem,) = (problem for problem in asked.problems if "deleted" in problem.reason)
    assert problem.lost == "" and "database" in problem.reason


def test_small_pages_give_the_same(store, asked, monkeypatch):
    for module in (store_contents, reading_module, source):
        monkeypatch.setattr(module, "_PAGE", 1)
    monkeypatch.setattr(run, "_PAGE", 7)
    again = Reading(store[1])
    assert again.refs == asked.refs
    assert repr(again.runs) == repr(asked.runs)
    assert Counter(map(flat, again.store)) == Counter(map(flat, asked.store))


def test_another_process_asks_the_same(asked):
    travelled = pickle.loads(pickle.dumps(asked.source))
    assert list(travelled.runs()) == asked.refs
    ref = asked.refs[0]
    assert repr(list(travelled.events(ref))) == repr(asked.runs[ref.key])
    assert travelled.fingerprint(ref) == asked.source.fingerprint(ref)
    travelled.close()
    assert list(travelled.runs()) == asked.refs


def test_our_own_prefix_is_understood(store, asked):
    prefixed = open_source(f"yprov+{store[1]}")
    assert isinstance(prefixed, ServerSource) and prefixed.location == store[1]
    assert list(prefixed.runs()) == asked.refs


def test_artifacts_are_listed_and_hashed_where_they_can_be(store, tmp_path):
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
    # Changes are seen in what the server says at once.
    client.log_metric(made.info.run_id, "loss", 1.0)
    assert source.fingerprint(ref) != before
    assert any(isinstance(event, MetricsLogged) for event in source.events(ref))


def test_a_run_that_is_gone_is_a_problem(store):
    source = open_source(store[1])
    ref = dataclasses.replace(next(iter(source.runs())), run_id="f" * 32, key="f" * 32)
    assert list(source.events(ref)) == []
    (problem,) = source.problems()
    assert problem.lost == "the run" and "f" * 32 in problem.place


# -- servers that do not answer as they should -----------------------------------------------


@contextlib.contextmanager
def answering(answer):
    """Run a server that gives ``answer`` (status and body, or a function of the request)."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers.get("Content-Length") or 0)
            given = self.rfile.read(length)
            status, body = answer(self.path, given) if callable(answer) else answer
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


def error_of(location):
    source = open_source(location)
    with pytest.raises(StoreError) as raised:
        list(source.runs())
    return str(raised.value)


def test_a_server_that_is_not_there_says_so_at_once():
    start = time.monotonic()
    text = error_of(f"http://user:se-cret@127.0.0.1:{servers.free_port()}")
    assert time.monotonic() - start < 10
    assert "cannot be reached" in text and "See that it is up" in text and "se-cret" not in text


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_wants_to_know_who_asks(status):
    with answering((status, b"who are you?")) as address:
        text = error_of(f"http://{address}")
    assert "MLFLOW_TRACKING_USERNAME" in text and "MLFLOW_TRACKING_TOKEN" in text


@pytest.mark.parametrize("answer", [(200, b"<html>hello</html>"), (404, b"{}"), (200, b"[]")])
def test_a_server_that_is_something_else(answer):
    with answering(answer) as address:
        text = error_of(f"http://{address}")
    assert "does not answer as a tracking server does" in text and "MLFLOW_TRACKING_URI" in text


def test_an_answer_that_was_torn_is_asked_for_again(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    asked = defaultdict(int)

    def answer(path, given):
        asked[path] += 1
        if path.endswith("runs/get") or "runs/get?" in path:
            return 200, b'{"run": {"info'
        if asked[path] == 2:
            return 200, b'{"experiments": [{"experime'
        named = {"experiment_id": "0", "name": "Default", "lifecycle_stage": "active"}
        return 200, json.dumps({"experiments": [named]}).encode()

    with answering(answer) as address:
        server = Server(f"http://{address}")
        found = list(server.pages(server.store.search_experiments, max_results=5))
        assert [one.name for one in found] == ["Default"]
        with pytest.raises(Refused, match="JSON"):
            server.ask(server.store.get_run, "1" * 32)


def test_an_old_server_that_offers_less_is_read_all_the_same():
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

    def answer(path, given):
        for name, found in answers.items():
            if f"/mlflow/{name}" in path:
                return 200, json.dumps(found).encode()
        return 404, json.dumps({"error_code": "ENDPOINT_NOT_FOUND", "message": path}).encode()

    with answering(answer) as address:
        found = Reading(f"http://{address}")
        assert found.one(RunCreated).run_name == "old"
        assert found.points("loss") == [(1, 0.5, 0)]
        assert [call.method for call in found.store] == ["create_experiment"]
        (problem,) = (problem for problem in found.problems if problem.lost)
        assert problem.place == "/nowhere" and "another machine" in problem.reason


def test_events_are_made_of_what_was_asked(asked):
    assert all(isinstance(events[0], RunCreated) for events in asked.runs.values())
    assert any(isinstance(event, StoreCalled) for event in asked.store)
