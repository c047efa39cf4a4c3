"""Models, prompts and traces of a document, and the store and other runs that it names."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from yprov_mlflow.prov.ids import unquote_key
from yprov_mlflow.prov.translate.params_tags import PARENT_TAG
from yprov_mlflow.prov.views.document_reader import (
    DocumentReader,
    Record,
    key,
    read,
    text,
    types,
    value,
)
from yprov_mlflow.prov.views.summary_report import (
    About,
    Author,
    Experiment,
    Model,
    ModelVersion,
    Organization,
    Project,
    Store,
    Trace,
    TrainingData,
    WorkflowTask,
)

_RUN = "run:run"
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?=#\Z)")
_VERSION = re.compile(r"store:model/([^/]+)/version/([^/]+)\Z").match
_LINKED_PROMPTS = "mlflow.linkedPrompts"


# -- runs and stores -----------------------------------------------------------------------


def parent(reader: DocumentReader) -> str | None:
    """Return the id of the run that the run is nested in."""
    tags = dict(reader.current("mlf:Tag", f"run:tag/{PARENT_TAG}/"))
    by_tag = next((text(tag.get("prov:value")) for tag in tags.values()), None)
    starters = (other for activity, other in _starts(reader) if activity == _RUN)
    return by_tag or next((_run_id(reader, other) for other in starters), None)


def children(reader: DocumentReader) -> tuple[str, ...]:
    """Return the ids of the runs that the document has as started by the run."""
    started = {activity for activity, other in _starts(reader) if other == _RUN}
    runs = (activity for activity in started if activity.endswith(":run"))
    return tuple(sorted(_run_id(reader, activity) for activity in runs))


def _starts(reader: DocumentReader) -> Iterator[tuple[str, str]]:
    for record in reader.section("wasStartedBy").values():
        yield str(record.get("prov:activity")), str(record.get("prov:starter"))


def _run_id(reader: DocumentReader, activity: str) -> str:
    """Return MLflow's id of a run, or the id of its record if that is unknown."""
    record = reader.section("activity").get(activity, {})
    namespace = str(reader.section("prefix").get(activity.partition(":")[0], ""))
    match = _UUID.search(namespace)
    return text(record.get("mlf:runId")) or (match[0].replace("-", "") if match else activity)


def store(reader: DocumentReader) -> Store | None:
    """Return the store that a document describes, None if it does not describe one."""
    namespace = reader.section("prefix").get("store")
    if namespace is None or "run" in reader.section("prefix"):
        return None
    record = reader.section("entity").get("store:store", {})
    return read(Store, record, id=str(namespace).rstrip("#").removeprefix("urn:uuid:"))


def experiments(reader: DocumentReader) -> tuple[Experiment, ...]:
    """Return the experiments."""
    return tuple(
        read(
            Experiment,
            record,
            id=unquote_key(identifier.rpartition("/")[2]),
            lifecycle=_property(reader, identifier, "lifecycle_stage"),
        )
        for identifier, record in reader.of_type("entity", "mlf:Experiment")
    )


def _property(reader: DocumentReader, subject: str, name: str) -> str | None:
    values = (r for r in reader.values_of(subject, "mlf:Property") if r.get("prov:label") == name)
    return next((text(record.get("prov:value")) for record in values), None)


# -- who and what --------------------------------------------------------------------------


def about(reader: DocumentReader) -> About | None:
    """Return the title, authors and so on of the run, None if all of them are absent."""
    record = reader.section("entity").get("run:record", {})
    keywords = value(record.get("schema:keywords", []))
    creators = value(record.get("dcterms:creator", []))
    description = read(
        About,
        record,
        keywords=tuple(map(str, keywords if isinstance(keywords, list) else [keywords])),
        authors=tuple(
            _author(reader, str(creator))
            for creator in (creators if isinstance(creators, list) else [creators])
        ),
        publisher=_organization(reader, text(record.get("dcterms:publisher"))),
        project=_project(reader),
        record_id="run:record",
    )
    return description if description.to_dict() != {"keywords": [], "authors": []} else None


