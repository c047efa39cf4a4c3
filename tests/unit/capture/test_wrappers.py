"""Calls of wrapped stores that fail or are interrupted, in MLflow or in capture."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking._tracking_service.client import TrackingServiceClient

from yprov_mlflow.prov.capture import removals, session, wrappers
from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.journal import JournalDirectory, merge


@pytest.fixture
def store(capture: session.CaptureSession, empty_database: Path, tmp_path: Path) -> Iterator[Any]:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    yield wrappers.wrap(SqlAlchemyStore(uri, str(tmp_path / "artifacts")), "tracking", uri)
    assert capture.guard.here == session.CallGuard()


@pytest.fixture
def run_id(store: Any) -> str:
    return str(store.create_run("0", "ada", 1, [], "run").info.run_id)


def journaled(capture: session.CaptureSession, run_id: str) -> list[Event]:
    return list(merge(JournalDirectory(capture.recorder.directory, run_id).readers()[0]))


def fail(*_: Any, **__: Any) -> None:
    raise OSError("capture is broken")


def interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_call_that_mlflow_refuses_is_no_event_and_makes_the_run_suspect(
    capture: session.CaptureSession, store: Any, run_id: str
) -> None:
    for call, entity in (
        (store.log_param, Param("", "1")),
        (store.log_metric, Metric("", 1, 1, 1)),
    ):
        capture.recorder.state(run_id).suspect = False
        with pytest.raises(MlflowException):
            call(run_id, entity)
        assert capture.recorder.state(run_id).suspect


def test_call_that_capture_cannot_record_succeeds_with_one_warning(
    capture: session.CaptureSession,
    store: Any,
    run_id: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(type(capture.recorder), "record", fail)
    for number in range(2):
        store.log_param(run_id, Param(f"p{number}", "1"))
    assert store.get_run(run_id).data.params == {"p0": "1", "p1": "1"}
    [warning] = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert "capture is broken" in warning


def test_interrupted_call_is_over(store: Any, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removals, "before", interrupt)
    monkeypatch.setattr(SqlAlchemyStore, "set_tag", interrupt)
    for call in (store.delete_traces, store.set_tag):
        with pytest.raises(KeyboardInterrupt):
            call("0", None)


def test_call_of_a_signal_handler_is_a_call_of_its_own(
    capture: session.CaptureSession, store: Any, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_param = SqlAlchemyStore.log_param

    def interrupted(*args: Any) -> None:
        signal.raise_signal(signal.SIGUSR1)
        log_param(*args)

    def handler(*_: Any) -> None:
        client.log_metric(run_id, "of handler", 1.0)

    client = TrackingServiceClient("")
    monkeypatch.setattr(TrackingServiceClient, "store", property(lambda _: store))
    monkeypatch.setattr(SqlAlchemyStore, "log_param", interrupted)
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        store.log_param(run_id, Param("p", "1"))
        with capture.uncaptured():
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    kinds = [event.kind for event in journaled(capture, run_id)]
    assert kinds.count("metrics") == 2 and kinds.count("params") == 1
