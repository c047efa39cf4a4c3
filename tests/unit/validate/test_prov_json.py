"""The reader of PROV-JSON finds the same violations as the schema."""

from __future__ import annotations

import copy
import json
from functools import cache
from importlib.resources import files as resources
from typing import Any

import jsonschema
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.model.relations import KINDS
from yprov_mlflow.prov.validate import Finding, Statement, validate

PREFIX = {"ex": "http://example.org/", "default": "http://example.org/d#"}


@cache
def schema() -> Any:
    """Return the schema in the ``prov`` package, with its mistakes corrected."""
    text = resources("prov").joinpath("tests/schemas/prov-json.schema.json").read_text("utf-8")
    found = json.loads(text)
    for members in (found["properties"], found["definitions"]["bundle"]["properties"]):
        members["wasEndedBy"] = members.pop("wasEndedby")
        ends = ("specificEntity", "generalEntity", "bundle")
        mention = {f"prov:{end}": {"type": "string"} for end in ends}
        members["mentionOf"] = {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": mention,
                "required": list(mention),
                "additionalProperties": {"$ref": "#/definitions/attributeValues"},
            },
        }
        for section in members.keys() - {"prefix", "bundle"}:
            one = members[section]["additionalProperties"]
            several = {"type": "array", "items": one, "minItems": 1}
            members[section]["additionalProperties"] = {"anyOf": [one, several]}
    found["definitions"]["bundle"]["additionalProperties"] = False
    usage = copy.deepcopy(found["definitions"]["generation"])
    usage["required"] = ["prov:activity"]
    found["definitions"]["usage"] = usage
    text_or_texts = {"anyOf": [{"type": "string"}, {"$ref": "#/definitions/texts"}]}
    found["definitions"]["texts"] = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    found["definitions"]["membership"]["properties"]["prov:entity"] = text_or_texts
    for relation in ("start", "generation", "invalidation", "association", "derivation"):
        assert found["definitions"][relation]["required"]
    for starter in ("prov:starter", "prov:ender"):  # the schema forgot them
        found["definitions"]["start"]["properties"][starter] = {"type": "string"}
    jsonschema.Draft4Validator.check_schema(found)
    return jsonschema.Draft4Validator(found)


def is_schema_violation(finding: Finding) -> bool:
    return finding.severity == "error" and (
        finding.rule == "PROV-JSON schema" or "required arguments are missing" in finding.message
    )


ids = st.sampled_from(["ex:a", "ex:b", "c", "_:d"])
scalars = (
    st.sampled_from(["x", "", "ex:a"])
    | st.integers(-(2**70), 2**70)
    | st.booleans()
    | st.floats(allow_nan=False)
)
typed = st.fixed_dictionaries(
    {"$": st.just("1")}, optional={"type": st.just("xsd:int"), "lang": st.just("en")}
)
values = scalars | typed | st.lists(scalars | typed, min_size=1, max_size=2)
invalid_values = (
    st.none()
    | st.just([])
    | st.just({})
    | st.just({"$": 1})
    | st.just({"$": "1", "other": "2"})
    | st.just({"type": "xsd:int"})
    | st.just({"$": "1", "lang": None})
    | st.just([[1]])
    | st.just([None])
    | st.just([{"$": 1}])
)


@st.composite
def records(draw: st.DrawFn, section: str) -> Any:
    kind = KINDS[section]
    record: dict[str, Any] = {formal: draw(ids) for formal in kind.formals}
    record |= {time: "2026-01-01T00:00:00Z" for time in kind.times}
    record |= draw(st.dictionaries(st.sampled_from(["ex:k", "prov:type", "l"]), values, max_size=2))
    return record


