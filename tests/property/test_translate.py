"""Documents of random runs are valid, complete and reproducible."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import random
import re
from array import array
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prov.model import ProvDocument
from support.builders.strategies import START_NS, STORE, runs
from support.oracles.validity import assert_valid

from yprov_mlflow.prov.events import Event, MetricsLogged, ParamsLogged, RunCreated
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.ids import store_id
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.model.relations import ELEMENTS, KINDS
from yprov_mlflow.prov.translate import Options, PointBatch, SideFile, translate

bounded = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def as_json(document: Document) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(prov_json.dumps(document))
    return result


@bounded
@given(runs())
def test_documents_are_valid(events: list[Event]) -> None:
    assert_valid(as_json(translate(events)))


@bounded
@given(runs(most=8))
def test_documents_round_trip_through_prov_and_prov_n(events: list[Event]) -> None:
    document = translate(events)
    read = prov_json.to_prov(document)
    assert len(read.get_records()) == len(document)
    notation = read.serialize(format="provn")
    assert ProvDocument.deserialize(content=notation, format="provn") == read
    assert prov_json.loads(prov_json.dumps(document)) == document


@bounded
@given(runs(), st.randoms(use_true_random=False), st.booleans())
def test_same_events_give_the_same_bytes(
    events: list[Event], chance: random.Random, hash_user: bool
) -> None:
    options = Options(hash_user=hash_user)
    first = prov_json.dumps(translate(events, options))
    assert prov_json.dumps(translate(events, options)) == first
    assert prov_json.dumps(translate(interleaved(events, chance), options)) == first


def interleaved(events: list[Event], chance: random.Random) -> list[Event]:
    """Mix the events of sessions randomly, each session in its own order."""
    sessions = [list(group) for _, group in itertools.groupby(events, lambda event: event.session)]
    mixed = []
    while sessions:
        session = chance.choice(sessions)
        mixed.append(session.pop(0))
        sessions = [session for session in sessions if session]
    return mixed


@bounded
@given(runs())
def test_documents_have_all_params_and_points(events: list[Event]) -> None:
    entities = translate(events).records["entity"]
    params = {
        (str(entity["schema:name"]), str(entity["mlf:text"]))
        for entity in entities.values()
        if "mlf:text" in entity
    }
    samples = sorted(
        point_text(entity["prov:value"]["$"], entity["mlf:step"]["$"])
        for entity in entities.values()
        if "mlf:MetricSample" in str(entity.get("prov:type"))
    )
    for event in events:
        if isinstance(event, ParamsLogged):
            for key, value in event.params.items():
                shown = (key.replace("\ud800", "?"), value.replace("\ud800", "?"))
                assert shown in params
    assert samples == sorted(text for _, text, *_ in measurements(rows(events)))


def rows(events: list[Event]) -> list[tuple[Any, ...]]:
    """Return all logged points as key, text, timestamp, model and session."""
    return [
        (key, point_text(value, step), stamp, model, event.session)
        for event in events
        if isinstance(event, MetricsLogged)
        for key, value, step, stamp, model in zip(
            event.keys,
            event.values,
            event.steps,
            event.timestamps_ms,
            event.models or [None] * len(event.keys),
            strict=True,
        )
    ]


def point_text(value: object, step: object) -> str:
    number = float(str(value))
    return f"{'nan' if math.isnan(number) else repr(number)} at {int(str(step))}"


class MemorySink:
    """A sink that keeps its batches."""

    def __init__(self) -> None:
        self.batches: list[PointBatch] = []

    def write(self, batch: PointBatch) -> None:
        self.batches.append(batch)

    def close(self) -> SideFile:
        return SideFile("points", "f" * 64, 1, "application/octet-stream")


POINTS = st.tuples(st.floats(), st.integers(-5, 5), st.integers(0, 3))


@bounded
@given(st.lists(st.lists(POINTS, min_size=1, max_size=8), min_size=1, max_size=4), st.booleans())
def test_columns_of_points_give_the_same_document_as_single_points(
    calls: list[list[tuple[float, int, int]]], to_sink: bool
) -> None:
    def events(*, as_arrays: bool) -> list[Event]:
        logged: list[Event] = []
        for seq, points in enumerate(calls):
            values, steps, stamps = zip(*points, strict=True)
            columns: tuple[Any, ...] = (values, stamps, steps)
            if as_arrays:
                columns = (array("d", values), array("q", stamps), array("q", steps))
            keys = ["loss"] * len(points)
            logged.append(MetricsLogged("a" * 32, "1" * 16, seq, START_NS + seq, keys, *columns))
        return logged

    results = []
    for as_arrays in (False, True):
        sink = MemorySink()
        options = Options(max_samples=0 if to_sink else 1000)
        document = translate(events(as_arrays=as_arrays), options, sink)
        results.append((prov_json.dumps(document), repr(sink.batches)))
    assert results[0] == results[1]


@bounded
@given(runs(), st.integers(0, 5))
def test_points_are_samples_or_go_to_the_sink(events: list[Event], most: int) -> None:
    sink = MemorySink()
    document = as_json(translate(events, Options(max_samples=most), sink))
    assert_valid(document)
    logged = rows(events)
    measured = measurements(logged)
    samples = sum("MetricSample" in str(e.get("prov:type")) for e in document["entity"].values())
    assert samples == (len(measured) if len(measured) <= most else 0)
    written = [
        (key, point_text(value, step))
        for batch in sink.batches
        for key, value, step in zip(batch.series, batch.value, batch.step, strict=True)
    ]
    # The file has every row, but for a model that repeats its own; repetitions come last.
    distinct = sorted((key, text) for key, text, _, count in measured for _ in range(count))
    assert sorted(written) == (distinct if len(measured) > most else [])
    counts = [
        int(entity["mlf:count"]["$"])
        for identifier, entity in document["entity"].items()
        if re.fullmatch("run:metric/@run/[^/@]*", identifier)
    ]
    assert sum(counts) == len(measured)


@bounded
@given(runs())
def test_documents_are_connected_by_relations(events: list[Event]) -> None:
    """Readers that know relations only, and of a start no more than its trigger, see one graph."""
    document = translate(events)
    parent = {}

    def root(identifier: str) -> str:
        while parent.setdefault(identifier, identifier) != identifier:
            identifier = parent[identifier]
        return identifier

    elements = {i for kind in ELEMENTS for i in document.records.get(kind, ())}
    relations = {section: kind for section, kind in KINDS.items() if len(kind.formals) > 1}
    for section, kind in relations.items():
        for relation in document.records.get(section, {}).values():
            first, second = kind.formals[:2]
            if first in relation and second in relation:
                parent[root(relation[first])] = root(relation[second])
    apart = {i for i in elements if root(i) != root("run:run")}
    assert apart == set()


def measurements(logged: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return the points without those that repeat an earlier one for a model.

    The arguments are points as key, text, timestamp, model and session; the results have a number
    of distinct rows instead of model and session. MLflow repeats a point with the id of a model;
    where events are read from a store, either of both may come first.
    """
    points: list[tuple[Any, ...]] = []
    owners: list[dict[str, Any]] = []
    for *point, model, session in logged:
        equal = [o for p, o in zip(points, owners, strict=True) if p == tuple(point)]
        for owner in equal:
            if model is not None and model not in owner["models"]:
                owner["models"].add(model)
                break
            if model is None and session == "store" and owner["own"] is not None:
                owner["own"] = None
                break
        else:
            if any(model in owner["models"] for owner in equal):
                continue
            points.append(tuple(point))
            owners.append({"own": model, "models": {model} - {None}})
    counts = [len(owner["models"]) + (owner["own"] is None) for owner in owners]
    return [(*point, count) for point, count in zip(points, counts, strict=True)]


@bounded
@given(runs(most=8))
def test_documents_of_stores_are_valid(events: list[Event]) -> None:
    """Events under the id of a store make a document without a run."""
    subject = store_id(STORE["uuid"])
    moved = [
        dataclasses.replace(event, run_id=subject)
        for event in events
        if not isinstance(event, MetricsLogged | RunCreated)
    ]
    document = as_json(translate(moved))
    assert_valid(document)
    assert not [i for i in document.get("activity", {}) if i == "run:run"]


def test_events_of_two_runs_are_refused() -> None:
    events = [ParamsLogged(run, "s", 0, START_NS, {"a": "b"}) for run in ("1" * 32, "2" * 32)]
    with pytest.raises(ValueError, match="does not belong"):
        translate(events)
