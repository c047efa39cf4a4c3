"""A thread for other people's code: what hangs is replaced, what only waits its turn is not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from yprov_mlflow.prov.sampling import watchdog
from yprov_mlflow.prov.sampling.watchdog import SupervisedThread


class Watched:
    """A lane and what it told."""

    def __init__(self, limit_s: float, tick: Callable[[], float | None] = lambda: None) -> None:
        self.hung: list[str] = []
        self.errors: list[Exception] = []
        told: dict[str, Any] = {"on_hang": self.hung.append, "on_error": self.errors.append}
        self.lane = SupervisedThread(f"lane {id(self)}", limit_s, tick=tick, **told)


@pytest.fixture
def free() -> Iterator[threading.Event]:
    made = threading.Event()
    yield made
    made.set()


def soon(met: Callable[[], Any], within_s: float = 10.0) -> None:
    end = time.monotonic() + within_s
    while not met():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.005)


def test_a_call_that_hangs_is_given_up_and_jobs_go_on(free: threading.Event) -> None:
    watched, done, late = Watched(limit_s=0.1), threading.Event(), threading.Event()

    def job() -> None:
        watched.lane.call("who", lambda: free.wait(30))
        late.set()

    watched.lane.put(job)
    watched.lane.put(done.set)
    soon(lambda: watched.lane.check() or done.is_set())
    assert watched.hung == ["who"]
    free.set()
    soon(lambda: [one.name for one in threading.enumerate()].count(watched.lane.name) == 1)
    assert not late.is_set(), "who comes back too late leaves the rest to its successor"
    assert watched.errors == []


def test_time_in_which_nobody_came_to_work_does_not_count(free: threading.Event) -> None:
    watched = Watched(limit_s=0.3)
    watched.lane.put(lambda: watched.lane.call("who", lambda: free.wait(30)))
    soon(lambda: watched.lane.calling)
    for _ in range(2):  # as if the training had kept the interpreter's lock meanwhile
        watched.lane.check()
        time.sleep(0.5)
    watched.lane.check()
    assert watched.hung == [], "a call was seen, and once more after a long while"


def test_a_tick_that_fails_does_not_run_hot() -> None:
    times: list[float] = []

    def fails() -> float:
        times.append(time.monotonic())
        raise ValueError("broken")

    watched = Watched(1.0, fails)
    watched.lane.put(lambda: None)
    time.sleep(0.3)
    assert len(times) <= 2, f"one after each job, then one each {watchdog._AFTER_FAULT_S} s"
    assert {type(error) for error in watched.errors} == {ValueError}


def test_a_thread_that_could_not_start_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    watched, done = Watched(1.0), threading.Event()
    with monkeypatch.context() as patched:

        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            watched.lane.put(done.set)
    watched.lane.put(lambda: None)
    assert done.wait(10)
