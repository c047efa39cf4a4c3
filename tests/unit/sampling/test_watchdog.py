"""The watchdog replaces a thread that hangs in a call, but not one that waits for the GIL."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from yprov_mlflow.prov.sampling import watchdog
from yprov_mlflow.prov.sampling.watchdog import SupervisedThread


class Supervised:
    """A supervised thread and the calls of its handlers."""

    def __init__(self, limit_s: float, tick: Callable[[], float | None] = lambda: None) -> None:
        self.hung: list[str] = []
        self.errors: list[Exception] = []
        handlers: dict[str, Any] = {"on_hang": self.hung.append, "on_error": self.errors.append}
        self.thread = SupervisedThread(f"supervised {id(self)}", limit_s, tick=tick, **handlers)


@pytest.fixture
def free() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def wait_for(condition: Callable[[], Any], timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "timeout"
        time.sleep(0.005)


def test_hanging_call_is_abandoned(free: threading.Event) -> None:
    supervised, done, late = Supervised(limit_s=0.1), threading.Event(), threading.Event()

    def job() -> None:
        supervised.thread.call("meter", lambda: free.wait(30))
        late.set()

    supervised.thread.put(job)
    supervised.thread.put(done.set)
    wait_for(lambda: supervised.thread.check() or done.is_set())
    assert supervised.hung == ["meter"]
    free.set()
    wait_for(
        lambda: [thread.name for thread in threading.enumerate()].count(supervised.thread.name) == 1
    )
    assert not late.is_set(), "the abandoned thread does not continue its job"
    assert supervised.errors == []


def test_time_without_the_gil_does_not_count(free: threading.Event) -> None:
    supervised = Supervised(limit_s=0.3)
    supervised.thread.put(lambda: supervised.thread.call("meter", lambda: free.wait(30)))
    wait_for(lambda: supervised.thread.calling)
    for _ in range(2):  # as if training code had held the GIL
        supervised.thread.check()
        time.sleep(0.5)
    supervised.thread.check()
    assert supervised.hung == [], "two checks, far apart"


def test_failing_tick_does_not_spin() -> None:
    times: list[float] = []

    def fails() -> float:
        times.append(time.monotonic())
        raise ValueError("broken")

    supervised = Supervised(1.0, fails)
    supervised.thread.put(lambda: None)
    time.sleep(0.3)
    assert len(times) <= 2, f"one after each job, then one per {watchdog._PAUSE_AFTER_ERROR_S} s"
    assert {type(error) for error in supervised.errors} == {ValueError}


def test_thread_start_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    supervised, done = Supervised(1.0), threading.Event()
    with monkeypatch.context() as patched:

        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            supervised.thread.put(done.set)
    supervised.thread.put(lambda: None)
    assert done.wait(10)
