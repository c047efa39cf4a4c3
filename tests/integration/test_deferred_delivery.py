"""Calls that return before the store has them: nothing lost, nothing doubled, nothing untrue."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from mlflow import MlflowClient
from support import servers
from support.faulty_proxy import FAULTS, FaultyProxy

from integration.conftest import Sandbox, Server, environment

PROGRAM = """
import json, os, sys, threading
import mlflow
from mlflow.entities import Metric, Param, RunTag

client = mlflow.MlflowClient()
with mlflow.start_run(run_name="first") as run:
    run_id = run.info.run_id
    mlflow.log_param("lr", 0.1)
    mlflow.log_params({f"p{i}": i for i in range(120)})
    mlflow.set_tags({"kept": "1", "gone": "2", "mlflow.runName": "second"})
    for i in range(30):
        client.log_metric(run_id, "loss", i / 7, timestamp=1000 + i, step=i)
    for value in (float("nan"), float("inf"), -0.0, 1e300):
        client.log_metric(run_id, "odd", value, timestamp=5, step=1)
    points = [Metric("batch/x", float(i), 2000, i) for i in range(700)]
    client.log_batch(run_id, points, [Param("b", "x")], [RunTag("kept", "3")])
    assert client.get_run(run_id).data.tags["kept"] == "3"
    assert len(client.get_metric_history(run_id, "loss")) == 30
    client.delete_tag(run_id, "gone")
    client.log_metric(run_id, "later", 1.0, timestamp=7, step=0, synchronous=False)
    thread = threading.Thread(
        target=lambda: [client.log_metric(run_id, "thread", i, timestamp=i, step=i)
                        for i in range(200)]
    )
    thread.start()
    client.set_tag(run_id, "kept", "4")
    thread.join()
    child = os.fork()
    if child == 0:
        client.log_metric(run_id, "forked", 1.0, timestamp=1, step=0)
        client.get_run(run_id)
        os._exit(0)
    os.waitpid(child, 0)
    mlflow.log_dict({"a": 1}, "a.json")
print(json.dumps(run_id))
"""


def state(uri: str, run_id: str) -> dict[str, Any]:
    """Return what a store says of a run, apart from its times and its id."""
    client = MlflowClient(uri)
    run = client.get_run(run_id)
    tags = {k: v for k, v in run.data.tags.items() if not k.startswith("mlflow.source")}
    return {
        "status": run.info.status,
        "name": run.info.run_name,
        "params": run.data.params,
        "tags": tags,
        "points": {
            key: sorted(
                (m.step, m.timestamp if key != "later" else 0, repr(m.value))
                for m in client.get_metric_history(run_id, key)
            )
            for key in run.data.metrics
        },
        "files": [file.path for file in client.list_artifacts(run_id) if file.path != "provenance"],
    }


LONG = pytest.mark.long
FILES = pytest.param("files", marks=LONG)


@pytest.fixture(scope="module")
def file_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server on files, which keeps each point that it gets, doubled ones too."""
    folder = tmp_path_factory.mktemp("file-server")
    options = ("--backend-store-uri", f"file://{folder}/mlruns")
    with servers.mlflow_server(folder, environment(folder / "state"), *options) as (uri, log):
        yield Server(uri, log, folder / "state")


@pytest.mark.parametrize("delivery", ["deferred", pytest.param("failover", marks=LONG)])
@pytest.mark.parametrize("store", ["sqlite", FILES])
def test_store_is_as_with_plain_mlflow(sandbox: Sandbox, store: str, delivery: str) -> None:
    uri = getattr(sandbox, store)
    plain = sandbox.train(PROGRAM, uri).json
    later = sandbox.train(PROGRAM, f"yprov+{uri}?yprov-delivery={delivery}").json
    assert state(uri, later) == state(uri, plain)
    assert sandbox.document(later, uri).status == "FINISHED"


ERRORS = """
import json
import mlflow
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Metric, Param

client = MlflowClient()
run_id = mlflow.start_run().info.run_id
client.log_param(run_id, "lr", 1)
client.log_metric(run_id, "m", 1.0)
deleted = client.create_run("0").info.run_id
client.log_metric(deleted, "m", 1.0)
client.delete_run(deleted)
calls = [
    lambda: client.log_param(run_id, "lr", 2),
    lambda: client.log_batch(run_id, params=[Param("lr", "3")]),
    lambda: client.log_metric(run_id, "no\\nname", 1.0),
    lambda: client.log_metric(run_id, "m", "text", timestamp=1),
    lambda: client.log_metric(run_id, "m", 1.0, timestamp=-1),
    lambda: client.log_param(run_id, "k" * 300, 1),
    lambda: client.log_batch(run_id, params=[Param("a", "1"), Param("a", "2")]),
    lambda: client.log_metric(deleted, "m", 2.0),
    lambda: client.set_tag("0" * 32, "a", "b"),
    lambda: client.delete_tag(run_id, "unknown"),
    lambda: client.log_param(run_id, "m/../x", 1),
    lambda: client.log_inputs(run_id, [DatasetInput(Dataset("", "d", "t", "s"))]),
]
raised = []
for call in calls:
    try:
        raised.append(repr(call()))
    except Exception as error:
        text = str(error).replace(run_id, "RUN").replace(deleted, "DELETED")
        raised.append([type(error).__name__, text])
print(json.dumps(raised))
"""


