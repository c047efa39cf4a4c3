"""After ``kill -9`` at a random time, the recovered document has every call that had returned.

A parent process imports MLflow and forks a child for each kill, so that fifty kills take a minute:
``YPROV_MLFLOW_KILLS=50 pytest tests/integration/test_kill_recovery.py``.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from support.readers.documents import RunDocument

from integration.conftest import Sandbox

KILLS = int(os.environ.get("YPROV_MLFLOW_KILLS", "6"))
"""Number of processes to kill, half of them for each backend."""

SEED = int(os.environ.get("YPROV_MLFLOW_SEED", random.SystemRandom().randrange(2**32)))

PARENT = """
import json, os, random, select, signal, sys, time
import mlflow
import mlflow.store.tracking.file_store
import mlflow.store.tracking.sqlalchemy_store
from mlflow.entities import Metric, Param, RunTag

def train(pipe):
    def acknowledge(*call):
        os.write(pipe, json.dumps(call).encode() + b"\\n")

    client = mlflow.MlflowClient()
    run = mlflow.start_run(log_system_metrics=False)
    run_id = run.info.run_id
    acknowledge("run", run_id)
    number = 0
    while True:
        number += 1
        mlflow.log_metric("loss", number / 3, step=number)
        acknowledge("metric", "loss", number, number / 3)
        if number % 3 == 0:
            mlflow.log_param(f"p{number}", number)
            acknowledge("param", f"p{number}", str(number))
        if number % 4 == 0:
            mlflow.set_tag("progress", str(number))
            acknowledge("tag", "progress", str(number))
        if number % 5 == 0:
            client.log_batch(
                run_id,
                metrics=[
                    Metric("batch", float(i), 1_700_000_000_000, number * 10 + i)
                    for i in range(10)
                ],
                params=[Param(f"b{number}", "x")],
                tags=[RunTag(f"t{number}", "y")],
            )
            for i in range(10):
                acknowledge("metric", "batch", number * 10 + i, float(i))
            acknowledge("param", f"b{number}", "x")
            acknowledge("tag", f"t{number}", "y")
        if number % 7 == 0:
            mlflow.log_text(f"text {number}", f"texts/{number}.txt")
            acknowledge("artifact", f"texts/{number}.txt")

def run_and_kill(delay_s):
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        try:
            train(write_end)
        finally:
            os._exit(1)
    os.close(write_end)
    chunks = []
    chunks.append(os.read(read_end, 65536))  # the run exists: the delay begins
    end = time.monotonic() + delay_s
    while (remaining := end - time.monotonic()) > 0:
        if select.select([read_end], [], [], remaining)[0]:
            chunk = os.read(read_end, 65536)
            if not chunk:
                break
            chunks.append(chunk)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    while chunk := os.read(read_end, 65536):
        chunks.append(chunk)
    os.close(read_end)
    assert os.WIFSIGNALED(status), "the child exited before it was killed"
    return [json.loads(line) for line in b"".join(chunks).splitlines()]

generator = random.Random(int(sys.argv[1]))
print(json.dumps([run_and_kill(generator.uniform(0.0, 0.8)) for _ in range(int(sys.argv[2]))]))
"""


@pytest.fixture(scope="module", params=["sqlite", pytest.param("file", marks=pytest.mark.long)])
def killed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, empty_database: Path
) -> tuple[str, list[list[list[Any]]]]:
    """Kill processes, recover all runs, and return the URI and each run's acknowledged calls."""
    sandbox = Sandbox(tmp_path_factory.mktemp(request.param), empty_database)
    uri = sandbox.sqlite if request.param == "sqlite" else sandbox.files
    print(f"YPROV_MLFLOW_SEED={SEED}")
    half = max(1, KILLS // 2)
    acknowledged = sandbox.run(PARENT, f"yprov+{uri}", str(SEED), str(half)).json
    sandbox.yprov("recover", "--yes", uri=uri)
    return uri, acknowledged


def test_recovered_document_has_every_acknowledged_call(
    killed: tuple[str, list[list[list[Any]]]],
) -> None:
    uri, runs = killed
    lost: list[tuple[str, list[Any]]] = []
    calls = 0
    for (_, run_id), *acknowledged in runs:
        document = RunDocument.fetch(run_id, uri)
        points = {
            (key, point.step, point.value)
            for key, points in document.points.items()
            for point in points
        }
        for kind, *arguments in acknowledged:
            calls += 1
            match kind:
                case "metric":
                    recorded = tuple(arguments) in points
                case "param":
                    recorded = document.params.get(arguments[0]) == arguments[1]
                case "tag":
                    recorded = arguments[1] in document.tag_history(arguments[0])
                case _:
                    recorded = arguments[0] in document.artifacts
            if not recorded:
                lost.append((run_id, [kind, *arguments]))
    print(f"{calls} calls acknowledged by {len(runs)} killed processes, {len(lost)} lost")
    assert not lost
    assert calls > len(runs), "the children were killed before their first call returned"


def test_recovered_document_equals_store(
    killed: tuple[str, list[list[list[Any]]]],
) -> None:
    # A killed process may have written a call to the store without acknowledging it.
    uri, runs = killed
    client = MlflowClient(tracking_uri=uri)
    for (_, run_id), *_ in runs:
        document = RunDocument.fetch(run_id, uri)
        run = client.get_run(run_id)
        assert document.params == run.data.params
        for key in run.data.metrics:
            stored = sorted(
                (m.step, m.timestamp, m.value) for m in client.get_metric_history(run_id, key)
            )
            assert [tuple(point) for point in document.points[key]] == stored
        document.as_prov()


def test_second_recovery_changes_nothing(sandbox: Sandbox) -> None:
    script = PARENT.replace("uniform(0.0, 0.8)", "uniform(0.2, 0.3)")
    [[(_, run_id), *_]] = sandbox.run(script, f"yprov+{sandbox.sqlite}", "1", "1").json
    sandbox.yprov("recover", "--yes", uri=sandbox.sqlite)
    client = MlflowClient(tracking_uri=sandbox.sqlite)
    first = Path(client.download_artifacts(run_id, "provenance/prov.json")).read_bytes()
    sandbox.yprov("recover", "--yes", uri=sandbox.sqlite)
    second = Path(client.download_artifacts(run_id, "provenance/prov.json")).read_bytes()
    assert json.loads(first) == json.loads(second)
    assert first == second
