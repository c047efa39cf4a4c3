"""Objects of MLflow become JSON, with all their properties."""

from __future__ import annotations

import datetime
import enum
import json
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st
from mlflow.entities import Dataset, DatasetInput, Expectation, InputTag, Metric, RunTag, ViewType
from mlflow.entities.model_registry import ModelVersion

from yprov_mlflow.prov import serialize


class Color(enum.Enum):
    RED = "red"


class Odd:
    def __repr__(self) -> str:
        return "odd"


def test_entities_become_objects_of_their_properties() -> None:
    assert serialize.to_json(RunTag("k", "v")) == {"key": "k", "value": "v"}
    metric = serialize.to_json(Metric("loss", 0.5, 17, 3))
    assert metric["key"] == "loss" and metric["value"] == 0.5 and metric["step"] == 3
    version = serialize.to_json(ModelVersion("iris", "2", 5, run_id="r"))
    assert version["name"] == "iris" and version["version"] == "2" and version["run_id"] == "r"


def test_enums_bytes_dates_and_other_objects_become_json() -> None:
    assert serialize.to_json(Color.RED) == "red"
    assert serialize.to_json(b"\x00\xff") == "AP8="
    assert serialize.to_json(datetime.date(2026, 1, 2)) == "2026-01-02"
    assert serialize.to_json({"a": (1, {2})}) == {"a": [1, [2]]}
    assert serialize.to_json(Odd()) == "odd"
    assert serialize.to_json(ViewType.ALL) == 3


def test_object_that_contains_itself_is_cut_off() -> None:
    endless: list[object] = []
    endless.append(endless)
    assert json.dumps(serialize.to_json(endless))


def test_arguments_of_methods_for_secrets_have_names_and_ids_only() -> None:
    values = {"name": "n", "secret_value": {"key": "hunter2"}, "config": {"api_key": "hunter2"}}
    for method in ("create_gateway_secret", "create_webhook"):
        arguments = serialize.arguments(method, values)
        assert "hunter2" not in json.dumps(arguments)
        assert arguments["name"] == "n"


def test_result_of_a_method_for_secrets_has_names_and_ids_only() -> None:
    secret = SimpleNamespace(secret_name="n", secret_id="1", value="hunter2")
    assert serialize.result("get_secret", secret) == {"secret_name": "n", "secret_id": "1"}


def test_parameters_that_the_user_left_out_are_omitted() -> None:
    assert serialize.arguments("update_x", {"a": object(), "b": None}) == {"b": None}


def test_assessment_that_a_server_updates_is_that_of_a_client() -> None:
    whole = Expectation(name="answer", value="yes")
    from_server = serialize.arguments("update_assessment", {"expectation": whole})
    from_client = serialize.arguments("update_assessment", {"expectation": whole.expectation})
    assert from_server == from_client == {"expectation": {"value": "yes"}}


def test_dataset_has_none_for_missing_and_empty_fields() -> None:
    dataset = Dataset("wine", "abc", "local", "wine.csv", schema="", profile=None)
    assert serialize.dataset(DatasetInput(dataset, [InputTag("mlflow.data.context", "eval")])) == {
        **{"name": "wine", "digest": "abc", "source_type": "local", "source": "wine.csv"},
        **{"schema": None, "profile": None, "tags": {"mlflow.data.context": "eval"}},
    }


class Lazy:
    """An entity of MLflow whose property asks a store when it is read."""

    __module__ = "mlflow.entities"

    def __init__(self) -> None:
        self.name = "d"
        self._records: list[int] | None = None
        self._cache: dict[str, int] = {}

    @property
    def records(self) -> list[int]:
        if self._records is None:
            self._records = self._load()
        return self._records

    def _load(self) -> list[int]:
        return [1]

    @property
    def size(self) -> int:
        return self._cache.setdefault("size", len(self.name))

    def to_dict(self) -> dict[str, object]:
        return {"name": self.name, "size": self.size, "records": self.records}


def test_what_an_entity_loads_on_demand_is_left_out_until_it_is_loaded() -> None:
    entity = Lazy()
    assert serialize.to_json(entity) == {"name": "d", "size": 1}
    assert (entity._records, entity._cache) == (None, {})
    assert entity.records == [1]
    assert serialize.to_json(entity) == {"name": "d", "size": 1, "records": [1]}
    assert entity._cache == {}


class Holder:
    """An entity of MLflow with another inside."""

    __module__ = "mlflow.entities"

    def __init__(self) -> None:
        self.inner = Lazy()

    def to_dict(self) -> dict[str, object]:
        return {"size": self.inner.size}


def test_caches_of_entities_in_entities_stay_empty() -> None:
    holder = Holder()
    assert serialize.to_json(holder) == {"size": 1}
    assert holder.inner._cache == {}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(json_values)
def test_json_values_are_unchanged(value: object) -> None:
    assert serialize.to_json(value) == value
