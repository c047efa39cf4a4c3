"""A store becomes documents, these a database, and that documents again; and how they compare."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import comparison
import orjson
from comparison import Difference, Store

from yprov_mlflow.prov.convert import Conversion, Request
from yprov_mlflow.prov.convert.executors import InlineExecutor
from yprov_mlflow.prov.restore import RestoreRequest, restore

Record = dict[str, Any]
Records = dict[str, dict[str, Record]]
"""Records by section and id, as PROV-JSON has them."""

_ELEMENTS = ("prefix", "entity", "activity", "agent")
_EVENT = re.compile(r"store:event/\w+/([0-9a-f]{8})")


class Journey:
    """Goes as far as the database at once; documents of that are made when they are asked for."""

    def __init__(self, location: Path, folder: Path, template: Path) -> None:
        self.location = location
        self.artifacts = folder / "artifacts"
        self.database = folder / "restored.db"
        self._first, self._second = folder / "first", folder / "second"
        shutil.copy(template, self.database)
        _convert(location, self._first)
        files = location if location.is_dir() else location.parent / "mlruns"
        given = files if files.is_dir() else None
        wish = RestoreRequest((self._first,), self.uri, given, artifact_root=str(self.artifacts))
        self.report = restore(wish)

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.database}"

    @cached_property
    def store(self) -> Store:
        """What MLflow says that the database has."""
        return comparison.read_store(self.uri)

    def differences(self) -> Iterator[Difference]:
        """Convert the database, and tell what is not in its documents as it was in the first."""
        _convert(self.database, self._second)
        found = [
            {path.parent.relative_to(folder).as_posix(): path for path in folder.rglob("prov.json")}
            for folder in (self._first, self._second)
        ]
        assert found[0].keys() == found[1].keys()
        for place in sorted(found[0]):
            texts = [side[place].read_text("utf-8") for side in found]
            yield from differences(place, *texts)


def _convert(source: Path, out: Path) -> None:
    conversion = Conversion(Request(str(source), out, points="all"), InlineExecutor())
    for result in conversion:
        assert result.state == "converted", result
    assert not conversion.report.failed


def differences(place: str, first: str, second: str) -> Iterator[Difference]:
    """Compare two documents record by record: by what they are about, not by their number.

    The points of a metric are compared as one attribute of their series, if any differs.
    """
    pair = [_named(first), _named(second)]
    if _samples(pair[0]) != _samples(pair[1]):
        pair = [_with_points(one) for one in pair]
    result = comparison.Comparison()
    for section in sorted(pair[0].keys() | pair[1].keys()):
        before, after = (one.get(section, {}) for one in pair)
        for identifier in before.keys() | after.keys() if before != after else ():
            sides = [one.get(identifier, comparison.MISSING) for one in (before, after)]
            if sides[0] != sides[1]:
                result.compare(*sides, (place, section, identifier))
    yield from result.differences


# -- ids with a number in them -------------------------------------------------------------


def _named(text: str) -> Records:
    """Read a document, with its events named by what they are about and not by their number."""
    document: Records = orjson.loads(text)
    names = _names_of_events(document.get("activity", {}))
    if not names:
        return document
    pattern = re.compile(rf"(?<=/)(?:{'|'.join(names)})(?![\w-])")
    renamed: Records = orjson.loads(pattern.sub(lambda found: names[found[0]], text))
    return renamed


def _names_of_events(activities: dict[str, Record]) -> dict[str, str]:
    found = [
        (int(record["mlf:sequence"]["$"]), event[1], record)
        for identifier, record in activities.items()
        if (event := _EVENT.fullmatch(identifier))
    ]
    counts: dict[tuple[str, str], int] = {}
    names = {}
    for _, digest, record in sorted(found, key=lambda one: one[0]):
        about = orjson.loads(record.get("mlf:subjects", "{}"))
        kind = (record["mlf:method"], "+".join(quote(about[key], safe="") for key in sorted(about)))
        counts[kind] = counts.get(kind, 0) + 1
        names[digest] = f"{kind[1]}({counts[kind]})"
    return names


def _samples(document: Records) -> dict[str, Record]:
    return {
        identifier: record
        for identifier, record in document.get("entity", {}).items()
        if identifier.startswith("run:metric/") and "mlf:step" in record
    }


def _with_points(document: Records) -> Records:
    """Give a document whose series have their points, in order, which are no records any more.

    A point is its time, step and value, its record, and what others say of it.
    """
    samples = _samples(document)
    about: dict[str, list[Any]] = {identifier: [] for identifier in samples}
    found: Records = {}
    for section, records in document.items():
        found[section] = {}
        for identifier, record in records.items():
            ends = [] if section in _ELEMENTS else _ends_in(about, record)
            for key in ends:
                others = {other: value for other, value in record.items() if other != key}
                about[record[key]].append([section, key, others])
            if not ends and identifier not in samples:
                found[section][identifier] = record
    series: dict[str, list[tuple[int, Any]]] = {}
    for identifier, record in samples.items():
        home, _, number = identifier.rpartition("/")
        when = ("mlf:timestamp", "mlf:timestampMs")  # the second where no calendar has it
        [time] = [record[key]["$"] for key in when if key in record]
        values = [record[key]["$"] for key in ("mlf:step", "prov:value")]
        series.setdefault(home, []).append(
            (int(number), [time, *values, record, about[identifier]])
        )
    for home, points in series.items():
        in_order = [point for _, point in sorted(points, key=lambda one: one[0])]
        found["entity"][home] = {**found["entity"][home], "points": in_order}
    return found


def _ends_in(samples: Collection[str], record: Record) -> list[str]:
    return [key for key, value in record.items() if type(value) is str and value in samples]
