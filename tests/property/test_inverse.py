"""Documents translate back into the events of a store."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pprint import pformat
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.builders.source_events import source_runs, source_stores
from support.builders.strategies import runs
from support.oracles.validity import assert_valid

from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.restore.replay import StateBuilder
from yprov_mlflow.prov.translate import (
    Options,
    PointBatch,
    SideFile,
    events_of,
    side_files,
    translate,
)

bounded = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def as_json(document: Document) -> dict[str, Any]:
    members: dict[str, Any] = json.loads(prov_json.dumps(document))
    return members


@bounded
@given(source_runs() | source_stores())
def test_events_of_a_source_s_document_give_the_same_document(events: list[Event]) -> None:
    document = translate(events)
    assert_valid(as_json(document))
    read = prov_json.loads(prov_json.dumps(document))
    assert as_json(translate(events_of(read))) == as_json(document)


def state(events: Iterable[Event]) -> str:
    """Return the state of a store after the events as text, so that NaN equals itself."""
    builder = StateBuilder()
    run = builder.feed(events)
    if run is not None:
        run.datasets.sort(key=literals.canonical)
        run.input_models.sort()
        run.output_models.sort()
    return pformat([run, builder.finish()], width=120)


@bounded
@given(source_runs() | source_stores())
def test_events_of_a_source_s_document_give_the_same_store(events: list[Event]) -> None:
    assert state(events_of(translate(events))) == state(events)


class ListSink:
    """Collects batches in a list."""

    def __init__(self) -> None:
        self.batches: list[PointBatch] = []

    def write(self, batch: PointBatch) -> None:
        self.batches.append(batch)

    def close(self) -> SideFile:
        return SideFile("points.x", "f" * 64, 1, "application/octet-stream")


@bounded
@given(source_runs(), st.integers(0, 3))
def test_points_come_back_from_the_metric_file(events: list[Event], most: int) -> None:
    first, second = ListSink(), ListSink()
    options = Options(max_samples=most)
    document = translate(events, options, first)
    again = translate(events_of(document, first.batches), options, second)
    assert as_json(again) == as_json(document)
    assert repr(second.batches) == repr(first.batches)
    assert side_files(document) == ([("points.x", "f" * 64)] if first.batches else [])


@bounded
@given(runs())
def test_events_of_a_live_document_are_stable(events: list[Event]) -> None:
    """Translating back once more changes nothing."""
    first = translate(events_of(translate(events)))
    assert_valid(as_json(first))
    assert as_json(translate(events_of(first))) == as_json(first)
