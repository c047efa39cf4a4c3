"""The document of a captured run, completed with newer data of its store.

The captured document is right about what happened: times, sessions, contexts, hardware, earlier
values. The store is right about what is so now: values of tags, name, status, deletion. So the
captured records stay as they are, and those of the store are added where they say something new.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from yprov_mlflow.prov.events import LARGEST_FLOAT, Event, MetricsLogged
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.builder import Builder
from yprov_mlflow.prov.model.document import Document, Record
from yprov_mlflow.prov.model.identifiers import RUN, STORE, parts_of_version, segment
from yprov_mlflow.prov.model.relations import ELEMENTS, KINDS
from yprov_mlflow.prov.translate.inverse.document_index import value_order
from yprov_mlflow.prov.translate.metrics import sample_record
from yprov_mlflow.prov.translate.points import Sample
from yprov_mlflow.prov.translate.series import Series

Point = tuple[str, float, int, int]
"""Metric, value, step and timestamp in ms."""

_RUN = f"{RUN}:run"
_RECORDS = f"{RUN}:record/"
_STATE = ("mlf:status", "mlf:endTimeMs", "dcterms:identifier")
_STATISTICS = ("mlf:count", "mlf:nanCount", "mlf:first", "mlf:last", "mlf:min", "mlf:max")
_APART = (f"{RUN}:metric/", f"{RUN}:points/", f"{RUN}:record", f"{RUN}:session/")


def metrics_with_more(own: Document, stored: Document) -> set[str]:
    """Return the metrics of which the store has other points than the captured document."""
    kept = _series(own)
    return {
        str(record.get("schema:name"))
        for identifier, record in _series(stored).items()
        if any(record.get(s) != kept.get(identifier, {}).get(s) for s in _STATISTICS)
    }


def missing_points(
    own: Iterable[Event], stored: Iterable[Event], keys: set[str]
) -> Iterator[Point]:
    """Yield the points of the store that the captured document lacks.

    Args:
        own: The events of the captured document.
        stored: The events of the store.
        keys: The metrics to compare.
    """
    known = Counter(_as_stored(point) for point in _points(own, keys))
    for point in _points(stored, keys):
        if known[_as_stored(point)]:
            known[_as_stored(point)] -= 1
        else:
            yield point


def complete(
    own: Document, stored: Document, points: Iterable[Point] = (), *, all_files: bool = False
) -> Document:
    """Return the captured document, extended by newer data of the store.

    Args:
        own: The document of live capture.
        stored: The document of the same run, made from its store.
        points: Metric points that only the store has.
        all_files: Whether the stored document has all files of the run, so that others are gone.
    """
    completion = _Completion(own, stored)
    completion.update_state()
    completion.add_values()
    completion.update_files(all_files)
    completion.add_records()
    completion.add_points(points)
    return completion.builder.document({**stored.prefixes, **own.prefixes})


def _series(document: Document) -> dict[str, Record]:
    start = f"{RUN}:metric/@run/"
    entities = document.records.get("entity", {})
    return {i: r for i, r in entities.items() if i.startswith(start) and "mlf:count" in r}


def _points(events: Iterable[Event], keys: set[str]) -> Iterator[Point]:
    for event in events:
        if isinstance(event, MetricsLogged):
            columns = zip(event.keys, event.values, event.steps, event.timestamps_ms, strict=True)
            yield from (point for point in columns if point[0] in keys)


def _as_stored(point: Point) -> Point:
    """Return a point as databases have it: infinity is the largest float, NaN one object."""
    key, value, step, timestamp_ms = point
    if value != value:
        value = math.nan
    elif math.isinf(value):
        value = math.copysign(LARGEST_FLOAT, value)
    return key, value, step, timestamp_ms


class _Completion:
    """Adds the store's records to those of a captured document."""

    def __init__(self, own: Document, stored: Document) -> None:
        self.builder = Builder(own.records)
        self._stored = stored.records
        self._same_store = own.prefixes.get(STORE) == stored.prefixes.get(STORE)
        self._own_values = _values(own)
        self._left_out: set[str] = set()

    def _own(self, section: str) -> dict[str, Record]:
        return self.builder.records.setdefault(section, {})

    def _is_current(self, entity: str) -> bool:
        return entity not in self.builder.invalidated

    def update_state(self) -> None:
        """Copy status, end and name from the store; end the record of a deleted run."""
        run, stored = self._own("activity")[_RUN], self._stored["activity"][_RUN]
        newer = {term: stored[term] for term in (*_STATE, "prov:label") if term in stored}
        if "prov:endTime" not in run and "prov:endTime" in stored:
            newer["prov:endTime"] = max(stored["prov:endTime"], run.get("prov:startTime", ""))
        self._own("activity")[_RUN] = {**run, **newer}
        for end in self._stored.get("wasInvalidatedBy", {}).values():
            if str(end.get("prov:entity")).startswith(_RECORDS):
                self._end_record(str(end.get("prov:activity")))

    def _end_record(self, activity: str) -> None:
        records = [i for i in self._own("entity") if i.startswith(_RECORDS)]
        last = max(records, key=lambda i: int(i.removeprefix(_RECORDS)), default=None)
        if last is not None and self._is_current(last):
            self._own("activity")[activity] = self._stored["activity"][activity]
            self.builder.was_invalidated_by(last, activity)

    def add_values(self) -> None:
        """Add the current values of tags and the like that differ, and end those that are gone."""
        ends = self._stored.get("wasInvalidatedBy", {}).values()
        ended = {end.get("prov:entity") for end in ends}
        for base, values in _values(Document({}, self._stored)).items():
            own = self._own_values.get(base)
            if own is None or (base.startswith(f"{STORE}:") and not self._same_store):
                continue
            self._left_out.update(values)
            if values[-1] not in ended:
                self._set_value(base, own, self._stored["entity"][values[-1]])
        for base, own in self._own_values.items():
            if base.startswith(f"{RUN}:tag/") and base not in self._stored["entity"]:
                self.builder.was_invalidated_by(own[-1], _RUN)

    def _set_value(self, base: str, own: list[str], value: Record) -> None:
        last = self._own("entity")[own[-1]]
        if self._is_current(own[-1]) and last.get("prov:value") == value.get("prov:value"):
            return
        entity = self._add_version(f"{base}/{len(own) + 1}", value, own[-1])
        self.builder.specialization_of(entity, base)

    def _add_version(self, entity: str, record: Record, previous: str) -> str:
        """Add a version that only the store has, and end the previous one."""
        self._own("entity")[entity] = record
        self.builder.was_generated_by(entity, _RUN)
        self.builder.was_invalidated_by(previous, _RUN)
        self.builder.was_revision_of(entity, previous)
        return entity

    def update_files(self, all_files: bool) -> None:
        """Add a version of each file whose content in the store is another one.

        With ``all_files``, files of the run that the store lacks end, and so do those of a model
        of which it has others.
        """
        versions: dict[str, list[str]] = defaultdict(list)
        for identifier in self._own("entity"):
            # What a run read of others is named by content; only their documents count versions.
            if "artifact/" in identifier and parts_of_version(identifier) is None:
                versions[_file(identifier)[0]].append(identifier)
        listed = {f"{RUN}:"} if all_files else set()
        stored = self._stored.get("entity", {})
        for identifier in stored:
            owner, found, _ = identifier.partition("artifact/")
            if found and all_files and (self._same_store or owner == f"{RUN}:"):
                listed.add(owner)
        for identifier, own in versions.items():
            last = max(own, key=lambda version: _file(version)[1])
            if identifier in stored:
                self._update_file(identifier, last, stored[identifier])
            elif identifier.partition("artifact/")[0] in listed:
                self.builder.was_invalidated_by(last, _RUN)

    def _update_file(self, identifier: str, last: str, record: Record) -> None:
        sha256 = record.get("mlf:sha256")
        # Without a hash, as after a failed read, it is unknown whether the content changed.
        same = self._own("entity")[last].get("mlf:sha256") in (sha256, None)
        if sha256 is not None and not (same and self._is_current(last)):
            self._add_version(f"{identifier}/{_file(last)[1] + 1}", record, last)

    def add_records(self) -> None:
        """Add all other records that the captured document lacks, with their relations."""
        calls = {_call(record) for record in self._own("activity").values()} - {None}
        # Capture saw more of the code than MLflow's tags say, and would have it twice.
        code = {_commit(record) for record in self._own("entity").values()} - {None}
        added: set[str] = set()
        for section in ELEMENTS:
            for identifier, record in self._stored.get(section, {}).items():
                if identifier in self._left_out or identifier.startswith(_APART):
                    continue
                if identifier.startswith(f"{STORE}:") and not self._same_store:
                    continue
                if identifier in self._own(section) or _call(record) in calls:
                    continue
                if _commit(record) in code:
                    continue
                self._own(section)[identifier] = record
                added.add(identifier)
        self._add_relations(added)

    def _add_relations(self, added: set[str]) -> None:
        present = {identifier for section in ELEMENTS for identifier in self._own(section)}
        usages = {_usage(record) for record in self._own("used").values()}
        for section, kind in KINDS.items():
            if section in ELEMENTS:
                continue
            for key, record in self._stored.get(section, {}).items():
                ends = {record[formal] for formal in kind.formals[:2] if formal in record}
                # The run may use what it has used in another way; all else is about new records.
                new = ends & added or (section == "used" and _usage(record) not in usages)
                if not new or not ends <= present or ends & self._left_out:
                    continue
                if (
                    section == "wasGeneratedBy"
                    and record["prov:entity"] in self.builder.generations
                ):
                    continue
                others = {f for f in kind.formals[2:] if record.get(f) not in present}
                kept = {term: value for term, value in record.items() if term not in others}
                self._own(section).setdefault(key, kept)

    def add_points(self, points: Iterable[Point]) -> None:
        """Add points as samples of the run, and take the store's statistics of their metrics."""
        stored, entities = _series(Document({}, self._stored)), self._own("entity")
        numbers: dict[str, int] = {}
        for key, value, step, timestamp_ms in points:
            series = f"{RUN}:metric/@run/{segment(key)}"
            if series not in numbers:
                numbers[series] = int(literals.value(entities.get(series, {}).get("mlf:count", 0)))
                statistics = {t: v for t, v in stored[series].items() if t != "mlf:points"}
                if series in entities:
                    statistics = {t: statistics[t] for t in _STATISTICS if t in statistics}
                else:
                    self.builder.was_generated_by(series, _RUN)
                entities[series] = {**entities.get(series, {}), **statistics}
            entity = f"{series}/{numbers[series]}"
            numbers[series] += 1
            point = (value, step, timestamp_ms, 0, None, 0, None, (None, None), ())
            record = sample_record(Sample(Series("", (), key), (), *point))
            if abs(value) == LARGEST_FLOAT and "mlf:possiblyInfinite" in stored[series]:
                record["mlf:possiblyInfinite"] = literals.boolean(True)
            entities[entity] = record
            self.builder.was_generated_by(entity, _RUN)
            self.builder.had_member(series, entity)


