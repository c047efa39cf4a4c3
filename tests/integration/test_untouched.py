"""Capture is a guest: what MLflow takes and returns stays in the same state, as do exit codes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from support.versions import since

from integration.conftest import Sandbox

EVERY_CALL = Path(__file__).parents[2] / "examples" / "every_call.py"

_COMPARE = """
import atexit, enum, functools, json, runpy, sys, types
from yprov_mlflow.prov.capture import handlers

OPAQUE = (type, types.ModuleType, types.FunctionType, types.MethodType, enum.Enum)
checked, changes = set(), []

def state(value, path, found, seen):
    # Reads neither properties nor missing attributes, which may load something.
    if id(value) in seen or len(path) > 9:
        return
    seen[id(value)] = value
    attributes = None
    if isinstance(value, dict):
        items = {repr(k): v for k, v in value.items()}.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    elif isinstance(value, OPAQUE):
        items = ()
    else:
        try:
            attributes = object.__getattribute__(value, "__dict__")
        except AttributeError:
            attributes = {}
        slots = [n for c in type(value).__mro__ for n in getattr(c, "__slots__", ())]
        attributes = {n: v for n in slots if (v := _slot(value, n)) is not None} | attributes
        items = list(attributes.items())
    found[path] = repr(value) if isinstance(value, (str, bytes, int, float)) else id(value)
    for name, item in items:
        state(item, (*path, name), found, seen)

def _slot(value, name):
    try:
        return object.__getattribute__(value, name)
    except AttributeError:
        return None

def snapshot(*values):
    found = {}
    state(values, (), found, {})
    found.pop(())
    return found

original = handlers.handler

def checking(kind, name, method):
    handler = original(kind, name, method)
    if handler is None:
        return None

    @functools.wraps(handler)
    def checked_handler(call, *args, **kwargs):
        checked.add(name)
        passed = [call.result, *args, *kwargs.values()]
        before = snapshot(*passed)
        try:
            return handler(call, *args, **kwargs)
        finally:
            after = snapshot(*passed)
            for path in before.keys() | after.keys():
                if before.get(path) != after.get(path):
                    changes.append(f"{name}: {path}")

    return checked_handler

handlers.handler = checking

@atexit.register
def report():
    result = {"checked": sorted(checked), "changes": sorted(set(changes))}
    sys.stdout.write("\\n" + json.dumps(result))

sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Run a script and compare, around every handler, all that its call took and returned."""


CONTEXTS = """
import mlflow
from mlflow.entities import Metric

points = [Metric("batch", float(i), 1, i) for i in range(3)]
with mlflow.start_run() as run, mlflow.prov.context("training"):
    mlflow.log_metric("loss", 1.0, synchronous=False)
    mlflow.MlflowClient().log_batch(run.info.run_id, metrics=points, synchronous=False)
    mlflow.flush_async_logging()
"""


def _assert_untouched(report: Any, calls: int) -> None:
    assert len(report["checked"]) >= calls
    assert report["changes"] == []


@since("3.17", "calls of the script")
@pytest.mark.parametrize("asynchronous", [pytest.param("true", marks=pytest.mark.long), "false"])
def test_no_handler_changes_arguments_or_result(sandbox: Sandbox, asynchronous: str) -> None:
    done = sandbox.train(
        _COMPARE,
        f"yprov+{sandbox.sqlite}",
        str(EVERY_CALL),
        MLFLOW_ENABLE_ASYNC_TRACE_LOGGING=asynchronous,
    )
    _assert_untouched(done.json, 60)


def test_points_queued_in_a_context_are_unchanged(sandbox: Sandbox) -> None:
    script = sandbox.folder / "contexts.py"
    script.write_text(CONTEXTS.replace("import mlflow\n", "import yprov_mlflow as mlflow\n", 1))
    done = sandbox.train(_COMPARE, sandbox.sqlite, str(script))
    _assert_untouched(done.json, 3)


LAZY = """
import sys, mlflow
from mlflow.genai.datasets import create_dataset, get_dataset

experiment = mlflow.set_experiment("e").experiment_id
first = create_dataset(name="d", experiment_id=experiment)
loaded = first.has_records()
same = get_dataset(dataset_id=first.dataset_id)
same.merge_records([{"inputs": {"q": "a"}}, {"inputs": {"q": "b"}}])
print("[%d, %d]" % (loaded, len(first.to_df())))
"""


@since("3.4", "evaluation datasets")
def test_evaluation_dataset_loads_its_records_when_asked(sandbox: Sandbox) -> None:
    assert sandbox.train(LAZY, f"yprov+{sandbox.sqlite}").json == [0, 2]


# -- ends of processes ---------------------------------------------------------------------

ENDS = """
import os, signal, sys, time
import mlflow

signal.signal(signal.SIGINT, signal.default_int_handler)
mlflow.start_run()
mlflow.log_metric("a", 1.0)
"""


@pytest.mark.parametrize(
    "end",
    [
        # MLflow 2 runs code at exit that makes Python forget the interrupt.
        pytest.param(
            "signal.raise_signal(signal.SIGINT)", marks=since("3.0", "exit codes of interrupts")
        ),
        "signal.raise_signal(signal.SIGTERM)",
        "sys.exit(7)",
        "raise OSError",
        "os._exit(9)",
        "\ntry: signal.raise_signal(signal.SIGINT)\nexcept KeyboardInterrupt: pass",
    ],
)
def test_process_ends_as_under_plain_mlflow(sandbox: Sandbox, end: str) -> None:
    plain, captured = (
        sandbox.train(ENDS + end, uri, check=False).code
        for uri in (sandbox.sqlite, f"yprov+{sandbox.sqlite}")
    )
    assert plain == captured


AT_EXIT = """
import atexit, json, os
import yprov_mlflow as mlflow

client = mlflow.MlflowClient()
with open("large.bin", "wb") as file:
    file.write(bytes(3_000_000))
runs = []
for folder in ("/proc/nowhere", os.path.abspath("artifacts")):
    experiment = client.create_experiment(folder, artifact_location=folder)
    runs.append(client.create_run(experiment).info.run_id)
    client.log_metric(runs[-1], "loss", 1.0)
atexit.register(client.log_artifact, runs[-1], "large.bin")
print(json.dumps(runs))
"""


@pytest.mark.parametrize("rank", ["0", "1"])
def test_failed_delivery_at_exit_stops_no_other(sandbox: Sandbox, rank: str) -> None:
    done = sandbox.train(AT_EXIT, sandbox.sqlite, WORLD_SIZE="2", RANK=rank)
    bad, good = done.json
    assert f"recover --run {bad}" in done.err
    assert "not captured in this process" not in done.err
    files = json.dumps(sandbox.document(good).data)
    assert hashlib.sha256(bytes(3_000_000)).hexdigest() in files


RELOADED = """
import importlib, os
import mlflow
import mlflow.tracking._tracking_service.utils as utils
importlib.reload(utils)
utils.set_tracking_uri("yprov+" + os.environ["URI"])
print('"%s"' % utils.get_tracking_uri())
"""


def test_prefix_works_after_mlflow_reloads_its_module(sandbox: Sandbox) -> None:
    assert sandbox.run(RELOADED, URI=sandbox.sqlite).json == sandbox.sqlite
