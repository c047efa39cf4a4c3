"""Offline stores, ``yprov:DIR``, used by real processes."""

from __future__ import annotations

from typing import Any

import pytest
from support.readers.documents import RunDocument

from integration.conftest import Sandbox
from yprov_mlflow.prov.ids import offline_experiment
from yprov_mlflow.prov.journal import JournalDirectory, JournalReader

DUMP = """
import json
import mlflow
from mlflow import MlflowClient
from mlflow.entities import ViewType

def dump():
    client = MlflowClient()
    experiments = client.search_experiments(ViewType.ALL)
    ids = [e.experiment_id for e in experiments]
    runs = client.search_runs(ids, run_view_type=ViewType.ALL, max_results=1000)
    return json.loads(json.dumps({
        "experiments": {e.name: [e.experiment_id, e.lifecycle_stage, e.tags] for e in experiments},
        "runs": {r.info.run_id: {
            "info": [r.info.status, r.info.run_name, r.info.experiment_id, r.info.artifact_uri,
                     r.info.start_time, r.info.end_time, r.info.lifecycle_stage, r.info.user_id],
            "params": r.data.params, "tags": r.data.tags,
            "points": {k: sorted([p.step, p.timestamp, p.value]
                       for p in client.get_metric_history(r.info.run_id, k))
                       for k in r.data.metrics},
            "inputs": sorted(i.dataset.name for i in r.inputs.dataset_inputs),
            "artifacts": sorted(f.path for f in client.list_artifacts(r.info.run_id)),
        } for r in runs},
        "models": {m.name: [[v.version, v.source, v.run_id, v.tags] for v in
                   client.search_model_versions(f"name = '{m.name}'")]
                   for m in client.search_registered_models()},
    }, default=str))
"""

PROGRAM = """
import multiprocessing, os, pickle, sys
import mlflow
from mlflow import MlflowClient
{dump}

def child(run_id, answers):
    client = MlflowClient()
    client.log_metric(run_id, "of_child", 1.0)
    other = client.create_run("0", run_name="child")
    client.log_metric(other.info.run_id, "f", 2.0)
    client.set_terminated(other.info.run_id)
    answers.put((other.info.run_id, client.get_run(run_id).data.metrics))

if __name__ == "__main__":
    client = MlflowClient()
    mlflow.set_experiment("deep")
    mlflow.set_experiment_tag("team", "a")
    os.chdir("/")  # the folder in the URI is relative
    run = mlflow.start_run(run_name="first")
    run_id = run.info.run_id
    mlflow.log_params({{"depth": 3, "width": 4}})
    for step in range(20):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    mlflow.log_text("text", "notes/a.txt")
    client.create_registered_model("net")
    client.create_model_version("net", "/tmp/x", run_id, tags={{"k": "v"}})
    with mlflow.start_run(nested=True, run_name="inner"):
        mlflow.log_metric("inner", 1.0)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    process = context.Process(target=child, args=(run_id, answers))
    process.start()
    other, seen = answers.get(timeout=200)
    process.join()
    assert client.get_run(other).data.metrics == {{"f": 2.0}}
    store = client._tracking_client.store
    copy = pickle.loads(pickle.dumps(store))
    assert copy.get_run(run_id).info.run_name == "first"
    assert client.get_run(run_id).data.metrics["of_child"] == 1.0
    mlflow.end_run()
    print(json.dumps({{"run": run_id, "seen": seen, "uri": mlflow.get_tracking_uri(),
                      "dump": dump()}}))
"""


@pytest.fixture(scope="module")
def program(shared_sandbox: Sandbox) -> dict[str, Any]:
    """Return what a program with child processes has seen of its offline store."""
    source = PROGRAM.format(dump=DUMP)
    results: dict[str, Any] = shared_sandbox.train(source, "yprov:off").json
    return results


def test_process_reads_back_what_it_has_logged(program: dict[str, Any]) -> None:
    run = program["dump"]["runs"][program["run"]]
    assert run["params"] == {"depth": "3", "width": "4"}
    assert [point[2] for point in run["points"]["loss"]] == [1 / (n + 1) for n in range(20)]
    assert run["info"][0] == "FINISHED"
    assert run["artifacts"] == ["notes", "provenance"]
    names = {run["info"][1] for run in program["dump"]["runs"].values()}
    assert names == {"first", "inner", "child"}
    assert program["dump"]["experiments"]["deep"][0] == str(offline_experiment("deep"))
    assert program["dump"]["models"]["net"][0][3] == {"k": "v"}


