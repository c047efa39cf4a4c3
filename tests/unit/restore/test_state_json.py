"""State records on their way to a server: all of them arrive, and nothing else is taken."""

from __future__ import annotations

import gzip
import json
import math
from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yprov_mlflow.prov.restore import sync_protocol
from yprov_mlflow.prov.restore.state_json import from_json, to_json
from yprov_mlflow.prov.state import (
    LoggedModel,
    ModelVersion,
    Points,
    RegisteredModel,
    Run,
    StoreState,
    Trace,
    Values,
)

_TEXTS = st.text(max_size=8)
_PAIRS = st.dictionaries(_TEXTS, _TEXTS, max_size=4)


def there_and_back(record: Any) -> Any:
    return from_json(type(record), sync_protocol.unpack(sync_protocol.pack(to_json(record))))


@given(_PAIRS, _PAIRS, st.lists(st.tuples(st.floats(allow_nan=False), st.integers(0, 9))), _TEXTS)
def test_run_arrives_as_it_was(
    params: dict[str, str], tags: dict[str, str], rows: list[tuple[float, int]], text: str
) -> None:
    values = Values(tags)
    for key in tags:
        values[key] = text
    points = Points(
        array("d", [value for value, _ in rows]),
        array("q", [2**62] * len(rows)),
        array("q", [step for _, step in rows]),
        {0: "m-1"} if rows else {},
        {0: ("data", None)} if rows else {},
    )
    run = Run("r" * 32, "1", text, params=params, tags=values, points={"loss": points})
    run.earlier = {"status": {"RUNNING"}, "end_time_ms": {5}}
    run.output_models = [("m-1", 3)]
    arrived = there_and_back(run)
    assert arrived == run
    assert arrived.earlier == run.earlier
    assert arrived.tags.earlier == values.earlier


def test_nan_and_infinities_arrive() -> None:
    points = Points(
        array("d", [math.nan, math.inf, -math.inf]), array("q", [1] * 3), array("q", [0] * 3)
    )
    arrived = there_and_back(Run("r", points={"m": points}))
    assert repr(arrived.points["m"].values) == repr(points.values)


def test_store_arrives_as_it_was() -> None:
    model = RegisteredModel("clf", aliases=Values({"champion": 2}))
    model.versions = {1: ModelVersion(1), 2: ModelVersion(2, "Production", {"source": "s"})}
    state = StoreState(
        models={"m-1": LoggedModel("m-1", metrics=[{"value": 1.5}])},
        registered_models={"clf": model},
        traces={"tr-1": Trace("tr-1", spans={"a": {"name": "n"}}, runs=["r"])},
        unhandled_calls=[("method", {"a": [1]})],
    )
    assert there_and_back(state) == state


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {"run_id": 1},
        {"run_id": "r", "another": 1},
        {"run_id": "r", "params": {"a": 1}},
        {"run_id": "r", "points": {"m": {"values": ["x"]}}},
        {"run_id": "r", "points": {"m": {"steps": [2**64]}}},
        {"run_id": "r", "tags": {"values": 1, "earlier": {}}},
        {"run_id": "r", "output_models": [["m-1"]]},
    ],
)
def test_other_content_is_refused(content: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_json(Run, content)


def test_body_is_read_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_protocol, "MAX_BODY_BYTES", 1000)
    with pytest.raises(OverflowError, match="1000"):
        sync_protocol.unpack(gzip.compress(json.dumps("x" * 100_000).encode()))
    for body in (b"", b"plain", gzip.compress(b"{}")[:-3], gzip.compress(b"{")):
        with pytest.raises(ValueError, match=r"."):
            sync_protocol.unpack(body)
