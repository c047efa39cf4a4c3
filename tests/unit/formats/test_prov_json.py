"""PROV-JSON of other tools."""

from __future__ import annotations

import io
import json

import pytest

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats import FORMATS, prov_json
from yprov_mlflow.prov.formats.bundles import Bundle
from yprov_mlflow.prov.model.document import Document


def load(members):
    content = members if isinstance(members, bytes) else json.dumps(members).encode()
    return list(FORMATS["prov-json"].load(io.BytesIO(content)))


def test_bundles_and_records_outside_them_are_documents():
    flat, bundle = load(
        {
            "prefix": {"ex": "http://e/", "other": "http://o/"},
            "bundle": {
                "ex:b": {"prefix": {"ex": "http://inner/"}, "agent": {"ex:x": {}}},
            },
            "entity": {"ex:b": {"prov:type": {"$": "prov:Bundle", "type": "xsd:QName"}}},
        }
    )
    assert list(flat.records) == ["entity"]
    assert isinstance(bundle, Bundle) and bundle.name.iri == "http://e/b"
    assert bundle.prefixes == {"ex": "http://inner/", "other": "http://o/"}
    assert bundle.records == {"agent": {"ex:x": {}}}


def test_bundle_keeps_its_name():
    (bundle,) = load({"prefix": {"ex": "http://e/"}, "bundle": {"ex:b": {"agent": {"ex:x": {}}}}})
    for name in ("prov-json", "trig", "prov-n", "prov-xml"):
        stream = io.BytesIO()
        FORMATS[name].dump([bundle], stream)
        stream.seek(0)
        (loaded,) = FORMATS[name].load(stream)
        assert isinstance(loaded, Bundle) and loaded.name.iri == "http://e/b"
        assert loaded == bundle


def test_bundles_are_named_after_their_runs(documents):
    stream = io.BytesIO()
    prov_json.dump(documents[:1], stream)
    written = json.loads(stream.getvalue())
    hexadecimal = "0" * 31 + "1"
    assert list(written["bundle"]) == [f"run-{hexadecimal}:record"]
    assert list(written["prefix"]) == [f"run-{hexadecimal}"]
    assert written["bundle"][f"run-{hexadecimal}:record"]["prefix"] == documents[0].prefixes


def test_records_with_the_same_id_are_merged():
    records = [{"prov:type": "a", "ex:x": 1}, {"prov:type": ["a", "b"], "ex:y": 2}]
    (document,) = load({"entity": {"ex:e": records}})
    assert document.records["entity"] == {"ex:e": {"prov:type": ["a", "b"], "ex:x": 1, "ex:y": 2}}


def test_contradicting_records_get_a_list():
    records = [{"prov:entity": "ex:e", "prov:activity": f"ex:{n}"} for n in "ab"]
    (document,) = load({"wasGeneratedBy": {"ex:g": records}})
    record = document.records["wasGeneratedBy"]["ex:g"]
    assert record == {"prov:entity": "ex:e", "prov:activity": ["ex:a", "ex:b"]}
    with pytest.raises(DocumentError, match="at most one prov:activity"):
        document.prefixes["ex"] = "http://e/"
        FORMATS["n-quads"].dump([document], io.BytesIO())


def test_relations_with_blank_ids_are_not_merged():
    records = [{"prov:entity": "ex:e", "prov:activity": f"ex:{n}"} for n in "ab"]
    members = {"prov:collection": "ex:c", "prov:entity": ["ex:1", {"$": "ex:2"}]}
    (document,) = load({"used": {"_:u": records}, "hadMember": {"_:m": members}})
    assert document.records["used"] == {"_:u": records[0], "_:u/2": records[1]}
    assert document.records["hadMember"] == {
        "_:m": {"prov:collection": "ex:c", "prov:entity": "ex:1"},
        "_:m/2": {"prov:collection": "ex:c", "prov:entity": "ex:2"},
    }


def test_typed_ends_and_times_become_text():
    name = {"$": "ex:a", "type": "prov:QUALIFIED_NAME"}
    time = {"$": "2026-01-01T00:00:00", "type": "xsd:dateTime"}
    (document,) = load({"used": {"ex:u": {"prov:activity": name, "prov:time": time}}})
    assert document.records["used"]["ex:u"] == {
        "prov:activity": "ex:a",
        "prov:time": "2026-01-01T00:00:00",
    }


def test_byte_order_mark_and_missing_prefixes_are_accepted():
    (document,) = load(b'\xef\xbb\xbf {"entity": {"e": {}}}')
    assert (document.prefixes, document.records) == ({}, {"entity": {"e": {}}})


@pytest.mark.parametrize(
    "members",
    [
        b"",
        b"[]",
        b'"text"',
        b"nothing",
        {"entity": []},
        {"entity": {"e": 1}},
        {"entity": {"e": [1]}},
        {"prefix": {"ex": 1}},
        {"prefix": ["ex"]},
        {"bundle": []},
        {"bundle": {"ex:b": []}},
        {"bundle": {"ex:b": {"bundle": {}}}},
        {"used": {"u": {"prov:entity": 5}}},
        b'{"bundle":{\n"a:b":{}\n',
        b'{"bundle":{\n"a:b":[]\n},"prefix":{}}',
        b'{"bundle":{\n"a:b":{},\n}',
    ],
)
def test_invalid_prov_json_is_an_error(members):
    with pytest.raises(DocumentError):
        load(members)


def test_loads_error_for_bundles_names_load():
    with pytest.raises(DocumentError, match=r"prov_json\.load"):
        prov_json.loads(b'{"bundle": {}}')


def test_lone_surrogates_are_an_error():
    document = Document({"ex": "http://e/"}, {"entity": {"ex:e": {"ex:a": "\ud800"}}})
    for name in FORMATS.keys() - {"prov-xml"}:
        with pytest.raises(DocumentError):
            FORMATS[name].dump([document], io.BytesIO(), single=True)
