"""Many threads and processes log at once: each call is in the document of its own run."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient
from support.readers.documents import RunDocument

from integration.conftest import Sandbox, Server

THREADS = """
import json, sys, threading
import mlflow
from mlflow import MlflowClient

threads, runs_each, steps = map(int, sys.argv[1:])
mlflow.set_experiment("threads")
run_ids = {}
start = threading.Barrier(threads)

def train(thread):
    start.wait()
    for number in range(runs_each):
        name = f"{thread}-{number}"
        with mlflow.start_run(run_name=name) as run:
            run_ids[name] = run.info.run_id
            mlflow.log_param("name", name)
            mlflow.log_params({f"p{thread}": number})
            for step in range(steps):
                mlflow.log_metric("loss", thread * 1000.0 + number * 100 + step, step=step)
            mlflow.log_metrics({"a": float(thread), "b": float(number)}, step=0)
            mlflow.set_tag("name", name)
            mlflow.log_text(name, f"{name}.txt")

workers = [threading.Thread(target=train, args=(thread,)) for thread in range(threads)]
[worker.start() for worker in workers]
[worker.join() for worker in workers]
print(json.dumps(run_ids))
"""

PROCESSES = """
import json, os, sys
import mlflow
import mlflow.store.tracking.sqlalchemy_store

steps = int(sys.argv[1])
run_id = sys.argv[2]
children = []
for number in range(4):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            client = mlflow.MlflowClient()
            for step in range(steps):
                client.log_metric(run_id, "shared", float(number), step=number * 1000 + step)
                client.log_metric(run_id, f"own {number}", float(step), step=step)
            client.log_param(run_id, f"from {number}", number)
            client.log_text(run_id, f"{number}", f"{number}.txt")
            code = 0
        finally:
            os._exit(code)
    children.append(child)
codes = [os.waitpid(child, 0)[1] for child in children]
assert codes == [0, 0, 0, 0], codes
mlflow.MlflowClient().set_terminated(run_id)
print(json.dumps("done"))
"""


@pytest.mark.parametrize("backend", ["sqlite", pytest.param("file", marks=pytest.mark.long)])
def test_threads_logging_to_many_runs(sandbox: Sandbox, backend: str) -> None:
    uri = sandbox.sqlite if backend == "sqlite" else sandbox.files
    run_ids = sandbox.train(THREADS, f"yprov+{uri}", "8", "4", "10").json
    assert len(run_ids) == 32
    for name, run_id in run_ids.items():
        thread, number = map(int, name.split("-"))
        document = RunDocument.fetch(run_id, uri)
        assert document.name == name
        assert document.status == "FINISHED"
        assert document.params == {"name": name, f"p{thread}": str(number)}
        assert document.values("loss") == [
            thread * 1000.0 + number * 100 + step for step in range(10)
        ]
        assert document.values("a") == [float(thread)]
        assert document.values("b") == [float(number)]
        assert document.tags["name"] == name
        assert list(document.artifacts) == [f"{name}.txt"]


def _assert_four_processes_logged(document: RunDocument, steps: int) -> None:
    assert [point.step for point in document.points["shared"]] == [
        number * 1000 + step for number in range(4) for step in range(steps)
    ]
    assert [point.value for point in document.points["shared"]] == [
        float(number) for number in range(4) for _ in range(steps)
    ]
    for number in range(4):
        assert document.values(f"own {number}") == [float(step) for step in range(steps)]
    assert document.params == {f"from {number}": str(number) for number in range(4)}
    assert set(document.artifacts) == {f"{number}.txt" for number in range(4)}


def test_four_processes_logging_to_same_run(sandbox: Sandbox) -> None:
    run_id = MlflowClient(tracking_uri=sandbox.sqlite).create_run("0").info.run_id
    sandbox.train(PROCESSES, f"yprov+{sandbox.sqlite}", "25", run_id)
    document = sandbox.document(run_id)
    _assert_four_processes_logged(document, 25)
    assert len(document.sessions) >= 4


@pytest.mark.long
def test_four_processes_logging_through_capturing_server(
    sandbox: Sandbox, capturing_server: Server
) -> None:
    run_id = MlflowClient(tracking_uri=capturing_server.uri).create_run("0").info.run_id
    sandbox.train(PROCESSES, capturing_server.uri, "10", run_id)
    _assert_four_processes_logged(RunDocument.fetch(run_id, capturing_server.uri), 10)
    assert not sandbox.journals()
