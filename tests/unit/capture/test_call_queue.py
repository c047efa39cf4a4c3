"""The thread that writes calls later, on a store on files that fails: each point is there once."""

from __future__ import annotations

import functools
import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Metric, Param, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.file_store import FileStore

from yprov_mlflow.prov.capture import call_queue, call_writer, session, wrappers
from yprov_mlflow.prov.capture.switch import switch
from yprov_mlflow.prov.events import DELIVERY_FACTS, CallRefused, FactsCollected
from yprov_mlflow.prov.journal import JournalDirectory

WRITES = ("get_run", "log_metric", "log_param", "set_tag", "log_batch", "update_run_info")


class FailingStore(FileStore):
    """A store on files, whose writes fail before or after they are done."""

    random = random.Random(0)
    share = 0.0
    is_away = False
    pause_s = 0.0
    failures = 0


def _failing(name: str) -> Any:
    @functools.wraps(getattr(FileStore, name))
    def write(self: FailingStore, *args: Any, **kwargs: Any) -> Any:
        time.sleep(self.pause_s)
        fails = self.is_away or self.random.random() < self.share
        FailingStore.failures += fails
        if fails and (self.is_away or self.random.random() < 0.5):
            raise MlflowException("failed with exception: connection refused")
        if fails and name == "log_batch" and len(args) == 4 and len(args[1]) > 1:
            getattr(FileStore, name)(self, args[0], args[1][: len(args[1]) // 2], *args[2:])
        else:
            result = getattr(FileStore, name)(self, *args, **kwargs)
        if fails:
            raise MlflowException("failed with exception: connection reset")
        return result

    return write


for name in WRITES:
    setattr(FailingStore, name, _failing(name))


@pytest.fixture(params=["deferred", "failover"])
def store(
    request: pytest.FixtureRequest,
    capture: session.CaptureSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setattr(call_writer, "_MIN_REFUSED_S", 1e9)
    monkeypatch.setattr(call_queue, "_PAUSES_S", (0.001, 0.01))
    monkeypatch.setattr(call_queue, "LINGER_S", 0.01)
    for field, value in {"share": 0.0, "is_away": False, "pause_s": 0.0, "failures": 0}.items():
        monkeypatch.setattr(FailingStore, field, value)
    FailingStore.random.seed(1)
    uri = str(tmp_path / "mlruns")
    monkeypatch.setitem(switch.deliveries, uri, request.param)
    return wrappers.wrap(FailingStore(uri), "tracking", uri)


@pytest.fixture
def run_id(store: Any) -> str:
    return str(store.create_run("0", "user", 1, [], "name").info.run_id)


def plain(store: Any) -> FileStore:
    """Return the same store without capture and failures."""
    return FileStore(store.root_directory)


def steps(store: Any, run_id: str, key: str = "m") -> Counter[int]:
    history = plain(store).get_metric_history(run_id, key)
    return Counter(metric.step for metric in history)


def flush(capture: session.CaptureSession, store: Any) -> bool:
    return bool(capture.queues[store].flush(None, 60.0))


@pytest.mark.parametrize("seed", range(4))
def test_failures_lose_and_double_nothing(
    capture: session.CaptureSession, store: Any, run_id: str, seed: int
) -> None:
    FailingStore.random.seed(seed)
    FailingStore.share = 0.4
    for i in range(300):
        store.log_metric(run_id, Metric("m", i / 7, 1, i))
        if i % 20 == 0:
            # The same point again is a point of its own in a store on files.
            store.log_metric(run_id, Metric("m", i / 7, 1, i))
            store.log_param(run_id, Param(f"p{i}", str(i)))
            store.set_tag(run_id, RunTag("t", str(i)))
            batch = [Metric("b", float(j), i, j) for j in range(50)]
            store.log_batch(run_id, batch, [Param(f"b{i}", "x")], [RunTag(f"t{i}", "y")])
        FailingStore.is_away = 150 <= i < 250
        if i % 5 == 0:  # otherwise nearly all calls are in one batch
            capture.queues[store].flush(None, 0.1)
    while not flush(capture, store):
        pass
    assert FailingStore.failures > 10
    assert steps(store, run_id) == Counter({i: 2 if i % 20 == 0 else 1 for i in range(300)})
    assert steps(store, run_id, "b") == Counter(dict.fromkeys(range(50), 15))
    run = plain(store).get_run(run_id)
    assert len(run.data.params) == 30
    assert run.data.tags["t"] == "280"
    assert not capture.recorder.state(run_id).suspect


def test_calls_do_not_wait_for_a_store_that_hangs(
    capture: session.CaptureSession, store: Any, run_id: str
) -> None:
    capture.queues[store].limit_s = 0.05
    store.log_metric(run_id, Metric("m", 0.0, 1, 0))
    FailingStore.pause_s = 0.5
    start = time.perf_counter()
    for i in range(1, 50):
        store.log_metric(run_id, Metric("m", 0.0, 1, i))
    assert time.perf_counter() - start < 5.0
    FailingStore.pause_s = 0.0
    while not flush(capture, store):
        pass
    assert steps(store, run_id) == Counter(range(50))


def test_points_beyond_the_memory_are_read_from_the_journal(
    capture: session.CaptureSession, store: Any, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_queue, "MAX_WAITING", 40)
    monkeypatch.setattr(call_writer, "_SPILL_CHUNK", 30)
    capture.queues[store].limit_s = 0.01
    FailingStore.is_away = True
    for i in range(300):
        store.log_metric(run_id, Metric("m", float("nan") if i % 2 else i / 7, 1, i))
        if i % 50 == 0:
            store.set_tag(run_id, RunTag("t", str(i)))
    assert capture.queues[store].waiting < 100
    FailingStore.is_away = False
    while not flush(capture, store):
        pass
    assert steps(store, run_id) == Counter(range(300))
    assert plain(store).get_run(run_id).data.tags["t"] == "250"


def test_end_of_a_run_comes_after_its_calls(
    capture: session.CaptureSession, store: Any, run_id: str
) -> None:
    FailingStore.pause_s = 0.02
    threads = [
        threading.Thread(
            target=lambda k=k: [
                store.log_metric(run_id, Metric(f"m{k}", 0.0, 1, i)) for i in range(30)
            ]
        )
        for k in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.update_run_info(run_id, RunStatus.FINISHED, 5, None)
    while not flush(capture, store):
        pass
    run = plain(store).get_run(run_id)
    assert (run.info.status, run.info.end_time) == ("FINISHED", 5)
    assert all(steps(store, run_id, f"m{k}") == Counter(range(30)) for k in range(3))


def test_refused_param_is_an_event_and_the_others_are_written(
    capture: session.CaptureSession, store: Any, run_id: str
) -> None:
    store.log_metric(run_id, Metric("m", 0.0, 1, 0))
    assert flush(capture, store)
    plain(store).log_param(run_id, Param("lr", "1"))
    params = [Param("lr", "2"), Param("depth", "2")]
    if capture.queues[store].mode == "failover":
        with pytest.raises(MlflowException, match="Changing param values"):
            store.log_param(run_id, params[0])
        return
    store.log_batch(run_id, [Metric("m", 1.0, 1, 1)], params, [])
    while not flush(capture, store):
        pass
    run = plain(store).get_run(run_id)
    assert run.data.params == {"lr": "1", "depth": "2"}
    assert steps(store, run_id) == Counter(range(2))
    call_queue.settle(capture, run_id, 1.0)
    (journal,) = JournalDirectory(capture.recorder.directory, run_id).readers()[0]
    events = list(journal)
    (refused,) = [event for event in events if isinstance(event, CallRefused)]
    assert refused.content["params"] == {"lr": "2"}
    facts = [e.facts for e in events if isinstance(e, FactsCollected)]
    assert facts == [{"mode": "deferred"}, {"delivered": refused.seq}]
    assert all(e.collector == DELIVERY_FACTS for e in events if isinstance(e, FactsCollected))
