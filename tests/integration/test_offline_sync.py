"""Offline runs are brought into a database with ids and artifacts, and killed ones get an end."""

from __future__ import annotations

from pathlib import Path

from mlflow import MlflowClient

from integration.conftest import Sandbox

TRAIN = """
import os, signal, sys
import mlflow

mlflow.set_experiment("deep")
with mlflow.start_run(run_name="whole") as whole:
    mlflow.log_param("lr", 0.1)
    for step in range(5):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    mlflow.log_text("text", "notes/a.txt")
killed = mlflow.start_run(run_name="killed")
mlflow.log_metric("loss", 0.5)
print(f'["{whole.info.run_id}", "{killed.info.run_id}"]', flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def contents(uri: str, run_id: str) -> dict[str, object]:
    client = MlflowClient(uri)
    run = client.get_run(run_id)
    points = client.get_metric_history(run_id, "loss")
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "experiment": client.get_experiment(run.info.experiment_id).name,
        "start": run.info.start_time,
        "params": run.data.params,
        "points": [(point.step, point.timestamp, point.value) for point in points],
        "artifacts": sorted(file.path for file in client.list_artifacts(run_id)),
    }


def test_offline_runs_keep_ids_and_killed_ones_get_an_end(sandbox: Sandbox, tmp_path: Path) -> None:
    offline = tmp_path / "shared"
    done = sandbox.train(TRAIN, f"yprov:{offline}", check=False)
    assert done.code == -9, done.err
    whole, killed = done.json
    target = f"sqlite:///{tmp_path / 'target.db'}"
    sandbox.yprov("sync", str(offline), "--to", target)
    first = contents(target, whole)
    assert first["name"] == "whole" and first["experiment"] == "deep"
    assert first["status"] == "FINISHED" and first["params"] == {"lr": "0.1"}
    assert [point[2] for point in first["points"]] == [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]
    assert "notes" in first["artifacts"] and "provenance" in first["artifacts"]
    other = contents(target, killed)
    assert other["status"] == "FAILED" and [point[2] for point in other["points"]] == [0.5]
    again = sandbox.yprov("sync", str(offline), "--to", target)
    assert "restored" not in again.out
    assert (contents(target, whole), contents(target, killed)) == (first, other)
