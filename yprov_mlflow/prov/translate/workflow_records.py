"""Records of workflows: engines, executions and tasks.

The ids follow from the engine and its own ids only. So the documents of all runs of an execution,
and the document of the workflow itself, have the same records for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from yprov_mlflow.prov.model.builder import Builder
from yprov_mlflow.prov.model.document import Attributes
from yprov_mlflow.prov.model.identifiers import content, segment
from yprov_mlflow.prov.model.literals import name, text


class TaskRecords(NamedTuple):
    """The records of a task: its activity, that of its execution, and the engine's agent."""

    task: str | None
    execution: str | None
    engine: str

    @property
    def starter(self) -> str | None:
        """The most precise activity that is known."""
        return self.task or self.execution


def engine_id(engine: str, version: str = "") -> str:
    """Return the id of an engine's agent."""
    return content({"workflow-engine": [engine.lower(), version]})


def execution_id(engine: str, execution: str) -> str:
    """Return the id of the activity of a workflow's execution."""
    return content({"workflow-execution": [engine.lower(), execution]})


def task_id(engine: str, execution: str, task: str, attempt: str = "") -> str:
    """Return the id of the activity of a task, or of one attempt at it.

    Args:
        engine: Name of the engine.
        execution: Id of the workflow's execution; empty if the task's id is unique without it.
        task: Id of the task in the execution.
        attempt: Number of the attempt, where the engine counts them.
    """
    return content({"workflow-task": [engine.lower(), execution, task, attempt]})


def add_task(builder: Builder, facts: Mapping[str, Any], scope: str = "") -> TaskRecords:
    """Add a task with its execution and engine.

    Args:
        builder: Takes the records.
        facts: Facts of the collector about one task.
        scope: Start of the ids of an execution and task that nothing identifies; without it they
            are left out.
    """
    engine, version = str(facts["engine"]), str(facts.get("engine_version") or "")
    agent = engine_id(engine, version)
    attributes: Attributes = {
        "schema:name": text(engine),
        "schema:softwareVersion": text(version) or None,
    }
    types = ["prov:SoftwareAgent", "mlf:WorkflowEngine"]
    builder.agent(agent, types, text(f"{engine} {version}".strip()), attributes)
    execution = _add_execution(builder, facts, scope, agent)
    return TaskRecords(_add_task(builder, facts, scope, agent, execution), execution, agent)


def _add_execution(
    builder: Builder, facts: Mapping[str, Any], scope: str, agent: str
) -> str | None:
    engine, execution = str(facts["engine"]), str(facts.get("execution") or "")
    if execution:
        identifier = execution_id(engine, execution)
    elif scope and not facts.get("unique_task"):
        identifier = f"{scope}{segment(engine)}"
    else:
        return None
    workflow = facts.get("workflow")
    attributes: Attributes = {
        "schema:name": _text(workflow),
        "mlf:executionId": _text(execution),
        "mlf:workflowId": _text(facts.get("workflow_id")),
        "mlf:workflowParent": _text(facts.get("parent")),
        "mlf:workflowDocument": _text(facts.get("document")),
    }
    label = f"{engine}: {workflow}" if workflow else f"execution of {engine}"
    builder.activity(identifier, None, None, ["mlf:WorkflowExecution"], text(label), attributes)
    builder.was_associated_with(identifier, agent, "mlf:workflowEngine")
    return identifier


def _add_task(
    builder: Builder, facts: Mapping[str, Any], scope: str, agent: str, execution: str | None
) -> str | None:
    engine = str(facts["engine"])
    task, command = facts.get("task_id") or facts.get("task"), facts.get("command")
    if not task and not command:
        return None
    number = str(facts.get("attempt") or "")
    key = str(task) if task else f"command:{command}"
    if facts.get("execution") or facts.get("unique_task"):
        identifier = task_id(engine, str(facts.get("execution") or ""), key, number)
    elif scope:
        identifier = f"{scope}{segment(engine)}/{segment(key)}"
    else:
        return None
    label = str(facts.get("task") or task or f"task of {engine}")
    attributes: Attributes = {
        "schema:name": _text(facts.get("task") or task),
        "mlf:taskId": _text(task),
        "mlf:attempt": _text(number),
        "mlf:commandDigest": _text(command),
        "mlf:taskIri": _text(facts.get("iri")),
        "mlf:detectedBy": _text(facts.get("via")),
        "dcterms:isPartOf": name(execution) if execution is not None else None,
    }
    builder.activity(identifier, None, None, ["mlf:WorkflowTask"], text(label), attributes)
    builder.was_associated_with(identifier, agent, "mlf:workflowEngine")
    if execution is not None:
        builder.was_influenced_by(identifier, execution)
    return identifier


def _text(value: object) -> str | None:
    return text(value) if value not in (None, "") else None
