"""Normalize records of foreign PROV-JSON to one object per id.

PROV-JSON lets several records share an id and lets one record list several members. In PROV,
records of one id are one record; where they contradict each other, the value becomes a list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.model.document import Record
from yprov_mlflow.prov.model.relations import FORMAL


def values_of(value: Any) -> list[Any]:
    """Return all values of an attribute; PROV-JSON uses a list only for several."""
    return value if isinstance(value, list) else [value]


def records_of(sections: Mapping[str, Any]) -> dict[str, dict[str, Record]]:
    """Return the sections of a PROV-JSON object with one object per id.

    Raises:
        DocumentError: A section or a record is not an object.
    """
    normalized: dict[str, dict[str, Record]] = {}
    for section, records in sections.items():
        if not isinstance(records, dict):
            raise DocumentError.unreadable("PROV-JSON", f'"{section}" is not an object')
        # Our own documents pass both checks; the copies below are for other tools' documents.
        if any(type(record) is not dict for record in records.values()):
            records = _merge_by_id(section, records)
        for key in FORMAL.get(section, ()):
            if any(type(record.get(key, "")) is not str for record in records.values()):
                records = _flatten(section, records, key)
        normalized[section] = records
    return normalized


def _merge_by_id(section: str, records: Mapping[str, Any]) -> dict[str, Record]:
    """Return one record per id; relations with blank ids stay separate."""
    merged: dict[str, Record] = {}
    for identifier, value in records.items():
        parts = values_of(value)
        if not all(isinstance(part, dict) for part in parts):
            reason = f'a record in "{section}" is not an object'
            raise DocumentError.unreadable("PROV-JSON", reason, identifier)
        if identifier.startswith("_:"):
            _add_numbered(merged, identifier, parts)
        else:
            merged[identifier] = _merge(parts)
    return merged


def _merge(parts: Iterable[Record]) -> Record:
    merged: Record = {}
    for record in parts:
        for key, value in record.items():
            if key not in merged:
                merged[key] = value
                continue
            values = values_of(merged[key])
            values = values + [other for other in values_of(value) if other not in values]
            merged[key] = values if len(values) > 1 else values[0]
    return merged


def _flatten(section: str, records: Mapping[str, Record], key: str) -> dict[str, Record]:
    """Return records with plain text for a formal attribute.

    A membership of several members becomes several memberships.
    """
    flat: dict[str, Record] = {}
    for identifier, record in records.items():
        value = record.get(key)
        if value is None:
            flat[identifier] = {k: v for k, v in record.items() if k != key}
            continue
        texts = [v.get("$") if isinstance(v, dict) else v for v in values_of(value)]
        if not all(isinstance(text, str) for text in texts):
            raise DocumentError.unreadable("PROV-JSON", f"{key} is not text", identifier)
        if len(texts) > 1 and section == "hadMember":
            _add_numbered(flat, identifier, [{**record, key: text} for text in texts])
        else:
            flat[identifier] = {**record, key: texts[0] if len(texts) == 1 else texts}
    return flat


def _add_numbered(records: dict[str, Record], identifier: str, parts: Iterable[Record]) -> None:
    for number, record in enumerate(parts, 1):
        records[identifier if number == 1 else f"{identifier}/{number}"] = record
