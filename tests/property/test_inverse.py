"""A document gives its events back: what a source told, or what a store of a live run holds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pprint import pformat
from typing import Any

from estates import source_runs, source_stores
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import runs
from validity import assert_valid

from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.restore.replay import StateBuilder
from yprov_mlflow.prov.translate import (
    Document,
    Options,
    PointBatch,
    SideFile,
    events_of,
    side_files,
    translate,
)

bounded = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def as_json(document: Document) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(prov_json.dumps(document))
    return found


@bounded
@given(source_runs() | source_stores())
def test_a_source_s_document_gives_events_that_give_the_document(events: list[Event]) -> None:
    document = translate(events)
    assert_valid(as_json(document))
    read = prov_json.loads(prov_json.dumps(document))
    assert as_json(translate(events_of(read))) == as_json(document)


def state(events: Iterable[Event]) -> str:
    """Give what a store has after the events, so that it compares: NaN with NaN."""
    reduction = StateBuilder()
    run = reduction.feed(events)
    if run is not None:
        run.datasets.sort(key=literals.canonical)
        run.models_in.sort()
        run.models_out.sort()
    return pformat([run, reduction.finish()], width=120)


@bounded
@given(source_runs() | source_stores())
def test_a_store_after_the_events_of_a_document_is_as_it_was(events: list[Event]) -> None:
    assert state(events_of(translate(events))) == state(events)


class Kept:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.batches: list[PointBatch] = []

    def write(self, batch: PointBatch) -> None:
        self.batches.append(batch)

    def close(self) -> SideFile:
        return SideFile("points.x", "f" * 64, 1, "application/octet-stream")


@bounded
@given(source_runs(), st.integers(0, 3))
def test_points_come_back_from_the_side_file(events: list[Event], most: int) -> None:
    first, second = Kept(), Kept()
    options = Options(max_samples=most)
    document = translate(events, options, first)
    again = translate(events_of(document, first.batches), options, second)
    assert as_json(again) == as_json(document)
    assert repr(second.batches) == repr(first.batches)
    assert side_files(document) == ([("points.x", "f" * 64)] if first.batches else [])


@bounded
@given(runs())
def test_live_documents_give_events_of_a_store(events: list[Event]) -> None:
    """Once more is the same: what a store holds is told by its own document."""
    first = translate(events_of(translate(events)))
    assert_valid(as_json(first))
    assert as_json(translate(events_of(first))) == as_json(first)
