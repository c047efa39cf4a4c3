"""Graphs of many documents: one named graph for each document, and questions to all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pyoxigraph
from pyoxigraph import BlankNode, Literal, NamedNode, Quad, Triple

from yprov_mlflow.prov.errors import GraphError, QueryError
from yprov_mlflow.prov.formats.bundles import name_of
from yprov_mlflow.prov.formats.rdf.turtle import N_QUADS
from yprov_mlflow.prov.graph.run_rows import MARKS, ROWS, rows_of
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.model.vocabulary import PREFIXES as OF_DOCUMENTS

Term = NamedNode | BlankNode | Literal | Triple
"""A term of RDF; its text is ``term.value``, except for triples."""

Terms = str | Term | Iterable[str | Term] | None
"""The terms allowed in a position of a quad: a term or IRI, several, or (None) any."""

DAMAGE = (OSError, RuntimeError)
"""Errors of pyoxigraph about a store that cannot be read or written."""

PREFIXES = {
    **OF_DOCUMENTS,
    "prov": "http://www.w3.org/ns/prov#",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}
"""Prefixes that every query may use without declaring them."""


class Table(NamedTuple):
    """The answer to a query: rows of terms, None where a variable is unbound.

    An ASK query has one column, ``answer``; CONSTRUCT and DESCRIBE have the three of triples.
    """

    columns: list[str]
    rows: list[tuple[Term | None, ...]]


class Graph(Protocol):
    """Documents that can be asked together."""

    def select(self, sparql: str) -> Table:
        """Return the answer to a query over the union of all documents.

        Args:
            sparql: A SPARQL query of any form; it may use ``PREFIXES`` without declaring them.

        Raises:
            QueryError: The query has a syntax error, or the server rejects it.
            GraphError: The graph cannot be read.
        """
        ...

    def quads(
        self, subject: Terms = None, predicate: Terms = None, object: Terms = None
    ) -> Iterator[Quad]:
        """Yield all statements with one of the terms in each position.

        ``quad.graph_name`` is the document that states it. One call with many subjects costs a
        server one request for some hundreds of them.

        Raises:
            GraphError: The graph cannot be read.
        """
        ...


class LocalGraph:
    """A graph in a folder or in memory.

    Args:
        store: The store of pyoxigraph.
    """

    def __init__(self, store: pyoxigraph.Store) -> None:
        self.store = store

    @classmethod
    def in_memory(cls, documents: Iterable[Document]) -> LocalGraph:
        """Return a graph of these documents; several of one run are all in it."""
        documents = list(documents)
        stream = BytesIO()
        N_QUADS.dump(documents, stream)
        store = pyoxigraph.Store()
        store.bulk_load(stream.getvalue(), pyoxigraph.RdfFormat.N_QUADS)
        names = [NamedNode(name_of(document).iri) for document in documents]
        rows = [Literal(rows_of(document)) for document in documents]
        store.extend(Quad(name, ROWS, row, MARKS) for name, row in zip(names, rows, strict=True))
        return cls(store)

    @classmethod
    def open(cls, folder: Path) -> LocalGraph:
        """Return the graph in a folder as it is now; it can be read while others write to it.

        Raises:
            GraphError: The folder is not a store, or is damaged.
        """
        try:
            return cls(pyoxigraph.Store.read_only(str(folder)))
        except DAMAGE as error:
            raise GraphError.damaged(str(folder), error) from error

    def select(self, sparql: str) -> Table:
        """Return the answer to a query; see ``Graph``."""
        try:
            answer = self.store.query(sparql, prefixes=PREFIXES, use_default_graph_as_union=True)
            return table_of(answer)
        except SyntaxError as error:
            raise QueryError.rejected(error) from error
        except DAMAGE as error:
            raise GraphError.damaged("the index", error) from error

    def quads(
        self, subject: Terms = None, predicate: Terms = None, object: Terms = None
    ) -> Iterator[Quad]:
        """Yield statements; see ``Graph``."""
        positions = map(terms_of, (subject, predicate, object))
        try:
            for s, p, o in product(*([None] if terms is None else terms for terms in positions)):
                yield from self.store.quads_for_pattern(s, p, o, None)
        except DAMAGE as error:
            raise GraphError.damaged("the index", error) from error


def table_of(answer: object) -> Table:
    """Return the results of pyoxigraph as a table."""
    if isinstance(answer, pyoxigraph.QueryBoolean):
        return Table(["answer"], [(Literal(bool(answer)),)])
    if isinstance(answer, pyoxigraph.QuerySolutions):
        columns = [variable.value for variable in answer.variables]
        return Table(columns, [tuple(row) for row in answer])
    assert isinstance(answer, pyoxigraph.QueryTriples)
    return Table(
        ["subject", "predicate", "object"], [(t.subject, t.predicate, t.object) for t in answer]
    )


def terms_of(terms: Terms) -> list[Any] | None:
    """Return the terms allowed in a position of a quad as a list; None for any."""
    if terms is None:
        return None
    several = (
        [terms] if isinstance(terms, str | NamedNode | BlankNode | Literal | Triple) else terms
    )
    return [NamedNode(term) if isinstance(term, str) else term for term in several]
