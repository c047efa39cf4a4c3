"""Turtle, TriG and N-Quads: one block of text for each subject of a document.

Turtle and TriG use prefixed names where the grammar allows them. Names in the namespace of the
run that are not allowed as prefixed names, such as those with a slash, are written relative to
the run: ``<#param/lr>``.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats.bundles import (
    DocumentName,
    NameAllocator,
    namespace_of,
    single_document,
)
from yprov_mlflow.prov.formats.rdf import graph_reader
from yprov_mlflow.prov.formats.rdf.graph_writer import Statements
from yprov_mlflow.prov.formats.rdf.prov_o import RDF, RDFS, STANDARD, TYPE, VANN
from yprov_mlflow.prov.formats.rdf.terms import Syntax
from yprov_mlflow.prov.model.document import Document

_PREFERRED: Mapping[str, str] = {"rdf": RDF, "rdfs": RDFS, "vann": VANN, **STANDARD}
"""Prefixes of the terms that occur in the RDF of every document."""

# A safe subset of Turtle's grammar; all other names are written as full or relative IRIs.
_PREFIX = re.compile(r"[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9_-])?\Z").match
_LOCAL = re.compile(
    r"(?:[A-Za-z0-9_](?:(?:[A-Za-z0-9_.-]|%[0-9A-Fa-f]{2})*[A-Za-z0-9_-])?)?\Z"
).match
_BASES = ("run", "store")
_BATCH = 64
"""Subjects that are written at once: few enough to stay in the processor's cache."""


def prefixes_of(document: Document) -> dict[str, str]:
    """Return the prefixes of a document and those that its RDF needs in addition."""
    return {**_PREFERRED, **document.prefixes, **STANDARD}


class TurtleSyntax(Syntax):
    """The terms of a document in Turtle.

    Attributes:
        base: The namespace of the run or store without its ``#``, if it ends with one.
    """

    format_name = "Turtle"

    def __init__(self, prefixes: Mapping[str, str]) -> None:
        self._short = {
            namespace: prefix
            for prefix, namespace in sorted(prefixes.items(), reverse=True)
            if _PREFIX(prefix) and prefix != "default"
        }
        self.base = next(
            (prefixes[prefix][:-1] for prefix in _BASES if prefixes.get(prefix, "").endswith("#")),
            None,
        )
        super().__init__(prefixes)

    def name(self, name: str) -> str:
        """Return a qualified name, unchanged if the grammar allows it."""
        iri = self.expand(name)
        local = name.partition(":")[2] if ":" in name else name
        return self._shortened(iri[: len(iri) - len(local)], local)

    def iri(self, iri: str) -> str:
        """Return an IRI, with a prefix if one matches."""
        namespace = namespace_of(iri)
        return self._shortened(namespace, iri.removeprefix(namespace))

    def property(self, iri: str) -> str:
        """Return an IRI as a property; ``rdf:type`` is ``a``."""
        return "a " if iri == TYPE else super().property(iri)

    def _shortened(self, namespace: str, local: str) -> str:
        prefix = self._short.get(namespace)
        if prefix is not None and _LOCAL(local):
            return f"{prefix}:{local}"
        # rdflib takes anything before a colon for a scheme, even after a "#".
        if self.base is not None and namespace == f"{self.base}#" and ":" not in local:
            return f"<#{local}>"
        return f"<{namespace}{local}>"


def _header(document: Document, syntax: TurtleSyntax) -> Iterator[str]:
    if syntax.base is not None:
        yield f"@base <{syntax.base}> .\n"
    for prefix, namespace in sorted(prefixes_of(document).items()):
        if _PREFIX(prefix) and prefix != "default":
            yield f"@prefix {prefix}: <{namespace}> .\n"
    yield "\n"


def _paragraphs(document: Document, syntax: TurtleSyntax, name: DocumentName) -> Iterator[str]:
    for subject, objects in objects_by_property(document, syntax, name):
        pairs = " ;\n    ".join(f"{p} {', '.join(values)}" for p, values in objects.items())
        yield f"{subject} {pairs} .\n"


def objects_by_property(
    document: Document, syntax: Syntax, name: DocumentName
) -> Iterator[tuple[str, dict[str, list[str]]]]:
    """Yield each subject with the objects of each of its properties, all as text."""
    for subject, pairs in Statements(document, syntax, name):
        objects: dict[str, list[str]] = {}
        for pair in pairs:
            property, _, value = pair.partition(" ")
            objects.setdefault(property, []).append(value)
        yield subject, objects


def write(stream: BinaryIO, texts: Iterable[str], name: DocumentName) -> None:
    """Write the texts of a document in batches.

    Raises:
        DocumentError: A text contains half a surrogate pair.
    """
    pending: list[str] = []
    try:
        for text in texts:
            pending.append(text)
            if len(pending) >= _BATCH:
                stream.write("".join(pending).encode())
                pending.clear()
        stream.write("".join(pending).encode())
    except UnicodeEncodeError as error:
        raise DocumentError.unwritable("RDF", error, name.iri) from error


class _TextCodec(ABC):
    """Writes and reads one of the syntaxes.

    Args:
        name: Its name in error messages.
        parser: Its name in ``pyoxigraph.RdfFormat``.
    """

    def __init__(self, name: str, parser: str) -> None:
        self._name = name
        self._parser = parser

    @abstractmethod
    def texts(self, document: Document, name: DocumentName) -> Iterator[str]:
        """Yield the text of a document in pieces."""

    def dump(
        self, documents: Iterable[Document], stream: BinaryIO, *, single: bool = False
    ) -> None:
        """Write documents, each in its own graph.

        Raises:
            UsageError: With ``single``, there is not exactly one document.
            DocumentError: A name is not an IRI, or PROV-O lacks a relation.
        """
        names = NameAllocator()
        for document in [single_document(documents, self._name)] if single else documents:
            name = names.allocate(document)
            write(stream, self.texts(document, name), name)

    def load(self, stream: BinaryIO) -> Iterator[Document]:
        """Yield the documents of a file: one per graph.

        Raises:
            DocumentError: The content does not have this syntax, is not PROV, or the triples of
                a graph are not contiguous.
        """
        return graph_reader.load(stream, self._parser, self._name)


class _Turtle(_TextCodec):
    def texts(self, document: Document, name: DocumentName) -> Iterator[str]:
        syntax = TurtleSyntax(prefixes_of(document))
        yield from _header(document, syntax)
        yield from _paragraphs(document, syntax, name)


class _TriG(_TextCodec):
    def texts(self, document: Document, name: DocumentName) -> Iterator[str]:
        syntax = TurtleSyntax(prefixes_of(document))
        yield from _header(document, syntax)
        yield f"{syntax.iri(name.iri)} {{\n"
        yield from _paragraphs(document, syntax, name)
        yield "}\n\n"


class _NQuads(_TextCodec):
    def texts(self, document: Document, name: DocumentName) -> Iterator[str]:
        syntax = Syntax(document.prefixes)
        end = f" {syntax.iri(name.iri)} .\n"
        for subject, pairs in Statements(document, syntax, name):
            between = f"{end}{subject} "
            yield f"{subject} {between.join(pairs)}{end}"


TURTLE = _Turtle("Turtle", "TURTLE")
TRIG = _TriG("TriG", "TRIG")
N_QUADS = _NQuads("N-Quads", "N_QUADS")
