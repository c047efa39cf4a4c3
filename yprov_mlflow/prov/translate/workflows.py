"""The workflow tasks that started a run or work on it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from yprov_mlflow.prov.events import WORKFLOW_FACTS, Event, FactsCollected, RunCreated, TagsSet
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.identifiers import RUN
from yprov_mlflow.prov.model.literals import Value, name
from yprov_mlflow.prov.translate.sessions import FactsBySession, add_software
from yprov_mlflow.prov.translate.translation import Translation
from yprov_mlflow.prov.translate.workflow_records import add_task

_RUN = f"{RUN}:run"
_PROJECT_TAGS = {
    "task": "mlflow.project.entryPoint",
    "workflow": "mlflow.source.name",
}
_JOB_TAGS = {
    "execution": "mlflow.databricks.jobRunID",
    "workflow": "mlflow.databricks.jobID",
}
_MERGED = ("engine", "execution", "task_id")


def add_workflows(
    translation: Translation, log: Iterable[Event], facts_by_session: FactsBySession
) -> None:
    """Add the tasks that started the run or work on it: those observed, and those in tags."""
    log = list(log)
    collected = [e for e in log if isinstance(e, FactsCollected) and e.collector == WORKFLOW_FACTS]
    by_session: dict[str, list[dict[str, Any]]] = {}
    # What the thread of the run executes is inside what the process is part of.
    for event in sorted(collected, key=lambda event: not _is_of_thread(event)):
        tasks = by_session.setdefault(event.session, [])
        for task in _tasks(event.facts):
            _merge(tasks, task)
    for session, tasks in by_session.items():
        _add_observed(translation, session, tasks, facts_by_session.get(session, {}))
    for task in _tagged(translation.namespaces.run_id, _tags(log)):
        # A tag is a statement about the run, and not an observation of its start.
        if (starter := add_task(translation.builder, task).starter) is not None:
            translation.builder.was_influenced_by(_RUN, starter)


def _tasks(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    tasks = facts.get("tasks")
    tasks = tasks if isinstance(tasks, list) else []
    return [dict(task) for task in map(literals.mapping, tasks) if task.get("engine")]


def _is_of_thread(event: FactsCollected) -> bool:
    return any(task.get("via") == "thread" for task in _tasks(event.facts))


def _merge(tasks: list[dict[str, Any]], task: dict[str, Any]) -> None:
    """Add a task, or what is new of it: an engine may be seen from its thread and its process."""
    for other in tasks:
        if all(key not in task or task[key] == other.get(key, task[key]) for key in _MERGED):
            other.update({key: value for key, value in task.items() if key not in other})
            return
    tasks.append(task)


def _add_observed(
    translation: Translation,
    session: str,
    tasks: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Mapping[str, Any]],
) -> None:
    span = translation.timeline.first_session(session)
    if span is None:
        return
    builder, scope = translation.builder, f"{RUN}:workflow/"
    records = [add_task(builder, task, scope) for task in tasks]
    chain = [(r.starter, r.execution) for r in records if r.starter is not None]
    for (inner, execution), (outer, _) in itertools.pairwise(chain):
        if inner != outer:
            parts: list[Value] = [
                name(part) for part in (execution, outer) if part not in (None, inner)
            ]
            builder.activity(str(inner), attributes={"dcterms:isPartOf": parts})
            builder.was_influenced_by(str(inner), str(outer))
    if not chain:
        return
    starter = str(chain[0][0])
    if _started(translation, session):
        start = builder.records["activity"][_RUN].get("prov:startTime")
        builder.was_started_by(_RUN, starter, start)
    else:
        builder.was_influenced_by(span.identifier, starter)
    if version := facts.get("session", {}).get("yprov_mlflow"):
        recorder = add_software(builder, "yprov-mlflow", str(version))
        builder.acted_on_behalf_of(recorder, records[0].engine, span.identifier)


def _started(translation: Translation, session: str) -> bool:
    """Return whether the process of a session created the run, and no other run started it."""
    created = translation.created
    return (
        created is not None
        and created.session == session
        and translation.namespaces.parent_id is None
    )


def _tags(log: Iterable[Event]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for event in log:
        if isinstance(event, RunCreated | TagsSet):
            tags.update({key: str(value) for key, value in event.tags.items()})
    return tags


def _tagged(run_id: str, tags: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the tasks that MLflow's own tags name: a project's entry point, a job."""
    tasks = []
    if tags.get("mlflow.source.type") == "PROJECT" and tags.get(_PROJECT_TAGS["task"]):
        task = {key: tags[tag] for key, tag in _PROJECT_TAGS.items() if tags.get(tag)}
        # Each launch of a project has a run of its own.
        tasks.append({"engine": "mlflow-projects", "execution": run_id, "via": "tags", **task})
    if tags.get(_JOB_TAGS["execution"]):
        task = {key: tags[tag] for key, tag in _JOB_TAGS.items() if tags.get(tag)}
        tasks.append({"engine": "databricks-jobs", "via": "tags", **task})
    return tasks
