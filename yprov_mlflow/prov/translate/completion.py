"""The document of a captured run, completed with newer data of its store.

The captured document is right about what happened: times, sessions, contexts, hardware, earlier
values. The store is right about what is so now: values of tags, name, status, deletion. So the
captured records stay as they are, and those of the store are added where they say something new.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from yprov_mlflow.prov.events import LARGEST_FLOAT, Event, MetricsLogged
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.document import Document, Record
from yprov_mlflow.prov.model.identifiers import RUN, STORE, relation, segment, unnamed
from yprov_mlflow.prov.model.relations import ELEMENTS, KINDS

Point = tuple[str, float, int, int]
"""Metric, value, step and timestamp in ms."""

_RUN = f"{RUN}:run"
_STATE = ("mlf:status", "mlf:endTimeMs")
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
    known = Counter(_points(own, keys))
    for point in _points(stored, keys):
        if known[point]:
            known[point] -= 1
        else:
            yield point


def complete(own: Document, stored: Document, points: Iterable[Point] = ()) -> Document:
    """Return the captured document, extended by newer data of the store.

    Args:
        own: The document of live capture.
        stored: The document of the same run, made from its store.
        points: Metric points that only the store has.
    """
    completion = _Completion(own, stored)
    completion.update_state()
    completion.add_values()
    completion.add_files()
    completion.add_records()
    completion.add_points(points)
    return Document({**stored.prefixes, **own.prefixes}, completion.records)


def _series(document: Document) -> dict[str, Record]:
    start = f"{RUN}:metric/@run/"
    entities = document.records.get("entity", {})
    return {i: r for i, r in entities.items() if i.startswith(start) and "mlf:count" in r}


def _points(events: Iterable[Event], keys: set[str]) -> Iterator[Point]:
    for event in events:
        if isinstance(event, MetricsLogged):
            columns = zip(event.keys, event.values, event.steps, event.timestamps_ms, strict=True)
            for key, value, step, timestamp_ms in columns:
                if key in keys:
                    yield key, _comparable(value), step, timestamp_ms


def _comparable(value: float) -> float:
    """Return a value as a store has it: infinity is the largest float, NaN one object."""
    if value != value:
        return _NAN
    return math.copysign(LARGEST_FLOAT, value) if math.isinf(value) else value


_NAN = float("nan")


class _Completion:
    """Adds the store's records to those of a captured document."""

    def __init__(self, own: Document, stored: Document) -> None:
        self.records = {section: dict(by_id) for section, by_id in own.records.items()}
        self._stored = stored.records
        self._same_store = own.prefixes.get(STORE) == stored.prefixes.get(STORE)
        self._ended = {str(r.get("prov:entity")) for r in self._own("wasInvalidatedBy").values()}
        self._own_values = _values(own)
        self._left_out: set[str] = set()

    def _own(self, section: str) -> dict[str, Record]:
        return self.records.setdefault(section, {})

    def _relate(self, section: str, first: str, second: str, kind: str | None = None) -> None:
        formals = KINDS[section].formals
        record: Record = {formals[0]: first, formals[1]: second}
        if kind is not None:
            record["prov:type"] = literals.name(kind)
        verb = KINDS[section].node.lower()
        named = relation(verb, first, second) if verb else unnamed(section, first, second)
        self._own(section).setdefault(named, record)

    def update_state(self) -> None:
        """Copy status, end and name from the store; end the record of a deleted run."""
        run, stored = self._own("activity")[_RUN], self._stored["activity"][_RUN]
        newer = {term: stored[term] for term in (*_STATE, "prov:label") if term in stored}
        if "prov:endTime" not in run and "prov:endTime" in stored:
            newer["prov:endTime"] = max(stored["prov:endTime"], run.get("prov:startTime", ""))
        self._own("activity")[_RUN] = {**run, **newer}
        for key, end in self._stored.get("wasInvalidatedBy", {}).items():
            if str(end.get("prov:entity")).startswith(f"{RUN}:record/"):
                self._end_record(key, str(end.get("prov:activity")))

    def _end_record(self, key: str, activity: str) -> None:
        records = [i for i in self._own("entity") if i.startswith(f"{RUN}:record/")]
        last = max(records, key=lambda i: int(i.rpartition("/")[2]), default=None)
        if last is not None and last not in self._ended:
            self._own("activity")[activity] = self._stored["activity"][activity]
            self._relate("wasInvalidatedBy", last, activity)

    def add_values(self) -> None:
        """Add the current values of tags and the like that differ, and end those that are gone."""
        ends = self._stored.get("wasInvalidatedBy", {}).values()
        stored_ended = {end.get("prov:entity") for end in ends}
        for base, values in _values(Document({}, self._stored)).items():
            own = self._own_values.get(base)
            current = next((v for v in values if v not in stored_ended), None)
            if own is None or (base.startswith(f"{STORE}:") and not self._same_store):
                continue
            self._left_out.update(values)
            last = own[-1] if own[-1] not in self._ended else None
            if current is not None:
                self._set_value(base, last, own, self._stored["entity"][current])
        for base, own in self._own_values.items():
            gone = base.startswith(f"{RUN}:tag/") and base not in self._stored["entity"]
            if gone and own[-1] not in self._ended:
                self._relate("wasInvalidatedBy", own[-1], _RUN)

    def _set_value(self, base: str, last: str | None, own: list[str], value: Record) -> None:
        entities = self._own("entity")
        if last is not None and entities[last].get("prov:value") == value.get("prov:value"):
            return
        entity = f"{base}/{len(own) + 1}"
        entities[entity] = value
        self._relate("specializationOf", entity, base)
        self._relate("wasGeneratedBy", entity, _RUN)
        self._relate("wasDerivedFrom", entity, own[-1], "prov:Revision")
        if last is not None:
            self._relate("wasInvalidatedBy", last, _RUN)

    def add_files(self) -> None:
        """Add a version of each file whose content in the store is another one."""
        versions: dict[str, list[str]] = defaultdict(list)
        for identifier in self._own("entity"):
            if "artifact/" in identifier:
                versions[_first_version(identifier)].append(identifier)
        for identifier, record in self._stored.get("entity", {}).items():
            own = versions.get(identifier)
            sha256 = record.get("mlf:sha256")
            if not own or sha256 is None or "artifact/" not in identifier:
                continue
            if any(self._own("entity")[v].get("mlf:sha256") in (sha256, None) for v in own):
                continue
            entity = f"{identifier}/{len(own) + 1}"
            self._own("entity")[entity] = record
            self._relate("wasGeneratedBy", entity, _RUN)
            self._relate("wasDerivedFrom", entity, own[-1], "prov:Revision")
            if own[-1] not in self._ended:
                self._relate("wasInvalidatedBy", own[-1], _RUN)

    def add_records(self) -> None:
        """Add all other records that the captured document lacks, with their relations."""
        calls = {_call(record) for record in self._own("activity").values()} - {None}
        added: set[str] = set()
        for section in ELEMENTS:
            for identifier, record in self._stored.get(section, {}).items():
                if identifier in self._left_out or identifier.startswith(_APART):
                    continue
                if identifier.startswith(f"{STORE}:") and not self._same_store:
                    continue
                if identifier in self._own(section) or _call(record) in calls:
                    continue
                self._own(section)[identifier] = record
                added.add(identifier)
        self._add_relations(added)

    def _add_relations(self, added: set[str]) -> None:
        present = {identifier for section in ELEMENTS for identifier in self._own(section)}
        generated = {r.get("prov:entity") for r in self._own("wasGeneratedBy").values()}
        for section, kind in KINDS.items():
            if section in ELEMENTS:
                continue
            for key, record in self._stored.get(section, {}).items():
                ends = {record[formal] for formal in kind.formals[:2] if formal in record}
                # The run may use what it has used in another way; all else is about new records.
                new = ends & added or section == "used"
                if not new or not ends <= present or ends & self._left_out:
                    continue
                if section == "wasGeneratedBy" and record["prov:entity"] in generated:
                    continue
                others = {f for f in kind.formals[2:] if record.get(f) not in present}
                kept = {term: value for term, value in record.items() if term not in others}
                self._own(section).setdefault(key, kept)

    def add_points(self, points: Iterable[Point]) -> None:
        """Add points as samples of the run, and take the store's statistics of their metrics."""
        stored, entities = _series(Document({}, self._stored)), self._own("entity")
        for key, value, step, timestamp_ms in points:
            series = f"{RUN}:metric/@run/{segment(key)}"
            if series not in entities:
                entities[series] = stored[series]
                self._relate("wasGeneratedBy", series, _RUN)
            statistics = {s: stored[series][s] for s in _STATISTICS if s in stored[series]}
            number = int(literals.value(entities[series]["mlf:count"]))
            entities[series] = {**entities[series], **statistics}
            while f"{series}/{number}" in entities:
                number += 1
            entity = f"{series}/{number}"
            entities[entity] = _sample(key, value, step, timestamp_ms)
            self._relate("wasGeneratedBy", entity, _RUN)
            self._relate("hadMember", series, entity)


