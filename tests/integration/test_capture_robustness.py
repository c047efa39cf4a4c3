"""Capture does not block or break the user's process, and completes documents at its exit."""

from __future__ import annotations

import os
import time

import pytest
from support.readers.documents import RunDocument

from integration.conftest import Sandbox, Server


def test_run_left_open_is_written_at_exit(sandbox: Sandbox) -> None:
    script = """
        import json, mlflow
        client = mlflow.MlflowClient()
        run_id = client.create_run("0").info.run_id
        client.log_metric(run_id, "loss", 0.5)
        print(json.dumps(run_id))
    """
    run_id = sandbox.train(script, f"yprov+{sandbox.sqlite}").json
    document = sandbox.document(run_id)
    assert document.status == "RUNNING"
    assert document.values("loss") == [0.5]
    sandbox.train(
        f"import mlflow; mlflow.MlflowClient().set_tag({run_id!r}, 'late', 'yes')",
        f"yprov+{sandbox.sqlite}",
    )
    assert sandbox.document(run_id).tags["late"] == "yes"


def test_ended_runs_keep_no_open_files(sandbox: Sandbox) -> None:
    script = """
        import json, os, time, mlflow
        def run():
            with mlflow.start_run():
                mlflow.log_metric("loss", 0.5)
            return len(os.listdir("/proc/self/fd"))
        counts = [run() for _ in range(10)]
        end = time.monotonic() + 20  # documents are delivered by a thread
        while (now := len(os.listdir("/proc/self/fd"))) > counts[1] and time.monotonic() < end:
            time.sleep(0.1)
        print(json.dumps([counts[1], now]))
    """
    early, late = sandbox.train(script, f"yprov+{sandbox.sqlite}").json
    assert late <= early


def test_named_pipe_in_artifact_folder_does_not_hang(sandbox: Sandbox) -> None:
    script = """
        import json, os, shutil, time, mlflow
        os.makedirs("out")
        os.mkfifo("out/pipe")
        start = time.monotonic()
        with mlflow.start_run():
            try:
                mlflow.log_artifacts("out")
            except (shutil.Error, OSError) as error:
                print(type(error).__name__)
        print(json.dumps(time.monotonic() - start))
    """
    captured = sandbox.train(script, f"yprov+{sandbox.sqlite}")
    os.remove(sandbox.folder / "out" / "pipe")
    os.rmdir(sandbox.folder / "out")
    plain = sandbox.train(script, sandbox.sqlite)
    assert captured.out.splitlines()[-2:-1] == plain.out.splitlines()[-2:-1]
    assert captured.json < plain.json + 20


UNRESPONSIVE_STORE = """
import json, socket, time, mlflow
server = socket.create_server(("127.0.0.1", 0))
from yprov_mlflow.prov.capture import document_thread
document_thread.TIMEOUT_S = document_thread.UNFINISHED_TIMEOUT_S = 1.0
client = mlflow.MlflowClient()
location = f"http://127.0.0.1:{server.getsockname()[1]}/artifacts"
mlflow.set_experiment(experiment_id=client.create_experiment("unresponsive", location))
durations = []
for _ in range(3):
    with mlflow.start_run():
        start = time.monotonic()
        mlflow.log_metric("loss", 1)
    durations.append(time.monotonic() - start)
print(json.dumps(durations))
"""


def test_unresponsive_artifact_store_delays_only_first_run(sandbox: Sandbox) -> None:
    start = time.monotonic()
    env = {"YPROV_MLFLOW_END_WAIT": "2"}
    done = sandbox.train(UNRESPONSIVE_STORE, f"yprov+{sandbox.sqlite}", **env)
    first, *others = done.json
    assert first > 1.5, "the store must not answer, or the test proves nothing"
    assert max(others) < 1.5
    assert time.monotonic() - start < 60
    assert done.err.count("yprov-mlflow recover") == 1


def test_run_resumed_on_other_machine_keeps_previous_document(sandbox: Sandbox) -> None:
    first_session = """
        import json, yprov_mlflow as mlflow
        with mlflow.start_run() as run, mlflow.prov.context("training"):
            mlflow.log_metric("loss", 0.5)
            mlflow.log_text("hello", "hello.txt")
            mlflow.log_text("user file", "provenance/notes.txt")
        print(json.dumps(run.info.run_id))
    """
    run_id = sandbox.train(first_session, sandbox.sqlite).json
    before = sandbox.document(run_id)
    assert set(before.artifacts) == {"hello.txt", "provenance/notes.txt"}
    second_session = f"""
        import yprov_mlflow as mlflow
        for value in "ab":
            with mlflow.start_run(run_id={run_id!r}):
                mlflow.set_tag("resumed", value)
    """
    other_machine = str(sandbox.folder / "other machine")
    sandbox.train(second_session, sandbox.sqlite, YPROV_MLFLOW_DIR=other_machine)
    after = sandbox.document(run_id)
    assert after.tags["resumed"] == "b"
    assert after.values("loss") == [0.5]
    assert set(after.artifacts) == set(before.artifacts)
    (previous,) = after.folder.glob("prov-*.json")
    assert RunDocument.load(previous).data == before.data


