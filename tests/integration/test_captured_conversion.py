"""Conversion of stores with captured runs keeps what capture saw, and adds what came later."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner, Result
from support import warm_python

from yprov_mlflow.prov.cli import main
from yprov_mlflow.prov.events import ArtifactsLogged, MetricsLogged, ModelLogged, RunUpdated
from yprov_mlflow.prov.formats import FORMATS, open_documents, prov_json
from yprov_mlflow.prov.formats.metric_files import read_points
from yprov_mlflow.prov.translate import events_of
from yprov_mlflow.prov.validate.documents import check

CAPTURED = """
import pathlib, sys
import yprov_mlflow as mlflow

points = int(sys.argv[2])
mlflow.set_tracking_uri(sys.argv[1])
with mlflow.start_run() as other:
    mlflow.log_text("read", "read.txt")
with mlflow.start_run() as run, mlflow.prov.context("training"):
    mlflow.artifacts.download_artifacts(run_id=other.info.run_id, artifact_path="read.txt")
    mlflow.log_param("lr", 0.1)
    mlflow.set_tags({"color": "red", "gone": "soon", "same": "same"})
    for step in range(points):
        mlflow.log_metric("loss", 1.0 / (step + 1), step=step)
    mlflow.log_text("first", "notes.txt")
    model = mlflow.initialize_logged_model("net", params={"depth": 2})
    mlflow.finalize_logged_model(model.model_id, "READY")
