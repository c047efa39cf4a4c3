"""Every event of a real run can be read back from its journal: none lost, none misshapen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from yprov_mlflow import events
from yprov_mlflow.journal import Folder, Journal

SCRIPT = """
import numpy, yprov_mlflow as mlflow
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
    with mlflow.prov.context("training"), mlflow.prov.epoch(1):
        mlflow.log_metric("loss", 0.25, synchronous=False)
    model = mlflow.create_external_model("m", params={"p": "1"}, tags={"k": "v"})
    mlflow.set_logged_model_tags(model.model_id, {"k": "w"})
    mlflow.delete_logged_model_tag(model.model_id, "k")
    mlflow.log_outputs([LoggedModelOutput(model.model_id, 0)])
    mlflow.finalize_logged_model(model.model_id, "READY")
    client.create_registered_model("r")
client.delete_run(run.info.run_id)
client.restore_run(run.info.run_id)
print(run.info.run_id)
"""


def test_every_event_is_read_back(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env={
            **os.environ,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_TRACKING_URI": "sqlite:///m.db",
            "YPROV_MLFLOW_DIR": str(tmp_path / "state"),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "rovenance" not in done.stderr
    (path,) = Folder(tmp_path / "state", done.stdout.split()[-1]).files()
    journal = Journal(path)
    found = list(journal)
    assert journal.problems == [] and journal.gaps == 0
    assert {type(event) for event in found} == {*events.KINDS.values()}
    names = [
        name for event in found if isinstance(event, events.MetricsLogged) for name in event.keys
    ]
    assert sorted(names) == ["loss", "loss", "x", "y"]
