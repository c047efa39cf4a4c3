"""Parsing member by member gives the same as ``json``."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yprov_mlflow.prov.validate import strict_json

texts = st.text(alphabet='{}[]",:\\ab\u2603\n', max_size=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=20,
)


def plain(value: Any) -> Any:
    if isinstance(value, strict_json.Members):
        return {key: plain(member) for key, member in value.items()}
    return value


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(texts | st.just("bundle"), values, max_size=4),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_objects_parse_as_with_json(
    document: dict[str, Any], indent: int | None, ascii_only: bool
) -> None:
    content = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode()
    members = strict_json.parse(content)
    assert plain(members) == document
    assert members.repeated == []


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=30) | st.text(alphabet='{}[]",:\\a1 ', max_size=30).map(str.encode))
def test_other_content_is_malformed(content: bytes) -> None:
    try:
        expected = json.loads(content)
    except ValueError:
        expected = None
    try:
        parsed = plain(strict_json.parse(content))
    except strict_json.Malformed:
        parsed = None
    assert parsed == (expected if isinstance(expected, dict) else None)


@pytest.mark.parametrize(
    ("content", "repeated"),
    [
        ('{"a": 1, "a": 2}', ["'a'"]),
        ('{"a": {"x": {}, "x": {"y": 1}, "z": [{}, {}]}}', ["1 of the ids in 'a'"]),
        ('{"bundle": {"a": 1}, "x": {"a": {"b": {}, "b": {}}}}', []),
    ],
)
def test_repeated_keys_are_reported(content: str, repeated: list[str]) -> None:
    members = strict_json.parse(content.encode())
    dict(members)
    assert members.repeated == repeated


@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_deep_nesting_is_an_error(bracket: str) -> None:
    content = ('{"x":' + bracket * 1_000_000).encode()
    with pytest.raises(strict_json.Malformed):
        dict(strict_json.parse(content))


def test_only_one_bundle_is_in_memory() -> None:
    inside = ",".join(f'"ex:e{n}":{{"ex:k":"{"x" * 100}"}}' for n in range(1000))
    bundles = ",".join(f'"b{n}":{{"entity":{{{inside}}}}}' for n in range(100))
    content = f'{{"bundle":{{{bundles}}}}}'.encode()
    tracemalloc.start()
    for bundle in strict_json.parse(content)["bundle"].values():
        assert len(bundle["entity"]) == 1000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < len(content) / 4
