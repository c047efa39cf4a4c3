"""Every document reads back equal from every format."""

from __future__ import annotations

import io
import json
import math
from array import array
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import prov
import pyoxigraph
import pytest
import rdflib
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree
from prov.model import ProvDocument
from support.builders.strategies import NASTY, runs
from support.oracles.validity import assert_valid_jsonld

from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.formats import FORMATS, prov_json
from yprov_mlflow.prov.formats.metric_files import SERIES
from yprov_mlflow.prov.formats.rdf import to_dataset, vocabulary
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.model.vocabulary import NAMESPACE
from yprov_mlflow.prov.translate import PointBatch, translate

bounded = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

RDF = {
    "turtle": pyoxigraph.RdfFormat.TURTLE,
    "trig": pyoxigraph.RdfFormat.TRIG,
    "n-quads": pyoxigraph.RdfFormat.N_QUADS,
    "json-ld": pyoxigraph.RdfFormat.JSON_LD,
}


def written(name: str, documents: Iterable[Document], single: bool | None = None) -> bytes:
    stream = io.BytesIO()
    FORMATS[name].dump(documents, stream, single=single)
    return stream.getvalue()


def read(name: str, content: bytes) -> list[Document]:
    return list(FORMATS[name].load(io.BytesIO(content)))


# -- documents of runs -------------------------------------------------------------------


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("name", ["prov-json", "prov-jsonld", "prov-xml", *RDF])
@bounded
@given(runs())
def test_documents_of_runs_read_back_equal(name: str, single: bool, events: list[Event]) -> None:
    document = translate(events)
    content = written(name, [document], single)
    assert read(name, content) == [document]
    assert written(name, [document], single) == content


@bounded
@given(runs())
def test_documents_of_runs_need_no_recorded_json_form(events: list[Event]) -> None:
    """Except for a context inside another of the same name: RDF has no duplicate triples."""
    document = translate(events)
    entities = document.records["entity"].values()
    contexts = [prov_json.values_of(e["mlf:context"]) for e in entities if "mlf:context" in e]
    duplicates = any(len(set(names)) < len(names) for names in contexts)
    assert (b"jsonForm" in written("n-quads", [document])) == duplicates


@bounded
@given(runs(most=8))
def test_every_syntax_gives_the_same_quads_to_every_parser(events: list[Event]) -> None:
    document = translate(events)
    expected = quads_of(to_dataset([document]))
    assert expected == {
        str(quad) for quad in pyoxigraph.parse(written("n-quads", [document]), RDF["n-quads"])
    }
    for name, syntax in RDF.items():
        content = written(name, [document])
        quads = list(pyoxigraph.parse(content, syntax))
        texts = {str(quad) for quad in quads if str(quad.predicate) != FORM}
        assert {without_graph(q) if name == "turtle" else q for q in facts(expected)} == texts
        assert texts == facts(quads_of(parsed(content, name)))


FORM = f"<{NAMESPACE}jsonForm>"


def facts(quads: set[str]) -> set[str]:
    return {quad for quad in quads if FORM not in quad}


def without_graph(quad: str) -> str:
    return quad[: quad.rindex(" <")]


def parsed(content: bytes, name: str) -> rdflib.Dataset:
    """Parse with rdflib, without its normalization of literals."""
    original, rdflib.NORMALIZE_LITERALS = rdflib.NORMALIZE_LITERALS, False
    try:
        syntax = {"n-quads": "nquads"}.get(name, name)
        return rdflib.Dataset().parse(data=content, format=syntax)
    finally:
        rdflib.NORMALIZE_LITERALS = original


DEFAULT = "urn:x-rdflib:default"


def quads_of(dataset: rdflib.Dataset) -> set[str]:
    return {
        str(
            pyoxigraph.Quad(
                *map(to_pyoxigraph, (s, p, o)),
                *([pyoxigraph.NamedNode(str(g))] if str(g) != DEFAULT else []),
            )
        )
        for s, p, o, g in dataset.quads()
    }


def to_pyoxigraph(node: Any) -> Any:
    if isinstance(node, rdflib.URIRef):
        return pyoxigraph.NamedNode(str(node))
    datatype = pyoxigraph.NamedNode(str(node.datatype)) if node.datatype else None
    return pyoxigraph.Literal(str(node), datatype=datatype, language=node.language)


@bounded
@given(runs())
def test_there_are_no_blank_nodes_and_no_undefined_terms(events: list[Event]) -> None:
    defined = {quad.subject.value for quad in pyoxigraph.parse(vocabulary(), RDF["turtle"])} - {
        NAMESPACE.rstrip("#")
    }
    for quad in pyoxigraph.parse(written("n-quads", [translate(events)]), RDF["n-quads"]):
        assert isinstance(quad.subject, pyoxigraph.NamedNode)
        assert not isinstance(quad.object, pyoxigraph.BlankNode)
        for term in (quad.predicate, quad.object):
            if isinstance(term, pyoxigraph.NamedNode) and term.value.startswith(NAMESPACE):
                assert term.value in {NAMESPACE, *defined}


