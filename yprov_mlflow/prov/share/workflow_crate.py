"""The workflow of an RO-Crate: Workflow Run Crate and Provenance Run Crate.

The user gives the file that defines the workflow, since no document has it. Steps, their executions
and their times come from the documents of the runs and of the workflow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from yprov_mlflow.prov.errors import UsageError
from yprov_mlflow.prov.share.crate_actions import (
    STATUS,
    Entity,
    references,
    time_text,
)
from yprov_mlflow.prov.views.summary_report import Code, WorkflowTask

PROFILES = {
    "Workflow Run Crate": "https://w3id.org/ro/wfrun/workflow/0.5",
    "Provenance Run Crate": "https://w3id.org/ro/wfrun/provenance/0.5",
    "Workflow RO-Crate": "https://w3id.org/workflowhub/workflow-ro-crate/1.0",
}
_BIOSCHEMAS = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
_PYTHON = ("Python", "https://www.python.org/")
# By the names of engines that the collector `workflow` recognizes: the language of workflows, and
# the page of the engine.
_LANGUAGES = {
    "snakemake": (
        ("Snakemake", "https://snakemake.readthedocs.io/"),
        "https://snakemake.github.io/",
    ),
    "nextflow": (("Nextflow", "https://www.nextflow.io/docs/"), "https://www.nextflow.io/"),
    "cwltool": (("Common Workflow Language", "https://w3id.org/cwl/"), "https://www.commonwl.org/"),
    "toil": (("Common Workflow Language", "https://w3id.org/cwl/"), "https://toil.ucsc-cgl.org/"),
    "streamflow": (
        ("Common Workflow Language", "https://w3id.org/cwl/"),
        "https://streamflow.di.unito.it/",
    ),
    "airflow": (_PYTHON, "https://airflow.apache.org/"),
    "prefect": (_PYTHON, "https://www.prefect.io/"),
    "dagster": (_PYTHON, "https://dagster.io/"),
    "luigi": (_PYTHON, "https://luigi.readthedocs.io/"),
    "make": (
        ("Make", "https://www.gnu.org/software/make/manual/"),
        "https://www.gnu.org/software/make/",
    ),
}


@dataclass
class _Step:
    """A task as the documents state it, and the actions of its runs."""

    name: str
    start: str | None = None
    end: str | None = None
    status: str | None = None
    written: tuple[str, ...] = ()
    actions: list[Entity] = field(default_factory=list)

    def merge(self, task: WorkflowTask) -> None:
        self.start, self.end = self.start or task.start, self.end or task.end
        self.status = self.status or task.status
        self.written = self.written or task.written or ()


@dataclass(frozen=True)
class WorkflowParts:
    """Parts of a crate that a workflow links: see ``add_workflow``."""

    tasks: Sequence[tuple[WorkflowTask, Entity | None]]
    codes: Sequence[Code]
    agent: Any


def add_workflow(
    file: Path,
    parts: WorkflowParts,
    add: Callable[[Entity], Entity],
    add_file: Callable[..., Entity],
    add_blank: Callable[[str], None],
) -> dict[str, Any]:
    """Add a workflow and its executions; return properties of the crate that replace others.

    Args:
        file: The file that defines the workflow.
        parts: Tasks, each with the action of its run if it has one; code of the runs; agent.
        add: Adds an entity.
        add_file: Adds a file at a path in the crate, with properties.
        add_blank: Called with each recommended statement that is not known.

    Raises:
        UsageError: No document names a task of a workflow.
    """
    executions: dict[tuple[str, str], dict[str, _Step]] = {}
    names: dict[tuple[str, str], str] = {}
    for task, action in parts.tasks:
        if task.task is None and task.task_id is None:
            continue
        execution = (str(task.engine or "workflow engine"), str(task.execution or ""))
        names.setdefault(execution, task.workflow or file.name)
        key = f"{task.task_id or task.task}@{task.attempt or ''}"
        step = executions.setdefault(execution, {}).setdefault(key, _Step(str(task.task)))
        step.merge(task)
        if action is not None:
            step.actions.append(action)
    if not executions:
        cure = "Capture the runs in tasks of the workflow, or leave --workflow out"
        raise UsageError("no document names a task of a workflow", str(file), cure)
    engine = next(iter(executions))[0]
    writer = _WorkflowWriter(parts, add, add_blank)
    workflow = writer.main_workflow(file, engine, names[next(iter(executions))], add_file)
    actions, tools, steps = [], [], []
    for number, (execution, by_task) in enumerate(executions.items(), 1):
        done = writer.execution(number, execution, names[execution], by_task, workflow)
        actions += done["actions"]
        tools += done["tools"]
        steps += done["steps"]
    writer.link(workflow, tools, steps)
    return {
        "mainEntity": {"@id": workflow["@id"]},
        "mentions": actions,
        "conformsTo": [
            add({"@id": url, "@type": "CreativeWork", "name": name, "version": url.split("/")[-1]})
            for name, url in PROFILES.items()
        ],
    }


class _WorkflowWriter:
    def __init__(
        self, parts: WorkflowParts, add: Callable[[Entity], Entity], blank: Callable[[str], None]
    ) -> None:
        self._parts = parts
        self._add = add
        self._blank = blank

    def main_workflow(
        self, file: Path, engine: str, name: str, add_file: Callable[..., Any]
    ) -> Any:
        """Add the file that defines the workflow, and its language; return its entity."""
        (language, page), _ = _LANGUAGES.get(engine, ((engine, ""), ""))
        language_id = page or f"#language/{quote(language)}"
        code = self._code()
        content = file.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        if code is None:
            self._blank(
                "repository of the workflow: capture the runs in a git repository with a remote"
            )
        return add_file(
            file,
            f"workflow/{file.name}",
            **{
                "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
                "name": name,
                "encodingFormat": "text/plain",
                "contentSize": str(len(content)),
                "sha256": sha256,
                "programmingLanguage": self._add(
                    {
                        "@id": language_id,
                        "@type": "ComputerLanguage",
                        "name": language,
                        "url": page or None,
                    }
                ),
                "url": None if code is None else code.remote,
                "version": sha256 if code is None else code.commit,
                "conformsTo": self._add(
                    {
                        "@id": _BIOSCHEMAS,
                        "@type": "CreativeWork",
                        "name": "Bioschemas ComputationalWorkflow",
                    }
                ),
            },
        )

    def _code(self) -> Code | None:
        """Return the commit of the runs, which the workflow is assumed to share."""
        return next((c for c in self._parts.codes if c.remote and c.commit), None)

    def execution(
        self,
        number: int,
        execution: tuple[str, str],
        name: str,
        by_task: dict[str, _Step],
        workflow: Any,
    ) -> dict[str, list[Entity]]:
        """Add an execution: of the workflow, by the engine, and of each step."""
        engine = self._engine(execution[0])
        label = f"execution {execution[1] or number} of {name}"
        controls, steps, tools, results, objects = [], [], [], [], []
        in_order = sorted(by_task.items(), key=lambda item: item[1].start or "~")
        for position, (key, step) in enumerate(in_order, 1):
            identifier = f"{number}/{quote(key, safe='')}"
            actions = step.actions or [self._task_action(identifier, step)]
            instruments = _unique(t for a in actions for t in references(a["instrument"]))
            how: Entity = {"@id": f"#step/{identifier}", "@type": "HowToStep", "name": step.name}
            how_to = self._add({**how, "workExample": instruments, "position": str(position)})
            control: Entity = {"@id": f"#control/{identifier}", "@type": "ControlAction"}
            control |= {"name": f"step {step.name}", "instrument": how_to}
            steps.append(how_to)
            tools += instruments
            controls.append(self._add({**control, "object": [_id(a) for a in actions]}))
            results += [result for a in actions for result in references(a.get("result"))]
            objects += [thing for a in actions for thing in references(a.get("object"))]
        times = self._times(by_task.values(), label)
        action: Entity = {
            "@id": f"#workflow/{number}",
            "@type": "CreateAction",
            "name": label,
            "description": f"{name}, executed by {execution[0]}.",
            "instrument": {"@id": workflow["@id"]},
            "agent": self._parts.agent,
            "object": _unique(objects),
            "result": _unique(results),
            **times,
        }
        added = self._add(action)
        organize: Entity = {"@id": f"#organize/{number}", "@type": "OrganizeAction"}
        organize |= {"name": f"{execution[0]} executes {name}", "instrument": engine, **times}
        self._add({**organize, "agent": self._parts.agent, "object": controls, "result": added})
        task_actions = [{"@id": f"#task/{number}/{quote(k, safe='')}"} for k in by_task]
        own = [r for r, s in zip(task_actions, by_task.values(), strict=True) if not s.actions]
        return {"actions": [added, *own], "tools": _unique(tools), "steps": steps}

    def _task_action(self, identifier: str, step: _Step) -> Entity:
        """Add the action of a task that started no captured run."""
        # Not the engine: the profile allows it as an instrument of its own actions only.
        code = self._code()
        tool: Entity = {
            "@id": f"{code.remote}#{identifier}" if code is not None else f"#tool/{identifier}",
            "@type": "SoftwareApplication",
            "name": f"{step.name} as the workflow defines it",
            "url": None if code is None else code.remote,
            "softwareVersion": None if code is None else code.commit,
        }
        action: Entity = {
            "@id": f"#task/{identifier}",
            "@type": "CreateAction",
            "name": f"task {step.name}",
            "description": f"Task {step.name} of the workflow, without an MLflow run.",
            "instrument": self._add(tool),
            "agent": self._parts.agent,
            "result": [
                self._add({"@id": f"#file/{quote(path)}", "@type": "CreativeWork", "name": path})
                for path in step.written
            ],
            **self._times([step], f"task {step.name}"),
        }
        if not step.written:
            self._blank(f"results of the task {step.name}: give the workflow's document, too")
        self._add(action)
        return action

    def _times(self, steps: Iterable[_Step], label: str) -> Entity:
        """Return start, end and status; no end while a step lacks one."""
        steps = list(steps)
        starts = [step.start for step in steps if step.start]
        ends = [step.end for step in steps if step.end]
        statuses = {STATUS.get(str(step.status)) for step in steps}
        if len(ends) < len(steps):
            self._blank(f"end of the {label}: give the folder with the workflow's document, too")
        failed = STATUS["FAILED"]
        common = statuses.copy().pop() if len(statuses) == 1 else None
        return {
            "startTime": time_text(min(starts, default=None)),
            "endTime": time_text(max(ends)) if len(ends) == len(steps) else None,
            "actionStatus": failed if failed in statuses else common,
        }

    def _engine(self, name: str) -> Entity:
        _, page = _LANGUAGES.get(name, ((name, ""), ""))
        engine = {"@id": page or f"#engine/{quote(name)}", "@type": "SoftwareApplication"}
        version = next((t.engine_version for t, _ in self._parts.tasks if t.engine_version), None)
        if version is None:
            self._blank(f"version of {name}: set YPROV_WORKFLOW_ENGINE_VERSION in the workflow")
        if not page:
            self._blank(f"URL of {name}: the engine is not known")
        return self._add({**engine, "name": name, "url": page or None, "softwareVersion": version})

    def link(self, workflow: Any, tools: Sequence[Entity], steps: Sequence[Entity]) -> None:
        """Link the workflow to its tools and steps."""
        for key, value in (("hasPart", _unique(tools)), ("step", list(steps))):
            workflow[key] = value[0] if len(value) == 1 else value


def _id(action: Entity) -> Entity:
    return {"@id": action["@id"]}


def _unique(entities: Iterable[Entity]) -> list[Entity]:
    return list({entity["@id"]: entity for entity in entities}.values())
