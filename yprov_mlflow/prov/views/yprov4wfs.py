"""Documents of yProv4WFs, which records workflows of StreamFlow and Cylc, in our terms."""

from __future__ import annotations

from typing import Any

from yprov_mlflow.prov.model.builder import Builder
from yprov_mlflow.prov.model.document import Document, Record
from yprov_mlflow.prov.model.relations import ELEMENTS, KINDS
from yprov_mlflow.prov.model.vocabulary import PREFIXES
from yprov_mlflow.prov.translate.workflow_records import add_task, execution_id, task_id
from yprov_mlflow.prov.views.document_reader import text

_PREFIXES = ("yprov4wfs", "prov4wfs")
_NOTHING = ("None", "")  # what it writes for unknown values
_TIMES = ("prov:startTime", "prov:endTime", "prov:time")


def converted(document: Document) -> Document:
    """Return a document of yProv4WFs with our records of execution and tasks; others as they are.

    Its activities get the ids that a run has for its task, if the run knows the ids of execution
    and task: from ``YPROV_WORKFLOW_RUN_ID`` and ``YPROV_WORKFLOW_TASK_ID``.
    """
    term = next((p for p in _PREFIXES if p in document.prefixes), None)
    activities = document.records.get("activity", {})
    executions = [i for i, r in activities.items() if term and f"{term}:engine" in r]
    if not executions:
        return document
    execution = executions[0]
    engine = str(text(activities[execution][f"{term}:engine"]))
    engine = "unknown" if engine in _NOTHING else engine
    label = text(activities[execution].get("prov:label"))
    facts = {"engine": engine, "execution": execution, "workflow": label}
    builder = Builder()
    ids = {execution: execution_id(engine, execution)}
    for identifier, record in activities.items():
        if identifier == execution:
            add_task(builder, facts)
        else:
            ids[identifier] = task_id(engine, execution, identifier)
            task = {"task": text(record.get("prov:label")), "task_id": identifier}
            add_task(builder, {**facts, **task})
    for identifier, record in activities.items():
        builder.activity(ids[identifier], attributes=_attributes(record))
    records = {section: dict(by_id) for section, by_id in builder.records.items()}
    for section, by_id in document.records.items():
        if section == "activity" or section not in KINDS:
            continue
        for identifier, record in by_id.items():
            kept = {t: ids.get(v, v) if isinstance(v, str) else v for t, v in record.items()}
            kept = {t: v for t, v in kept.items() if t not in _TIMES or v not in _NOTHING}
            if section in ELEMENTS:  # its types are those of the section, as text
                kept.pop("prov:type", None)
            records.setdefault(section, {})[identifier] = kept
    return Document({**PREFIXES, **document.prefixes}, records)


def _attributes(record: Record) -> dict[str, Any]:
    """Return times and attributes of its own, without those that say that nothing is known."""
    kept = {t: v for t, v in record.items() if text(v) not in _NOTHING}
    return {t: v for t, v in kept.items() if t not in ("prov:type", "prov:label")}