@bounded
@given(runs(most=8))
def test_prov_n_reads_back_equal_in_the_model_of_prov(events: list[Event]) -> None:
    document = translate(events)
    (flat,) = read("prov-n", written("prov-n", [document], True))
    expected = prov_json.to_prov(document)
    assert prov_json.to_prov(flat) == expected
    (bundle,) = read("prov-n", written("prov-n", [document], False))
    assert prov_json.to_prov(bundle) == expected
    assert bundle.prefixes == flat.prefixes


SCHEMA = etree.XMLSchema(etree.parse(next(Path(prov.__file__).parent.rglob("prov.xsd"))))


@pytest.mark.parametrize("single", [True, False])
@bounded
@given(runs())
def test_prov_xml_of_runs_is_valid_against_the_schema(single: bool, events: list[Event]) -> None:
    SCHEMA.assertValid(etree.fromstring(written("prov-xml", [translate(events)], single)))


@pytest.mark.parametrize("single", [True, False])
@bounded
@given(runs(most=8))
def test_prov_jsonld_of_runs_is_valid_and_prov_reads_it(single: bool, events: list[Event]) -> None:
    document = translate(events)
    content = json.loads(written("prov-jsonld", [document], single))
    assert_valid_jsonld(content)
    # Only a context inside another of the same name needs it.
    for statement in (content if single else content["@graph"][0])["@graph"]:
        statement.pop("mlf:jsonForm", None)
    theirs = ProvDocument.deserialize(content=json.dumps(content), format="jsonld")
    (theirs,) = [theirs] if single else theirs.bundles
    assert set(theirs.get_records()) == set(prov_json.to_prov(document).get_records())


@bounded
@given(runs(most=8))
def test_prov_library_reads_our_bundles(events: list[Event]) -> None:
    document = translate(events)
    content = written("prov-json", [document], False).decode()
    (bundle,) = ProvDocument.deserialize(content=content, format="json").bundles
    assert set(bundle.get_records()) == set(prov_json.to_prov(document).get_records())


# -- documents of other tools ------------------------------------------------------------

PREFIXES = {
    "ex": "http://example.org/",
    "run": "urn:uuid:3f2c0a4e-1111-4222-8333-444455556666#",
    "odd-1.x": "urn:odd:",
    "http": "http://example.org/scheme/",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "default": "http://example.org/default#",
}
texts = st.sampled_from(("", *NASTY[:21], *NASTY[22:], "\ufffe", "\U0010ffff", "@en", "_:x")) | (
    st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
)
pieces = st.sampled_from((*"aZ09_-.~!$&'()*+,;=:@/?äß☃\U0001f600", "%20", "%C3%A4"))
locals_ = st.lists(pieces, max_size=6).map("".join).filter(lambda text: text[:2] != "//")
names = st.builds("{}:{}".format, st.sampled_from(("ex", "run", "odd-1.x", "http")), locals_) | (
    st.text(st.sampled_from("abc/."), min_size=1, max_size=3)
)
literals = st.one_of(
    texts,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.builds(lambda name: {"$": name, "type": "xsd:QName"}, names),
    st.builds(lambda name: {"$": name, "type": "prov:QUALIFIED_NAME"}, names),
    st.builds(
        lambda text, kind: {"$": text, "type": f"xsd:{kind}"},
        texts,
        st.sampled_from(
            ("string", "int", "long", "integer", "double", "float", "dateTime", "anyURI")
        ),
    ),
    st.builds(
        lambda text, kind: {"$": text, "type": f"xsd:{kind}"},
        st.sampled_from(("007", "1.50", "1E1", "NaN", "-INF", "INF", "1", "true")),
        st.sampled_from(("int", "decimal", "double", "float", "boolean")),
    ),
    st.builds(lambda text: {"$": text, "type": "ex:own"}, texts),
    st.builds(lambda text: {"$": text, "lang": "en-gb"}, texts),
)
values = literals | st.lists(literals, min_size=1, max_size=3)
attributes = st.dictionaries(
    st.sampled_from(
        ("prov:type", "prov:label", "prov:value", "prov:location", "ex:a", "ex:b/c", "odd-1.x:k")
    ),
    values,
    max_size=4,
)
instants = st.sampled_from(("2026-01-02T03:00:00+00:00", "2026-01-02T03:00:00.120Z"))


@st.composite
def foreign_documents(draw: st.DrawFn) -> Document:
    """Documents of other tools, with forms of values that RDF does not distinguish."""
    records: dict[str, dict[str, Any]] = {}
    ids = draw(st.lists(names, min_size=2, max_size=8, unique_by=str.lower))
    for number, identifier in enumerate(ids):
        kind = ("entity", "activity", "agent")[number % 3]
        record = draw(attributes)
        if kind == "activity" and draw(st.booleans()):
            record["prov:startTime"] = draw(instants)
        records.setdefault(kind, {})[identifier] = record
    ends = st.sampled_from(ids)
    for number in range(draw(st.integers(0, 6))):
        section, keys, more = draw(st.sampled_from(RELATIONS))
        # The ends differ: of two relations with the same ends and no id, one would be lost.
        record = {keys[0]: f"ex:relation{number}", keys[1]: draw(ends)}
        identifier = f"_:{draw(texts)}{number}"
        if more:
            record |= draw(attributes)
            record |= {key: draw(ends) for key in draw(st.sets(st.sampled_from(more)))}
            if draw(st.booleans()):
                record["prov:role"] = draw(values)
            if draw(st.booleans()):
                identifier = f"run:relation/{number}"
        records.setdefault(section, {})[identifier] = record
    return Document(PREFIXES, records)


