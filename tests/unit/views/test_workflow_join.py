"""Joined documents of runs and workflows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.builders.run_log import Log
from support.oracles.constraints import violations
from support.oracles.validity import assert_valid
from support.readers import workflow_page

from yprov_mlflow.prov.collectors.workflow_processes import command_digest
from yprov_mlflow.prov.events import ArtifactsLogged, FactsCollected
from yprov_mlflow.prov.formats import FORMATS, prov_json
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.translate import workflow_records
from yprov_mlflow.prov.translate.workflow_document import (
    TaskEntry,
    TaskFile,
    workflow_document,
)
from yprov_mlflow.prov.views import workflow_report
from yprov_mlflow.prov.views.workflow_join import join

SECOND = 10**9
START = 1_767_322_000 * SECOND
EXECUTION = {"engine": "snakemake", "execution": "boot/1-2", "workflow": "fit"}
RAW, CLEAN, MODEL, BEST = (
    TaskFile(path, character * 64, 5)
    for path, character in zip(
        ("raw.csv", "clean.csv", "model.pkl", "best.pkl"), "abcd", strict=True
    )
)
COMMAND = "python train.py clean.csv 1"


def entry(task: str, start: int, inputs: Any, outputs: Any, **facts: str) -> TaskEntry:
    facts = {"task": task, "task_id": f"{task}:", **facts}
    begin = START + start * SECOND
    return TaskEntry(facts, begin, begin + 5 * SECOND, "FINISHED", inputs, outputs)


def pipeline() -> Document:
    tasks = [
        entry("choose", 2000, [MODEL], [BEST]),
        entry("train", 700, [CLEAN], [MODEL], command=command_digest(COMMAND)),
        entry("preprocess", 0, [RAW], [CLEAN]),
    ]
    return workflow_document(EXECUTION, tasks)


def run(**task: str) -> Document:
    log = Log(yprov_mlflow="1.0")
    log.add(FactsCollected, "workflow", {"tasks": [{**EXECUTION, **task}]})
    file = {"path": "model.pkl", "sha256": MODEL.sha256, "size": MODEL.size}
    log.add(ArtifactsLogged, [file])
    return log.document()


def rows(graph: Document, tmp_path: Any) -> list[tuple[str, ...]]:
    path = tmp_path / "graph.ttl"
    with path.open("wb") as stream:
        FORMATS["turtle"].dump([graph], stream, single=True)
    return workflow_page.chains(path)


def test_the_document_of_a_workflow_is_valid_and_names_its_files() -> None:
    document = pipeline()
    assert_valid(document.to_json_object())
    generated = document.records["wasGeneratedBy"].values()
    used = {r["prov:entity"] for r in document.records["used"].values()}
    # What a task wrote is what the next one read, and only the raw file comes from outside.
    assert len(used & {r["prov:entity"] for r in generated}) == 2
    assert prov_json.dumps(document) == prov_json.dumps(pipeline())


@pytest.mark.parametrize(
    "task", [{"task_id": "train:"}, {"command": command_digest("set -euo pipefail; " + COMMAND)}]
)
def test_one_query_follows_a_file_through_both_levels(task: dict[str, str], tmp_path: Any) -> None:
    graph = join([pipeline(), run(**task)])
    assert_valid(graph.to_json_object())
    (row,) = rows(graph, tmp_path)
    run_id = Log().events[0].run_id
    assert row == ("raw.csv", "preprocess:", "train:", run_id, "model.pkl", "choose:")


def test_a_run_of_another_execution_does_not_meet(tmp_path: Any) -> None:
    graph = join([pipeline(), run(task_id="train:", execution="boot/9-9")])
    assert rows(graph, tmp_path) == []


def test_two_jobs_with_one_command_stay_apart(tmp_path: Any) -> None:
    digest = command_digest(COMMAND)
    twice = [entry("train", 700, [CLEAN], [MODEL], command=digest)]
    twice.append(entry("again", 800, [CLEAN], [], command=digest))
    graph = join([workflow_document(EXECUTION, twice), run(command=digest)])
    tasks = [r for r in graph.records["activity"].values() if "mlf:commandDigest" in r]
    assert len(tasks) == 3


def test_inner_records_stay_in_the_documents_of_runs() -> None:
    graph = join([run(task_id="train:")])
    text = json.dumps(graph.to_json_object())
    assert "mlf:Host" not in text and "mlf:Tag" not in text and "mlf:Artifact" in text
    assert join([run(task_id="train:")] * 2) == graph


def test_the_report_names_tasks_runs_and_files() -> None:
    report = workflow_report.from_document(join([pipeline(), run(task_id="train:")]))
    (execution,) = report.executions
    assert (execution.engine, execution.tasks, execution.runs) == ("snakemake", 3, 1)
    assert [task.task for task in report.tasks] == ["preprocess:", "train:", "choose:"]
    assert report.tasks[1].runs[0].startswith("fox") and report.outside == ()
    model = next(file for file in report.files if file.sha256 == MODEL.sha256)
    assert model.used_by == ("choose:",) and len(model.written_by) == 2
    alone = workflow_report.from_document(join([Log().document()]))
    assert len(alone.outside) == 1 and list(alone.notes())


YPROV4WFS = {
    "prefix": {"default": "http://anotherexample.org/", "yprov4wfs": "http://example.org"},
    "activity": {
        "wf-1": {
            "prov:startTime": "2026-01-02T03:00:00+00:00",
            "prov:endTime": "None",
            "prov:label": "fit",
            "prov:type": "prov:Activity",
            "yprov4wfs:engine": "StreamFlow",
            "yprov4wfs:level": "0",
        },
        "t-1": {
            "prov:startTime": "None",
            "prov:endTime": "None",
            "prov:label": "/train",
            "prov:type": "prov:Activity",
            "yprov4wfs:level": "1",
        },
    },
    "entity": {"d-1": {"prov:label": "input", "prov:type": "prov:Entity"}},
    "used": {"u-1": {"prov:activity": "t-1", "prov:entity": "d-1"}},
}


def test_documents_of_yprov4wfs_meet_runs_that_know_its_ids() -> None:
    document = prov_json.loads(json.dumps(YPROV4WFS).encode())
    known = {"engine": "streamflow", "execution": "wf-1", "task_id": "t-1"}
    graph = join([document, run(**known)])
    assert violations(graph.to_json_object()) == []
    task = workflow_records.task_id("streamflow", "wf-1", "t-1")
    assert {r["prov:activity"] for r in graph.records["used"].values()} == {task}
    report = workflow_report.from_document(graph)
    assert report.tasks[0].runs and report.executions[0].runs == 1


def test_an_address_names_the_task_in_another_document() -> None:
    other = {
        "prefix": {"ex": "https://host/wf#"},
        "activity": {"ex:train": {"prov:label": "train"}},
        "entity": {"ex:raw": {"prov:label": "raw"}},
        "used": {"ex:u": {"prov:activity": "ex:train", "prov:entity": "ex:raw"}},
    }
    document = prov_json.loads(json.dumps(other).encode())
    graph = join([document, run(task="train", iri="https://host/wf#train")])
    (used,) = graph.records["used"].values()
    assert "mlf:taskIri" in graph.records["activity"][used["prov:activity"]]


def test_the_example_of_the_page_works() -> None:
    (example,) = workflow_page.blocks("python")
    names: dict[str, Any] = {}
    exec(example.replace("e3b0c442…", "e" * 64), names)
    assert_valid(json.loads(names["content"]))