def test_forked_child_sees_the_run_of_its_parent(program: dict[str, Any]) -> None:
    assert program["seen"] == {"loss": 1 / 20, "of_child": 1.0}


def test_other_process_reads_the_same_from_the_journals(
    program: dict[str, Any], shared_sandbox: Sandbox
) -> None:
    source = f"""{DUMP}
import sys, shutil
first = dump()
shutil.copytree(sys.argv[1], sys.argv[2])
mlflow.set_tracking_uri("yprov:" + sys.argv[2])
print(json.dumps([first, dump()]))
"""
    folder, copy = shared_sandbox.folder / "off", shared_sandbox.folder / "copy"
    first, moved = shared_sandbox.train(source, program["uri"], str(folder), str(copy)).json
    assert first == program["dump"]
    for run in program["dump"]["runs"].values():
        run["info"][3] = run["info"][3].replace(str(folder), str(copy))
    assert moved == program["dump"]


def test_all_is_below_the_folder_and_nothing_in_the_state_folder(
    program: dict[str, Any], shared_sandbox: Sandbox
) -> None:
    folder = shared_sandbox.folder / "off"
    assert program["uri"] == f"yprov:{folder}"
    [path] = folder.glob(f"artifacts/*/{program['run']}/artifacts/provenance/prov.json")
    document = RunDocument.load(path)
    assert document.params["depth"] and len(document.sessions) == 2
    assert not (shared_sandbox.journal / "journal").exists()
    assert JournalDirectory(folder, program["run"]).files()


def test_other_process_continues_a_run_and_numbers_versions_on(
    program: dict[str, Any], shared_sandbox: Sandbox
) -> None:
    source = """
        import json, os
        import yprov_mlflow as mlflow
        client = mlflow.MlflowClient()
        with mlflow.start_run() as run:
            mlflow.log_metric("resumed", 1.0)
        version = client.create_model_version("net", "/tmp/y", run.info.run_id).version
        summary = mlflow.prov.summary(run.info.run_id)
        metrics = client.get_run(run.info.run_id).data.metrics
        print(json.dumps([run.info.run_id, int(version), metrics, summary.run.id]))
    """
    done = shared_sandbox.train(source, program["uri"], MLFLOW_RUN_ID=program["run"])
    run_id, version, metrics, summarized = done.json
    assert (run_id, version) == (program["run"], 2)
    assert metrics["resumed"] == 1.0 and metrics["loss"] == 1 / 20
    assert summarized
    assert "Provenance capture failed" not in done.err


# -- processes that end in other ways ------------------------------------------------------


def test_killed_process_loses_no_call_and_leaves_nothing(sandbox: Sandbox) -> None:
    source = """
        import glob, json, os, random, signal, sys
        import mlflow

        def log(pipe):
            run = mlflow.start_run()
            os.write(pipe, run.info.run_id.encode() + b"\\n")
            for step in range(100_000):
                mlflow.log_metric("x", step, step=step)
                os.write(pipe, b"%d\\n" % step)

        mlflow.get_tracking_uri()
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            log(writer)
        os.close(writer)
        lines = os.fdopen(reader)
        run_id = lines.readline().strip()
        last = [int(lines.readline()) for _ in range(random.randrange(20, 60))][-1]
        os.kill(pid, signal.SIGKILL)
        last = max([last, *(int(line) for line in lines.read().split())])
        os.waitpid(pid, 0)
        left = glob.glob(os.environ["TMPDIR"] + "/yprov-view-*")
        history = mlflow.MlflowClient().get_metric_history(run_id, "x")
        print(json.dumps([last, [p.step for p in history], len(left)]))
    """
    (sandbox.folder / "tmp").mkdir()
    tmpdir = {"TMPDIR": str(sandbox.folder / "tmp")}
    last, steps, left = sandbox.train(source, f"yprov:{sandbox.folder}/off", **tmpdir).json
    assert steps[: last + 1] == list(range(last + 1))
    assert len(steps) <= last + 2  # the last call may have been journaled, but not returned
    assert left == 1
    assert not list((sandbox.folder / "tmp").glob("yprov-view-*"))


