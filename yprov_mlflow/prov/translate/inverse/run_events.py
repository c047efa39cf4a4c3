"""The run itself: what made it, how it ended, its params and tags."""

from __future__ import annotations

from typing import Any

from yprov_mlflow.prov.model.identifiers import RUN, STORE
from yprov_mlflow.prov.translate.inverse.document_index import (
    Reading,
    as_json,
    attribute,
    key,
    names,
    status,
)
from yprov_mlflow.prov.translate.inverse.properties import last_values, param_values

_RECORD = f"{RUN}:record"
_EXPERIMENT = f"{STORE}:experiment/"
_NAME_TAG = "mlflow.runName"


def created(reading: Reading) -> tuple[Any, ...] | None:
    """Give the fields of ``RunCreated``; None where the document does not tell the experiment."""
    assert reading.run is not None
    parts = [p for p in names(reading.run, "dcterms:isPartOf") if p.startswith(_EXPERIMENT)]
    if not parts:
        return None
    experiment = reading.entities.get(parts[0], {})
    record = reading.entities.get(_RECORD, {})
    store = {"uuid": reading.store_uuid}
    uri = attribute(reading.entities.get(f"{STORE}:store", {}), "mlf:uri")
    if uri is not None:
        store["uri"] = uri
    return (
        key(parts[0].removeprefix(_EXPERIMENT)),
        attribute(experiment, "schema:name"),
        _name(reading),
        user_id(reading),
        attribute(reading.run, "mlf:startTimeMs"),
        attribute(record, "mlf:artifactUri"),
        {},
        store,
        as_json(record, "mlf:fields") or {},
    )


def _name(reading: Reading) -> str | None:
    values = [(f"name/{rest}", record) for rest, record in reading.group(RUN, "name")]
    found = last_values(reading, values, f"{RUN}:").get("name")
    return str(found) if found is not None else None


def user_id(reading: Reading) -> str | None:
    """Give the login name of the run's user."""
    assert reading.run is not None
    known = attribute(reading.run, "mlf:userId")
    if known is not None:
        return str(known)
    for record in reading.relations("wasAssociatedWith"):
        if record.get("prov:activity") == f"{RUN}:run" and "mlf:owner" in names(
            record, "prov:role"
        ):
            return key(str(record.get("prov:agent")).rpartition("/")[2])
    return None


def updated(reading: Reading) -> tuple[int | None, tuple[Any, ...]]:
    """Give the fields of ``RunUpdated``, with its number where that was kept."""
    assert reading.run is not None
    lifecycle, number = _lifecycle(reading)
    end = attribute(reading.run, "mlf:endTimeMs")
    return number, (status(reading.run), end, None, lifecycle)


def _lifecycle(reading: Reading) -> tuple[str | None, int | None]:
    if not reading.holds(_RECORD):
        return "purged", None
    numbers = [int(rest) for rest, _ in reading.group(RUN, "record") if rest.isdecimal()]
    if not numbers or reading.holds(f"{_RECORD}/{max(numbers)}"):
        return None, None
    sequences = [
        attribute(record, "mlf:sequence")
        for identifier, record in reading.activities.items()
        if identifier.startswith(f"{RUN}:event/delete/")
    ]
    return "deleted", next((n for n in sequences if isinstance(n, int)), None)


def params(reading: Reading) -> dict[str, str]:
    """Give the run's params."""
    return param_values(reading.group(RUN, "param"))


def tags(reading: Reading) -> dict[str, str]:
    """Give the run's tags as they are in the end."""
    found = last_values(reading, reading.group(RUN, "tag"), f"{RUN}:tag/")
    name = _name(reading)
    if reading.live and _NAME_TAG in found and name is not None:
        found[_NAME_TAG] = name  # renaming a run sets its tag, which is no call of its own
    return found
