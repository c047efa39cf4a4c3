"""PROV-XML: validity against the schema, round trips, files of other programs."""

from __future__ import annotations

import io
from pathlib import Path

import prov
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree
from prov.model import ProvDocument

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats import FORMATS, prov_json
from yprov_mlflow.prov.formats.xml_names import escaped, unescaped
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.validate.documents import check_bytes

TEXT = """<?xml version="1.0"?>
<!DOCTYPE document [{}]>
<prov:document xmlns:prov="http://www.w3.org/ns/prov#" xmlns:ex="urn:e:">
<prov:entity prov:id="ex:e"><prov:label>&one;</prov:label></prov:entity>
</prov:document>
"""
HEAD = (
    '<prov:document xmlns:prov="http://www.w3.org/ns/prov#" xmlns:ex="urn:e:" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
    'xmlns:xsd="http://www.w3.org/2001/XMLSchema" '
    'xmlns:yprov="https://w3id.org/yprov/mlflow#">'
)
SCHEMA = etree.XMLSchema(etree.parse(next(Path(prov.__file__).parent.rglob("prov.xsd"))))
PREFIXES = {"ex": "urn:e:", "run": "urn:uuid:3f2c0a4e-1111-4222-8333-444455556666#"}


def written(document: Document) -> bytes:
    stream = io.BytesIO()
    FORMATS["prov-xml"].dump([document], stream, single=True)
    content = stream.getvalue()
    SCHEMA.assertValid(etree.fromstring(content))
    return content


def read(content: bytes) -> list[Document]:
    return list(FORMATS["prov-xml"].load(io.BytesIO(content)))


def records(elements: str) -> dict[str, dict[str, object]]:
    (document,) = read(f"{HEAD}{elements}</prov:document>".encode())
    return document.records


