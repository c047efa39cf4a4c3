"""TriG: Turtle with a graph for each document, and prefixes of its own before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO

from yprov_mlflow.prov.formats.bundles import Names, one
from yprov_mlflow.prov.formats.rdf import dataset_reader, turtle
from yprov_mlflow.prov.translate import Document

NAME = "TriG"


def dump(documents: Iterable[Document], stream: BinaryIO, *, single: bool = False) -> None:
    """Write documents, each in its own graph; ``single`` says that there is to be one.

    Raises:
        UsageError: There is not one document, with ``single``.
        DocumentError: A document has names that are no IRIs, or relations that PROV-O has not.
    """
    names = Names()
    for document in [one(documents, NAME)] if single else documents:
        name = names.take(document)
        syntax = turtle.TurtleSyntax(turtle.prefixes_of(document))
        turtle.write(stream, turtle.heading(document, syntax), name)
        stream.write(f"{syntax.iri(name.iri)} {{\n".encode())
        turtle.write(stream, turtle.paragraphs(document, syntax, name), name)
        stream.write(b"}\n\n")


def load(stream: BinaryIO) -> Iterator[Document]:
    """Read the documents of a file: one of each graph, and of what is in none.

    Raises:
        DocumentError: The content is no TriG, no PROV, or a graph is not in one piece.
    """
    return dataset_reader.load(stream, "TRIG", NAME)
