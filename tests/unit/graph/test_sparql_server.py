from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyoxigraph
import pytest
from pyoxigraph import NamedNode, Quad, RdfFormat
from support.builders.pipeline_documents import FIRST, SECOND
from support.sparql_servers import answering, oxigraph, virtuoso

from yprov_mlflow.prov.errors import GraphError, QueryError
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.graph import handover, sparql_server
from yprov_mlflow.prov.graph.index_folder import IndexFolder
from yprov_mlflow.prov.graph.index_server import IndexServer
from yprov_mlflow.prov.graph.lineage_report import of_thing
from yprov_mlflow.prov.graph.lookup import iri
from yprov_mlflow.prov.graph.sparql_server import ServerGraph, SparqlServer
from yprov_mlflow.prov.graph.stores import LocalGraph
from yprov_mlflow.prov.model.document import Document

YES = b'{"head": {}, "boolean": true}'
COUNT = "SELECT (COUNT(*) AS ?n) { GRAPH ?g { ?s prov:used ?o } }"


@pytest.fixture(scope="module", params=[oxigraph, virtuoso], ids=["oxigraph", "virtuoso"])
def server_graph(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    pipeline_graph: LocalGraph,
) -> Iterator[ServerGraph]:
    with request.param(tmp_path_factory.mktemp("sparql")) as url:
        server = SparqlServer(url)
        put_all(server, pipeline_graph)
        yield ServerGraph(server)


def put_all(server: SparqlServer, graph: LocalGraph) -> None:
    for name in graph.store.named_graphs():
        triples = (quad.triple for quad in graph.store.quads_for_pattern(None, None, None, name))
        server.put(name.value, pyoxigraph.serialize(triples, format=RdfFormat.N_TRIPLES))


def lines(quads: Iterator[Quad]) -> Counter[str]:
    return Counter(map(str, quads))


def test_a_document_that_is_put_twice_is_there_once(
    server_graph: ServerGraph, pipeline_graph: LocalGraph
) -> None:
    put_all(server_graph.server, pipeline_graph)
    expected = {name.value for name in pipeline_graph.store.named_graphs()}
    assert expected <= server_graph.server.graphs()
    assert server_graph.select(COUNT) == pipeline_graph.select(COUNT)


def test_queries_see_all_documents_together(
    server_graph: ServerGraph, pipeline_graph: LocalGraph
) -> None:
    for query in (
        "SELECT DISTINCT ?s ?o { ?s prov:used ?o }",
        "CONSTRUCT { ?s prov:used ?o } WHERE { ?s prov:used ?o }",
        "ASK { ?s prov:used ?o }",
        "ASK { ?s prov:used <urn:nothing> }",
        "PREFIX p: <http://www.w3.org/ns/prov#> SELECT ?s { ?s p:used <urn:nothing> }",
    ):
        answer, expected = server_graph.select(query), pipeline_graph.select(query)
        assert set(answer.rows) == set(expected.rows), query


def test_statements_are_those_of_the_documents(
    server_graph: ServerGraph, pipeline_graph: LocalGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparql_server, "_BATCH", 3)
    subjects = list({q.subject for q in pipeline_graph.quads(None, iri("prov:used"))})
    assert len(subjects) > 3
    predicates = [iri("prov:used"), iri("dcterms:isPartOf")]
    expected = lines(pipeline_graph.quads(subjects, predicates))
    assert lines(server_graph.quads(subjects, predicates)) == expected
    thing = NamedNode(next(q.object.value for q in pipeline_graph.quads(None, iri("prov:used"))))
    backwards = lines(server_graph.quads(None, None, thing))
    assert backwards == lines(pipeline_graph.quads(None, None, thing))


@pytest.mark.parametrize(
    ("thing", "direction"),
    [("models:/clf@champion", "up"), ("clean", "down"), ("second", "up")],
)
def test_lineage_is_that_of_a_local_graph(
    server_graph: ServerGraph, pipeline_graph: LocalGraph, thing: str, direction: str
) -> None:
    report = of_thing(server_graph, thing, direction)
    expected = of_thing(pipeline_graph, thing, direction)
    assert {(t.kind, t.label) for t in report.things} == {
        (t.kind, t.label) for t in expected.things
    }
    assert set(map(str, report.lineage.links)) == set(map(str, expected.lineage.links))
    assert (report.people, report.commits) == (expected.people, expected.commits)
    assert {FIRST, SECOND} & {t.details.get("run_id") for t in report.things}


