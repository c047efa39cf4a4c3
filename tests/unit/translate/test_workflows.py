"""Workflow tasks in documents of runs: who started the run, and what tasks are part of."""

from __future__ import annotations

from typing import Any

import pytest
from support.builders.run_log import RUN_ID, A, B, Log
from support.oracles.validity import assert_valid

from yprov_mlflow.prov.events import FactsCollected, ParamsLogged, SessionStarted
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.translate import workflow_records as workflows
from yprov_mlflow.prov.views import summary

TRAIN = {"engine": "airflow", "workflow": "fit", "execution": "fit/1", "task": "train"}
SLURM = {"engine": "slurm", "workflow": "job", "execution": "c/7", "via": "variables"}
TRAIN_ID = workflows.task_id("airflow", "fit/1", "train")
JOB_ID = workflows.execution_id("slurm", "c/7")


def facts(*tasks: dict[str, Any]) -> dict[str, Any]:
    return {"tasks": list(tasks)}


def document(*tasks: dict[str, Any], **options: Any) -> Document:
    log = Log(yprov_mlflow="1.0", **options)
    log.add(FactsCollected, "workflow", facts(*tasks))
    log.add(ParamsLogged, {"a": "1"})
    return checked(log)


def checked(log: Log) -> Document:
    made = log.document()
    assert_valid(made.to_json_object())
    assert connected(made)
    return made


def connected(made: Document) -> bool:
    """Return whether every element is reached from the run by relations."""
    from yprov_mlflow.prov.model.relations import ELEMENTS, KINDS

    links: dict[str, set[str]] = {}
    for section, records in made.records.items():
        for record in () if section in ELEMENTS else records.values():
            ends = {str(record[f]) for f in KINDS[section].formals if f in record}
            for end in ends:
                links.setdefault(end, set()).update(ends)
    reached, pending = set(), ["run:run"]
    while pending:
        end = pending.pop()
        if end not in reached:
            reached.add(end)
            pending += links.get(end, ())
    elements = {i for section in ELEMENTS for i in made.records.get(section, {})}
    return elements <= reached


def starters(made: Document, activity: str = "run:run") -> set[str]:
    starts = made.records.get("wasStartedBy", {}).values()
    return {str(s["prov:starter"]) for s in starts if s["prov:activity"] == activity}


def influencers(made: Document, activity: str) -> set[str]:
    records = made.records.get("wasInfluencedBy", {}).values()
    return {str(r["prov:influencer"]) for r in records if r["prov:influencee"] == activity}


def test_the_run_was_started_by_the_task_of_the_execution() -> None:
    made = document(TRAIN)
    assert starters(made) == {TRAIN_ID}
    start = next(r for r in made.records["wasStartedBy"].values() if r["prov:starter"] == TRAIN_ID)
    assert start["prov:time"] == made.records["activity"]["run:run"]["prov:startTime"]
    task = made.records["activity"][TRAIN_ID]
    assert task["dcterms:isPartOf"]["$"] == workflows.execution_id("airflow", "fit/1")
    delegations = made.records["actedOnBehalfOf"].values()
    assert any(
        "yprov-mlflow" in d["prov:delegate"]
        and d["prov:responsible"] == workflows.engine_id("airflow")
        for d in delegations
    )


def test_runs_of_one_execution_meet() -> None:
    names = [set(document(TRAIN, host=host).records["activity"]) for host in ("a", "b")]
    shared = {i for i in names[0] & names[1] if i.startswith("sha256:")}
    assert shared == {TRAIN_ID, workflows.execution_id("airflow", "fit/1")}
    other = document({**TRAIN, "attempt": "2"}).records["activity"]
    assert TRAIN_ID not in other
    # Nothing identifies this execution: it must not meet any other one.
    unknown = document({"engine": "argo", "task": "train"}).records["activity"]
    assert not [i for i in unknown if i.startswith("sha256:")]


