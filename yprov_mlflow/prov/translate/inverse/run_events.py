"""The run itself, its params and tags, its inputs and outputs, and the files of any object."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from yprov_mlflow.prov.model.document import Record
from yprov_mlflow.prov.model.identifiers import RUN, STORE
from yprov_mlflow.prov.model.literals import mapping
from yprov_mlflow.prov.translate.datasets import CONTEXT, SOURCE_SHA256, TERMS, USAGE_TERMS
from yprov_mlflow.prov.translate.inverse.document_index import (
    RUN_ID,
    DocumentIndex,
    as_json,
    attribute,
    key,
    last_values,
    names,
    param_values,
    status,
)

_RECORD = f"{RUN}:record"
_EXPERIMENT = f"{STORE}:experiment/"
_NAME_TAG = "mlflow.runName"
_MODEL = f"{STORE}:logged-model/"
# Ids of artifacts: the quoted path, then the number of the version from the second on.
_OWN_FILE = re.compile(r"(?:run|store):artifact/([^/@]+)(?:/(\d+))?(?:@.*)?\Z")
_FILE_OF = re.compile(r"store:([^/:]+)/([^/]+)/artifact/([^/@]+)(?:/(\d+))?(?:@.*)?\Z")
_OWNERS = {"logged-model": "model"}

Owner = tuple[str, str] | None
"""Kind and id of the object that files belong to; None for the run or the store itself."""


def created(index: DocumentIndex) -> tuple[Any, ...] | None:
    """Return the fields of ``RunCreated``, None if the document lacks the experiment."""
    assert index.run is not None
    parts = [p for p in names(index.run, "dcterms:isPartOf") if p.startswith(_EXPERIMENT)]
    if not parts:
        return None
    experiment = index.entities.get(parts[0], {})
    record = index.entities.get(_RECORD, {})
    store = {"uuid": index.store_uuid}
    uri = attribute(index.entities.get(f"{STORE}:store", {}), "mlf:uri")
    if uri is not None:
        store["uri"] = uri
    return (
        key(parts[0].removeprefix(_EXPERIMENT)),
        attribute(experiment, "schema:name"),
        _run_name(index),
        _user_id(index),
        attribute(index.run, "mlf:startTimeMs"),
        attribute(record, "mlf:artifactUri"),
        {},
        store,
        as_json(record, "mlf:fields") or {},
    )


def _run_name(index: DocumentIndex) -> str | None:
    rows = [(f"name/{suffix}", record) for suffix, record in index.group(RUN, "name")]
    name = last_values(index, rows, f"{RUN}:").get("name")
    return str(name) if name is not None else None


def _user_id(index: DocumentIndex) -> str | None:
    assert index.run is not None
    user_id = attribute(index.run, "mlf:userId")
    if user_id is not None:
        return str(user_id)
    for record in index.relations("wasAssociatedWith"):
        if record.get("prov:activity") == RUN_ID and "mlf:owner" in names(record, "prov:role"):
            return key(str(record.get("prov:agent")).rpartition("/")[2])
    return None


def updated(index: DocumentIndex) -> tuple[int | None, tuple[Any, ...]]:
    """Return the fields of ``RunUpdated``, with its number if the document has it."""
    assert index.run is not None
    lifecycle, number = _lifecycle(index)
    end = attribute(index.run, "mlf:endTimeMs")
    return number, (status(index.run), end, None, lifecycle)


def _lifecycle(index: DocumentIndex) -> tuple[str | None, int | None]:
    """Return the lifecycle stage, None for active, and the number of the deletion.

    The record of a run ends when it is purged. Each period in which it is not deleted is a
    numbered specialization of the record.
    """
    if not index.is_current(_RECORD):
        return "purged", None
    numbers = [int(suffix) for suffix, _ in index.group(RUN, "record") if suffix.isdecimal()]
    if not numbers or index.is_current(f"{_RECORD}/{max(numbers)}"):
        return None, None
    sequences = [
        attribute(record, "mlf:sequence")
        for identifier, record in index.activities.items()
        if identifier.startswith(f"{RUN}:event/delete/")
    ]
    return "deleted", next((n for n in sequences if isinstance(n, int)), None)


def params(index: DocumentIndex) -> dict[str, str]:
    """Return the run's params."""
    return param_values(index.group(RUN, "param"))


