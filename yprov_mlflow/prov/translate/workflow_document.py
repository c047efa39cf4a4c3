"""The document of a workflow's execution: its tasks, when they ran, and the files between them.

For plugins of workflow engines. The records of tasks and executions are those that documents of
runs have, and files of equal content meet by their SHA-256.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.builder import Builder
from yprov_mlflow.prov.model.document import Attributes, Document
from yprov_mlflow.prov.model.identifiers import content
from yprov_mlflow.prov.model.literals import text
from yprov_mlflow.prov.model.vocabulary import PREFIXES
from yprov_mlflow.prov.redaction import redact_field
from yprov_mlflow.prov.translate.artifacts import media_type
from yprov_mlflow.prov.translate.sessions import status
from yprov_mlflow.prov.translate.workflow_records import add_task


@dataclasses.dataclass(frozen=True)
class TaskFile:
    """A file that a task read or wrote: its path, SHA-256 in hexadecimal, and size in bytes."""

    path: str
    sha256: str
    size: int


@dataclasses.dataclass
class TaskEntry:
    """A task of a workflow.

    Args:
        facts: ``task``, ``task_id``, ``attempt`` and ``command`` as the collector ``workflow``
            describes them.
        start_ns: Start in nanoseconds since the epoch; None if unknown.
        end_ns: End; None while the task runs.
        status: ``FINISHED`` or ``FAILED``; None if unknown.
        inputs: The files that it read.
        outputs: The files that it wrote.
    """

    facts: Mapping[str, Any]
    start_ns: int | None = None
    end_ns: int | None = None
    status: str | None = None
    inputs: Sequence[TaskFile] = ()
    outputs: Sequence[TaskFile] = ()


def workflow_document(execution: Mapping[str, Any], tasks: Iterable[TaskEntry]) -> Document:
    """Return the document of an execution, or of a part of its tasks.

    Args:
        execution: ``engine``, ``execution`` and, as far as known, ``engine_version``,
            ``workflow``, ``workflow_id`` and ``parent``, as the collector describes them.
        tasks: The tasks in any order.
    """
    builder = Builder()
    written: dict[TaskFile, str] = {}
    execution = redact_field("", dict(execution))
    add_task(builder, execution)
    # PROV knows usage only after generation.
    for entry in sorted(tasks, key=lambda entry: entry.start_ns or 0):
        facts = {**execution, **redact_field("", dict(entry.facts))}
        records = add_task(builder, facts)
        if records.task is None:
            continue
        start = literals.instant(entry.start_ns or 0)
        end = literals.instant(max(entry.end_ns, entry.start_ns or 0)) if entry.end_ns else None
        attributes: Attributes = {"mlf:status": status(entry.status)}
        builder.activity(records.task, start, end, attributes=attributes)
        for file in entry.inputs:
            entity = written.get(file) or _add_file(builder, file, str(records.execution))
            builder.used(records.task, entity, start)
        for file in entry.outputs:
            entity = _add_file(builder, file, records.task)
            builder.was_generated_by(entity, records.task, end)
            written[file] = entity
    return builder.document(PREFIXES)


def _add_file(builder: Builder, file: TaskFile, origin: str) -> str:
    """Add a file as its origin has it: the task that wrote it, or else the execution."""
    identifier = content({"workflow-file": [origin, file.path, file.sha256]})
    path = redact_field("", file.path)
    attributes: Attributes = {
        "mlf:path": text(path),
        "mlf:sha256": text(file.sha256),
        "mlf:size": literals.integer(file.size),
        "schema:encodingFormat": media_type(file.path),
    }
    builder.entity(identifier, ["mlf:WorkflowFile", "schema:MediaObject"], text(path), attributes)
    label = f"sha256 {file.sha256[:12]}"
    same = builder.entity(f"sha256:{file.sha256}", ["mlf:Content"], label)
    builder.specialization_of(identifier, same)
    return identifier
