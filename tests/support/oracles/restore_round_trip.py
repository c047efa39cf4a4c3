"""Round trip of a store: convert it, restore a database, convert that, compare the documents."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from support.oracles import comparison
from support.oracles.comparison import Difference, Store
from yprov_mlflow.prov.convert import Conversion, Request
from yprov_mlflow.prov.convert.executors import InlineExecutor
from yprov_mlflow.prov.restore import RestoreRequest, restore

Record = dict[str, Any]
Records = dict[str, dict[str, Record]]
"""Records of a PROV-JSON object by section and identifier."""

_ELEMENTS = ("prefix", "entity", "activity", "agent")
_CONTENT = {"$": "mlf:Content", "type": "xsd:QName"}
_EVENT = re.compile(r"store:event/\w+/([0-9a-f]{8})")


class RoundTrip:
    """A store, converted and restored as a database; ``differences`` converts the database."""

    def __init__(self, location: Path, folder: Path, template: Path) -> None:
        self.location = location
        self.artifacts = folder / "artifacts"
        self.database = folder / "restored.db"
        self._first, self._second = folder / "first", folder / "second"
        shutil.copy(template, self.database)
        _convert(location, self._first)
        files = location if location.is_dir() else location.parent / "mlruns"
        artifacts = files if files.is_dir() else None
        self.report = restore(
            RestoreRequest((self._first,), self.uri, artifacts, artifact_root=str(self.artifacts))
        )

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.database}"

    @cached_property
    def store(self) -> Store:
        """Return the contents of the restored database as MLflow reads them."""
        return comparison.read_store(self.uri)

    def differences(self) -> Iterator[Difference]:
        """Convert the database, and yield the differences from the documents of the store."""
        _convert(self.database, self._second)
        first, second = (
            {path.parent.relative_to(folder).as_posix(): path for path in folder.rglob("prov.json")}
            for folder in (self._first, self._second)
        )
        assert first.keys() == second.keys()
        for name in sorted(first):
            yield from differences(
                name, first[name].read_text("utf-8"), second[name].read_text("utf-8")
            )


def _convert(source: Path, out: Path) -> None:
    conversion = Conversion(Request(str(source), out, points="all"), InlineExecutor())
    for result in conversion:
        assert result.state == "converted", result
    assert not conversion.report.failed


def differences(name: str, first: str, second: str) -> Iterator[Difference]:
    """Yield the differences of two documents, record by record.

    If any point of a metric differs, the points become one attribute of their series, so that one
    lost point does not make all following ones differ.
    """
    pair = [_without_contents(_with_stable_event_ids(text)) for text in (first, second)]
    if _samples(pair[0]) != _samples(pair[1]):
        pair = [_with_points(document) for document in pair]
    result = comparison.Comparison()
    for section in sorted(pair[0].keys() | pair[1].keys()):
        before, after = (document.get(section, {}) for document in pair)
        for identifier in before.keys() | after.keys() if before != after else ():
            sides = [side.get(identifier, comparison.MISSING) for side in (before, after)]
            if sides[0] != sides[1]:
                result.compare(*sides, (name, section, identifier))
    yield from result.differences


def _without_contents(document: Records) -> Records:
    """Return the document without the contents of files, which the artifacts name by their hash."""
    result = {section: dict(records) for section, records in document.items()}
    for section, key in (("entity", ""), ("specializationOf", "prov:generalEntity")):
        for identifier, record in document.get(section, {}).items():
            if re.fullmatch("sha256:[0-9a-f]{64}", record.get(key, identifier)) and (
                section != "entity" or record["prov:type"] == _CONTENT
            ):
                del result[section][identifier]
    return result


# -- ids of events -------------------------------------------------------------------------


def _with_stable_event_ids(text: str) -> Records:
    """Parse a document, and name its events after their subjects."""
    # The identifiers of events depend on their number, which shifts after a lost event.
    document: Records = orjson.loads(text)
    names = _event_names(document.get("activity", {}))
    if not names:
        return document
    pattern = re.compile(rf"(?<=/)(?:{'|'.join(names)})(?![\w-])")
    renamed: Records = orjson.loads(pattern.sub(lambda match: names[match[0]], text))
    return renamed


def _event_names(activities: dict[str, Record]) -> dict[str, str]:
    events = [
        (int(record["mlf:sequence"]["$"]), match[1], record)
        for identifier, record in activities.items()
        if (match := _EVENT.fullmatch(identifier))
    ]
    counts: dict[tuple[str, str], int] = {}
    names = {}
    for _, digest, record in sorted(events, key=lambda event: event[0]):
        subjects = orjson.loads(record.get("mlf:subjects", "{}"))
        label = "+".join(quote(subjects[key], safe="") for key in sorted(subjects))
        kind = (record["mlf:method"], label)
        counts[kind] = counts.get(kind, 0) + 1
        names[digest] = f"{label}({counts[kind]})"
    return names


def _samples(document: Records) -> dict[str, Record]:
    return {
        identifier: record
        for identifier, record in document.get("entity", {}).items()
        if identifier.startswith("run:metric/") and "mlf:step" in record
    }


def _with_points(document: Records) -> Records:
    """Return the document with the points of each series, in order, as an attribute of the series.

    A point is a list of time, step, value, its record, and the relations that refer to it.
    """
    samples = _samples(document)
    relations: dict[str, list[Any]] = {identifier: [] for identifier in samples}
    result: Records = {}
    for section, records in document.items():
        result[section] = {}
        for identifier, record in records.items():
            references = [] if section in _ELEMENTS else _references_to(relations, record)
            for key in references:
                others = {other: value for other, value in record.items() if other != key}
                relations[record[key]].append([section, key, others])
            if not references and identifier not in samples:
                result[section][identifier] = record
    series: dict[str, list[tuple[int, Any]]] = {}
    for identifier, record in samples.items():
        parent, _, number = identifier.rpartition("/")
        # mlf:timestampMs stands for times that xsd:dateTime cannot express.
        time_keys = ("mlf:timestamp", "mlf:timestampMs")
        [time] = [record[key]["$"] for key in time_keys if key in record]
        values = [record[key]["$"] for key in ("mlf:step", "prov:value")]
        series.setdefault(parent, []).append(
            (int(number), [time, *values, record, relations[identifier]])
        )
    for parent, points in series.items():
        ordered = [point for _, point in sorted(points, key=lambda point: point[0])]
        result["entity"][parent] = {**result["entity"][parent], "points": ordered}
    return result


def _references_to(samples: Collection[str], record: Record) -> list[str]:
    return [key for key, value in record.items() if type(value) is str and value in samples]
