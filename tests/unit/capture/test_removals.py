"""A call that removes objects without naming them is in the journals of their owners."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mlflow.entities.trace_location", reason="traces of MLflow 2")
from mlflow.entities import TraceInfo, TraceLocation, TraceState
from mlflow.store.tracking.file_store import FileStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from yprov_mlflow.prov.capture import session, wrappers
from yprov_mlflow.prov.capture.run_artifacts import RunArtifacts
from yprov_mlflow.prov.events import RunUpdated, StoreCalled
from yprov_mlflow.prov.journal import JournalDirectory


@pytest.fixture(params=["sqlite", "files"])
def store(
    request: pytest.FixtureRequest,
    capture: session.CaptureSession,
    empty_database: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    if request.param == "sqlite":
        return wrappers.wrap(SqlAlchemyStore(uri, str(tmp_path / "artifacts")), "tracking", uri)
    return wrappers.wrap(
        FileStore(str(tmp_path / "mlruns")), "tracking", f"file://{tmp_path}/mlruns"
    )


def new_run(store: Any, experiment_id: str) -> str:
    return str(store.create_run(experiment_id, "ada", 1, [], "run").info.run_id)


def stages(capture: session.CaptureSession, run_id: str) -> list[str | None]:
    """Return the lifecycle stages that the journal of a run has."""
    [journal] = JournalDirectory(capture.recorder.directory, run_id).readers()[0]
    return [e.lifecycle for e in journal if isinstance(e, RunUpdated) and e.lifecycle]


def test_runs_change_with_their_experiment(capture: session.CaptureSession, store: Any) -> None:
    experiment = str(store.create_experiment("experiment"))
    first, second = new_run(store, experiment), new_run(store, experiment)
    other = new_run(store, str(store.create_experiment("other")))
    store.delete_run(second)
    store.delete_experiment(experiment)
    assert [stages(capture, run) for run in (first, second)] == [["deleted"], ["deleted"]]
    store.restore_experiment(experiment)
    assert stages(capture, first) == stages(capture, second) == ["deleted", "active"]
    assert stages(capture, other) == []


def test_traces_deleted_by_age_are_named_for_their_owner(
    capture: session.CaptureSession, store: Any
) -> None:
    runs = [new_run(store, "0") for _ in range(2)]
    for number, run_id in enumerate((runs[0], runs[1], runs[0])):
        info = TraceInfo(
            trace_id=f"tr-{number:032x}",
            trace_location=TraceLocation.from_experiment_id("0"),
            request_time=number,
            state=TraceState.OK,
            trace_metadata={"mlflow.sourceRun": run_id, "mlflow.trace_schema.version": "3"},
        )
        store.start_trace(info)
    store.delete_traces("0", max_timestamp_millis=1)
    for number, run_id in enumerate(runs):
        [journal] = JournalDirectory(capture.recorder.directory, run_id).readers()[0]
        calls = [e for e in journal if isinstance(e, StoreCalled) and e.method == "delete_traces"]
        assert [call.arguments["trace_ids"] for call in calls] == [[f"tr-{number:032x}"]]


def test_document_follows_a_deleted_experiment(
    capture: session.CaptureSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    store = FileStore(str(tmp_path / "mlruns"))
    experiment = store.create_experiment("experiment")
    run = store.create_run(experiment, "ada", 1, [], "run")
    store.delete_experiment(experiment)
    (tmp_path / "prov.json").write_text("{}")
    RunArtifacts(store, run).put([tmp_path / "prov.json"])
    store.restore_experiment(experiment)
    [path] = (tmp_path / "mlruns" / experiment).rglob("prov.json")
    assert path.parts[-3:] == ("artifacts", "provenance", "prov.json")
