"""The builder of documents, the vocabulary, the page of records, the format."""

from __future__ import annotations

import re

import pytest

from yprov_mlflow.prov.events import KINDS
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.translate import RECORDS, TERMS, Builder
from yprov_mlflow.prov.translate.media_types import media_type


def test_one_id_is_of_one_kind() -> None:
    builder = Builder()
    builder.entity("run:x")
    with pytest.raises(ValueError, match="cannot be an activity"):
        builder.activity("run:x")


def test_an_entity_is_made_once() -> None:
    builder = Builder()
    first = builder.was_generated_by("run:e", "run:a")
    assert builder.was_generated_by("run:e", "run:a") == first
    with pytest.raises(ValueError, match="and not by"):
        builder.was_generated_by("run:e", "run:b")


def test_equal_relations_are_one_and_others_are_not() -> None:
    builder = Builder()
    assert builder.used("run:a", "run:e", "1") == builder.used("run:a", "run:e", "2")
    assert builder.used("run:a", "store:e") != builder.used("run:a", "run:e")
    assert builder.used("run:a", "run:e", extra="test") != builder.used("run:a", "run:e")
    assert len(builder.records["used"]) == 3


def test_types_add_up_and_attributes_are_replaced() -> None:
    builder = Builder()
    builder.entity("run:e", ["mlf:Tag"], "old", {"schema:name": "a"})
    builder.entity("run:e", ["mlf:Tag", "mlf:Name"], "new", {"schema:name": None})
    record = builder.records["entity"]["run:e"]
    assert [value["$"] for value in record["prov:type"]] == ["mlf:Tag", "mlf:Name"]
    assert (record["prov:label"], record["schema:name"]) == ("new", "a")


def test_nothing_is_used_before_it_is_made_or_after_its_end() -> None:
    builder = Builder()
    builder.used("run:a", "run:e", "2026-01-01")
    assert builder.was_generated_by("run:e", "run:b", "2026-01-02") is None
    builder.was_invalidated_by("run:f", "run:b", "2026-01-02")
    builder.used("run:a", "run:f", "2026-01-03")
    assert len(builder.records["wasInfluencedBy"]) == 2
    assert "wasGeneratedBy" not in builder.records


def test_nothing_is_made_before_what_it_came_from() -> None:
    builder = Builder()
    builder.was_generated_by("run:whole", "run:a", "2026-01-03")
    builder.specialization_of("run:part", "run:whole")
    assert builder.was_generated_by("run:part", "run:b", "2026-01-01") is None
    builder.was_derived_from("run:next", "run:part")
    assert builder.was_invalidated_by("run:next", "run:c", "2026-01-02") is None
    assert builder.was_invalidated_by("run:next", "run:d", "2026-01-04") is not None


def test_nothing_comes_from_itself() -> None:
    builder = Builder()
    builder.was_derived_from("run:b", "run:a")
    builder.was_derived_from("run:c", "run:b")
    builder.was_derived_from("run:a", "run:c")
    builder.was_derived_from("run:a", "run:a")
    assert len(builder.records["wasDerivedFrom"]) == 2
    assert len(builder.records["wasInfluencedBy"]) == 2


def test_every_kind_of_event_has_its_records_told() -> None:
    assert set(RECORDS) == set(KINDS)


def test_every_term_has_a_label_and_a_sentence() -> None:
    for name, term in TERMS.items():
        assert term.kind in {"class", "property", "individual"}
        assert re.fullmatch(r"[a-z0-9 ]+", term.label), name
        assert re.match(r"[A-Z].*\.\Z", term.comment), name
        assert name[0].isupper() == (term.kind == "class" or name.isupper())


def test_media_types_are_those_of_no_machine() -> None:
    assert media_type("a/b.PNG") == "image/png"
    assert media_type("model/MLmodel") == "application/yaml"
    assert media_type("weights.unheard") is None


def test_prov_json_reads_back_what_it_wrote() -> None:
    builder = Builder()
    builder.entity("run:e", ["mlf:Tag"], "ä")
    document = builder.document({"run": "urn:x#", "mlf": "urn:m#"})
    assert prov_json.loads(prov_json.dumps(document)) == document
    assert len(document) == len(prov_json.to_prov(document).get_records()) == 1


@pytest.mark.parametrize("content", [b"[]", b'{"entity": 1}', b'{"bundle": {}}', b"nothing"])
def test_prov_json_refuses_what_it_cannot_read(content: bytes) -> None:
    with pytest.raises(ValueError):
        prov_json.loads(content)
