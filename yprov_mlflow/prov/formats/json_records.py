"""Records of PROV-JSON as other tools write them, made one object for each id.

PROV-JSON lets several records share an id, and gives several members at once. PROV says that
records of one id are one record; where they contradict each other, the value is a list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from yprov_mlflow.prov.formats.faults import malformed
from yprov_mlflow.prov.model.document import Record

ENDS: Mapping[str, tuple[str, ...]] = {
    "wasGeneratedBy": ("prov:entity", "prov:activity"),
    "used": ("prov:activity", "prov:entity"),
    "wasInformedBy": ("prov:informed", "prov:informant"),
    "wasStartedBy": ("prov:activity", "prov:trigger", "prov:starter"),
    "wasEndedBy": ("prov:activity", "prov:trigger", "prov:ender"),
    "wasInvalidatedBy": ("prov:entity", "prov:activity"),
    "wasDerivedFrom": (
        "prov:generatedEntity",
        "prov:usedEntity",
        "prov:activity",
        "prov:generation",
        "prov:usage",
    ),
    "wasAttributedTo": ("prov:entity", "prov:agent"),
    "wasAssociatedWith": ("prov:activity", "prov:agent", "prov:plan"),
    "actedOnBehalfOf": ("prov:delegate", "prov:responsible", "prov:activity"),
    "wasInfluencedBy": ("prov:influencee", "prov:influencer"),
    "specializationOf": ("prov:specificEntity", "prov:generalEntity"),
    "alternateOf": ("prov:alternate1", "prov:alternate2"),
    "hadMember": ("prov:collection", "prov:entity"),
    "mentionOf": ("prov:specificEntity", "prov:generalEntity", "prov:bundle"),
}
"""For each relation the attributes that are ids of other records, its two ends first."""

TIMES: Mapping[str, tuple[str, ...]] = {
    "activity": ("prov:startTime", "prov:endTime"),
    **{
        section: ("prov:time",)
        for section in ("wasGeneratedBy", "used", "wasStartedBy", "wasEndedBy", "wasInvalidatedBy")
    },
}
"""For each kind of record the attributes that are its times."""

FORMAL = {section: (*ENDS.get(section, ()), *TIMES.get(section, ())) for section in (*ENDS, *TIMES)}
"""For each kind of record what PROV itself gives a place, as plain texts in PROV-JSON."""


def values_of(value: Any) -> list[Any]:
    """Give all values of an attribute, which is a list if it has several."""
    return value if isinstance(value, list) else [value]


def records_of(found: Mapping[str, Any]) -> dict[str, dict[str, Record]]:
    """Give the sections of a PROV-JSON object, with one object for each id.

    Raises:
        DocumentError: A section is no object, or a record none.
    """
    sections: dict[str, dict[str, Record]] = {}
    for section, records in found.items():
        if not isinstance(records, dict):
            raise malformed("PROV-JSON", f'"{section}" is no object')
        formal = FORMAL.get(section, ())
        if any(type(record) is not dict for record in records.values()):
            records = _unified(section, records)
        for key in formal:
            if any(type(record.get(key, "")) is not str for record in records.values()):
                records = _plain(section, records, key)
        sections[section] = records
    return sections


def _unified(section: str, records: Mapping[str, Any]) -> dict[str, Record]:
    """Give one record for each id; relations that have none stay several."""
    unified: dict[str, Record] = {}
    for identifier, found in records.items():
        several = values_of(found)
        if not all(isinstance(record, dict) for record in several):
            raise malformed("PROV-JSON", f'a record in "{section}" is no object', identifier)
        if identifier.startswith("_:"):
            _number(unified, identifier, several)
        else:
            unified[identifier] = _merged(several)
    return unified


def _merged(several: Iterable[Record]) -> Record:
    merged: Record = {}
    for record in several:
        for key, value in record.items():
            if key not in merged:
                merged[key] = value
                continue
            known = values_of(merged[key])
            known = known + [one for one in values_of(value) if one not in known]
            merged[key] = known if len(known) > 1 else known[0]
    return merged


def _plain(section: str, records: Mapping[str, Record], key: str) -> dict[str, Record]:
    """Give records whose formal attribute is text; a relation to several becomes several."""
    found: dict[str, Record] = {}
    for identifier, record in records.items():
        values = record.get(key)
        if values is None:
            found[identifier] = {k: v for k, v in record.items() if k != key}
            continue
        values = [_text(value) for value in values_of(values)]
        if not all(isinstance(value, str) for value in values):
            raise malformed("PROV-JSON", f"{key} is no text", identifier)
        if len(values) > 1 and section == "hadMember":
            _number(found, identifier, [{**record, key: value} for value in values])
        else:
            found[identifier] = {**record, key: values[0] if len(values) == 1 else values}
    return found


def _number(found: dict[str, Record], identifier: str, several: Iterable[Record]) -> None:
    for number, record in enumerate(several, 1):
        found[identifier if number == 1 else f"{identifier}/{number}"] = record


def _text(value: Any) -> Any:
    return value.get("$") if isinstance(value, dict) else value
