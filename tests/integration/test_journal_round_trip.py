"""All events of a real run are in its journal and can be read back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from yprov_mlflow.prov import events
from yprov_mlflow.prov.journal import JournalDirectory, JournalReader

SCRIPT = """
import numpy, pathlib, yprov_mlflow as mlflow
from mlflow.entities import LoggedModelOutput
client = mlflow.MlflowClient()
with mlflow.start_run() as run:
    mlflow.log_param("a", 1)
    mlflow.log_metric("loss", 0.5)
    mlflow.log_metrics({"x": float("nan"), "y": float("inf")}, step=2)
    mlflow.set_tag("t", "1")
    mlflow.delete_tag("t")
    mlflow.log_input(mlflow.data.from_numpy(numpy.arange(4), name="d"), "training")
    mlflow.log_text("hello", "hello.txt")
    pathlib.Path("data.csv").read_text()
    with mlflow.prov.context("training"), mlflow.prov.epoch(1):
        mlflow.log_metric("loss", 0.25, synchronous=False)
    model = mlflow.create_external_model("m", params={"p": "1"}, tags={"k": "v"})
    mlflow.set_logged_model_tags(model.model_id, {"k": "w"})
    mlflow.delete_logged_model_tag(model.model_id, "k")
    mlflow.log_outputs([LoggedModelOutput(model.model_id, 0)])
    mlflow.finalize_logged_model(model.model_id, "READY")
    client.create_registered_model("r")
    mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/hello.txt")
client.delete_run(run.info.run_id)
client.restore_run(run.info.run_id)
print(run.info.run_id)
"""


CONTEXTS = """
import threading
import yprov_mlflow as mlflow
client = mlflow.MlflowClient()
steps = iter(range(9))
with mlflow.start_run() as run:
    def log(run_id=run.info.run_id):
        client.log_metric(run_id, "loss", 0.5, step=next(steps))
    log()
    with mlflow.prov.context("training"):
        log()
        for number in range(2):
            with mlflow.prov.epoch(number):
                log()
                log()
        thread = threading.Thread(target=log)
        thread.start()
        thread.join()
        with mlflow.start_run(nested=True) as child:
            log(child.info.run_id)
    log()
print(run.info.run_id)
"""


def events_of(script: str, tmp_path: Path) -> list[events.Event]:
    """Run a script that prints the id of a run, and return the events of that run."""
    (tmp_path / "data.csv").write_text("a,b\n")
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={
            **os.environ,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_TRACKING_URI": "sqlite:///m.db",
            "YPROV_MLFLOW_DIR": str(tmp_path / "state"),
            "YPROV_MLFLOW_COLLECTORS": "default,files",
            "TMPDIR": str(tmp_path / "state"),  # else the data would be a temporary file
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "rovenance" not in done.stderr
    (path,) = JournalDirectory(tmp_path / "state", done.stdout.split()[-1]).files()
    journal = JournalReader(path)
    content = list(journal)
    assert (journal.problems, journal.missing) == ([], [])
    return content


def test_events_of_every_kind_are_read_back(tmp_path: Path) -> None:
    content = events_of(SCRIPT, tmp_path)
    # A process that goes well neither dies nor is refused a call.
    unusual = {events.CallRefused, events.SessionEnded}
    assert {type(event) for event in content} | unusual == {*events.KINDS.values()}
    names = [
        name for event in content if isinstance(event, events.MetricsLogged) for name in event.keys
    ]
    assert sorted(names) == ["loss", "loss", "x", "y"]


def test_points_have_the_context_they_were_logged_in(tmp_path: Path) -> None:
    points = {
        event.steps[0]: [tuple(path) for path in event.context_paths]
        for event in events_of(CONTEXTS, tmp_path)
        if isinstance(event, events.MetricsLogged) and event.keys == ["loss"]
    }
    training = [("training",)]
    first, second = [("training", 0)], [("training", 1)]
    # Step 6: a thread without a context uses the only open one. Step 7 belongs to the child run.
    assert points == {
        0: [],
        1: training,
        2: first,
        3: first,
        4: second,
        5: second,
        6: training,
        8: [],
    }
