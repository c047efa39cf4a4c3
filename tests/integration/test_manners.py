"""A guest in someone's process: nothing hangs or breaks because of us, nothing is left undone."""

from __future__ import annotations

import os
import time

from integration.conftest import Server, Workplace
from integration.documents import RunDocument


def test_a_run_that_is_never_ended_has_its_document_at_exit(workplace: Workplace) -> None:
    script = """
        import json, mlflow
        client = mlflow.MlflowClient()
        run_id = client.create_run("0").info.run_id
        client.log_metric(run_id, "loss", 0.5)
        print(json.dumps(run_id))
    """
    run_id = workplace.run(script, f"yprov+{workplace.sqlite}").made
    document = workplace.document(run_id)
    assert document.status == "RUNNING"
    assert document.values("loss") == [0.5]
    workplace.run(
        f"import mlflow; mlflow.MlflowClient().set_tag({run_id!r}, 'late', 'yes')",
        f"yprov+{workplace.sqlite}",
    )
    assert workplace.document(run_id).tags["late"] == "yes"


def test_runs_that_are_over_hold_no_files_open(workplace: Workplace) -> None:
    script = """
        import json, os, mlflow
        def run():
            with mlflow.start_run():
                mlflow.log_metric("loss", 0.5)
            return len(os.listdir("/proc/self/fd"))
        print(json.dumps([run() for _ in range(10)]))
    """
    counts = workplace.run(script, f"yprov+{workplace.sqlite}").made
    assert counts[-1] <= counts[1]


def test_a_pipe_among_the_artifacts_is_mlflows_error_and_no_hang(workplace: Workplace) -> None:
    script = """
        import json, os, shutil, time, mlflow
        os.makedirs("out")
        os.mkfifo("out/pipe")
        began = time.monotonic()
        with mlflow.start_run():
            try:
                mlflow.log_artifacts("out")
            except (shutil.Error, OSError) as error:
                print(type(error).__name__)
        print(json.dumps(time.monotonic() - began))
    """
    captured = workplace.run(script, f"yprov+{workplace.sqlite}")
    os.remove(workplace.folder / "out" / "pipe")
    os.rmdir(workplace.folder / "out")
    plain = workplace.run(script, workplace.sqlite)
    assert captured.out.splitlines()[-2:-1] == plain.out.splitlines()[-2:-1]
    assert captured.made < plain.made + 20


SILENT = """
import json, socket, time, mlflow
silent = socket.create_server(("127.0.0.1", 0))
from yprov_mlflow.prov.capture import delivery
delivery.TIMEOUT_S = delivery.deliver.__defaults__[0] / 15
delivery.deliver.__defaults__ = (delivery.TIMEOUT_S,)
client = mlflow.MlflowClient()
place = f"http://127.0.0.1:{silent.getsockname()[1]}/artifacts"
mlflow.set_experiment(experiment_id=client.create_experiment("silent", place))
took = []
for _ in range(3):
    with mlflow.start_run():
        began = time.monotonic()
        mlflow.log_metric("loss", 1)
    took.append(time.monotonic() - began)
print(json.dumps(took))
"""


def test_an_artifact_store_that_does_not_answer_is_waited_for_once(workplace: Workplace) -> None:
    began = time.monotonic()
    done = workplace.run(SILENT, f"yprov+{workplace.sqlite}")
    first, *others = done.made
    assert first > 1.5, "the store answered: the test shows nothing"
    assert max(others) < 1.5
    assert time.monotonic() - began < 60
    assert "yprov-mlflow recover" in done.err


def test_a_run_resumed_on_another_machine_keeps_its_earlier_document(workplace: Workplace) -> None:
    begin = """
        import json, yprov_mlflow as mlflow
        with mlflow.start_run() as run, mlflow.prov.context("training"):
            mlflow.log_metric("loss", 0.5)
            mlflow.log_text("hello", "hello.txt")
            mlflow.log_text("theirs", "provenance/notes.txt")
        print(json.dumps(run.info.run_id))
    """
    run_id = workplace.run(begin, workplace.sqlite).made
    before = workplace.document(run_id)
    assert set(before.artifacts) == {"hello.txt", "provenance/notes.txt"}
    resume = f"""
        import yprov_mlflow as mlflow
        for value in "ab":
            with mlflow.start_run(run_id={run_id!r}):
                mlflow.set_tag("resumed", value)
    """
    elsewhere = str(workplace.folder / "elsewhere")
    workplace.run(resume, workplace.sqlite, YPROV_MLFLOW_DIR=elsewhere)
    after = workplace.document(run_id)
    assert after.tags["resumed"] == "b"
    assert after.values("loss") == [0.5]
    assert set(after.artifacts) == set(before.artifacts)
    (kept,) = [path for path in after.folder.glob("prov-*.json")]
    assert RunDocument.load(kept).data == before.data


