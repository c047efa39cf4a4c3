"""RDF back to documents: each graph is one, and so is what lies in none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from yprov_mlflow.prov.formats.bundles import named
from yprov_mlflow.prov.formats.faults import malformed
from yprov_mlflow.prov.formats.rdf.graph_reader import Graph
from yprov_mlflow.prov.translate import Document


def load(stream: BinaryIO, syntax: str, format_name: str) -> Iterator[Document]:
    """Read the documents of a file, one graph after another; only one is in memory.

    Args:
        stream: The file.
        syntax: Name of the syntax in ``pyoxigraph.RdfFormat``.
        format_name: What to call it in errors.

    Raises:
        DocumentError: The file is not of this syntax or holds what is no PROV, or the triples
            of a graph are not together.
    """
    import pyoxigraph

    seen: set[object] = set()
    current: object = None
    graph = Graph()
    parser = pyoxigraph.parse(stream, getattr(pyoxigraph.RdfFormat, syntax))
    try:
        for quad in parser:
            if quad.graph_name != current:
                if current is not None:
                    yield _document(graph, current, parser.prefixes)
                graph, current = Graph(), quad.graph_name
                if current in seen:
                    reason = "the triples of a graph are not together; sort the file by graph"
                    raise malformed(format_name, reason, str(current))
                seen.add(current)
            graph.add(quad.subject, quad.predicate.value, quad.object)
    except (SyntaxError, UnicodeDecodeError) as error:
        raise malformed(format_name, error) from error
    if current is not None:
        yield _document(graph, current, parser.prefixes)


def _document(graph: Graph, name: object, prefixes: dict[str, str]) -> Document:
    document = graph.document(prefixes)
    iri = getattr(name, "value", "")
    return named(document, iri if ":" in iri else "", prefixes)
