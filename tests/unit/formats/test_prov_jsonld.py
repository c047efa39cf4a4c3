"""PROV-JSONLD: validity against the schema, what other programs see, files of other programs."""

from __future__ import annotations

import io
import json

import pyoxigraph
import pytest
from prov.model import ProvDocument
from prov.serializers.provjsonld import load_vendored_context
from support.oracles.validity import assert_valid_jsonld

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats import FORMATS, prov_json
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.validate.documents import check_bytes

PREFIXES = {"ex": "urn:e:", "odd-1": "urn:odd:", "default": "http://example.org/default#"}
CONTEXT = "https://openprovenance.org/prov-jsonld/context.jsonld"
RDF_TYPE = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
RDFS = "http://www.w3.org/2000/01/rdf-schema#"
PROV = "http://www.w3.org/ns/prov#"


def written(*documents: Document, single: bool = True) -> bytes:
    stream = io.BytesIO()
    FORMATS["prov-jsonld"].dump(documents, stream, single=single)
    content = stream.getvalue()
    assert_valid_jsonld(json.loads(content))
    return content


def read(content: bytes) -> list[Document]:
    return list(FORMATS["prov-jsonld"].load(io.BytesIO(content)))


def statement(**members: object) -> bytes:
    context = [{"ex": "urn:e:"}, CONTEXT]
    return json.dumps({"@context": context, "@graph": [members]}).encode()


def records(**members: object) -> dict[str, dict[str, object]]:
    (document,) = read(statement(**members))
    return document.records


@pytest.mark.parametrize("single", [True, False])
def test_document_is_valid_and_prov_reads_it(single, example, documents):
    assert check_bytes("test", written(example, single=single)).errors == 0
    content = written(documents[0], single=single)
    theirs = ProvDocument.deserialize(content=content.decode(), format="jsonld")
    if not single:
        (theirs,) = theirs.bundles
    assert set(theirs.get_records()) == set(prov_json.to_prov(documents[0]).get_records())


def test_documents_of_prov_are_read(example):
    theirs = prov_json.to_prov(example)
    (document,) = read(theirs.serialize(format="jsonld").encode())
    assert prov_json.to_prov(document) == theirs


def test_processors_of_json_ld_see_prov_o(documents):
    content = json.loads(written(documents[0]))
    content["@context"][-1] = load_vendored_context()
    quads = list(pyoxigraph.parse(json.dumps(content).encode(), pyoxigraph.RdfFormat.JSON_LD))
    run = "urn:uuid:00000000-0000-0000-0000-000000000001#"
    triples = {
        (str(q.subject), str(q.predicate).strip("<>").removeprefix(PROV), str(q.object))
        for q in quads
    }
    assert (
        f"<{run}run>",
        "http://www.w3.org/1999/02/22-rdf-syntax-ns#type",
        f"<{PROV}Activity>",
    ) in triples
    generations = {o for _, p, o in triples if p == "qualifiedGeneration"}
    generated = {s for s, p, o in triples if p == "activity" and o == f"<{run}run>"}
    assert generations & generated
    assert f"{RDFS}label" in {str(q.predicate.value) for q in quads}


# -- values ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "json_value"),
    [
        ("x", {"@value": "x"}),
        ({"$": "7", "type": "xsd:int"}, {"@value": "7", "@type": "xsd:int"}),
        ({"$": "x", "lang": "de"}, {"@value": "x", "@language": "de"}),
        ({"$": "ex:x", "type": "xsd:QName"}, {"@value": "ex:x", "@type": "xsd:QName"}),
        (True, {"@value": "true", "@type": "xsd:boolean"}),
        (["x"], {"@value": "x"}),
        ({"$": 7, "type": "xsd:int"}, {"@value": "7"}),
    ],
)
def test_values_are_written_as_typed_values_and_read_back(value, json_value):
    document = Document(PREFIXES, {"entity": {"ex:e": {"ex:a": value}}})
    content = written(document)
    assert json.loads(content)["@graph"][0]["ex:a"] == [json_value]
    assert read(content) == [document]