def test_client_and_server_may_share_the_folder_of_their_journals(
    workplace: Workplace, capturing_server: Server
) -> None:
    script = """
        import json, yprov_mlflow as mlflow
        with mlflow.start_run() as run:
            for step in range(3):
                mlflow.log_metric("loss", step, step=step)
        print(json.dumps(run.info.run_id))
    """
    run_id = workplace.run(
        script, capturing_server.uri, YPROV_MLFLOW_DIR=str(capturing_server.journal)
    ).made
    document = workplace.document(run_id, capturing_server.uri)
    assert document.values("loss") == [0.0, 1.0, 2.0]
    assert document.counts() == {"loss": 3}


def test_a_forked_child_writes_where_its_parent_does(workplace: Workplace) -> None:
    (workplace.folder / "other").mkdir()
    (workplace.folder / "other" / "pyproject.toml").write_text(
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
    run_id = workplace.run(script, f"yprov+{workplace.sqlite}", YPROV_MLFLOW_DIR="state").made
    document = workplace.document(run_id)
    assert document.values("of the child") == [1.0]
    assert len(document.sessions) == 2


CONTEXTS = """
import asyncio, json, threading, yprov_mlflow as mlflow
made = {}
with mlflow.prov.context("sweep"):
    for name in ("first", "second"):
        with mlflow.start_run(run_name=name) as run:
            mlflow.log_metric("loss", 1)
        made[name] = run.info.run_id

@mlflow.prov.context("decorated")
async def train():
    await asyncio.sleep(0)
    mlflow.log_metric("of the coroutine", 1)

barrier = threading.Barrier(2)

@mlflow.prov.context("shared")
def work(name):
    with mlflow.start_run(run_name=name) as run:
        made[name] = run.info.run_id
        barrier.wait()
        mlflow.log_metric("loss", 1)
        barrier.wait()
        if name == "slow":
            mlflow.log_metric("late", 1)

with mlflow.start_run() as run:
    asyncio.run(train())
made["coroutine"] = run.info.run_id
threads = [threading.Thread(target=work, args=(name,)) for name in ("quick", "slow")]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps(made))
"""


def test_contexts_hold_several_runs_coroutines_and_threads(workplace: Workplace) -> None:
    made = workplace.run(CONTEXTS, workplace.sqlite).made
    expected = {
        "first": {"loss": "sweep"},
        "second": {"loss": "sweep"},
        "coroutine": {"of the coroutine": "decorated"},
        "quick": {"loss": "shared"},
        "slow": {"loss": "shared", "late": "shared"},
    }
    for name, metrics in expected.items():
        data = workplace.document(made[name]).data
        found = {
            entity.rsplit("/", 2)[1]: entity.split("/")[1]
            for entity in data["entity"]
            if entity.startswith("run:metric/") and entity.endswith("/0")
        }
        assert found == {key.replace(" ", "%20"): context for key, context in metrics.items()}


def test_a_database_in_memory_has_its_document(workplace: Workplace) -> None:
    script = """
        import json, mlflow
        with mlflow.start_run() as run:
            mlflow.log_metric("loss", 1)
        folder = mlflow.artifacts.download_artifacts(run_id=run.info.run_id)
        print(json.dumps(folder))
    """
    done = workplace.run(script, "yprov+sqlite:///:memory:")
    assert (workplace.folder / "mlruns").exists()
    assert list(workplace.folder.glob("mlruns/0/*/artifacts/provenance/prov.json")), done.err


def test_passwords_of_artifact_stores_are_in_no_journal(workplace: Workplace) -> None:
    script = """
        import mlflow
        client = mlflow.MlflowClient()
        place = "ftp://bob:hunter2@127.0.0.1:9/root?password=hunter3"
        client.create_run(client.create_experiment("remote", place))
    """
    workplace.run(script, f"yprov+{workplace.sqlite}")
    written = b"".join(path.read_bytes() for path in workplace.journals())
    assert b"remote" in written
    assert b"hunter" not in written
