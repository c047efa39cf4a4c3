"""Turtle, and the blocks of TriG: one paragraph for each subject, short names where they fit.

Names in the namespace of the run that are no prefixed names as they are, such as those with a
slash, are written relative to the run: ``<#param/lr>``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO

from yprov_mlflow.prov.formats.bundles import Name, Names, one
from yprov_mlflow.prov.formats.faults import unwritable
from yprov_mlflow.prov.formats.rdf import dataset_reader
from yprov_mlflow.prov.formats.rdf.graph_writer import Statements
from yprov_mlflow.prov.formats.rdf.prov_o import RDF, RDFS, STANDARD, TYPE, VANN
from yprov_mlflow.prov.formats.rdf.terms import Syntax
from yprov_mlflow.prov.translate import Document

NAME = "Turtle"

PREFERRED: Mapping[str, str] = {"rdf": RDF, "rdfs": RDFS, "vann": VANN, **STANDARD}
"""Prefixes of what is in the RDF of every document."""

_PREFIX = re.compile(r"[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9_-])?\Z").match
_LOCAL = re.compile(
    r"(?:[A-Za-z0-9_](?:(?:[A-Za-z0-9_.-]|%[0-9A-Fa-f]{2})*[A-Za-z0-9_-])?)?\Z"
).match
_BASES = ("run", "store")
_PIECE = 64
"""Subjects that are written at once: few enough to stay in the processor's cache."""


def prefixes_of(document: Document) -> dict[str, str]:
    """Give the prefixes of a document, and those that its RDF needs besides."""
    return {**PREFERRED, **document.prefixes, **STANDARD}


class TurtleSyntax(Syntax):
    """How the terms of a document are written in Turtle."""

    format_name = NAME

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
        """Give a qualified name: as it is if it can be."""
        iri = self.expand(name)
        local = name.partition(":")[2] if ":" in name else name
        return self._shortened(iri[: len(iri) - len(local)], local)

    def iri(self, iri: str) -> str:
        """Give an IRI, by a prefix if one fits."""
        end = max(iri.rfind(mark) for mark in "#/:") + 1
        return self._shortened(iri[:end], iri[end:])

    def property(self, iri: str) -> str:
        """Give an IRI for a property; that of types is ``a``."""
        return "a " if iri == TYPE else super().property(iri)

    def _shortened(self, namespace: str, local: str) -> str:
        prefix = self._short.get(namespace)
        if prefix is not None and _LOCAL(local):
            return f"{prefix}:{local}"
        # rdflib takes what is before a colon for a scheme, even behind a "#".
        if self.base is not None and namespace == f"{self.base}#" and ":" not in local:
            return f"<#{local}>"
        return f"<{namespace}{local}>"


def heading(document: Document, syntax: TurtleSyntax) -> Iterator[str]:
    """Give the directives before a document."""
    if syntax.base is not None:
        yield f"@base <{syntax.base}> .\n"
    for prefix, namespace in sorted(prefixes_of(document).items()):
        if _PREFIX(prefix) and prefix != "default":
            yield f"@prefix {prefix}: <{namespace}> .\n"
    yield "\n"


def paragraphs(document: Document, syntax: TurtleSyntax, name: Name) -> Iterator[str]:
    """Give a paragraph for each subject."""
    for subject, pairs in Statements(document, syntax, name):
        objects: dict[str, list[str]] = {}
        for pair in pairs:
            property, _, value = pair.partition(" ")
            objects.setdefault(property, []).append(value)
        told = " ;\n    ".join(f"{p} {', '.join(values)}" for p, values in objects.items())
        yield f"{subject} {told} .\n"


def dump(documents: Iterable[Document], stream: BinaryIO, *, single: bool = True) -> None:
    """Write the one document.

    Raises:
        UsageError: There is not one document.
        DocumentError: It has names that are no IRIs, or relations that PROV-O has not.
    """
    document = one(documents, NAME)
    name = Names().take(document)
    syntax = TurtleSyntax(prefixes_of(document))
    write(stream, heading(document, syntax), name)
    write(stream, paragraphs(document, syntax, name), name)


def write(stream: BinaryIO, texts: Iterable[str], name: Name) -> None:
    """Write texts, some at a time.

    Raises:
        DocumentError: One of them holds half a character.
    """
    waiting: list[str] = []
    try:
        for text in texts:
            waiting.append(text)
            if len(waiting) >= _PIECE:
                stream.write("".join(waiting).encode())
                waiting.clear()
        stream.write("".join(waiting).encode())
    except UnicodeEncodeError as error:
        raise unwritable("RDF", error, name.iri) from error


def load(stream: BinaryIO) -> Iterator[Document]:
    """Read the document of a file.

    Raises:
        DocumentError: The content is no Turtle, or no PROV.
    """
    return dataset_reader.load(stream, "TURTLE", NAME)
