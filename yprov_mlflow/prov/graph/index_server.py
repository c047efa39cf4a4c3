"""The index on a SPARQL server: documents are sent, and those that wait lie in a folder here."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from filelock import Timeout
from pyoxigraph import Literal, NamedNode, RdfFormat, Triple, parse, serialize

from yprov_mlflow.prov.graph import handover
from yprov_mlflow.prov.graph.index_folder import (
    DRAIN_TIMEOUT_S,
    Content,
    IndexFolder,
    Update,
    content_of,
    waiting_content,
)
from yprov_mlflow.prov.graph.run_rows import DIGEST, MARKS, ROWS
from yprov_mlflow.prov.graph.sparql_server import ServerGraph, SparqlServer
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.redaction import redact


class IndexServer:
    """An index with the methods of ``IndexFolder``.

    Args:
        url: The server.
        waiting: The folder where documents wait.
    """

    def __init__(self, url: str, waiting: IndexFolder) -> None:
        self.place = redact(url)
        self._server = SparqlServer(url)
        self._waiting = waiting

    def graph(self) -> ServerGraph:
        """Return the documents on the server as a graph."""
        return ServerGraph(self._server)

    def digests(self) -> dict[str, list[str]]:
        """Return the digests of the documents on the server by the IRI of their graph."""
        digests: dict[str, list[str]] = {}
        query = f"SELECT ?g ?digest {{ GRAPH {MARKS} {{ ?g {DIGEST} ?digest }} }}"
        for graph, digest in self._server.query(query).rows:
            assert isinstance(graph, NamedNode) and isinstance(digest, Literal)
            digests.setdefault(graph.value, []).append(digest.value)
        return digests

    def add(
        self, documents: Iterable[Document], on_turn: Callable[[Update], None] = lambda _: None
    ) -> Update:
        """Send documents; each replaces the one that had its name before.

        Args:
            documents: The documents.
            on_turn: Is called with the result so far, after each document.

        Raises:
            GraphError: The server is away or rejects a document.
        """
        result, known, sent = Update(), self.digests(), set[str]()
        for document in documents:
            content = content_of(document)
            if content.digest in known.get(content.graph.value, ()):
                result = result._replace(unchanged=result.unchanged + 1)
                continue
            if content.graph.value in sent:
                problem = (
                    f"{content.graph.value}: a second document of this name replaced the first"
                )
                result = result._replace(problems=(*result.problems, problem))
            sent.add(content.graph.value)
            self._send(content)
            records = result.records + content.records
            result = result._replace(added=result.added + 1, records=records)
            on_turn(result)
        return result

    def drain(self, timeout_s: float = DRAIN_TIMEOUT_S) -> Update:
        """Send the documents that wait.

        Raises:
            GraphError: The server is away or rejects a document, which still waits.
        """
        problems: list[str] = []
        count = records = 0
        if handover.waiting(self._waiting.folder):
            try:
                with self._waiting.locked(timeout_s):
                    for file in handover.take(self._waiting.folder):
                        if (content := waiting_content(file, problems)) is not None:
                            self._send(content)
                            count, records = count + 1, records + content.records
                        file.unlink(missing_ok=True)
            except Timeout:
                problems.append("another process sends documents to the index; ask again later")
        return Update(count, 0, records, tuple(problems))

    def remove(self, graphs: Iterable[str]) -> int:
        """Remove documents by the IRIs of their graphs, and return how many there were."""
        known = self.digests()
        chosen = [iri for iri in graphs if iri in known]
        for iri in chosen:
            self._unmark(NamedNode(iri))
            self._server.delete(iri)
        return len(chosen)

    def clear(self) -> None:
        """Remove all documents that were sent from here or elsewhere; no other graphs."""
        self.remove(list(self.digests()))

    def _send(self, content: Content) -> None:
        quads = parse(content.n_quads, RdfFormat.N_QUADS)
        triples = (Triple(quad.subject, quad.predicate, quad.object) for quad in quads)
        n_triples = serialize(triples, format=RdfFormat.N_TRIPLES)
        assert n_triples is not None
        graph = content.graph
        # The digest comes last: a document that was sent in part is sent again.
        self._unmark(graph)
        self._server.put(graph.value, n_triples)
        for mark, text in ((ROWS, content.rows), (DIGEST, content.digest)):
            triple = f"{graph} {mark} {Literal(text)}"
            self._server.update(f"INSERT DATA {{ GRAPH {MARKS} {{ {triple} }} }}")

    def _unmark(self, graph: NamedNode) -> None:
        for mark in (DIGEST, ROWS):
            self._server.update(f"DELETE WHERE {{ GRAPH {MARKS} {{ {graph} {mark} ?text }} }}")