def tags(index: DocumentIndex) -> dict[str, str]:
    """Return the run's current tags."""
    values = last_values(index, index.group(RUN, "tag"), f"{RUN}:tag/")
    name = _run_name(index)
    # MLflow changes this tag when a run is renamed, without a call that capture could see.
    if index.live and _NAME_TAG in values and name is not None:
        values[_NAME_TAG] = name
    return values


def refusals(index: DocumentIndex) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield content and reason of each ``CallRefused``."""
    for activity in index.activities.values():
        for call in map(mapping, as_json(activity, "mlf:refused") or ()):
            yield {k: v for k, v in call.items() if k != "reason"}, str(call.get("reason", ""))


# -- inputs, outputs and files -------------------------------------------------------------


def inputs(index: DocumentIndex) -> tuple[list[dict[str, Any]], list[str]]:
    """Return datasets and models of ``InputsLogged``, each once per context."""
    datasets: dict[tuple[Any, ...], dict[str, Any]] = {}
    models: dict[str, None] = {}
    live = index.live
    for record in sorted(index.relations("used"), key=lambda r: str(r.get("prov:time", ""))):
        entity = str(record.get("prov:entity"))
        if entity.startswith(_MODEL):
            if "mlf:inputModel" in names(record, "prov:role"):
                models[key(entity.removeprefix(_MODEL))] = None
            continue
        dataset = index.entities.get(entity, {})
        if "mls:Dataset" not in names(dataset, "prov:type"):
            continue
        context = attribute(record, "mlf:datasetContext")
        fields = _dataset(dataset, record)
        # MLflow keeps only the first use of a dataset in a run. A document made from a store
        # has just what the store holds, so there all uses are kept.
        key_of_use = (fields["name"], fields["digest"]) if live else tuple(fields.values())
        if live and key_of_use in datasets:
            continue
        tags = {} if context is None else {CONTEXT: context}
        fields["tags"] = {**tags, **(as_json(record, "mlf:inputTags") or {})}
        if (sha256 := attribute(record, SOURCE_SHA256)) is not None:
            fields["source_sha256"] = sha256
        datasets.setdefault(key_of_use if live else (*key_of_use, context), fields)
    return list(datasets.values()), list(models)


def _dataset(content: Record, usage: Record) -> dict[str, Any]:
    """Return the fields of a dataset that was used."""
    # In documents of the first edition the content has what differs from usage to usage.
    own = content if "mlf:datasetName" not in usage and "schema:name" in content else usage
    name = attribute(own, "schema:name" if own is content else "mlf:datasetName")
    fields: dict[str, Any] = {"name": name}
    for field, term in {**TERMS, **USAGE_TERMS}.items():
        fields[field] = attribute(own if field in USAGE_TERMS else content, term)
    return fields


def outputs(index: DocumentIndex) -> list[tuple[str, int]]:
    """Return models and steps of ``OutputsLogged``."""
    models: dict[tuple[str, int], None] = {}
    for record in index.relations("wasInfluencedBy"):
        if "mlf:RunOutput" in names(record, "prov:type"):
            model = key(str(record.get("prov:influencee")).removeprefix(_MODEL))
            models[model, attribute(record, "mlf:step") or 0] = None
    return list(models)


def artifacts(index: DocumentIndex) -> dict[Owner, list[dict[str, Any]]]:
    """Return the latest version of each file that was not deleted, by owner."""
    # Files that a document only mentions, because they were read, belong to others.
    ends = (("wasGeneratedBy", "prov:entity"), ("wasInfluencedBy", "prov:influencee"))
    made = {str(record.get(end)) for section, end in ends for record in index.relations(section)}
    latest: dict[tuple[Owner, str], tuple[int, str]] = {}
    for identifier in index.entities:
        if identifier not in made:
            continue
        owner: Owner = None
        if match := _OWN_FILE.match(identifier):
            path, number = match[1], match[2]
        elif match := _FILE_OF.match(identifier):
            kind = key(match[1])
            owner, path, number = (_OWNERS.get(kind, kind), key(match[2])), match[3], match[4]
        else:
            continue
        version = int(number or 1)
        if latest.get((owner, path), (0, ""))[0] < version:
            latest[owner, path] = (version, identifier)
    files: dict[Owner, list[dict[str, Any]]] = {}
    for (owner, path), (_, identifier) in sorted(latest.items(), key=lambda item: item[1][1]):
        if index.is_current(identifier):
            record = index.entities[identifier]
            file = {"path": key(path), "size": attribute(record, "mlf:size")}
            file["sha256"] = attribute(record, "mlf:sha256")
            files.setdefault(owner, []).append(file)
    return files
