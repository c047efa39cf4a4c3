"""Contexts: nesting, scopes without a run, threads and tasks."""

from __future__ import annotations

import asyncio
import threading

import pytest

from yprov_mlflow.prov.capture import contexts
from yprov_mlflow.prov.capture.contexts import OpenContexts, Scope


@pytest.fixture(autouse=True)
def no_scope():
    token = contexts.current.set(None)
    yield
    contexts.current.reset(token)


def test_path_contains_only_scopes_of_the_run() -> None:
    training = Scope("training", None, "parent")
    epoch = Scope(3, training, "parent")
    inner = Scope("validation", epoch, "child")
    assert epoch.path("parent") == ("training", 3)
    assert inner.path("child") == ("validation",)
    contexts.current.set(inner)
    assert contexts.path_in("child") == ("validation",)
    assert contexts.path_in("parent") == ("training", 3)
    contexts.current.set(epoch)
    assert contexts.path_in("child") == ()


def test_scope_without_a_run_belongs_to_all_runs_that_start_in_it() -> None:
    outer = Scope("sweep", None, None)
    inner = Scope(0, outer, None)
    contexts.current.set(inner)
    for run_id in ("first", "second"):
        assert contexts.unrecorded(run_id) == [outer, inner]
        outer.runs[run_id] = outer.path(run_id)
        assert contexts.unrecorded(run_id) == [inner]
        assert contexts.path_in(run_id) == ("sweep", 0)


def test_threads_start_without_a_scope_and_tasks_inherit_it() -> None:
    contexts.current.set(Scope("training", None, "r"))
    paths: list[contexts.ContextPath | None] = []
    thread = threading.Thread(target=lambda: paths.append(contexts.path_in("r")))
    thread.start()
    thread.join()

    async def task(name: str) -> contexts.ContextPath | None:
        contexts.current.set(Scope(name, contexts.current.get(), "r"))  # in this task only
        await asyncio.sleep(0)
        return contexts.path_in("r")

    async def both() -> list[contexts.ContextPath | None]:
        return list(await asyncio.gather(task("a"), task("b")))

    assert paths == [None]
    assert asyncio.run(both()) == [("training", "a"), ("training", "b")]


def test_worker_thread_is_in_the_innermost_of_nested_contexts() -> None:
    opened = OpenContexts()
    assert opened.only() == ()
    opened.enter(("training",))
    opened.enter(("training", 1))
    assert opened.only() == ("training", 1)
    opened.enter(("validation",))
    assert opened.only() == ()
    opened.leave(("validation",))
    opened.leave(("training", 1))
    assert opened.only() == ("training",)
    opened.leave(("never entered",))
    assert opened.only() == ("training",)