@pytest.mark.parametrize("store", ["sqlite", FILES])
def test_errors_are_raised_at_the_call(sandbox: Sandbox, store: str) -> None:
    uri = getattr(sandbox, store)
    sandbox.train("import mlflow; mlflow.search_experiments()", uri)
    plain = sandbox.train(ERRORS, uri).json
    later = sandbox.train(ERRORS, f"yprov+{uri}?yprov-delivery=deferred").json
    assert later == plain


# -- stores that fail ------------------------------------------------------------------------

LOGGING = """
import json, sys, time
import mlflow

client = mlflow.MlflowClient()
with mlflow.start_run() as run:
    run_id = run.info.run_id
    slowest = 0.0
    for i in range({points}):
        start = time.perf_counter()
        client.log_metric(run_id, f"m{{i % 3}}", i / 7, timestamp=1000 + i, step=i)
        if i % 10 == 0:
            client.log_param(run_id, f"p{{i}}", i)
            client.set_tag(run_id, "progress", str(i))
        slowest = max(slowest, time.perf_counter() - start)
        time.sleep({pause})
print(json.dumps([run_id, slowest]))
"""


def check_logged(uri: str, run_id: str, points: int) -> None:
    """Fail the test unless a store has each call of ``LOGGING`` exactly once."""
    client = MlflowClient(uri)
    run = client.get_run(run_id)
    counts = Counter(
        (m.step, m.value) for i in range(3) for m in client.get_metric_history(run_id, f"m{i}")
    )
    assert counts == Counter((i, i / 7) for i in range(points))
    assert run.data.params == {f"p{i}": str(i) for i in range(0, points, 10)}
    assert run.data.tags["progress"] == str((points - 1) // 10 * 10)


def start(sandbox: Sandbox, script: str, uri: str) -> subprocess.Popen[str]:
    """Start a script in a process of its own, which may be killed."""
    return subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=sandbox.folder,
        env={**sandbox.environment, "MLFLOW_TRACKING_URI": uri},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(condition: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    """Wait while a process runs."""
    while not condition() and process.poll() is None:
        time.sleep(0.02)


@pytest.mark.parametrize("delivery", ["deferred", pytest.param("failover", marks=LONG)])
def test_faults_of_a_server_lose_and_double_nothing(
    sandbox: Sandbox, file_server: Server, delivery: str
) -> None:
    kinds = [fault for fault in FAULTS if fault != "duplicate"]
    proxy = FaultyProxy(urlsplit(file_server.uri).port or 0, 7, 0.0, kinds)
    with proxy.running() as uri:
        script = LOGGING.format(points=300, pause=0.002)
        process = start(sandbox, script, f"yprov+{uri}?yprov-delivery={delivery}")
        wait_until(lambda: proxy.counts[""] > 2, process)
        proxy.share = 0.4  # once the run exists
        out, err = process.communicate(timeout=200)
        assert process.returncode == 0, err[-3000:]
        proxy.share = 0.0
        run_id, slowest = json.loads(out.splitlines()[-1])
        sandbox.yprov("recover", "--run", run_id, "--yes")
    assert sum(proxy.counts[kind] for kind in kinds) > 3
    check_logged(file_server.uri, run_id, 300)
    assert MlflowClient(file_server.uri).get_run(run_id).info.status == "FINISHED"
    assert slowest < 6.0  # three calls of up to 1 s each, on a machine under load


@pytest.mark.parametrize("delivery", [pytest.param("deferred", marks=LONG), "failover"])
def test_server_that_goes_away_stops_no_program(
    sandbox: Sandbox, file_server: Server, delivery: str
) -> None:
    proxy = FaultyProxy(urlsplit(file_server.uri).port or 0)
    with proxy.running() as uri:
        script = LOGGING.format(points=200, pause=0.01)
        process = start(sandbox, script, f"yprov+{uri}?yprov-delivery={delivery}")
        wait_until(lambda: proxy.counts[""] > 3, process)
        proxy.is_away = True
        out, err = process.communicate(timeout=200)
        assert process.returncode == 0, err[-3000:]
        assert err.count("does not answer") == 1
        assert "recover" in err
        proxy.is_away = False
        run_id, _ = json.loads(out.splitlines()[-1])
        assert MlflowClient(file_server.uri).get_run(run_id).info.status == "RUNNING"
        sandbox.yprov("recover", "--run", run_id, "--yes")
        check_logged(file_server.uri, run_id, 200)
        assert sandbox.document(run_id, file_server.uri).status == "FINISHED"
        sandbox.yprov("recover", "--run", run_id, "--again")
        check_logged(file_server.uri, run_id, 200)


def test_server_that_comes_back_gets_all(sandbox: Sandbox, file_server: Server) -> None:
    proxy = FaultyProxy(urlsplit(file_server.uri).port or 0)
    with proxy.running() as uri:
        script = LOGGING.format(points=250, pause=0.02)
        process = start(sandbox, script, f"yprov+{uri}?yprov-delivery=deferred")
        wait_until(lambda: proxy.counts[""] > 3, process)
        proxy.is_away = True
        wait_until(lambda: proxy.counts["drop"] > 2, process)
        proxy.is_away = False
        out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err[-3000:]
    run_id, _ = json.loads(out.splitlines()[-1])
    assert (err.count("does not answer"), err.count("has all calls")) == (1, 1)
    check_logged(file_server.uri, run_id, 250)
    assert sandbox.document(run_id, file_server.uri).status == "FINISHED"


# -- processes that are killed ---------------------------------------------------------------

KILLED = """
import os, sys
import mlflow

client = mlflow.MlflowClient()
run_id = mlflow.start_run().info.run_id
print(run_id, flush=True)
for i in range(1_000_000):
    client.log_metric(run_id, "m", i / 7, timestamp=1000 + i, step=i)
    client.log_param(run_id, f"p{i}", i)
    print(i, flush=True)
"""


@pytest.mark.parametrize("store", ["sqlite", FILES])
def test_killed_process_loses_no_call_that_returned(sandbox: Sandbox, store: str) -> None:
    uri = getattr(sandbox, store)
    process = start(sandbox, KILLED, f"yprov+{uri}?yprov-delivery=deferred")
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    calls = random.Random(store).randrange(50, 1500)
    last = [process.stdout.readline() for _ in range(calls)][-1]
    process.send_signal(signal.SIGKILL)
    remaining, _ = process.communicate()
    acknowledged = int((remaining.splitlines() or [last])[-1] or last)
    sandbox.yprov("recover", "--run", run_id, "--yes")
    client = MlflowClient(uri)
    history = client.get_metric_history(run_id, "m")
    steps = sorted(metric.step for metric in history)
    assert steps == list(range(len(steps)))  # each once
    assert len(steps) > acknowledged
    assert len(client.get_run(run_id).data.params) > acknowledged
    assert all(metric.value == metric.step / 7 for metric in history)


# -- calls that the store refuses ------------------------------------------------------------

REFUSED = """
import json, os, sqlite3, subprocess, sys
import mlflow

client = mlflow.MlflowClient()
with mlflow.start_run() as run:
    run_id = run.info.run_id
    client.log_metric(run_id, "m", 1.0)
    client.get_run(run_id)
    # Another program is first.
    code = "import mlflow, sys; mlflow.MlflowClient(sys.argv[1]).log_param(sys.argv[2], 'lr', 1)"
    subprocess.run([sys.executable, "-c", code, sys.argv[1], run_id], check=True)
    client.log_batch(run_id, params=[mlflow.entities.Param(k, "2") for k in ("lr", "depth")])
    client.log_metric(run_id, "m", 2.0)
print(json.dumps(run_id))
"""


@pytest.mark.parametrize("store", ["sqlite", FILES])
def test_refused_param_is_not_in_the_document(sandbox: Sandbox, store: str) -> None:
    uri = getattr(sandbox, store)
    done = sandbox.train(REFUSED, f"yprov+{uri}?yprov-delivery=deferred", uri)
    run = MlflowClient(uri).get_run(done.json)
    assert run.data.params == {"lr": "1", "depth": "2"}
    assert run.data.metrics == {"m": 2.0}
    assert "refused" in done.err
    document = sandbox.document(done.json, uri)
    assert document.params == {"lr": "1", "depth": "2"}
    (refused,) = [s["mlf:refused"] for s in document.sessions.values() if "mlf:refused" in s]
    (call,) = json.loads(str(refused))
    assert call["params"] == {"lr": "2"}
    assert "Changing param values is not allowed" in call["reason"]
