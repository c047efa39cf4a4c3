"""PROV-JSON as other tools write it."""

from __future__ import annotations

import io
import json

import pytest

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats import FORMATS, prov_json
from yprov_mlflow.prov.formats.bundles import Bundle
from yprov_mlflow.prov.translate import Document


def load(found):
    content = found if isinstance(found, bytes) else json.dumps(found).encode()
    return list(FORMATS["prov-json"].load(io.BytesIO(content)))


def test_bundles_are_documents_and_so_is_what_is_outside():
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


def test_a_bundle_keeps_its_name(tmp_path):
    (bundle,) = load({"prefix": {"ex": "http://e/"}, "bundle": {"ex:b": {"agent": {"ex:x": {}}}}})
    for name in ("prov-json", "trig", "prov-n", "prov-xml"):
        stream = io.BytesIO()
        FORMATS[name].dump([bundle], stream)
        stream.seek(0)
        (found,) = FORMATS[name].load(stream)
        assert isinstance(found, Bundle) and found.name.iri == "http://e/b"
        assert found == bundle


def test_bundles_are_told_by_their_runs(documents):
    stream = io.BytesIO()
    prov_json.dump(documents[:1], stream)
    found = json.loads(stream.getvalue())
    hexadecimal = "0" * 31 + "1"
    assert list(found["bundle"]) == [f"run-{hexadecimal}:record"]
    assert list(found["prefix"]) == [f"run-{hexadecimal}"]
    assert found["bundle"][f"run-{hexadecimal}:record"]["prefix"] == documents[0].prefixes


def test_records_of_one_id_are_one_record():
    several = [{"prov:type": "a", "ex:x": 1}, {"prov:type": ["a", "b"], "ex:y": 2}]
    (found,) = load({"entity": {"ex:e": several}})
    assert found.records["entity"] == {"ex:e": {"prov:type": ["a", "b"], "ex:x": 1, "ex:y": 2}}


def test_records_that_contradict_each_other_show_it():
    several = [{"prov:entity": "ex:e", "prov:activity": f"ex:{n}"} for n in "ab"]
    (found,) = load({"wasGeneratedBy": {"ex:g": several}})
    record = found.records["wasGeneratedBy"]["ex:g"]
    assert record == {"prov:entity": "ex:e", "prov:activity": ["ex:a", "ex:b"]}
    with pytest.raises(DocumentError, match="one prov:activity at most"):
        FORMATS["n-quads"].dump([Document({"ex": "http://e/"}, found.records)], io.BytesIO())


def test_relations_without_ids_stay_several():
    several = [{"prov:entity": "ex:e", "prov:activity": f"ex:{n}"} for n in "ab"]
    members = {"prov:collection": "ex:c", "prov:entity": ["ex:1", {"$": "ex:2"}]}
    (found,) = load({"used": {"_:u": several}, "hadMember": {"_:m": members}})
    assert found.records["used"] == {"_:u": several[0], "_:u/2": several[1]}
    assert found.records["hadMember"] == {
        "_:m": {"prov:collection": "ex:c", "prov:entity": "ex:1"},
        "_:m/2": {"prov:collection": "ex:c", "prov:entity": "ex:2"},
    }


def test_ends_and_times_may_be_typed():
    name = {"$": "ex:a", "type": "prov:QUALIFIED_NAME"}
    time = {"$": "2026-01-01T00:00:00", "type": "xsd:dateTime"}
    (found,) = load({"used": {"ex:u": {"prov:activity": name, "prov:time": time}}})
    assert found.records["used"]["ex:u"] == {
        "prov:activity": "ex:a",
        "prov:time": "2026-01-01T00:00:00",
    }


def test_a_byte_order_mark_and_no_prefixes_are_fine():
    (found,) = load(b'\xef\xbb\xbf {"entity": {"e": {}}}')
    assert (found.prefixes, found.records) == ({}, {"entity": {"e": {}}})


@pytest.mark.parametrize(
    "found",
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
def test_what_is_no_prov_json_is_refused(found):
    with pytest.raises(DocumentError):
        load(found)


def test_loads_says_where_bundles_are_read():
    with pytest.raises(DocumentError, match=r"prov_json\.load"):
        prov_json.loads(b'{"bundle": {}}')


def test_half_a_character_is_refused():
    document = Document({"ex": "http://e/"}, {"entity": {"ex:e": {"ex:a": "\ud800"}}})
    for name in FORMATS:
        with pytest.raises(DocumentError):
            FORMATS[name].dump([document], io.BytesIO(), single=True)
