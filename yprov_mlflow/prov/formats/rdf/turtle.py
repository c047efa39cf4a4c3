"""Turtle, TriG and N-Quads: one block of text for each subject of a document.

Turtle and TriG use prefixed names where the grammar allows them. Names in the namespace of the
run that are not allowed as prefixed names, such as those with a slash, are written relative to
the run: ``<#param/lr>``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import BinaryIO

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats import bundles
from yprov_mlflow.prov.formats.bundles import DocumentName
from yprov_mlflow.prov.formats.rdf import graph_reader
from yprov_mlflow.prov.formats.rdf.graph_writer import Statement, Statements
from yprov_mlflow.prov.formats.rdf.prov_o import RDF, RDFS, STANDARD, TYPE, VANN
from yprov_mlflow.prov.formats.rdf.terms import Syntax
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.model.identifiers import RUN, STORE

_PREFERRED: Mapping[str, str] = {"rdf": RDF, "rdfs": RDFS, "vann": VANN, **STANDARD}
"""Prefixes of the terms that occur in the RDF of every document."""

# A safe subset of Turtle's grammar; all other names are written as full or relative IRIs.
_PREFIX = re.compile(r"[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9_-])?\Z").match
_LOCAL = re.compile(
    r"(?:[A-Za-z0-9_](?:(?:[A-Za-z0-9_.-]|%[0-9A-Fa-f]{2})*[A-Za-z0-9_-])?)?\Z"
).match
# Subjects that are written at once: few enough to stay in the processor's cache.
_BATCH = 64


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
        # The run first: most names in the document of a run have the namespace of the run.
        ours = [prefixes.get(prefix, "") for prefix in (RUN, STORE)]
        self.base = next((uri[:-1] for uri in ours if uri.endswith("#")), None)
        super().__init__(prefixes)

    def name(self, name: str) -> str:
        """Return a qualified name, unchanged if the grammar allows it."""
        iri = self.expand(name)
        local = name.partition(":")[2] if ":" in name else name
        return self._shortened(iri[: len(iri) - len(local)], local)

    def iri(self, iri: str) -> str:
        """Return an IRI, with a prefix if one matches."""
        namespace = bundles.namespace_of(iri)
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


def _statements(document: Document, syntax: Syntax, name: DocumentName) -> Iterator[Statement]:
    """Yield the statements of a document; one that no parser reads back is a ``DocumentError``."""
    # A character has at most four bytes, so that nearly all lengths need no exact count.
    certain = syntax.longest // 4
    for subject, pairs in Statements(document, syntax, name):
        if max(map(len, pairs), default=0) > certain:
            _check_lengths(subject, pairs, syntax)
        yield subject, pairs


def _check_lengths(subject: str, pairs: Iterable[str], syntax: Syntax) -> None:
    for pair in pairs:
        if (size := len(pair.encode("utf-8", "replace"))) > syntax.longest:
            property = pair.partition(" ")[0]
            limit = f"parsers of {syntax.format_name} read at most {syntax.longest:,} bytes"
            reason = f"the value of {property} has {size:,} bytes, and {limit}"
            raise DocumentError.unwritable(syntax.format_name, reason, subject)


def objects_by_property(
    document: Document, syntax: Syntax, name: DocumentName
) -> Iterator[tuple[str, dict[str, list[str]]]]:
    """Yield each subject with the objects of each of its properties, all as text."""
    for subject, pairs in _statements(document, syntax, name):
        objects: dict[str, list[str]] = {}
        for pair in pairs:
            property, _, value = pair.partition(" ")
            objects.setdefault(property, []).append(value)
        yield subject, objects


def write(stream: BinaryIO, texts: Iterable[str], name: DocumentName) -> None:
    """Write the texts of a document in batches; half a surrogate pair is a ``DocumentError``."""
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


def _turtle(document: Document, name: DocumentName, *, graph: bool = False) -> Iterator[str]:
    prefixes = prefixes_of(document)
    syntax = TurtleSyntax(prefixes)
    if syntax.base is not None:
        yield f"@base <{syntax.base}> .\n"
    for prefix, namespace in sorted(prefixes.items()):
        if _PREFIX(prefix) and prefix != "default":
            yield f"@prefix {prefix}: <{namespace}> .\n"
    yield f"\n{syntax.iri(name.iri)} {{\n" if graph else "\n"
    for subject, objects in objects_by_property(document, syntax, name):
        pairs = " ;\n    ".join(f"{p} {', '.join(values)}" for p, values in objects.items())
        yield f"{subject} {pairs} .\n"
    if graph:
        yield "}\n\n"


def _n_quads(document: Document, name: DocumentName) -> Iterator[str]:
    syntax = Syntax(document.prefixes)
    end = f" {syntax.iri(name.iri)} .\n"
    for subject, pairs in _statements(document, syntax, name):
        between = f"{end}{subject} "
        yield f"{subject} {between.join(pairs)}{end}"


class TextCodec:
    """Writes and reads one of the syntaxes.

    Args:
        name: Its name in error messages.
        parser: Its name in ``pyoxigraph.RdfFormat``.
        texts: Yields the text of a document in pieces.
    """

    def __init__(
        self, name: str, parser: str, texts: Callable[[Document, DocumentName], Iterator[str]]
    ) -> None:
        self._name = name
        self._texts = texts
        self.load = partial(graph_reader.load, syntax=parser, format_name=name)

    def dump(
        self, documents: Iterable[Document], stream: BinaryIO, *, single: bool = False
    ) -> None:
        """Write documents, each in its own graph."""
        names = bundles.NameAllocator()
        for document in [bundles.single_document(documents, self._name)] if single else documents:
            name = names.allocate(document)
            write(stream, self._texts(document, name), name)


TURTLE = TextCodec("Turtle", "TURTLE", _turtle)
TRIG = TextCodec("TriG", "TRIG", partial(_turtle, graph=True))
N_QUADS = TextCodec("N-Quads", "N_QUADS", _n_quads)