def _author(reader: DocumentReader, identifier: str) -> Author:
    record = reader.section("agent").get(identifier, {})
    logins = (
        key(reader.section("agent").get(str(delegation.get("prov:delegate")), {}))
        for delegation in reader.section("actedOnBehalfOf").values()
        if delegation.get("prov:responsible") == identifier
        and str(delegation.get("prov:delegate")).startswith("store:user/")
    )
    return read(
        Author,
        record,
        orcid=_outside(identifier, "orcid"),
        affiliation=_organization(reader, text(record.get("schema:affiliation"))),
        login=next(logins, None),
        record_id=identifier,
    )


def _organization(reader: DocumentReader, identifier: str | None) -> Organization | None:
    if identifier is None:
        return None
    record = reader.section("agent").get(identifier, {})
    return read(Organization, record, ror=_outside(identifier, "ror"), record_id=identifier)


def _outside(identifier: str, prefix: str) -> str | None:
    """Return the part of an id after a prefix that others assign, None with another prefix."""
    return identifier.partition(":")[2] if identifier.startswith(f"{prefix}:") else None


def _project(reader: DocumentReader) -> Project | None:
    projects = reader.of_type("agent", "schema:Project")
    return next((read(Project, record, record_id=key_) for key_, record in projects), None)


# -- models and prompts --------------------------------------------------------------------


def logged(reader: DocumentReader) -> Iterator[tuple[str, Record]]:
    """Yield the logged models that were not deleted."""
    return reader.current("mlf:LoggedModel")


def models(reader: DocumentReader) -> tuple[Model, ...]:
    """Return the logged models with their training data and registered versions."""
    data: dict[str, list[TrainingData]] = {}
    versions: dict[str, list[str]] = {}
    entities = reader.section("entity")
    for record in reader.section("wasDerivedFrom").values():
        made, used = str(record.get("prov:generatedEntity")), str(record.get("prov:usedEntity"))
        if "mlf:TrainedOn" in types(record):
            basis = text(record.get("mlf:basis"))
            dataset = read(
                TrainingData, entities.get(used, {}), basis=basis and basis.removeprefix("mlf:")
            )
            data.setdefault(made, []).append(dataset)
        elif match := _VERSION(made):
            versions.setdefault(used, []).append(" ".join(map(unquote_key, match.groups())))
    return tuple(
        read(
            Model,
            record,
            trained_on=tuple(data.get(identifier, ())),
            versions=tuple(sorted(versions.get(identifier, ()))),
            record_id=identifier,
        )
        for identifier, record in logged(reader)
    )


def model_versions(reader: DocumentReader) -> tuple[ModelVersion, ...]:
    """Return the versions of registered models that were not deleted, without prompts."""
    return _versions(reader, prompts_only=False)


def prompts(reader: DocumentReader, tags: Mapping[str, Any]) -> tuple[ModelVersion, ...]:
    """Return the versions of prompts, including those that a tag of the run links."""
    versions = _versions(reader, prompts_only=True)
    present = {(version.name, version.version) for version in versions}
    linked = [
        ModelVersion(name=name, version=version, aliases=())
        for name, version in _linked_prompts(tags)
        if (name, version) not in present
    ]
    return (*versions, *linked)


