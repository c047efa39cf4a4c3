"""Real runs in tasks that the variables name, joined with the document of their workflow."""

import hashlib
import json
import os
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from support.oracles.validity import assert_valid
from support.readers import workflow_page

from yprov_mlflow.prov.cli import main
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.translate.workflow_document import (
    TaskEntry,
    TaskFile,
    workflow_document,
)

TRAIN = """\
import sys
import yprov_mlflow as mlflow
with mlflow.start_run(run_name=sys.argv[1]) as run:
    mlflow.log_metric("loss", 0.5)
    mlflow.log_artifact(sys.argv[2])
print(run.info.run_id)
"""
ENGINE = {"engine": "make", "execution": "2026-01-31", "workflow": "fit"}


def file(path):
    content = path.read_bytes()
    return TaskFile(path.name, hashlib.sha256(content).hexdigest(), len(content))


def entry(task, inputs, outputs, begin):
    end = time.time_ns()
    return TaskEntry({"task": task}, begin, end, "FINISHED", inputs, outputs)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """Return a folder in which three tasks ran, two of them with a run, and the ids of the runs."""
    folder = tmp_path_factory.mktemp("pipeline")
    (folder / "train.py").write_text(TRAIN)
    for name in ("raw", "clean", "model_a", "model_b"):
        (folder / name).write_text(name)
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "YPROV_MLFLOW_DIR": str(folder / "state"),
        "YPROV_MLFLOW_COLLECTORS": "workflow",
        "YPROV_WORKFLOW_ENGINE": "make",
        "YPROV_WORKFLOW_NAME": "fit",
        "YPROV_WORKFLOW_RUN_ID": ENGINE["execution"],
        "YPROV_WORKFLOW_DOCUMENT": str(folder / "workflow.json"),
        "YPROV_WORKFLOW_PARENT": "bad\x07value",
    }
    tasks, runs = [entry("clean", [file(folder / "raw")], [file(folder / "clean")], 1)], {}
    for name in ("a", "b"):
        begin = time.time_ns()
        done = subprocess.run(
            [sys.executable, "train.py", name, f"model_{name}"],
            cwd=folder,
            env={**env, "YPROV_WORKFLOW_TASK": f"train_{name}"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        runs[name] = done.stdout.split()[-1]
        model = file(folder / f"model_{name}")
        tasks.append(entry(f"train_{name}", [file(folder / "clean")], [model], begin))
    models = [file(folder / f"model_{name}") for name in runs]
    tasks.append(entry("choose", models, [], time.time_ns()))
    (folder / "workflow.json").write_bytes(prov_json.dumps(workflow_document(ENGINE, tasks)))
    return folder, runs


def run(*arguments):
    return CliRunner().invoke(main, ["workflow", *map(str, arguments)])


def test_the_whole_chain_is_one_query_over_the_joined_store(pipeline, tmp_path):
    folder, runs = pipeline
    graph = tmp_path / "graph.ttl"
    done = run(f"sqlite:///{folder}/mlflow.db", "-o", graph)
    assert done.exit_code == 0, done.output
    assert workflow_page.chains(graph) == [
        ("raw", "clean", f"train_{name}", run_id, f"model_{name}", "choose")
        for name, run_id in runs.items()
    ]


def test_documents_and_the_report_as_json(pipeline, monkeypatch):
    folder, runs = pipeline
    uri = f"sqlite:///{folder}/mlflow.db"
    documents = []
    monkeypatch.setenv("YPROV_MLFLOW_DIR", str(folder / "state"))
    for run_id in runs.values():
        done = run(run_id, "--tracking-uri", uri, "--to", "prov-json")
        assert done.exit_code == 0, done.output
        documents.append(json.loads(done.stdout))
        assert_valid(documents[-1])
    report = json.loads(run(uri, folder / "workflow.json", "--json").stdout)
    (execution,) = report["executions"]
    assert (execution["engine"], execution["tasks"], execution["runs"]) == ("make", 4, 2)
    assert [len(task["runs"]) for task in report["tasks"]] == [0, 1, 1, 0]
    table = run(uri).output
    assert "train_a" in table and "Files that meet" in table


def test_a_workflow_document_that_is_gone_or_broken_is_named(pipeline, tmp_path):
    folder, _ = pipeline
    document = tmp_path / "prov.json"
    done = run(f"sqlite:///{folder}/mlflow.db", "-o", document)
    content = document.read_text().replace("workflow.json", "gone.json")
    document.write_text(content)
    done = run(document)
    assert done.exit_code == 3 and "gone.json" in done.stderr and "train_a" in done.stdout
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/prov.json").write_text(content[: len(content) // 2])
    done = run(tmp_path)
    assert done.exit_code == 3 and "broken" in done.stderr
    assert run(tmp_path / "nothing").exit_code == 1
