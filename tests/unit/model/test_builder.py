"""The builder of documents."""

from __future__ import annotations

import pytest

from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.model.builder import Builder


def test_an_identifier_has_one_kind() -> None:
    builder = Builder()
    builder.entity("run:x")
    with pytest.raises(ValueError, match="cannot be an activity"):
        builder.activity("run:x")


def test_an_entity_is_generated_once() -> None:
    builder = Builder()
    first = builder.was_generated_by("run:e", "run:a")
    assert builder.was_generated_by("run:e", "run:a") == first
    with pytest.raises(ValueError, match="and not by"):
        builder.was_generated_by("run:e", "run:b")


def test_equal_relations_are_one_record() -> None:
    builder = Builder()
    assert builder.used("run:a", "run:e", "1") == builder.used("run:a", "run:e", "2")
    assert builder.used("run:a", "store:e") != builder.used("run:a", "run:e")
    assert builder.used("run:a", "run:e", extra="test") != builder.used("run:a", "run:e")
    assert len(builder.records["used"]) == 3


def test_types_are_added_and_attributes_replaced() -> None:
    builder = Builder()
    builder.entity("run:e", ["mlf:Tag"], "old", {"schema:name": "a"})
    builder.entity("run:e", ["mlf:Tag", "mlf:Name"], "new", {"schema:name": None})
    record = builder.records["entity"]["run:e"]
    assert [value["$"] for value in record["prov:type"]] == ["mlf:Tag", "mlf:Name"]
    assert (record["prov:label"], record["schema:name"]) == ("new", "a")


def test_usage_before_generation_or_after_invalidation_is_an_influence() -> None:
    builder = Builder()
    builder.used("run:a", "run:e", "2026-01-01")
    assert builder.was_generated_by("run:e", "run:b", "2026-01-02") is None
    builder.was_invalidated_by("run:f", "run:b", "2026-01-02")
    builder.used("run:a", "run:f", "2026-01-03")
    assert len(builder.records["wasInfluencedBy"]) == 2
    assert "wasGeneratedBy" not in builder.records


def test_generation_before_that_of_the_origin_is_an_influence() -> None:
    builder = Builder()
    builder.was_generated_by("run:whole", "run:a", "2026-01-03")
    builder.specialization_of("run:part", "run:whole")
    assert builder.was_generated_by("run:part", "run:b", "2026-01-01") is None
    builder.was_derived_from("run:next", "run:part")
    assert builder.was_invalidated_by("run:next", "run:c", "2026-01-02") is None
    assert builder.was_invalidated_by("run:next", "run:d", "2026-01-04") is not None


def test_cyclic_derivations_are_influences() -> None:
    builder = Builder()
    builder.was_derived_from("run:b", "run:a")
    builder.was_derived_from("run:c", "run:b")
    builder.was_derived_from("run:a", "run:c")
    builder.was_derived_from("run:a", "run:a")
    assert len(builder.records["wasDerivedFrom"]) == 2
    assert len(builder.records["wasInfluencedBy"]) == 2


def test_relations_have_their_attributes() -> None:
    builder = Builder()
    builder.was_started_by("run:a", "run:b", "2026-01-01")
    builder.was_associated_with("run:a", "run:agent", "mlf:owner", "run:plan")
    builder.acted_on_behalf_of("run:delegate", "run:agent", "run:a")
    assert builder.records["wasStartedBy"] == {
        "run:start/a!b": {
            "prov:activity": "run:a",
            "prov:starter": "run:b",
            "prov:time": "2026-01-01",
        }
    }
    assert builder.records["wasAssociatedWith"] == {
        "run:association/a!agent": {
            "prov:activity": "run:a",
            "prov:agent": "run:agent",
            "prov:plan": "run:plan",
            "prov:role": {"$": "mlf:owner", "type": "xsd:QName"},
        }
    }
    assert list(builder.records["actedOnBehalfOf"]) == ["run:delegation/delegate!agent!run$a"]


def test_prov_json_round_trip() -> None:
    builder = Builder()
    builder.entity("run:e", ["mlf:Tag"], "ä")
    document = builder.document({"run": "urn:x#", "mlf": "urn:m#"})
    assert prov_json.loads(prov_json.dumps(document)) == document
    assert len(document) == len(prov_json.to_prov(document).get_records()) == 1


@pytest.mark.parametrize("content", [b"[]", b'{"entity": 1}', b'{"bundle": {}}', b"nothing"])
def test_prov_json_refuses_other_content(content: bytes) -> None:
    with pytest.raises(ValueError):
        prov_json.loads(content)