def test_client_and_server_can_share_journal_folder(
    sandbox: Sandbox, capturing_server: Server
) -> None:
    script = """
        import json, yprov_mlflow as mlflow
        with mlflow.start_run() as run:
            for step in range(3):
                mlflow.log_metric("loss", step, step=step)
        print(json.dumps(run.info.run_id))
    """
    run_id = sandbox.train(
        script, capturing_server.uri, YPROV_MLFLOW_DIR=str(capturing_server.journal)
    ).json
    document = sandbox.document(run_id, capturing_server.uri)
    assert document.values("loss") == [0.0, 1.0, 2.0]
    assert document.counts() == {"loss": 3}


def test_forked_child_uses_journal_folder_of_parent(sandbox: Sandbox) -> None:
    (sandbox.folder / "other").mkdir()
    (sandbox.folder / "other" / "pyproject.toml").write_text(
        '[tool.yprov-mlflow]\nmax-samples = "many"\n', "utf-8"
    )
    script = """
        import json, os, mlflow
        client = mlflow.MlflowClient()
        run = mlflow.start_run()
        os.chdir("other")
        if (child := os.fork()) == 0:
            code = 1
            try:
                client.log_metric(run.info.run_id, "of the child", 1)
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        mlflow.end_run()
        print(json.dumps(run.info.run_id))
    """
    run_id = sandbox.train(script, f"yprov+{sandbox.sqlite}", YPROV_MLFLOW_DIR="state").json
    document = sandbox.document(run_id)
    assert document.values("of the child") == [1.0]
    assert len(document.sessions) == 2


CONTEXTS = """
import asyncio, json, threading, yprov_mlflow as mlflow
run_ids = {}
with mlflow.prov.context("sweep"):
    for name in ("first", "second"):
        with mlflow.start_run(run_name=name) as run:
            mlflow.log_metric("loss", 1)
        run_ids[name] = run.info.run_id

@mlflow.prov.context("decorated")
async def train():
    await asyncio.sleep(0)
    mlflow.log_metric("of the coroutine", 1)

barrier = threading.Barrier(2)

@mlflow.prov.context("shared")
def work(name):
    with mlflow.start_run(run_name=name) as run:
        run_ids[name] = run.info.run_id
        barrier.wait()
        mlflow.log_metric("loss", 1)
        barrier.wait()
        if name == "slow":
            mlflow.log_metric("late", 1)

with mlflow.start_run() as run:
    asyncio.run(train())
run_ids["coroutine"] = run.info.run_id
threads = [threading.Thread(target=work, args=(name,)) for name in ("quick", "slow")]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps(run_ids))
"""


def test_contexts_apply_to_several_runs_coroutines_and_threads(sandbox: Sandbox) -> None:
    run_ids = sandbox.train(CONTEXTS, sandbox.sqlite).json
    expected = {
        "first": {"loss": "sweep"},
        "second": {"loss": "sweep"},
        "coroutine": {"of the coroutine": "decorated"},
        "quick": {"loss": "shared"},
        "slow": {"loss": "shared", "late": "shared"},
    }
    for name, metrics in expected.items():
        data = sandbox.document(run_ids[name]).data
        contexts = {
            entity.rsplit("/", 2)[1]: entity.split("/")[1]
            for entity in data["entity"]
            if entity.startswith("run:metric/") and entity.endswith("/0")
        }
        assert contexts == {key.replace(" ", "%20"): context for key, context in metrics.items()}


def test_in_memory_database_run_has_document(sandbox: Sandbox) -> None:
    script = """
        import json, mlflow
        with mlflow.start_run() as run:
            mlflow.log_metric("loss", 1)
        folder = mlflow.artifacts.download_artifacts(run_id=run.info.run_id)
        print(json.dumps(folder))
    """
    done = sandbox.train(script, "yprov+sqlite:///:memory:")
    assert (sandbox.folder / "mlruns").exists()
    assert list(sandbox.folder.glob("mlruns/0/*/artifacts/provenance/prov.json")), done.err


def test_journal_has_no_passwords_of_artifact_stores(sandbox: Sandbox) -> None:
    script = """
        import mlflow
        client = mlflow.MlflowClient()
        location = "ftp://bob:hunter2@127.0.0.1:9/root?password=hunter3"
        client.create_run(client.create_experiment("remote", location))
    """
    sandbox.train(script, f"yprov+{sandbox.sqlite}")
    content = b"".join(path.read_bytes() for path in sandbox.journals())
    assert b"remote" in content
    assert b"hunter" not in content


AUTOLOGGING = """
import importlib, json, sys, threading
import yprov_mlflow as mlflow
from mlflow.utils.import_hooks import register_post_import_hook

mlflow.get_experiment("0")
assert "pyclbr" not in sys.modules
started, imported = threading.Event(), threading.Event()


def import_in_thread():
    started.wait()
    importlib.import_module("pyclbr")
    imported.set()


def autologging(module):
    # mlflow.autolog calls such hooks with the lock of all import hooks, and imports modules.
    started.set()
    print(imported.wait(5))


threading.Thread(target=import_in_thread, daemon=True).start()
register_post_import_hook(autologging, "json")
"""


@pytest.mark.parametrize("prefix", ["", "yprov+"])
def test_threads_can_import_while_autologging_is_turned_on(sandbox: Sandbox, prefix: str) -> None:
    """Python's import lock and that of MLflow's hooks were taken in both orders: a deadlock."""
    script = AUTOLOGGING if not prefix else AUTOLOGGING.replace("yprov_mlflow as ", "")
    assert sandbox.train(script, prefix + sandbox.sqlite).out.strip() == "True"