def test_the_index_can_be_on_a_server(server_graph: ServerGraph, tmp_path: Path) -> None:
    login = "dba:dba@" if server_graph.server._login else ""
    url = server_graph.server.base.replace("://", f"://{login}")
    index = IndexServer(url, IndexFolder(tmp_path))
    first, second = run_document(1), run_document(2)
    assert index.add([first, second])[:2] == (2, 0)
    assert index.add([first, second])[:2] == (0, 2)
    handover.hand_over(tmp_path, "2" * 32, prov_json.dumps(run_document(2, "renamed")))
    assert index.drain().added == 1
    assert handover.waiting(tmp_path) == 0
    labels = "SELECT ?label { ?run a prov:Activity ; rdfs:label ?label FILTER(STRLEN(?label) < 8) }"
    assert {row[0].value for row in index.graph().select(labels).rows} >= {"run 1", "renamed"}
    assert index.remove([*index.digests(), "urn:absent"]) == 2
    assert "dba" not in index.place
    assert not index.digests()
    assert not {row[0].value for row in index.graph().select(labels).rows} & {"run 1", "renamed"}


def run_document(number: int, label: str = "") -> Document:
    namespace = f"urn:uuid:99999999-0000-0000-0000-{number:012d}#"
    label = label or f"run {number}"
    return Document({"run": namespace}, {"activity": {"run:run": {"prov:label": label}}})


def test_a_graph_can_be_changed_and_deleted(server_graph: ServerGraph) -> None:
    server, name = server_graph.server, "urn:test:graph"
    server.update(f"INSERT DATA {{ GRAPH <{name}> {{ <urn:a> <urn:b> true, 'ü' }} }}")
    rows = server.query("SELECT ?o { GRAPH <urn:test:graph> { ?s ?p ?o } }").rows
    assert {term.value for (term,) in rows} == {"true", "ü"}
    server.put(name, b"<urn:a> <urn:b> <urn:c> .\n")
    assert [quad.object.value for quad in server_graph.quads("urn:a", "urn:b")] == ["urn:c"]
    server.delete(name)
    server.delete(name)
    assert name not in server.graphs()


def test_a_wrong_query_is_told_from_a_failing_server(server_graph: ServerGraph) -> None:
    with pytest.raises(QueryError, match="not valid SPARQL"):
        server_graph.select("SELECT * {")


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sparql_server, "_PAUSES_S", (0.0, 0.0, 0.0))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.mark.usefixtures("no_pauses")
def test_a_server_that_is_away_is_tried_again() -> None:
    with answering((503, b""), (502, b""), (200, YES)) as (url, requests):
        assert SparqlServer(url).query("ASK {}").rows
    assert len(requests) == 4
    with (
        answering((200, YES), (503, b"")) as (url, requests),
        pytest.raises(GraphError, match=r"busy or away.*Try again later"),
    ):
        SparqlServer(url).put("urn:g", b"")
    assert len(requests) == 5
    with pytest.raises(GraphError, match=r"cannot be reached.*that the server runs"):
        SparqlServer(url).query("ASK {}")


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, b"", "requires a user.*YPROV_MLFLOW_INDEX_TOKEN"),
        (404, b"", "no SPARQL server at this address.*base of its routes"),
        (302, b"", "no SPARQL server at this address"),
        (500, b"no se-cret space", "HTTP 500: no .withheld. space.*log says more"),
        (200, b"<html>", "not one of SPARQL.*Check that the URL"),
    ],
)
def test_answers_of_no_use_have_a_cure(status: int, body: bytes, message: str) -> None:
    with (
        answering((status, body)) as (url, _),
        pytest.raises(GraphError, match=message) as error,
    ):
        SparqlServer(url.replace("//", "//someone:se-cret@")).query("ASK {}")
    assert "se-cret" not in str(error.value)


@pytest.mark.usefixtures("no_pauses")
def test_an_endless_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparql_server, "_MOST_BYTES", 100)
    with (
        answering((200, YES), (200, b" " * 101)) as (url, _),
        pytest.raises(GraphError, match="Ask for less"),
    ):
        SparqlServer(url).query("SELECT * { ?s ?p ?o }")


@pytest.mark.usefixtures("no_pauses")
def test_credentials_come_from_url_token_or_netrc(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with answering((200, YES)) as (url, requests):
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n", "utf-8")
        SparqlServer(url).query("ASK {}")
        monkeypatch.setenv("YPROV_MLFLOW_INDEX_TOKEN", "abc")
        SparqlServer(url).query("ASK {}")
        SparqlServer(url.replace("//", "//u:p%40@")).query("ASK {}")
    used = [request.partition(" ")[2] for request in requests[::2]]
    assert used == ["Basic YTpi", "Bearer abc", "Basic dTpwQA=="]
