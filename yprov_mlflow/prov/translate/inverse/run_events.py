"""The run itself: its creation, its end, its params and tags."""

from __future__ import annotations

from typing import Any

from yprov_mlflow.prov.model.identifiers import RUN, STORE
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


def created(index: DocumentIndex) -> tuple[Any, ...] | None:
    """Return the fields of ``RunCreated``, None if the document has no experiment."""
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
    """Return the login name of the run's user."""
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
