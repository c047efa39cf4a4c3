"""Contexts: nesting, scopes without a run, threads and tasks."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from mlflow.entities import Metric

from yprov_mlflow.prov import settings
from yprov_mlflow.prov.capture import contexts
from yprov_mlflow.prov.capture.contexts import OpenContexts, Scope
from yprov_mlflow.prov.capture.recorder import Recorder
from yprov_mlflow.prov.events import MetricsLogged
from yprov_mlflow.prov.journal import JournalDirectory


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


@pytest.mark.parametrize("keys", [("loss", "system/cpu"), ("system/cpu", "loss")])
def test_context_of_a_metric_does_not_depend_on_the_first_of_its_batch(
    keys: tuple[str, str], tmp_path: Path
) -> None:
    recorder = Recorder(settings.load(directory=tmp_path, collectors="none"))
    recorder.state("r").contexts.enter(("training",))
    batch = [Metric(key, 1.0, 0, 0) for key in keys]
    recorder.record_metrics("r", batch, None)
    recorder.attach_context("r", batch)
    recorder.state("r").contexts.leave(("training",))
    recorder.record_metrics("r", batch, None)
    [journal], _ = JournalDirectory(tmp_path, "r").readers()
    points = [event for event in journal if isinstance(event, MetricsLogged)]
    assert len(points) == 2
    for event in points:
        paths = [tuple(event.context_paths[index]) for index in event.contexts or ()]
        expected = {"loss": ("training",), "system/cpu": ()}
        assert dict(zip(event.keys, paths, strict=True)) == expected