RELATIONS = [
    ("wasDerivedFrom", ("prov:generatedEntity", "prov:usedEntity"), ("prov:activity",)),
    ("wasAssociatedWith", ("prov:activity", "prov:agent"), ("prov:plan",)),
    ("wasStartedBy", ("prov:activity", "prov:starter"), ("prov:trigger",)),
    ("actedOnBehalfOf", ("prov:delegate", "prov:responsible"), ("prov:activity",)),
    ("specializationOf", ("prov:specificEntity", "prov:generalEntity"), ()),
    ("hadMember", ("prov:collection", "prov:entity"), ()),
]


@pytest.mark.parametrize("name", ["prov-json", "prov-jsonld", "prov-xml", *RDF])
@bounded
@given(foreign_documents())
def test_documents_of_other_tools_read_back_equal(name: str, document: Document) -> None:
    assert read(name, written(name, [document], True)) == [document]


@bounded
@given(foreign_documents())
def test_prov_xml_of_other_tools_is_valid_against_the_schema(document: Document) -> None:
    SCHEMA.assertValid(etree.fromstring(written("prov-xml", [document])))


@bounded
@given(foreign_documents())
def test_prov_jsonld_of_other_tools_is_valid_against_the_schema(document: Document) -> None:
    assert_valid_jsonld(json.loads(written("prov-jsonld", [document])))


@pytest.mark.parametrize("name", list(RDF))
@bounded
@given(foreign_documents())
def test_documents_of_other_tools_give_the_same_quads_to_every_parser(
    name: str, document: Document
) -> None:
    content = written(name, [document])
    texts = facts({str(quad) for quad in pyoxigraph.parse(content, RDF[name])})
    expected = facts(quads_of(to_dataset([document])))
    assert {without_graph(q) if name == "turtle" else q for q in expected} == texts
    assert facts(quads_of(parsed(content, name))) == texts


@pytest.mark.parametrize(
    "name", ["prov-json", "prov-jsonld", "prov-xml", "trig", "n-quads", "json-ld"]
)
@bounded
@given(st.lists(foreign_documents() | runs(most=3).map(translate), max_size=4))
def test_files_of_several_documents_read_back_equal(name: str, documents: list[Document]) -> None:
    assert read(name, written(name, documents)) == documents


# -- points ------------------------------------------------------------------------------

whole = st.integers(-(2**63), 2**63 - 1)
words = st.sampled_from(("a", "", "ä/b", "nan", "NULL", "\\0", "\\\0", 'q",\r\n')) | st.text(
    st.characters(exclude_categories=("Cs",)), max_size=4
)


@st.composite
def point_batches(draw: st.DrawFn) -> PointBatch:
    size = draw(st.integers(1, 6))

    def column(of: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(of, min_size=size, max_size=size))

    return PointBatch(
        series=column(words),
        context=column(words),
        epoch=column(st.none() | whole),
        value=array("d", column(st.floats(width=64))),
        step=array("q", column(whole)),
        timestamp_ms=array("q", column(whole)),
        time_ns=array("q", column(whole)),
        session=column(words),
        model=column(st.none() | words),
        dataset_name=column(st.none() | words),
        dataset_digest=column(st.none() | words),
    )


def rows(batches: Iterable[PointBatch]) -> list[tuple[Any, ...]]:
    """Return rows of text, so that NaN equals itself."""
    columns = (vars(batch) for batch in batches)
    every = [row for c in columns for row in zip(*(c[name] for name in sorted(c)), strict=True)]
    return [
        tuple(repr(x) if isinstance(x, float) and not math.isnan(x) else str(x) for x in row)
        for row in every
    ]


@pytest.mark.parametrize("name", list(SERIES))
@settings(bounded, max_examples=25)
@given(st.lists(point_batches(), min_size=1, max_size=3))
def test_metric_files_read_back_equal(name: str, batches: list[PointBatch]) -> None:
    pytest.importorskip({"zarr": "zarr", "netcdf": "netCDF4"}.get(name, "pyarrow"))
    digests = []
    for _ in range(2):
        with TemporaryDirectory() as folder:
            sink = SERIES[name].sink(Path(folder))
            for batch in batches:
                sink.write(batch)
            file = sink.close()
            digests.append(file.sha256)
            read_back = list(SERIES[name].read(Path(folder) / file.path))
    assert rows(read_back) == rows(batches)
    assert digests[0] == digests[1]
