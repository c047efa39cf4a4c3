"""``kill -9`` at random moments: what MLflow acknowledged is in the document after recovery.

A parent imports MLflow once and forks a child for each kill, so that fifty take a minute:
``YPROV_MLFLOW_KILLS=50 pytest tests/integration/test_survival.py``.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from integration.conftest import Workplace
from integration.documents import RunDocument

KILLS = int(os.environ.get("YPROV_MLFLOW_KILLS", "6"))
"""How many processes are killed, half of them over each backend."""

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

def kill_one(wait_s):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            train(writing)
        finally:
            os._exit(1)
    os.close(writing)
    pieces = []
    pieces.append(os.read(reading, 65536))  # the run is there: the clock starts
    end = time.monotonic() + wait_s
    while (left := end - time.monotonic()) > 0:
        if select.select([reading], [], [], left)[0]:
            piece = os.read(reading, 65536)
            if not piece:
                break
            pieces.append(piece)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    while piece := os.read(reading, 65536):
        pieces.append(piece)
    os.close(reading)
    assert os.WIFSIGNALED(status), "the child ended by itself"
    return [json.loads(line) for line in b"".join(pieces).splitlines()]

chance = random.Random(int(sys.argv[1]))
print(json.dumps([kill_one(chance.uniform(0.0, 0.8)) for _ in range(int(sys.argv[2]))]))
"""


@pytest.fixture(scope="module", params=["sqlite", "file"])
def killed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, empty_database: Path
) -> tuple[str, list[list[list[Any]]]]:
    """Kill, recover everything with one command, and give what had been acknowledged."""
    place = Workplace(tmp_path_factory.mktemp(request.param), empty_database)
    uri = place.sqlite if request.param == "sqlite" else place.files
    print(f"YPROV_MLFLOW_SEED={SEED}")
    half = max(1, KILLS // 2)
    acknowledged = place.run(PARENT, f"yprov+{uri}", str(SEED), str(half)).made
    place.yprov("recover", uri=uri)
    return uri, acknowledged


def test_every_acknowledged_call_is_in_the_document(
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
        for kind, *what in acknowledged:
            calls += 1
            match kind:
                case "metric":
                    found = tuple(what) in points
                case "param":
                    found = document.params.get(what[0]) == what[1]
                case "tag":
                    found = what[1] in document.tag_history(what[0])
                case _:
                    found = what[0] in document.artifacts
            if not found:
                lost.append((run_id, [kind, *what]))
    print(f"{calls} calls acknowledged by {len(runs)} killed processes, {len(lost)} lost")
    assert not lost
    assert calls > len(runs), "the children were killed before they had done anything"


def test_nothing_that_mlflow_holds_is_missing_or_doubled(
    killed: tuple[str, list[list[list[Any]]]],
) -> None:
    """A call may reach the store in the instant before its process dies."""
    uri, runs = killed
    client = MlflowClient(tracking_uri=uri)
    for (_, run_id), *_ in runs:
        document = RunDocument.fetch(run_id, uri)
        run = client.get_run(run_id)
        assert document.params == run.data.params
        for key in run.data.metrics:
            held = sorted(
                (m.step, m.timestamp, m.value) for m in client.get_metric_history(run_id, key)
            )
            assert [tuple(point) for point in document.points[key]] == held
        document.as_prov()


def test_recovering_twice_changes_nothing(workplace: Workplace) -> None:
    script = PARENT.replace("uniform(0.0, 0.8)", "uniform(0.2, 0.3)")
    [[(_, run_id), *_]] = workplace.run(script, f"yprov+{workplace.sqlite}", "1", "1").made
    workplace.yprov("recover", uri=workplace.sqlite)
    client = MlflowClient(tracking_uri=workplace.sqlite)
    first = Path(client.download_artifacts(run_id, "provenance/prov.json")).read_bytes()
    workplace.yprov("recover", uri=workplace.sqlite)
    second = Path(client.download_artifacts(run_id, "provenance/prov.json")).read_bytes()
    assert json.loads(first) == json.loads(second)
    assert first == second
