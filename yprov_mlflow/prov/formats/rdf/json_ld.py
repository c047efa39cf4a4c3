"""JSON-LD: a node on each line, in the graph of its document, with prefixes as its context."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO

import orjson

from yprov_mlflow.prov.formats.bundles import Name, Names, one
from yprov_mlflow.prov.formats.rdf import dataset_reader, turtle
from yprov_mlflow.prov.formats.rdf.graph_writer import Statements
from yprov_mlflow.prov.formats.rdf.prov_o import TYPE
from yprov_mlflow.prov.formats.rdf.terms import Syntax, quote
from yprov_mlflow.prov.translate import Document

NAME = "JSON-LD"

_ENDS = tuple(":/?#[]@")
"""Characters that a namespace may end with, for readers to take its term for a prefix."""


class JsonLdSyntax(Syntax):
    """How the terms of a document are written in JSON-LD."""

    format_name = NAME
    ordered = False

    def __init__(self, prefixes: Mapping[str, str]) -> None:
        schemes = {namespace.partition(":")[0] for namespace in prefixes.values()}
        self.context = {
            prefix: namespace
            for prefix, namespace in sorted(prefixes.items())
            if namespace.endswith(_ENDS)
            and prefix.isascii()
            and prefix[:1].isalpha()
            and prefix not in schemes
            and prefix not in ("default", "_")
        }
        self._short = {
            namespace: prefix for prefix, namespace in sorted(self.context.items(), reverse=True)
        }
        super().__init__(prefixes)

    def name(self, name: str) -> str:
        """Give a reference to a qualified name: as it is if it can be."""
        prefix, _, local = name.partition(":")
        iri = self.expand(name)
        if prefix in self.context and not local.startswith("//"):
            return f'{{"@id":{quote(name)}}}'
        return f'{{"@id":{quote(iri)}}}'

    def iri(self, iri: str) -> str:
        """Give a reference to an IRI, by a prefix if one fits."""
        end = max(iri.rfind(mark) for mark in "#/:") + 1
        prefix, local = self._short.get(iri[:end]), iri[end:]
        return f'{{"@id":{quote(f"{prefix}:{local}" if prefix is not None else iri)}}}'

    def subject(self, term: str) -> str:
        """Give the string in a reference."""
        return term[len('{"@id":') : -1]

    def property(self, iri: str) -> str:
        """Give the key of a property; that of types is JSON-LD's own."""
        return '"@type" ' if iri == TYPE else super().property(iri)

    def language(self, text: str, tag: str) -> str:
        """Give a text in a language."""
        return f'{{"@language":{quote(tag)},"@value":{quote(text)}}}'

    def _typed(self, datatype: str) -> tuple[str, str]:
        return f'{{"@type":{self.subject(self.names[datatype])},"@value":', "}"


def dump(documents: Iterable[Document], stream: BinaryIO, *, single: bool = False) -> None:
    """Write documents, each in its own graph: with ``single`` one object, else an array.

    Raises:
        UsageError: There is not one document, with ``single``.
        DocumentError: A document has names that are no IRIs, or relations that PROV-O has not.
    """
    names = Names()
    before = b"" if single else b"[\n"
    for document in [one(documents, NAME)] if single else documents:
        name = names.take(document)
        syntax = JsonLdSyntax(turtle.prefixes_of(document))
        context = orjson.dumps(syntax.context).decode()
        about = syntax.subject(syntax.iri(name.iri))
        stream.write(before + f'{{"@context":{context},\n"@id":{about},\n"@graph":['.encode())
        turtle.write(stream, _nodes(document, syntax, name), name)
        stream.write(b"\n]}")
        before = b",\n"
    stream.write(b"\n" if single else b"\n]\n" if before == b",\n" else b"[]\n")


def _nodes(document: Document, syntax: JsonLdSyntax, name: Name) -> Iterator[str]:
    between = "\n"
    for subject, pairs in Statements(document, syntax, name):
        objects: dict[str, list[str]] = {}
        for pair in pairs:
            key, _, value = pair.partition(" ")
            if key == '"@type"':
                value = syntax.subject(value)
            objects.setdefault(key, []).append(value)
        told = (
            f"{key}:{values[0] if len(values) == 1 else '[' + ','.join(values) + ']'}"
            for key, values in objects.items()
        )
        yield f'{between}{{"@id":{subject},{",".join(told)}}}'
        between = ",\n"


def load(stream: BinaryIO) -> Iterator[Document]:
    """Read the documents of a file: one of each graph, and of what is in none.

    Raises:
        DocumentError: The content is no JSON-LD, no PROV, or a graph is not in one piece.
    """
    return dataset_reader.load(stream, "JSON_LD", NAME)
