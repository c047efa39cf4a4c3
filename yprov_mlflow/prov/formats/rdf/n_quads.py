"""N-Quads: one line for each triple, in the graph of its document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO

from yprov_mlflow.prov.formats.bundles import Name, Names, one
from yprov_mlflow.prov.formats.rdf import dataset_reader, turtle
from yprov_mlflow.prov.formats.rdf.graph_writer import Statements
from yprov_mlflow.prov.formats.rdf.terms import Syntax
from yprov_mlflow.prov.translate import Document

NAME = "N-Quads"


def dump(documents: Iterable[Document], stream: BinaryIO, *, single: bool = False) -> None:
    """Write documents, each in its own graph; ``single`` says that there is to be one.

    Raises:
        UsageError: There is not one document, with ``single``.
        DocumentError: A document has names that are no IRIs, or relations that PROV-O has not.
    """
    names = Names()
    for document in [one(documents, NAME)] if single else documents:
        name = names.take(document)
        turtle.write(stream, _lines(document, name), name)


def _lines(document: Document, name: Name) -> Iterator[str]:
    """Give the lines of each subject."""
    syntax = Syntax(document.prefixes)
    end = f" {syntax.iri(name.iri)} .\n"
    for subject, pairs in Statements(document, syntax, name):
        between = f"{end}{subject} "
        yield f"{subject} {between.join(pairs)}{end}"


def load(stream: BinaryIO) -> Iterator[Document]:
    """Read the documents of a file: one of each graph, and of what is in none.

    Raises:
        DocumentError: The content is no N-Quads, no PROV, or a graph is not in one piece.
    """
    return dataset_reader.load(stream, "N_QUADS", NAME)