def test_attributes_where_the_schema_has_no_place_for_them_read_back():
    values = [{"$": "7", "type": "xsd:int"}, {"$": "x", "lang": "de"}, "text"]
    everywhere = {f"prov:{name}": values for name in ("label", "location", "role", "type", "value")}
    ends = {"prov:specificEntity": "ex:e", "prov:generalEntity": "ex:f"}
    document = Document(
        PREFIXES,
        {
            "entity": {
                "ex:e": {**everywhere, "odd-1:k": "x", "label": "default", "odd-2:k": "undeclared"},
                "ex:f": {"https://w3id.org/yprov/mlflow#jsonForm": "x", "ex:empty": []},
            },
            "activity": {"ex:a": {**everywhere, "prov:startTime": "yesterday"}},
            "specializationOf": {"ex:named": {**ends, "ex:k": "v"}},
            "wasInformedBy": {"_:x": {"prov:informed": "ex:a", "prov:informant": "ex:b"}},
        },
    )
    assert read(written(document)) == [document]
    entity = next(s for s in json.loads(written(document))["@graph"] if s["@id"] == "ex:e")
    assert entity["urn:odd:k"] == [{"@value": "x"}]
    assert entity["http://example.org/default#label"] == [{"@value": "default"}]


def test_edited_statement_wins_over_its_json_form():
    document = Document(PREFIXES, {"entity": {"ex:e": {"ex:a": 1, "ex:b": 1}}})
    content = written(document).replace(
        b'"ex:a":[{"@type":"xsd:int","@value":"1"', b'"ex:a":[{"@value":"2"'
    )
    (edited,) = read(content)
    assert edited.records["entity"]["ex:e"] == {"ex:a": "2", "ex:b": 1}


def test_bundles_keep_prefixes_that_only_their_file_needs_to_themselves():
    document = Document({"ex": "urn:e:"}, {"entity": {"ex:e": {"ex:a": ["one"]}}})
    content = written(document, document, single=False)
    first, second = json.loads(content)["@graph"]
    assert first["@id"].startswith("sha256:")
    assert second["@id"] == f"{first['@id']}@2"
    assert [d.prefixes for d in read(content)] == [document.prefixes] * 2


# -- files of other programs ---------------------------------------------------------------


def test_names_with_the_prefix_prov_as_provtoolbox_writes_them():
    assert records(
        **{"@type": "prov:Usage", "prov:activity": "ex:a", "prov:entity": "ex:e"},
        **{"prov:role": ["ex:r"]},
    ) == {
        "used": {
            "_:id1": {
                "prov:activity": "ex:a",
                "prov:entity": "ex:e",
                "prov:role": {"$": "ex:r", "type": "xsd:QName"},
            }
        }
    }


def test_iris_become_names_where_a_namespace_starts_them():
    entity = records(
        **{
            "@type": "Entity",
            "@id": "urn:e:x",
            "urn:e:k": [{"@id": "urn:e:y"}],
            "rdfs:seeAlso": [1],
        }
    )
    name = {"$": "ex:y", "type": "xsd:QName"}
    assert entity == {"entity": {"ex:x": {"ex:k": name, "rdfs:seeAlso": 1}}}


def test_members_of_a_collection_in_one_statement_are_several():
    membership = records(
        **{"@type": "Membership", "collection": "ex:c", "entity": ["ex:a", "ex:b"]}
    )
    assert [r["prov:entity"] for r in membership["hadMember"].values()] == ["ex:a", "ex:b"]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"@type": "Mention"}, "'Mention' is not a type of statement"),
        ({"@type": "Entity"}, 'Entity lacks an "@id"'),
        ({"@type": "Entity", "@id": 1}, '"@id" is not a string'),
        ({"@type": "Usage", "activity": ["ex:a", "ex:b"]}, "prov:activity is not an id or time"),
        ({"@type": "Entity", "@id": "ex:e", "ex:a": [{"x": 1}]}, "is not a value"),
        ({"@type": "Bundle"}, 'a bundle lacks "@type" or "@id"'),
        ({"@type": "Bundle", "@id": "ex:b", "@graph": {}}, "the graph of ex:b is not a list"),
    ],
)
def test_malformed_statement_is_an_error(members, message):
    content = statement(**members)
    with pytest.raises(DocumentError, match=message):
        read(content)
    assert check_bytes("test", content).errors == 1


def test_mention_has_no_statement_in_prov_jsonld():
    ends = {"prov:specificEntity": "ex:a", "prov:generalEntity": "ex:b", "prov:bundle": "ex:c"}
    with pytest.raises(DocumentError, match="no type of statement for 'mentionOf'"):
        written(Document(PREFIXES, {"mentionOf": {"_:m": ends}}))


def test_file_truncated_between_bundles_is_an_error(documents):
    lines = written(*documents, single=False).splitlines(keepends=True)
    with pytest.raises(DocumentError, match="ends inside its bundles"):
        read(b"".join(lines[:2]))
