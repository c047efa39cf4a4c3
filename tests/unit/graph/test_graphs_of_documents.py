from __future__ import annotations

import pytest
from pyoxigraph import Literal, NamedNode

from yprov_mlflow.prov.errors import QueryError
from yprov_mlflow.prov.graph.stores import LocalGraph
from yprov_mlflow.prov.model.document import Document

PROV = "http://www.w3.org/ns/prov#"
FILE = "urn:sha256:" + "a" * 64


def run(number: int) -> Document:
    """Return a document of a run that read one file, the same for all runs."""
    return Document(
        {"run": f"urn:uuid:00000000-0000-0000-0000-{number:012d}#", "sha256": "urn:sha256:"},
        {
            "entity": {f"sha256:{'a' * 64}": {}},
            "activity": {"run:run": {"prov:label": f"run {number}"}},
            "used": {"run:use": {"prov:activity": "run:run", "prov:entity": f"sha256:{'a' * 64}"}},
        },
    )


@pytest.fixture(scope="module")
def graph() -> LocalGraph:
    return LocalGraph.in_memory([run(1), run(2)])


def test_a_query_asks_all_documents_with_our_prefixes(graph: LocalGraph) -> None:
    table = graph.select("SELECT ?label { ?run prov:used ?file ; rdfs:label ?label } ORDER BY ?run")
    assert table.columns == ["label"]
    assert [row[0].value for row in table.rows] == ["run 1", "run 2"]


def test_a_query_may_declare_a_prefix_itself(graph: LocalGraph) -> None:
    table = graph.select("PREFIX prov: <urn:other:> SELECT * { ?run prov:used ?file }")
    assert table.rows == []


def test_questions_and_descriptions_are_tables_too(graph: LocalGraph) -> None:
    assert graph.select(f"ASK {{ ?run prov:used <{FILE}> }}").rows == [(Literal(True),)]
    triples = graph.select("CONSTRUCT { ?file mlf:by ?run } WHERE { ?run prov:used ?file }")
    assert triples.columns == ["subject", "predicate", "object"]
    assert len(triples.rows) == 2


def test_an_unbound_variable_is_none(graph: LocalGraph) -> None:
    assert graph.select("SELECT ?x ?y { VALUES ?x { 1 } }").rows[0][1] is None


def test_a_syntax_error_names_its_position(graph: LocalGraph) -> None:
    with pytest.raises(QueryError, match=r"1:1[0-9]"):
        graph.select("SELECT * { ?s ?p }")


def test_quads_have_terms_of_one_or_several_in_each_position(graph: LocalGraph) -> None:
    runs = {quad.subject.value for quad in graph.quads(None, PROV + "used", FILE)}
    assert runs == {f"urn:uuid:00000000-0000-0000-0000-{number:012d}#run" for number in (1, 2)}
    quads = list(graph.quads(sorted(runs), [NamedNode(PROV + "used")]))
    assert {quad.graph_name.value for quad in quads} == {
        f"urn:uuid:00000000-0000-0000-0000-{number:012d}#record" for number in (1, 2)
    }
    assert list(graph.quads([], PROV + "used")) == []
