"""Our RDF, and RDF of other tools."""

from __future__ import annotations

import io

import pytest
import rdflib

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats import FORMATS, prov_json
from yprov_mlflow.prov.formats.rdf import to_dataset
from yprov_mlflow.prov.model.builder import Builder
from yprov_mlflow.prov.model.document import Document

PREFIXES = {"ex": "http://example.org/", "run": "urn:uuid:00000000-0000-0000-0000-000000000001#"}


def quads(*documents, name="n-quads"):
    stream = io.BytesIO()
    FORMATS[name].dump(documents, stream)
    return stream.getvalue().decode()


def read(text, name="turtle"):
    (document,) = FORMATS[name].load(io.BytesIO(text.encode()))
    return document


def test_relations_are_written_plain_and_qualified():
    builder = Builder()
    builder.was_generated_by("ex:e", "ex:a", "2026-01-01T00:00:00+00:00", "ex:role")
    builder.was_associated_with("ex:a", "ex:u", plan="ex:p")
    builder.was_revision_of("ex:e", "ex:old")
    builder.had_member("ex:c", "ex:e")
    dataset = to_dataset([builder.document(PREFIXES)])
    query = """
        ASK { GRAPH run:record {
            ex:e prov:wasGeneratedBy ex:a ; prov:qualifiedGeneration ?g .
            ?g a prov:Generation ; prov:activity ex:a ; prov:hadRole ex:role ; prov:atTime ?t .
            ex:a prov:wasAssociatedWith ex:u ; prov:qualifiedAssociation ?s .
            ?s a prov:Association ; prov:agent ex:u ; prov:hadPlan ex:p .
            ex:e prov:wasDerivedFrom ex:old ; prov:wasRevisionOf ex:old ;
                prov:qualifiedDerivation ?d ; prov:qualifiedRevision ?d .
            ?d a prov:Derivation, prov:Revision ; prov:entity ex:old .
            ex:c prov:hadMember ex:e .
            FILTER (isIRI(?g) && isIRI(?s) && isIRI(?d) && DATATYPE(?t) = xsd:dateTime)
        } }"""
    assert dataset.query(query).askAnswer


def test_each_run_has_a_graph_named_after_its_record(documents):
    dataset = to_dataset(documents)
    names = {str(graph.identifier) for graph in dataset.graphs() if len(graph)}
    assert names == {document.prefixes["run"] + "record" for document in documents}
    query = "SELECT ?v { GRAPH ?g { ?p a mlf:Param ; schema:name 'lr' ; prov:value ?v } }"
    assert [str(row.v) for row in dataset.query(query)] == ["0.01"] * 3


def test_dataset_keeps_the_text_of_literals():
    text = {"$": "0.50", "type": "xsd:double"}
    document = Document(PREFIXES, {"entity": {"ex:e": {"prov:value": text}}})
    ((_, _, value, _),) = to_dataset([document]).quads((None, rdflib.PROV.value, None, None))
    assert (str(value), value.datatype) == ("0.50", rdflib.XSD.double)


def test_turtle_uses_short_names(documents):
    text = quads(documents[0], name="turtle")
    assert "@base <urn:uuid:00000000-0000-0000-0000-000000000001> .\n" in text
    assert "\nrun:run a prov:Activity, mls:Run, mlf:Run ;\n    rdfs:label" in text
    assert "\n<#param/lr> a prov:Entity, mls:HyperParameterSetting, mlf:Param ;\n" in text
    body = text[text.index("\n\n") :]
    assert "<urn:uuid:00000000-0000-0000-0000-000000000001#" not in body


def test_json_ld_uses_qualified_names(documents):
    text = quads(documents[0], name="json-ld")
    assert '"@id":"run:param/lr","@type":["prov:Entity",' in text
    assert '"prov:wasGeneratedBy":{"@id":"run:run"}' in text


@pytest.mark.parametrize(
    ("prefixes", "records", "reason"),
    [
        ({}, {"entity": {"ex:e": {}}}, "no prefix 'ex'"),
        ({"ex": "provml"}, {}, "not an absolute IRI"),
        ({"ex": "http://e/ x"}, {}, "not an absolute IRI"),
        (PREFIXES, {"entity": {"ex:a b": {}}}, "IRIs cannot have"),
        (PREFIXES, {"entity": {"ex:100%": {}}}, "IRIs cannot have"),
        (PREFIXES, {"entity": {"run:a#b": {}}}, "IRIs cannot have"),
        (PREFIXES, {"entity": {"ex:e": {"ex:a": None}}}, "not a string, number"),
        (PREFIXES, {"used": {"ex:u": {"prov:entity": "ex:e"}}}, "one prov:activity"),
        (PREFIXES, {"hadDictionaryMember": {"ex:m": {}}}, "PROV-O lacks terms"),
        (
            PREFIXES,
            {"hadMember": {"_:m": {"prov:collection": "ex:c", "prov:entity": "ex:e", "ex:a": "b"}}},
            "PROV-O cannot express",
        ),
    ],
)
def test_document_that_rdf_cannot_hold_is_an_error(prefixes, records, reason):
    for name in ("turtle", "n-quads", "json-ld"):
        with pytest.raises(DocumentError, match=reason):
            quads(Document(prefixes, records), name=name)


# -- RDF of other tools ------------------------------------------------------------------

