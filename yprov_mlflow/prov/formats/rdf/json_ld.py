"""JSON-LD: one node per line in the graph of its document, with the prefixes as context."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import BinaryIO

import orjson

from yprov_mlflow.prov.formats import bundles
from yprov_mlflow.prov.formats.rdf import graph_reader, turtle
from yprov_mlflow.prov.formats.rdf.prov_o import TYPE
from yprov_mlflow.prov.formats.rdf.terms import Syntax, quote
from yprov_mlflow.prov.model.document import Document

NAME = "JSON-LD"
# JSON-LD 1.1 lets a term be used as a prefix only if its namespace ends with one of these.
_PREFIX_ENDS = tuple(":/?#[]@")


class JsonLdSyntax(Syntax):
    """The terms of a document in JSON-LD."""

    format_name = NAME
    ordered = False
    longest = 8_000_000

    def __init__(self, prefixes: Mapping[str, str]) -> None:
        # A prefix that is also a scheme would make readers expand full IRIs of that scheme.
        schemes = {namespace.partition(":")[0] for namespace in prefixes.values()}
        self.context = {
            prefix: namespace
            for prefix, namespace in sorted(prefixes.items())
            if namespace.endswith(_PREFIX_ENDS)
            and prefix.isascii()
            and prefix[:1].isalpha()
            and prefix not in schemes
            and prefix not in ("default", "_")
        }
        self._short = {uri: prefix for prefix, uri in sorted(self.context.items(), reverse=True)}
        super().__init__(prefixes)

    def name(self, name: str) -> str:
        """Return a reference to a qualified name, unchanged if JSON-LD allows it."""
        prefix, _, local = name.partition(":")
        iri = self.expand(name)
        # JSON-LD takes "prefix://..." for a full IRI.
        short = prefix in self.context and not local.startswith("//")
        return f'{{"@id":{quote(name if short else iri)}}}'

    def iri(self, iri: str) -> str:
        """Return a reference to an IRI, with a prefix if one matches."""
        namespace = bundles.namespace_of(iri)
        prefix, local = self._short.get(namespace), iri.removeprefix(namespace)
        return f'{{"@id":{quote(f"{prefix}:{local}" if prefix is not None else iri)}}}'

    def subject(self, term: str) -> str:
        """Return the string in a reference."""
        return term[len('{"@id":') : -1]

    def property(self, iri: str) -> str:
        """Return an IRI as a key; ``rdf:type`` is ``@type``."""
        return '"@type" ' if iri == TYPE else super().property(iri)

    def language(self, text: str, tag: str) -> str:
        """Return a literal with a language."""
        return f'{{"@language":{quote(tag)},"@value":{quote(text)}}}'

    def _typed(self, datatype: str) -> tuple[str, str]:
        return f'{{"@type":{self.subject(self.names[datatype])},"@value":', "}"


def dump(documents: Iterable[Document], stream: BinaryIO, *, single: bool = False) -> None:
    """Write documents, each in its own graph: one object with ``single``, else an array."""
    names = bundles.NameAllocator()
    before = b"" if single else b"[\n"
    for document in [bundles.single_document(documents, NAME)] if single else documents:
        name = names.allocate(document)
        syntax = JsonLdSyntax(turtle.prefixes_of(document))
        context = orjson.dumps(syntax.context).decode()
        about = syntax.subject(syntax.iri(name.iri))
        stream.write(before + f'{{"@context":{context},\n"@id":{about},\n"@graph":['.encode())
        turtle.write(stream, _nodes(document, syntax, name), name)
        stream.write(b"\n]}")
        before = b",\n"
    stream.write(b"\n" if single else b"\n]\n" if before == b",\n" else b"[]\n")


def _nodes(document: Document, syntax: JsonLdSyntax, name: bundles.DocumentName) -> Iterator[str]:
    separator = "\n"
    for subject, objects in turtle.objects_by_property(document, syntax, name):
        if '"@type"' in objects:
            objects['"@type"'] = list(map(syntax.subject, objects['"@type"']))
        members = ",".join(
            f"{key}:{values[0] if len(values) == 1 else '[' + ','.join(values) + ']'}"
            for key, values in objects.items()
        )
        yield f'{separator}{{"@id":{subject},{members}}}'
        separator = ",\n"


load = partial(graph_reader.load, syntax="JSON_LD", format_name=NAME)