@st.composite
def instances(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {"prefix": PREFIX}
    for section in draw(st.sets(st.sampled_from(list(KINDS)), max_size=4)):
        one = records(section)
        found[section] = draw(
            st.dictionaries(ids, one | st.lists(one, min_size=1, max_size=2), max_size=2)
        )
    return found


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    found = draw(instances())
    if draw(st.booleans()):
        found["bundle"] = draw(st.dictionaries(st.just("ex:bundle"), instances(), max_size=1))
    return found


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values in a JSON value, except for prefixes."""
    inside: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inside = [(k, v) for k, v in value.items() if k not in ("prefix", "lang", "type", "$")]
    elif isinstance(value, list):
        inside = list(enumerate(value))
    return [place, *(found for key, one in inside for found in places(one, (*place, key)))]


def put(document: Any, place: tuple[Any, ...], value: Any) -> Any:
    """Return the document with another value at a path, or without that member."""
    if not place:
        return value
    found = copy.copy(document)
    if value is put and len(place) == 1:
        del found[place[0]]
    else:
        found[place[0]] = put(document[place[0]], place[1:], value)
    return found


bounded = settings(max_examples=150, deadline=None)


@bounded
@given(documents())
def test_documents_valid_by_the_schema_are_valid(document: dict[str, Any]) -> None:
    schema().validate(document)
    assert not [f for f in validate(document) if is_schema_violation(f)]


@bounded
@given(documents(), st.data())
def test_violations_are_the_same_as_by_the_schema(
    document: dict[str, Any], data: st.DataObject
) -> None:
    inside = [place for place in places(document) if place]
    assume(inside)
    place = data.draw(st.sampled_from(inside))
    damaged = put(document, place, data.draw(invalid_values | values | st.just(put)))
    # The schema lets the times of activities be anything; here they have to be times.
    assume(place[-1] not in ("prov:startTime", "prov:endTime"))
    found = [f for f in validate(damaged) if is_schema_violation(f)]
    assert bool(found) is not schema().is_valid(damaged), found


@pytest.mark.parametrize(
    ("document", "part"),
    [
        ({"wasEndedby": {}}, "did you mean wasEndedBy?"),
        ({"entities": {}}, "unknown kind of records"),
        ({"entity": []}, "a list is not an object"),
        ({"prefix": {"ex": 1}}, "1 is not a string"),
        ({"prefix": []}, "a list is not an object"),
        ({"bundle": {"ex:b": []}}, "a list is not an object"),
        ({"bundle": {"ex:b": {"bundle": {}}}}, "cannot contain bundles"),
        ({"used": {"ex:u": {"prov:activity": 1}}}, "prov:activity is 1, not a string"),
        ({"entity": {"ex:e": {"ex:k": None}}}, "ex:k is null"),
    ],
)
def test_message_names_the_violation(document: dict[str, Any], part: str) -> None:
    document = {"prefix": PREFIX, **document}
    found = [f for f in validate(document) if f.rule == "PROV-JSON schema"]
    assert any(part in f.message for f in found), found


def test_invalid_times_are_errors() -> None:
    document = {
        "prefix": PREFIX,
        "activity": {
            "a": {"prov:startTime": "yesterday"},
            "b": {"prov:startTime": 1767225600},
            "c": {"prov:startTime": {"$": "2026-01-01T00:00:00", "type": "xsd:dateTime"}},
        },
    }
    found = validate(document)
    assert [f.message for f in found] == [
        "'yesterday' is not an xsd:dateTime",
        "'1767225600' is not an xsd:dateTime",
    ]


def test_names_with_the_same_iri_are_equal() -> None:
    def same(prefixes: dict[str, str], first: str, second: str) -> bool:
        document = {"prefix": prefixes, "entity": {first: {}}, "activity": {second: {}}}
        return bool(validate(document))

    one = "http://example.org/"
    assert same({"a": one, "b": one}, "a:x", "b:x")
    assert same({"a": one, "b": f"{one}deep/"}, "a:deep/x", "b:x")
    assert same({"a": one, "default": one}, "x", "a:x")
    assert not same({"a": one, "b": f"{one}b"}, "a:x", "b:x")
    assert not same({"a": one, "b": "urn:b:"}, "a:x", "b:x")


def test_undeclared_prefixes_are_errors() -> None:
    document = {
        "prefix": {"ex": "http://example.org/"},
        "entity": {"ex:a": {"foo:key": "x", "prov:type": {"$": "bar:T", "type": "xsd:QName"}}},
        "used": {"_:u": {"prov:activity": "baz:a", "prov:entity": "plain"}},
    }
    found = validate(document)
    assert {f.rule for f in found} == {"Namespaces"}
    assert sorted(f.record for f in found) == ["bar:T", "baz:a", "foo:key", "plain"]


def test_bundles_inherit_the_prefixes_of_the_document() -> None:
    inner = {"prefix": {"b": "urn:b:"}, "entity": {"a:e": {}, "b:e": {}}}
    assert validate({"prefix": {"a": "urn:a:"}, "bundle": {"a:one": inner}}) == []
    (finding,) = validate({"bundle": {"b:one": inner}})
    assert (finding.record, finding.bundle) == ("a:e", "b:one")


def test_several_records_under_one_id() -> None:
    used = [
        {"prov:activity": "ex:a", "prov:entity": "ex:e"},
        {"prov:activity": "ex:a", "prov:time": "2026-01-01T00:00:00Z"},
    ]
    document = {"prefix": PREFIX, "used": {"ex:u": used}}
    assert validate(document) == []
    used[1]["prov:entity"] = "ex:f"
    (finding,) = validate(document)
    assert finding.rule.startswith("Constraint 23")
    assert validate({"prefix": PREFIX, "used": {"_:u": used}}) == []


def test_members_may_be_listed() -> None:
    membership = {"prov:collection": "ex:c", "prov:entity": ["ex:e", "ex:a"]}
    document = {"prefix": PREFIX, "hadMember": {"_:m": membership}}
    assert validate(document) == []
    (finding,) = validate({**document, "activity": {"ex:a": {}}})
    assert finding.rule.startswith("Constraint 55")


def test_lists_of_ids_from_other_formats_are_compared() -> None:
    record = {"prov:activity": "ex:a", "prov:entity": ["ex:e", "ex:f"]}
    document = Document(PREFIX, {"used": {"ex:u": record}})
    (finding,) = validate(document)
    assert finding.rule.startswith("Constraint 23")


def test_statements_from_an_iterator() -> None:
    statements = [
        Statement("used", "ex:u", ("ex:a", "ex:e"), (None,)),
        Statement("used", "ex:u", ("ex:a", "foo:e"), (None,)),
    ]
    found = validate(iter(statements), prefixes={**PREFIX, "foo": "urn:foo:"})
    assert [f.rule for f in found] == ["Constraint 23: key-properties"]
    assert validate(statements, prefixes={**PREFIX, "foo": PREFIX["ex"]}) == []


def test_validation_does_not_change_the_document() -> None:
    document = {
        "prefix": PREFIX,
        "entity": {"ex:e": {"prov:type": [{"$": "ex:T", "type": "xsd:QName"}]}},
        "used": {"ex:u": [{"prov:activity": "ex:a"}, {"prov:activity": "ex:b"}]},
        "bundle": {"ex:b": {"activity": {"ex:a": {}}}},
    }
    before = copy.deepcopy(document)
    assert validate(document) == validate(document)
    assert document == before