START = """
@prefix prov: <http://www.w3.org/ns/prov#> .
@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .
@prefix : <http://example.org/> .
@prefix ex: <http://example.org/ex#> .
"""


@pytest.mark.parametrize("name", FORMATS)
def test_long_texts_read_back_or_are_refused(name):
    size = 7_999_900 if name == "json-ld" else 15_999_900
    long, longer = "é" * (size // 2), "é" * (size // 2 + 100)
    for text in (long, longer):
        document = Document(PREFIXES, {"entity": {"ex:e": {"ex:note": text}}})
        stream = io.BytesIO()
        if text is longer and "prov-" not in name:
            with pytest.raises(DocumentError, match="or write PROV-JSON"):
                FORMATS[name].dump([document], stream)
        else:
            FORMATS[name].dump([document], stream)
            stream.seek(0)
            (copy,) = FORMATS[name].load(stream)
            assert copy.records == document.records


def test_plain_relations_without_qualified_ones_have_no_ids():
    document = read(
        START
        + """
        ex:a a prov:Activity ; prov:used ex:e, ex:f ;
            prov:qualifiedUsage [ a prov:Usage ; prov:entity ex:e ; prov:hadRole ex:r ] ,
                [ a prov:Usage ; prov:entity ex:e ] .
        ex:e a prov:Plan .
        """
    )
    assert document.prefixes == {"default": "http://example.org/", "ex": "http://example.org/ex#"}
    ends = {"prov:activity": "ex:a", "prov:entity": "ex:e"}
    role = {"$": "ex:r", "type": "xsd:QName"}
    assert sorted(map(str, document.records["used"].values())) == sorted(
        map(str, [{**ends, "prov:role": role}, ends, {**ends, "prov:entity": "ex:f"}])
    )
    assert all(key.startswith("_:") for key in document.records["used"])
    plan = {"$": "prov:Plan", "type": "xsd:QName"}
    assert document.records["entity"] == {"ex:e": {"prov:type": plan}}


def test_inverse_properties_and_times_of_entities_become_relations():
    document = read(
        START
        + """
        ex:a prov:generated ex:e . ex:e prov:generatedAtTime "2026-01-01T00:00:00Z"^^xsd:dateTime .
        ex:f prov:invalidatedAtTime "2026-01-02T00:00:00Z"^^xsd:dateTime .
        """
    )
    assert list(document.records["wasGeneratedBy"].values()) == [
        {"prov:entity": "ex:e", "prov:activity": "ex:a", "prov:time": "2026-01-01T00:00:00Z"}
    ]
    assert list(document.records["wasInvalidatedBy"].values()) == [
        {"prov:entity": "ex:f", "prov:time": "2026-01-02T00:00:00Z"}
    ]


def test_kind_of_element_follows_from_its_relations():
    document = read(START + ':a prov:used :e . :a ex:note "x"@en . :e ex:note 1 .')
    assert document.records["activity"] == {"a": {"ex:note": {"$": "x", "lang": "en"}}}
    assert document.records["entity"] == {"e": {"ex:note": {"$": "1", "type": "xsd:integer"}}}


@pytest.mark.parametrize("kind", ["Revision", "Quotation", "PrimarySource"])
def test_specific_derivations_are_typed_derivations(kind):
    plain = {"Revision": "wasRevisionOf", "Quotation": "wasQuotedFrom"}
    property = plain.get(kind, "hadPrimarySource")
    expected = {
        "prov:generatedEntity": "ex:b",
        "prov:usedEntity": "ex:a",
        "prov:type": {"$": f"prov:{kind}", "type": "xsd:QName"},
    }
    for text in (
        f"ex:b prov:{property} ex:a .",
        f"ex:b prov:{property} ex:a ; prov:wasDerivedFrom ex:a .",
        f"ex:b prov:qualified{kind} [ a prov:{kind} ; prov:entity ex:a ] ; prov:{property} ex:a .",
    ):
        assert list(read(START + text).records["wasDerivedFrom"].values()) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        'ex:a ex:note "x" .',
        "ex:a a ex:Thing .",
        "[] a prov:Entity .",
        'ex:a prov:used "text" .',
        "ex:a a prov:Entity ; ex:note [ ex:b 1 ] .",
    ],
)
def test_rdf_that_is_not_prov_is_an_error(text):
    with pytest.raises(DocumentError, match="PROV-O"):
        read(START + text)


def test_graphs_in_pieces_are_an_error():
    line = "<http://e/{}> <http://www.w3.org/ns/prov#used> <http://e/e> <http://g/{}> .\n"
    text = "".join(line.format(n, "xy"[n % 2]) for n in range(3))
    with pytest.raises(DocumentError, match="sort the file"):
        list(FORMATS["n-quads"].load(io.BytesIO(text.encode())))


def test_edited_triples_win_over_the_recorded_json_form():
    document = Document(PREFIXES, {"entity": {"ex:e": {"ex:n": 1, "ex:m": True}}})
    text = quads(document, name="turtle").replace('"1"^^xsd:int', '"2"^^xsd:int')
    assert read(text).records["entity"]["ex:e"] == {
        "ex:n": {"$": "2", "type": "xsd:int"},
        "ex:m": True,
    }


def test_rdf_of_the_prov_library_is_read(example):
    text = prov_json.to_prov(example).serialize(format="rdf", rdf_format="turtle")
    assert prov_json.to_prov(read(text)) == prov_json.to_prov(example)
