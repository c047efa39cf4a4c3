"""What a call held becomes JSON: all of it, but no secret."""

from __future__ import annotations

import datetime
import enum
import json

from hypothesis import given
from hypothesis import strategies as st
from mlflow.entities import Metric, RunTag, ViewType
from mlflow.entities.model_registry import ModelVersion

from yprov_mlflow.prov import redaction, serialize


class Colour(enum.Enum):
    RED = "red"


class Odd:
    def __repr__(self) -> str:
        return "odd"


def test_entities_become_their_properties() -> None:
    assert serialize.to_json(RunTag("k", "v")) == {"key": "k", "value": "v"}
    metric = serialize.to_json(Metric("loss", 0.5, 17, 3))
    assert metric["key"] == "loss" and metric["value"] == 0.5 and metric["step"] == 3
    version = serialize.to_json(ModelVersion("iris", "2", 5, run_id="r"))
    assert version["name"] == "iris" and version["version"] == "2" and version["run_id"] == "r"


def test_other_values() -> None:
    assert serialize.to_json(Colour.RED) == "red"
    assert serialize.to_json(b"\x00\xff") == "AP8="
    assert serialize.to_json(datetime.date(2026, 1, 2)) == "2026-01-02"
    assert serialize.to_json({"a": (1, {2})}) == {"a": [1, [2]]}
    assert serialize.to_json(Odd()) == "odd"
    assert serialize.to_json(ViewType.ALL) == 3


def test_what_contains_itself_ends() -> None:
    endless: list[object] = []
    endless.append(endless)
    assert json.dumps(serialize.to_json(endless))


def test_secrets_are_withheld_wherever_they_are() -> None:
    given = {"name": "n", "secret_value": {"key": "hunter2"}, "config": {"api_key": "hunter2"}}
    for method in ("create_gateway_secret", "create_webhook", "create_gateway_endpoint"):
        found = serialize.arguments(method, given)
        assert "hunter2" not in json.dumps(found)
        assert found["name"] == "n"


def test_arguments_that_were_not_given_are_left_out() -> None:
    assert serialize.arguments("update_x", {"a": object(), "b": None}) == {"b": None}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(json_values)
def test_json_stays_as_it_is(value: object) -> None:
    def secret(item: object) -> bool:
        if isinstance(item, dict):
            return any(
                redaction.is_secret(k) or redaction.redact_field(k, v) != v or secret(v)
                for k, v in item.items()
            )
        return isinstance(item, list) and any(map(secret, item))

    if not secret(value):
        assert serialize.to_json(value) == value
