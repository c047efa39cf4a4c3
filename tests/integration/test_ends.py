"""The end of a run returns before its document is written; readers and the exit wait for it."""

from __future__ import annotations

import os
import subprocess
import sys

from integration.conftest import Sandbox
from yprov_mlflow.prov.journal import JournalDirectory

AT_ONCE = {"YPROV_MLFLOW_END_WAIT": "0"}


def test_end_of_run_does_not_wait_for_document_and_readers_do(sandbox: Sandbox) -> None:
    script = """
        import json, os, mlflow
        from mlflow.entities import Metric
        client = mlflow.MlflowClient()
        with mlflow.start_run() as run:
            points = [Metric(f"m{n % 10}", n, n, n) for n in range(1000)]
            client.log_batch(run.info.run_id, metrics=points)
        path = os.path.join(run.info.artifact_uri, "provenance", "prov.json")
        at_once = os.path.exists(path)
        listed = [file.path for file in client.list_artifacts(run.info.run_id, "provenance")]
        with mlflow.start_run() as other:
            pass
        text = mlflow.artifacts.load_text(f"runs:/{other.info.run_id}/provenance/prov.json")
        print(json.dumps([at_once, listed, len(json.loads(text)["activity"])]))
    """
    at_once, listed, activities = sandbox.train(script, f"yprov+{sandbox.sqlite}", **AT_ONCE).json
    assert not at_once, "the document was written before the end returned: this proves nothing"
    assert "provenance/prov.json" in listed
    assert activities


def test_translator_is_not_imported_while_a_program_waits(sandbox: Sandbox) -> None:
    source = """
        import json, sys
        import mlflow
        def loaded():
            ours = "yprov_mlflow.prov."
            parts = {name.removeprefix(ours).partition(".")[0] for name in sys.modules
                     if name.startswith(ours)}
            return sorted(parts & {"translate", "formats", "sources"})
        with mlflow.start_run():
            mlflow.log_metric("loss", 0.5)
            print(json.dumps(loaded()))
    """
    assert sandbox.train(source).json == []


def test_end_in_temporary_folder_waits_as_the_folder_may_be_removed(sandbox: Sandbox) -> None:
    script = """
        import json, os, mlflow
        with mlflow.start_run() as run:
            mlflow.log_metric("loss", 1)
        print(json.dumps(os.listdir(run.info.artifact_uri)))
    """
    default = {"YPROV_MLFLOW_END_WAIT": "", "TMPDIR": str(sandbox.folder)}
    assert sandbox.train(script, f"yprov+{sandbox.sqlite}", **default).json == ["provenance"]


def test_exit_waits_for_documents_with_temporary_folders_and_pools(sandbox: Sandbox) -> None:
    script = """
        import json, tempfile, mlflow
        from concurrent.futures import ThreadPoolExecutor
        from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
        pool, upload = ThreadPoolExecutor(1), LocalArtifactRepository.log_artifact
        # As clients of object stores do.
        LocalArtifactRepository.log_artifact = lambda *args: pool.submit(upload, *args).result()
        kept = tempfile.TemporaryDirectory()
        runs = []
        for _ in range(3):
            with mlflow.start_run() as run:
                mlflow.log_metric("loss", 1)
            runs.append(run.info.run_id)
        print(json.dumps(runs))
    """
    done = sandbox.train(script, f"yprov+{sandbox.sqlite}", **AT_ONCE)
    assert "could not be written" not in done.err
    for run_id in done.json:
        assert sandbox.document(run_id).status == "FINISHED"


def test_sweep_that_is_faster_than_its_documents_loses_none(sandbox: Sandbox) -> None:
    script = """
        import json, mlflow
        from yprov_mlflow.prov.capture import document_thread
        document_thread.MOST_PROMISED = 2
        runs = []
        with mlflow.start_run():
            for number in range(8):
                with mlflow.start_run(nested=True) as run:
                    mlflow.log_param("number", number)
                runs.append(run.info.run_id)
        print(json.dumps(runs))
    """
    runs = sandbox.train(script, f"yprov+{sandbox.sqlite}", **AT_ONCE).json
    assert [sandbox.document(run_id).params["number"] for run_id in runs] == list("01234567")


def test_process_of_multiprocessing_writes_its_documents(sandbox: Sandbox) -> None:
    script = """
        import json, multiprocessing, mlflow
        def trial(queue):
            with mlflow.start_run() as run:
                mlflow.log_metric("loss", 1)
            queue.put(run.info.run_id)
        queue = multiprocessing.get_context("fork").SimpleQueue()
        with mlflow.start_run():
            mlflow.log_param("a", 1)
        # The parent may be writing its document now.
        process = multiprocessing.get_context("fork").Process(target=trial, args=(queue,))
        process.start()
        process.join(60)
        print(json.dumps([process.exitcode, queue.get()]))
    """
    code, run_id = sandbox.train(script, f"yprov+{sandbox.sqlite}", **AT_ONCE).json
    assert code == 0
    assert sandbox.document(run_id).status == "FINISHED"


def test_deleted_experiment_can_be_restored_after_an_end(sandbox: Sandbox) -> None:
    script = """
        import json, mlflow
        client = mlflow.MlflowClient()
        experiment = client.create_experiment("e")
        run = client.create_run(experiment)
        client.set_terminated(run.info.run_id)
        client.delete_experiment(experiment)
        client.restore_experiment(experiment)
        files = client.list_artifacts(run.info.run_id)
        print(json.dumps([file.path for file in files]))
    """
    assert sandbox.train(script, f"yprov+{sandbox.files}", **AT_ONCE).json == ["provenance"]


RANK = """
import os, sys, time, mlflow
with mlflow.start_run():
    for step in range(10):
        mlflow.log_metric(f"m{os.environ['RANK']}", step, step=step)
    open(f"ready{os.environ['RANK']}", "w").close()
    while not os.path.exists("end"):
        time.sleep(0.01)
"""


def test_ranks_that_end_one_run_at_once_wait_for_no_lock(sandbox: Sandbox) -> None:
    create = """
        import json, mlflow
        print(json.dumps(mlflow.MlflowClient().create_run("0").info.run_id))
    """
    run_id = sandbox.train(create, sandbox.sqlite).json
    (sandbox.folder / "rank.py").write_text(RANK)
    ranks = 2
    variables = {
        **sandbox.environment,
        "MLFLOW_TRACKING_URI": f"yprov+{sandbox.sqlite}",
        "MLFLOW_RUN_ID": run_id,
        "WORLD_SIZE": str(ranks),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "rank.py"],
            cwd=sandbox.folder,
            env={**variables, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(ranks)
    ]
    while not all(os.path.exists(sandbox.folder / f"ready{rank}") for rank in range(ranks)):
        assert any(process.poll() is None for process in processes)
    (sandbox.folder / "end").touch()
    assert [process.wait(120) for process in processes] == [0] * ranks
    document = sandbox.document(run_id)
    assert {f"m{rank}" for rank in range(ranks)} <= set(document.counts())
    assert len(document.sessions) == ranks
    folder = JournalDirectory(sandbox.journal, run_id)
    assert folder.is_current()
    assert not folder.is_document_requested()