def _linked_prompts(tags: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    try:
        links = json.loads(str(tags.get(_LINKED_PROMPTS, "[]")))
    except (ValueError, RecursionError):
        return
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and "name" in link and "version" in link:
            yield str(link["name"]), str(link["version"])


def _versions(reader: DocumentReader, *, prompts_only: bool) -> tuple[ModelVersion, ...]:
    aliases: dict[str, list[str]] = {}
    for _, record in reader.current("mlf:AliasAssignment"):
        aliases.setdefault(str(value(record.get("mlf:target"))), []).append(key(record))
    origins = {
        str(record.get("prov:generatedEntity")): str(record.get("prov:usedEntity"))
        for record in reader.section("wasDerivedFrom").values()
    }
    entities = reader.section("entity")
    versions = []
    for identifier, record in reader.current("mlf:ModelVersion"):
        is_prompt = "mlf:PromptVersion" in types(record)
        match = _VERSION(identifier)
        if is_prompt != prompts_only or match is None or not reader.exists(identifier):
            continue
        stages = reader.values_of(identifier, "mlf:StageAssignment")
        model = entities.get(origins.get(identifier, ""), {}).get("mlf:modelId")
        versions.append(
            ModelVersion(
                name=unquote_key(match[1]),
                version=unquote_key(match[2]),
                aliases=tuple(sorted(aliases.get(identifier, ()))),
                stage=next((text(stage.get("prov:value")) for stage in stages), None),
                status=_property(reader, identifier, "status"),
                model=text(model),
            )
        )
    return tuple(sorted(versions, key=lambda v: (v.name, len(v.version), v.version)))


# -- workflows -----------------------------------------------------------------------------


def workflow_tasks(reader: DocumentReader) -> tuple[WorkflowTask, ...]:
    """Return the tasks of the document, and executions of which no task is known."""
    tasks = dict(reader.of_type("activity", "mlf:WorkflowTask"))
    executions = dict(reader.of_type("activity", "mlf:WorkflowExecution"))
    agents = {
        str(record.get("prov:activity")): reader.section("agent").get(str(record.get("prov:agent")))
        for record in reader.section("wasAssociatedWith").values()
        if text(record.get("prov:role")) == "mlf:workflowEngine"
    }
    parts = {identifier: _parts(record) for identifier, record in tasks.items()}
    rows = [
        (identifier, next((part for part in parts[identifier] if part in executions), ""))
        for identifier in sorted(tasks, key=lambda task: _depth(task, parts))
    ]
    with_task = {execution for _, execution in rows}
    rows += [("", execution) for execution in executions if execution not in with_task]
    written: dict[str, list[str]] = {}
    files = dict(reader.of_type("entity", "mlf:WorkflowFile"))
    for record in reader.section("wasGeneratedBy").values():
        if (file := files.get(str(record.get("prov:entity")))) is not None:
            path = str(text(file.get("mlf:path")))
            written.setdefault(str(record.get("prov:activity")), []).append(path)
    return tuple(
        read(
            WorkflowTask,
            tasks.get(task, {}),
            engine_version=_term(agents.get(task or execution), "schema:softwareVersion"),
            written=tuple(written[task]) if task in written else None,
            record_id=task or execution,
            engine=None if (agent := agents.get(task or execution)) is None else key(agent),
            workflow=_term(executions.get(execution), "schema:name"),
            execution=_term(executions.get(execution), "mlf:executionId"),
            task=_term(tasks.get(task), "schema:name"),
            task_id=_term(tasks.get(task), "mlf:taskId"),
            attempt=_term(tasks.get(task), "mlf:attempt"),
            document=_term(executions.get(execution), "mlf:workflowDocument"),
        )
        for task, execution in rows
    )


def _term(record: Record | None, term: str) -> str | None:
    return None if record is None else text(record.get(term))


def _parts(record: Record) -> list[str]:
    parts = record.get("dcterms:isPartOf", [])
    return [str(text(part)) for part in (parts if isinstance(parts, list) else [parts])]


def _depth(task: str, parts: Mapping[str, list[str]]) -> int:
    """Return how many other tasks are inside a task."""
    return sum(task in outer for outer in parts.values())


# -- traces --------------------------------------------------------------------------------


def traces(reader: DocumentReader) -> tuple[Trace, ...]:
    """Return the traces in the order of their start."""
    spans = Counter(
        identifier.partition("/span/")[0]
        for identifier, _ in reader.of_type("activity", "mlf:Span")
    )
    in_order = []
    for identifier, record in reader.current("mlf:Trace"):
        if not reader.exists(identifier):
            continue
        names = [tag for tag in reader.values_of(identifier, "mlf:Tag") if _is_trace_name(tag)]
        trace = read(
            Trace,
            record,
            id=unquote_key(identifier.rpartition("/")[2]),
            name=text(names[0].get("prov:value")) if names else None,
            start=_instant(value(record.get("mlf:requestTimeMs"))),
            spans=spans[identifier],
        )
        in_order.append(trace)
    return tuple(sorted(in_order, key=lambda trace: (trace.start or "", trace.id)))


def _is_trace_name(tag: Record) -> bool:
    return key(tag) == "mlflow.traceName"


def _instant(time_ms: object) -> str | None:
    try:
        return datetime.fromtimestamp(float(str(time_ms)) / 1000, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return None
