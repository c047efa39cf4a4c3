"""Logged models that a document tells more of than that there is one."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from yprov_mlflow.prov.model.document import Record
from yprov_mlflow.prov.model.identifiers import STORE
from yprov_mlflow.prov.translate.inverse.document_index import (
    Reading,
    as_json,
    attribute,
    key,
    status,
)
from yprov_mlflow.prov.translate.inverse.properties import last_values, param_values

_DELETED = "DELETED"
_TOLD = ("mlf:sequence", "mlf:creationTimeMs", "mlf:status", "schema:name", "mlf:experimentId")

Found = tuple[int | None, tuple[Any, ...]]


def models(reading: Reading) -> list[Found]:
    """Give the fields of ``ModelLogged`` events, each with its number where that was kept."""
    parts: dict[str, dict[str, list[tuple[str, Record]]]] = defaultdict(lambda: defaultdict(list))
    records: dict[str, Record] = {}
    for rest, record in reading.group(STORE, "logged-model"):
        segment, _, inner = rest.partition("/")
        word, _, rest = inner.partition("/")
        if word:
            parts[segment][word].append((rest, record))
        else:
            records[segment] = record
    found: list[Found] = []
    for segment, record in records.items():
        of_model = parts.get(segment, {})
        told = any(term in record for term in _TOLD)
        if told or any(of_model.get(word) for word in ("param", "tag", "status")):
            found += _model(reading, segment, record, of_model)
    return sorted(found, key=lambda item: item[0] or 0)


def _model(
    reading: Reading,
    segment: str,
    record: Record,
    parts: dict[str, list[tuple[str, Record]]],
) -> list[Found]:
    model_id = key(segment)
    number = attribute(record, "mlf:sequence")
    statuses = _statuses(parts.get("status", []))
    before = [value for value, _ in statuses if value != _DELETED]
    ended = [at for value, at in statuses if value == _DELETED]
    apart = bool(ended) and (bool(before) or ended[-1] != number)
    tags = f"{STORE}:logged-model/{segment}/tag/"
    fields = (
        model_id,
        attribute(record, "schema:name"),
        attribute(record, "mlf:modelType"),
        (before[-1] if before else None) if apart else status(record),
        attribute(record, "mlf:experimentId"),
        attribute(record, "mlf:artifactUri"),
        attribute(record, "mlf:creationTimeMs"),
        param_values(parts.get("param", [])),
        last_values(reading, parts.get("tag", []), tags),
        None,
        as_json(record, "mlf:fields"),
    )
    deleted = (ended[-1], (model_id, None, None, _DELETED)) if apart else None
    return [(number, fields), *([deleted] if deleted is not None else [])]


def _statuses(found: list[tuple[str, Record]]) -> list[tuple[str, int | None]]:
    """Give the statuses that a model had, in order, with their numbers where those were kept."""
    values = [
        (str(status(record, "prov:value")), attribute(record, "mlf:sequence"))
        for rest, record in sorted(found, key=lambda item: item[0])
        if rest and "prov:value" in record
    ]
    return sorted(values, key=lambda item: item[1] or 0)
