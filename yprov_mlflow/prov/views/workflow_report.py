"""Workflows as typed values: executions, their tasks and runs, and the files between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.views.document_reader import DocumentReader, Record, key, text, types
from yprov_mlflow.prov.views.view import Note, Table, View

_SHORT = 12
_SECOND = len("2026-01-31T12:00:00")


class Execution(View):
    """An execution of a workflow; ``document`` is the path of its own document, if it has one."""

    engine: str | None
    workflow: str | None
    execution: str | None
    tasks: int
    runs: int
    document: str | None


class Task(View):
    """A task, the runs that it started or worked on, and the numbers of its files."""

    execution: str | None
    task: str | None
    attempt: str | None
    status: str | None
    start: str | None
    runs: tuple[str, ...]
    read: int
    written: int


class SharedFile(View):
    """A content that is in several tasks or runs, by the SHA-256 of its bytes."""

    sha256: str
    paths: tuple[str, ...]
    written_by: tuple[str, ...]
    used_by: tuple[str, ...]


class WorkflowReport(View):
    """Executions, tasks and shared files of joined documents; ``outside`` are runs in no task."""

    executions: tuple[Execution, ...]
    tasks: tuple[Task, ...]
    files: tuple[SharedFile, ...]
    outside: tuple[str, ...]

    def tables(self) -> Iterator[Table]:
        """Yield a table of executions, of tasks with their runs, and of files that meet."""
        columns = ("engine", "workflow", "execution", "tasks", "runs")
        rows = [(e.engine, e.workflow, e.execution, e.tasks, e.runs) for e in self.executions]
        yield Table("Workflows", columns, rows)
        of_task = ("task", "attempt", "status", "start (UTC)", "runs", "reads", "writes")
        for execution in {t.execution: None for t in self.tasks}:
            yield Table(
                f"Tasks of {execution or 'an unknown execution'}",
                of_task,
                [
                    (t.task, t.attempt, t.status, t.start, ", ".join(t.runs), t.read, t.written)
                    for t in self.tasks
                    if t.execution == execution
                ],
            )
        yield Table(
            "Files that meet",
            ("file", "sha256", "written by", "used by"),
            [
                (f.paths[0], f"{f.sha256[:_SHORT]}…", ", ".join(f.written_by), ", ".join(f.used_by))
                for f in self.files
            ],
        )
        yield Table("Runs outside workflows", ("run",), [(run,) for run in self.outside])

    def notes(self) -> Iterable[Note]:
        """Return a hint if no document names a workflow."""
        if self.executions or self.tasks:
            return []
        return [Note("None of the documents names a workflow: see docs/workflows.md.", "hint")]


def from_document(document: Document | Mapping[str, Any]) -> WorkflowReport:
    """Return the report of joined documents."""
    return _Reading(DocumentReader(document)).report()


class _Reading:
    """The links of a joined document, by activity and by content."""

    def __init__(self, reader: DocumentReader) -> None:
        self._reader = reader
        self._activities = reader.section("activity")
        self._runs = dict(reader.of_type("activity", "mlf:Run"))
        self._tasks = dict(reader.of_type("activity", "mlf:WorkflowTask"))
        self._executions = dict(reader.of_type("activity", "mlf:WorkflowExecution"))
        self._runs_of: dict[str, list[str]] = {}
        # The task, or execution without one, that a run or one of its sessions belongs to.
        links = [("wasStartedBy", "prov:activity", "prov:starter")]
        links += [("wasInfluencedBy", "prov:influencee", "prov:influencer")]
        for section, inner, outer in links:
            for record in reader.section(section).values():
                run = self._owner(str(record.get(inner)))
                if run in self._runs and record.get(outer) in {**self._tasks, **self._executions}:
                    runs = self._runs_of.setdefault(str(record[outer]), [])
                    if run not in runs:
                        runs.append(run)

    def _owner(self, activity: str) -> str:
        """Return the run that an activity is part of, or else the activity."""
        seen: set[str] = set()
        while activity not in self._runs and activity not in seen:
            seen.add(activity)
            parts = _parts(self._activities.get(activity, {}))
            activity = next((p for p in parts if p in self._activities), activity)
            if activity in self._tasks or activity in self._executions:
                return next(iter(seen))
        return activity

    def report(self) -> WorkflowReport:
        """Return the report."""
        in_tasks = {run for runs in self._runs_of.values() for run in runs}
        return WorkflowReport(
            executions=tuple(self._execution(i, r) for i, r in self._executions.items()),
            tasks=tuple(
                self._task(i, r)
                for i, r in sorted(self._tasks.items(), key=lambda task: _start(task[1]))
            ),
            files=tuple(self._files()),
            outside=tuple(self._name(run) for run in self._runs if run not in in_tasks),
        )

    def _execution(self, identifier: str, record: Record) -> Execution:
        tasks = [i for i, r in self._tasks.items() if identifier in _parts(r)]
        runs = {run for i in (identifier, *tasks) for run in self._runs_of.get(i, ())}
        agents = self._reader.section("agent")
        engines = [
            key(agents.get(str(a.get("prov:agent")), {}))
            for a in self._reader.section("wasAssociatedWith").values()
            if a.get("prov:activity") == identifier
        ]
        return Execution(
            engine=next(iter(engines), None),
            workflow=text(record.get("schema:name")),
            execution=text(record.get("mlf:executionId")),
            tasks=len(tasks),
            runs=len(runs),
            document=text(record.get("mlf:workflowDocument")),
        )

    def _task(self, identifier: str, record: Record) -> Task:
        execution = next((p for p in _parts(record) if p in self._executions), "")
        return Task(
            execution=text(self._executions.get(execution, {}).get("prov:label")),
            task=text(record.get("mlf:taskId")) or key(record),
            attempt=text(record.get("mlf:attempt")),
            status=(text(record.get("mlf:status")) or "").removeprefix("mlf:") or None,
            start=_start(record)[:_SECOND].replace("T", " ") or None,
            runs=tuple(self._name(run) for run in self._runs_of.get(identifier, ())),
            read=self._count("used", identifier),
            written=self._count("wasGeneratedBy", identifier),
        )

    def _count(self, section: str, activity: str) -> int:
        records = self._reader.section(section).values()
        return sum(record.get("prov:activity") == activity for record in records)

    def _name(self, activity: str) -> str:
        owner = self._owner(activity)
        record = self._activities.get(owner, {})
        run = text(record.get("mlf:runId"))
        name = text(record.get("mlf:taskId")) or text(record.get("prov:label")) or owner
        return f"{name} ({run})" if run and run != name else name

    def _files(self) -> Iterator[SharedFile]:
        content: dict[str, str] = {}
        for record in self._reader.section("specializationOf").values():
            general = str(record.get("prov:generalEntity"))
            if "mlf:Content" in types(self._reader.section("entity").get(general, {})):
                content[str(record.get("prov:specificEntity"))] = general
        written = self._links("wasGeneratedBy", content)
        used = self._links("used", content)
        for general in sorted({*written, *used}):
            by, of = written.get(general, []), used.get(general, [])
            if len({*by, *of}) > 1:
                paths = {self._path(entity) for entity, g in content.items() if g == general}
                yield SharedFile(
                    sha256=general.partition(":")[2],
                    paths=tuple(sorted(paths)),
                    written_by=tuple(by),
                    used_by=tuple(of),
                )

    def _links(self, section: str, content: Mapping[str, str]) -> dict[str, list[str]]:
        links: dict[str, list[str]] = {}
        for record in self._reader.section(section).values():
            general = content.get(str(record.get("prov:entity")))
            if general is not None and "prov:activity" in record:
                names = links.setdefault(general, [])
                if (name := self._name(str(record["prov:activity"]))) not in names:
                    names.append(name)
        return links

    def _path(self, entity: str) -> str:
        record = self._reader.section("entity").get(entity, {})
        return text(record.get("mlf:path")) or text(record.get("prov:label")) or entity


def _parts(record: Record) -> list[str]:
    parts = record.get("dcterms:isPartOf", [])
    return [str(text(part)) for part in (parts if isinstance(parts, list) else [parts])]


def _start(record: Record) -> str:
    return str(record.get("prov:startTime") or "")