print(run.info.run_id, run.info.artifact_uri)
"""


class Captured:
    """A captured run in a store, and the folder of its document."""

    def __init__(self, folder: Path, points: int, scheme: str) -> None:
        self.folder, self.uri = folder, f"{scheme}{folder}/m.db"
        script = folder / "train.py"
        script.write_text(CAPTURED)
        env = {
            **os.environ,
            "YPROV_MLFLOW_DIR": str(folder / "state"),
            "YPROV_MLFLOW_COLLECTORS": "host,environment,git",
            "MLFLOW_ALLOW_FILE_STORE": "true",
        }
        done = warm_python.run(script, self.uri, str(points), cwd=folder, env=env)
        done.check_returncode()
        self.run_id, artifact_uri = done.stdout.split()[-2:]
        self.provenance = Path(artifact_uri.removeprefix("file://")) / "provenance"
        self.client = mlflow.MlflowClient(self.uri)

    def convert(self, source: str, *options: str, out: str = "out", exits: int = 0) -> Result:
        """Convert in this process, in the folder of the run."""
        done = CliRunner().invoke(main, ["convert", source, "-o", out, *options])
        assert done.exit_code == exits, done.output
        return done

    def converted(self, suffix: str = ".json") -> Path:
        (path,) = (self.folder / "out").glob(f"*/{self.run_id}/prov{suffix}")
        return path


Capture = Callable[..., Captured]


@pytest.fixture(name="captured")
def _captured(tmp_path: Path, empty_database: Path) -> Capture:
    """Return a function that captures a run with some points in a new store."""

    def capture(points: int = 5, scheme: str = "sqlite:///") -> Captured:
        if scheme.startswith("sqlite"):
            shutil.copy(empty_database, tmp_path / "m.db")
            with contextlib.closing(sqlite3.connect(tmp_path / "m.db")) as connection:
                statement = "UPDATE experiments SET artifact_location = ?"
                connection.execute(statement, (str(tmp_path / "mlruns" / "0"),))
                connection.commit()
        return Captured(tmp_path, points, scheme)

    return capture


@pytest.fixture(params=["sqlite:///", pytest.param("file://", marks=pytest.mark.long)])
def scheme(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return str(request.param)


def test_unchanged_run_keeps_its_own_document(
    captured: Capture, tmp_path: Path, scheme: str
) -> None:
    # MLflow has the commit among its tags, too, and its store has model params without a session.
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "empty"]):
        subprocess.run([*git, *words], check=True)
    run = captured(5, scheme)
    run.convert(run.uri)
    (own,) = open_documents(run.provenance / "prov.json")
    (converted,) = open_documents(run.converted())
    assert converted.records == own.records


@pytest.mark.parametrize("points", [5, 150])
def test_later_changes_are_added(captured: Capture, scheme: str, points: int) -> None:
    run = captured(points, scheme)
    run.client.set_tag(run.run_id, "color", "blue")
    run.client.set_tag(run.run_id, "new", "tag")
    run.client.delete_tag(run.run_id, "gone")
    run.client.log_param(run.run_id, "late", "1")
    run.client.log_metric(run.run_id, "loss", 7.0, step=points)
    run.client.log_metric(run.run_id, "other", float("nan"))
    run.client.log_text(run.run_id, "second", "notes.txt")
    run.client.log_text(run.run_id, "more", "more.txt")
    run.client.delete_run(run.run_id)
    run.convert(run.uri)
    (own,) = open_documents(run.provenance / "prov.json")
    (converted,) = open_documents(run.converted())
    for section in ("entity", "activity", "agent"):
        assert own.records.get(section, {}).keys() <= converted.records.get(section, {}).keys()
    report = check(run.converted())
    assert not report.errors, report
    metrics = run.converted().with_name("metrics.parquet")
    assert metrics.exists() == (points > 100)
    events = list(events_of(converted, read_points(metrics) if metrics.exists() else None))
    stored = run.client.get_run(run.run_id).data
    of_run = [event for event in events if not isinstance(event, ModelLogged)]
    state = {
        "tags": {k: v for e in of_run if hasattr(e, "tags") for k, v in e.tags.items()},
        "params": {k: v for e in of_run if hasattr(e, "params") for k, v in e.params.items()},
    }
    assert state == {"tags": stored.tags, "params": stored.params}
    logged = [
        (key, step, repr(value))
        for event in events
        if isinstance(event, MetricsLogged)
        for key, step, value in zip(event.keys, event.steps, event.values, strict=True)
    ]
    expected = [
        (key, metric.step, repr(metric.value))
        for key in ("loss", "other")
        for metric in run.client.get_metric_history(run.run_id, key)
    ]
    assert sorted(logged) == sorted(expected)
    files = {
        str(file["path"]): file["sha256"]
        for event in events
        if isinstance(event, ArtifactsLogged)
        for file in event.files
    }
    texts = {"notes.txt": b"second", "more.txt": b"more"}
    assert files == {path: hashlib.sha256(text).hexdigest() for path, text in texts.items()}
    assert [e.lifecycle for e in events if isinstance(e, RunUpdated)] == ["deleted"]


@pytest.mark.parametrize("in_reach", [True, False])
def test_removed_files_end_if_the_artifacts_are_in_reach(
    captured: Capture, tmp_path: Path, in_reach: bool
) -> None:
    run = captured()
    artifacts = run.provenance.parent
    (artifacts / "notes.txt").unlink()
    if not in_reach:  # a link out of the store hides files
        (artifacts / "more").symlink_to(tmp_path)
    run.convert(run.uri, exits=0 if in_reach else 3)
    (converted,) = open_documents(run.converted())
    files = [f for e in events_of(converted) if isinstance(e, ArtifactsLogged) for f in e.files]
    assert [file["path"] for file in files] == ([] if in_reach else ["notes.txt"])
    assert not check(run.converted()).errors


def test_option_for_points_that_a_captured_document_ignores_is_reported(
    captured: Capture,
) -> None:
    run = captured()
    for source in (run.uri, str(run.provenance / "prov.json")):
        done = run.convert(source, "--points", "none")
        assert "keeps its points in records" in done.stderr
        assert "keeps its points" not in run.convert(source).stderr


def test_run_id_is_a_source(captured: Capture, tmp_path: Path) -> None:
    run = captured(150)
    (own,) = open_documents(run.provenance / "prov.json")
    done = run.convert(run.run_id, "--to", "turtle", "--tracking-uri", run.uri)
    assert " 150 points," in done.output
    (converted,) = open_documents(run.converted(".ttl"))
    assert prov_json.to_prov(converted) == prov_json.to_prov(own)
    assert run.converted(".ttl").with_name("metrics.parquet").exists()
    done = run.convert(run.run_id, "--to", "turtle", "--tracking-uri", run.uri)
    assert "1 unchanged" in done.output
    (tmp_path / run.run_id).touch()
    done = run.convert(run.run_id, exits=2)
    assert f"Write ./{run.run_id} for the file" in done.stderr


def test_documents_become_every_format_and_back(captured: Capture, tmp_path: Path) -> None:
    run = captured()
    (own,) = open_documents(run.provenance / "prov.json")
    targets = [option for name in FORMATS for option in ("--to", name)]
    run.convert(str(run.provenance / "prov.json"), *targets)
    for form in FORMATS.values():
        (document,) = open_documents(run.converted(form.suffix))
        assert prov_json.to_prov(document) == prov_json.to_prov(own), form.name
    # One document in several formats is one document.
    done = run.convert(str(tmp_path / "out"), "--to", "turtle", out="other")
    assert "1 of 1 runs" in done.output


def test_broken_captured_document_costs_no_run(captured: Capture) -> None:
    run = captured()
    (run.provenance / "prov.json").write_text("{")
    assert "cannot be used" in run.convert(run.uri, exits=3).output
    (converted,) = open_documents(run.converted())
    assert any("mlf:step" in record for record in converted.records["entity"].values())