def test_processes_that_create_an_experiment_at_once_meet(sandbox: Sandbox) -> None:
    uri = f"yprov:{sandbox.folder}/off"
    source = """
        import multiprocessing, json
        import mlflow

        def work(barrier, name):
            barrier.wait()
            mlflow.set_experiment("shared")
            with mlflow.start_run(run_name=name):
                mlflow.log_metric("x", 1.0)

        context = multiprocessing.get_context("fork")
        barrier = context.Barrier(4)
        workers = [context.Process(target=work, args=(barrier, str(n))) for n in range(4)]
        for worker in workers: worker.start()
        for worker in workers: worker.join()
        runs = mlflow.search_runs(experiment_names=["shared"])
        client = mlflow.MlflowClient()
        print(json.dumps([sorted(runs["tags.mlflow.runName"]),
                          [e.name for e in client.search_experiments()]]))
    """
    names, experiments = sandbox.train(source, uri).json
    assert names == ["0", "1", "2", "3"]
    assert sorted(experiments) == ["Default", "shared"]


# -- folders that are full or away ---------------------------------------------------------


def test_view_that_cannot_grow_costs_no_call(sandbox: Sandbox) -> None:
    source = """
        import glob, json, os, resource, sys, time
        import mlflow
        client = mlflow.MlflowClient()
        run = mlflow.start_run()
        run_id = run.info.run_id
        mlflow.log_metric("x", 0.0, step=0)
        assert client.get_run(run_id).data.metrics == {"x": 0.0}
        (path,) = [p for p in glob.glob(os.environ["TMPDIR"] + "/yprov-view-*/view.db")]
        size = os.path.getsize(path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        for start in range(1, 4000, 1000):
            mlflow.log_metrics({"x%d" % n: 1.0 for n in range(start, start + 1000)})
        mlflow.log_param("after", "full")
        end = time.monotonic() + 30
        while os.path.exists(path) and time.monotonic() < end:  # a thread writes, and gives it up
            time.sleep(0.05)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        mlflow.log_metric("x", 1.0, step=1)
        found = client.get_run(run_id)
        mlflow.end_run()
        print(json.dumps([len(found.data.metrics), found.data.params,
                          client.get_run(run_id).info.status]))
    """
    (sandbox.folder / "tmp").mkdir()
    done = sandbox.train(source, f"yprov:{sandbox.folder}/off", TMPDIR=str(sandbox.folder / "tmp"))
    assert done.json == [4001, {"after": "full"}, "FINISHED"]
    assert done.err.count("cannot be written") == 1
    assert not list((sandbox.folder / "tmp").glob("yprov-view-*"))


def test_removed_folder_is_written_again(sandbox: Sandbox) -> None:
    source = """
        import json, os, shutil, sys, time
        import mlflow
        run = mlflow.start_run()
        mlflow.log_metric("x", 0.0, step=0)
        while os.path.exists(sys.argv[1]):  # a thread may write the view meanwhile
            shutil.rmtree(sys.argv[1], ignore_errors=True)
        mlflow.log_metric("x", 1.0, step=1)
        time.sleep(1.1)
        mlflow.log_metric("x", 2.0, step=2)
        mlflow.end_run()
        print(json.dumps(run.info.run_id))
    """
    folder = sandbox.folder / "off"
    done = sandbox.train(source, f"yprov:{folder}", str(folder))
    (file,) = JournalDirectory(folder, done.json).files()
    points = [event for event in JournalReader(file) if event.kind == "metrics"]
    assert [event.steps[0] for event in points] == [0, 1, 2]  # type: ignore[attr-defined]
    assert "removed or moved" in done.err


def test_nonsense_is_refused_with_a_cure(sandbox: Sandbox) -> None:
    source = """
        import json, sys
        from mlflow import MlflowClient
        def message(uri):
            try:
                MlflowClient(uri).search_experiments()
            except Exception as error:
                return str(error)
        print(json.dumps([message(uri) for uri in sys.argv[1:]]))
    """
    (sandbox.folder / "file").write_text("")
    uris = ("yprov://host/runs", "yprov:sqlite:///m.db", f"yprov:{sandbox.folder}/file/below")
    host, scheme, file = sandbox.train(source, None, *uris).json
    assert "write yprov:/host/runs" in host
    assert "write yprov+sqlite:///m.db" in scheme
    assert "Not a directory" in file and "permission" in file