def test_outer_tasks_are_kept() -> None:
    made = document(TRAIN, SLURM)
    assert starters(made) == {TRAIN_ID}
    parts = made.records["activity"][TRAIN_ID]["dcterms:isPartOf"]
    assert JOB_ID in {part["$"] for part in parts}
    assert JOB_ID in influencers(made, TRAIN_ID)
    engines = [task.engine for task in summary.from_document(made).workflow_tasks]
    assert engines == ["airflow", "slurm"]


def test_thread_and_process_describe_one_task() -> None:
    log = Log(yprov_mlflow="1.0")
    process = {"engine": "luigi", "execution": "boot/1-2", "via": "process"}
    thread = {"engine": "luigi", "task": "T", "task_id": "T_1", "via": "thread"}
    log.add(FactsCollected, "workflow", facts(process, SLURM))
    log.add(FactsCollected, "workflow", facts(thread))
    assert starters(checked(log)) == {workflows.task_id("luigi", "boot/1-2", "T_1")}


def test_the_task_of_the_thread_is_the_innermost() -> None:
    # The process is known first, if it started a run before.
    log = Log(yprov_mlflow="1.0")
    thread = {"engine": "dask", "task_id": "worker/f", "unique_task": "yes", "via": "thread"}
    log.add(FactsCollected, "workflow", facts(SLURM))
    log.add(FactsCollected, "workflow", facts(thread))
    assert starters(checked(log)) == {workflows.task_id("dask", "", "worker/f")}


def test_only_the_process_that_created_the_run_started_it() -> None:
    log = Log(yprov_mlflow="1.0")
    log.add(SessionStarted, {"pid": 2, "host": "node02"}, session=B)
    log.add(FactsCollected, "workflow", facts(TRAIN), session=B)
    log.add(ParamsLogged, {"a": "1"}, session=B)
    made = checked(log)
    assert starters(made) == set()
    assert TRAIN_ID in influencers(made, "run:session/2")


def test_a_nested_run_was_started_by_its_parent_only() -> None:
    log = Log({"mlflow.parentRunId": "0" * 32}, yprov_mlflow="1.0")
    log.add(FactsCollected, "workflow", facts(TRAIN))
    made = checked(log)
    assert starters(made) == {"parent:run"}
    assert TRAIN_ID in influencers(made, "run:session/1")


def test_tags_of_projects_and_jobs_name_tasks() -> None:
    tags = {
        "mlflow.source.type": "PROJECT",
        "mlflow.source.name": "https://host/repo",
        "mlflow.project.entryPoint": "main",
        "mlflow.databricks.jobID": "5",
        "mlflow.databricks.jobRunID": "6",
    }
    made = checked(Log(tags))
    expected = {
        workflows.task_id("mlflow-projects", RUN_ID, "main"),
        workflows.execution_id("databricks-jobs", "6"),
    }
    # A tag is not an observation of a start.
    assert expected <= influencers(made, "run:run") and starters(made) == set()


def test_unusable_variables_are_named_and_the_rest_is_kept() -> None:
    log = Log(yprov_mlflow="1.0")
    problem = {"variable": "AIRFLOW_CTX_TASK_ID", "reason": "longer than 1000 characters"}
    log.add(FactsCollected, "workflow", {**facts(SLURM), "problems": [problem]})
    made = checked(log)
    assert starters(made) == {JOB_ID}
    assert any(
        "longer than 1000" in str(e.get("mlf:facts")) for e in made.records["entity"].values()
    )


@pytest.mark.parametrize("tasks", [None, "x", [None, {}, {"task": "no engine"}], [{"engine": ""}]])
def test_foreign_facts_change_nothing(tasks: object) -> None:
    log = Log()
    log.add(FactsCollected, "workflow", {"tasks": tasks})
    assert log.document() == Log().document()


def test_the_summary_names_workflow_and_task() -> None:
    (task,) = summary.from_document(document(TRAIN)).workflow_tasks
    assert (task.engine, task.workflow, task.task) == ("airflow", "fit", "train")
    tables = {t.title: t.rows for t in summary.from_document(document(TRAIN)).tables()}
    assert "train" in tables["Workflow"][0]


assert A != B