def _values(document: Document) -> dict[str, list[str]]:
    """Return the values of each property, such as a tag, by its id, in order."""
    values: dict[str, list[str]] = defaultdict(list)
    for record in document.records.get("specializationOf", {}).values():
        base, value = str(record.get("prov:generalEntity")), str(record.get("prov:specificEntity"))
        if value.startswith(f"{base}/") and "/record" not in base and base != f"{RUN}:record":
            values[base].append(value)
    return dict(values)


def _first_version(identifier: str) -> str:
    start, _, path = identifier.partition("artifact/")
    return f"{start}artifact/{path.partition('/')[0].partition('@')[0]}"


def _call(record: Record) -> tuple[str, str] | None:
    """Return the method and the subjects of a call, None for other records."""
    if "mlf:method" not in record:
        return None
    subjects = record.get("mlf:subjects") or record.get("mlf:arguments") or ""
    return str(record["mlf:method"]), str(subjects)


def _sample(key: str, value: float, step: int, timestamp_ms: int) -> Record:
    number, timestamp = literals.double(value), literals.timestamp(timestamp_ms)
    when: Mapping[str, object] = {"mlf:timestamp": timestamp}
    if timestamp is None:
        when = {"mlf:timestampMs": literals.integer(timestamp_ms)}
    return {
        "prov:type": [literals.name("mls:ModelEvaluation"), literals.name("mlf:MetricSample")],
        "prov:label": f"{literals.text(key)} at step {step}",
        "schema:name": literals.text(key),
        "prov:value": number,
        "mls:hasValue": number,
        "mlf:step": literals.integer(step),
        **when,
    }