@pytest.mark.parametrize("declaration", ['<!ENTITY one SYSTEM "{}">', '<!ENTITY one "a secret">'])
def test_entities_are_not_resolved(declaration, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("a secret")
    text = TEXT.format(declaration.format(secret.as_uri()))
    with pytest.raises(DocumentError, match="entity 'one' is refused"):
        read(text.encode())


# -- values ------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["\x1b[31mred\x1b[0m", "\0", "\ud800", "\ufffe", "\uffff\r\n"])
def test_characters_that_xml_forbids_read_back(text):
    record = {"prov:label": text, "ex:a": ["plain", text], "ex:typed": {"$": text, "type": "ex:t"}}
    document = Document(PREFIXES, {"entity": {"ex:e": record}})
    content = written(document)
    assert read(content) == [document]
    label = etree.fromstring(content).findtext("{*}entity/{*}label")
    assert len(label) == len(text)  # others see the text with replacement characters
    assert check_bytes("test", content).findings == []


@pytest.mark.parametrize(
    ("value", "element"),
    [
        ({"$": "7", "type": "xsd:int"}, '<ex:a xsi:type="xsd:int">7</ex:a>'),
        ({"$": "7x", "type": "xsd:int"}, "<ex:a>7x</ex:a>"),
        ({"$": str(2**31), "type": "xsd:int"}, f"<ex:a>{2**31}</ex:a>"),
        ({"$": "+INF", "type": "xsd:double"}, "<ex:a>+INF</ex:a>"),
        ({"$": "NaN", "type": "xsd:float"}, '<ex:a xsi:type="xsd:float">NaN</ex:a>'),
        ({"$": "2026-02-30T00:00:00Z", "type": "xsd:dateTime"}, "<ex:a>2026-02-30T00:00:00Z"),
        ({"$": "http://[", "type": "xsd:anyURI"}, "<ex:a>http://[</ex:a>"),
        ({"$": "x", "type": "ex:own"}, "<ex:a>x</ex:a>"),
        ({"$": "ex:x", "type": "xsd:QName"}, '<ex:a xsi:type="xsd:QName">ex:x</ex:a>'),
        ({"$": "x", "lang": "de"}, '<ex:a xml:lang="de">x</ex:a>'),
        (True, '<ex:a xsi:type="xsd:boolean">true</ex:a>'),
        (["x"], "<ex:a>x</ex:a>"),
        (["x", "y", "x"], "<ex:a>y</ex:a>"),
    ],
)
def test_values_are_typed_where_the_schema_allows_it(value, element):
    document = Document(PREFIXES, {"entity": {"ex:e": {"ex:a": value}}})
    content = written(document)
    assert element in content.decode()
    assert read(content) == [document]


def test_attributes_where_the_schema_has_no_place_for_them_read_back():
    values = [{"$": "7", "type": "xsd:int"}, {"$": "x", "lang": "de"}, "text"]
    everywhere = {f"prov:{name}": values for name in ("label", "location", "role", "type", "value")}
    ends = {"prov:specificEntity": "ex:e", "prov:generalEntity": "ex:f"}
    document = Document(
        PREFIXES,
        {
            "entity": {"ex:e": everywhere, "_:b": {}, "undeclared:f": {"undeclared:k": "x"}},
            "activity": {"ex:a": {**everywhere, "prov:startTime": "yesterday"}},
            "specializationOf": {"ex:named": {**ends, "ex:k": "v"}},
            "wasInformedBy": {"_:x": {"prov:informed": "ex:a", "prov:informant": "ex:b"}},
        },
    )
    assert read(written(document)) == [document]


def test_edited_element_wins_over_its_json_form():
    document = Document(PREFIXES, {"entity": {"ex:e": {"ex:a": "\0old", "ex:b": 1}}})
    edited = written(document).replace("\ufffdold".encode(), b"new")
    (changed,) = read(edited)
    assert changed.records == {"entity": {"ex:e": {"ex:a": "new", "ex:b": 1}}}


@pytest.mark.parametrize(
    "form", ["[]", "{", '{"ex:a":{}}', '{"ex:a":NaN}', '{"@id":1}', "[" * 9999]
)
def test_malformed_json_form_is_an_error(form):
    text = f"{HEAD}<prov:entity prov:id='ex:e' yprov:jsonForm='{form}'/></prov:document>"
    with pytest.raises(DocumentError, match="jsonForm is malformed"):
        read(text.encode())
    assert not check_bytes("test", text.encode()).valid


# -- names -------------------------------------------------------------------------------


@example("_x0041/")
@example("_x0041_")
@example("_x_")
@given(st.text(st.sampled_from("_x0041AF/%7 .-\u00e9\U0001f600\ud800\0")))
def test_escaped_names_are_names_and_are_reversible(text):
    assert unescaped(escaped(text)) == text
    etree.QName(escaped(text))


@pytest.mark.parametrize(
    ("local", "same_iri"),
    [
        ("run", True),
        ("param/lr", True),
        ("usage/run!param/train%2Floss", True),
        ("metric/@run/val.acc-1", True),
        ("step/17", False),
        ("artifact/a%20", False),
        ("17", False),
        ("", False),
        ("_x0041_", False),
        ("two#fragments/x", False),
    ],
)
def test_names_keep_their_iri_if_they_end_in_a_word(local, same_iri):
    ids = {"entity": {f"run:{local}": {"run:k/v": {"$": f"run:{local}", "type": "xsd:QName"}}}}
    used = {"prov:activity": "run:run", "prov:entity": f"run:{local}"}
    document = Document(PREFIXES, {**ids, "used": {f"ex:used/{local}": used}})
    content = written(document)
    assert read(content) == [document]
    library = ProvDocument.deserialize(content=content.decode(), format="xml")
    assert (library == prov_json.to_prov(document)) is same_iri


def test_prefixes_that_xml_reserves_read_back():
    prefixes = {"xml-like": "urn:x:", "prov": "http://www.w3.org/ns/prov#", "a.1": "urn:1:"}
    prefixes |= {"default": "urn:d:", "yprov": "urn:y:", "a": "urn:", "a b": "urn:ab:"}
    ids = ["xml-like:a", "a.1:b/c", "a:1:b/c", "d", "yprov:y", "a b:c", "default:d"]
    document = Document(prefixes, {"entity": {name: {} for name in ids}})
    assert read(written(document)) == [document]


def test_prefix_that_looks_like_that_of_a_split_name():
    value = {"$": "a.1:z", "type": "xsd:QName"}
    prefixes = {"a": "urn:", "a.1": "urn:1:"}
    document = Document(prefixes, {"entity": {"a:k/v": {"a:p": value}}})
    assert read(written(document)) == [document]


def test_namespace_that_xml_cannot_declare_is_an_error():
    with pytest.raises(DocumentError, match="the namespace 'urn:\\\\x00' of the prefix 'ex'"):
        written(Document({"ex": "urn:\0"}, {"entity": {"ex:e": {}}}))


# -- files of other programs -------------------------------------------------------------


def test_file_of_the_library_prov_reads_back(example):
    content = prov_json.to_prov(example).serialize(format="xml").encode()
    (document,) = read(content)
    assert prov_json.to_prov(document) == prov_json.to_prov(example)
    assert document.prefixes == example.prefixes


def test_nested_references_are_read():
    member = '<prov:entity><prov:entity prov:ref="ex:{}"/></prov:entity>'
    members = records(
        '<prov:hadMember><prov:collection prov:ref="ex:c"/>'
        f"{member.format('a')}{member.format('b')}</prov:hadMember>"
    )["hadMember"]
    assert [record["prov:entity"] for record in members.values()] == ["ex:a", "ex:b"]


def test_types_of_elements_are_read():
    person, plan, revision = (
        '<prov:person prov:id="ex:p"><prov:type>so</prov:type></prov:person>',
        '<prov:entity prov:id="ex:e" xsi:type="prov:Plan"/>',
        '<prov:wasRevisionOf prov:id="ex:d"><prov:generatedEntity prov:ref="ex:a"/>'
        '<prov:usedEntity prov:ref="ex:b"/></prov:wasRevisionOf>',
    )
    sections = records(person + plan + revision)
    assert sections["agent"]["ex:p"]["prov:type"][0] == "so"
    types = [
        sections["agent"]["ex:p"]["prov:type"][1],
        sections["entity"]["ex:e"]["prov:type"],
        sections["wasDerivedFrom"]["ex:d"]["prov:type"],
    ]
    assert [value["$"] for value in types] == ["prov:Person", "prov:Plan", "prov:Revision"]


def test_texts_of_the_type_string_are_plain():
    element = '<prov:entity prov:id="ex:e"><ex:a xsi:type="xsd:string"> x </ex:a></prov:entity>'
    assert records(element)["entity"]["ex:e"] == {"ex:a": " x "}


def test_statements_about_one_id_are_one_record():
    document = Document(
        PREFIXES,
        {"used": {"ex:u": {"prov:activity": "ex:a", "prov:entity": ["ex:e", "ex:f"], "ex:k": "v"}}},
    )
    content = written(document)
    assert read(content) == [document]
    findings = check_bytes("test", content).findings
    assert [finding.rule[:13] for finding in findings] == ["Constraint 23"]


def test_blank_ids_do_not_identify_statements():
    used = (
        '<prov:used yprov:jsonForm=\'{{"@id":"_:u"}}\'>'
        '<prov:activity prov:ref="ex:a"/><prov:entity prov:ref="ex:{}"/></prov:used>'
    )
    text = f"{HEAD}{used.format('e')}{used.format('f')}</prov:document>"
    assert check_bytes("test", text.encode()).findings == []