def _values(document: Document) -> dict[str, list[str]]:
    """Return the values of each property, such as a tag, by its id, in order."""
    values: dict[str, list[str]] = defaultdict(list)
    for record in document.records.get("specializationOf", {}).values():
        base, value = str(record.get("prov:generalEntity")), str(record.get("prov:specificEntity"))
        if value.startswith(f"{base}/") and base != f"{RUN}:record":
            values[base].append(value)
    for of_base in values.values():
        of_base.sort(key=lambda value: value_order(value.rpartition("/")[2]))
    return dict(values)


def _file(identifier: str) -> tuple[str, int]:
    """Return the id of an artifact's first version, and the number of the version."""
    start, _, path = identifier.partition("artifact/")
    name, _, version = path.partition("@")[0].partition("/")
    return f"{start}artifact/{name}", int(version or 1)


def _commit(record: Record) -> tuple[object, ...] | None:
    """Return the commit and the repository of a record of code, None for other records."""
    types = record.get("prov:type")
    if literals.name("schema:SoftwareSourceCode") not in (types if isinstance(types, list) else []):
        return None
    return record.get("mlf:gitCommit"), record.get("schema:codeRepository")


def _usage(record: Record) -> frozenset[tuple[str, str]]:
    """Return what was used and how, whether by the run or by a session of it."""
    left_out = ("prov:activity", "prov:time")
    return frozenset((term, str(value)) for term, value in record.items() if term not in left_out)


def _call(record: Record) -> tuple[str, str] | None:
    """Return the method and the subjects of a call, None for other records."""
    if "mlf:method" not in record:
        return None
    subjects = record.get("mlf:subjects") or record.get("mlf:arguments") or ""
    return str(record["mlf:method"]), str(subjects)
