"""Statements as the parsers of PROV-N and PROV-XML return them, and documents made of these.

Validation checks the same statements, so every valid document can be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from types import MappingProxyType
from typing import Any, NamedTuple

from yprov_mlflow.prov.formats.bundles import inherited, with_name
from yprov_mlflow.prov.formats.prov_json import merge, records_of
from yprov_mlflow.prov.model.document import Document, Record
from yprov_mlflow.prov.model.identifiers import unnamed
from yprov_mlflow.prov.model.relations import FORMAL, KINDS


class ParsedStatement(NamedTuple):
    """One statement, with names as PROV-JSON writes them.

    Args:
        kind: One of ``KINDS``, or the name of an extension, whose other fields are unset.
        identifier: Its id; None if it lacks one. A blank id (``_:…``) is only a key.
        terms: The ids that are its arguments, in the order of PROV-DM; None if omitted.
        times: Its time, or start and end of an activity; None if omitted.
        attributes: Names and values in order; None without a list of attributes.
        complete: Whether all optional arguments are written, or none, as PROV-N wants it.
    """

    kind: str
    identifier: str | None = None
    terms: tuple[str | None, ...] = ()
    times: tuple[str | None, ...] = ()
    attributes: list[tuple[str, Any]] | None = None
    complete: bool = True


class ParsedBundle(NamedTuple):
    """A bundle, or everything outside bundles.

    Args:
        identifier: Its id; None outside bundles.
        declared: The prefixes that it declares; the default namespace is ``default``.
        outer: The prefixes that the document declares, for a bundle.
        statements: Its statements.
        own: The prefixes that the file needs beyond those of its documents, for the id.
    """

    identifier: str | None
    declared: dict[str, str]
    outer: dict[str, str]
    statements: list[ParsedStatement]
    own: Mapping[str, str] = MappingProxyType({})

    @property
    def prefixes(self) -> dict[str, str]:
        """All prefixes that its names may have."""
        return {**self.own, **self.outer, **self.declared}


def documents(parsed: Iterable[ParsedBundle]) -> Iterator[Document]:
    """Yield each bundle, then the records outside bundles as one document."""
    last: ParsedBundle | None = None
    for bundle in parsed:
        document = _document(bundle)
        if bundle.identifier is not None:
            outer = {**bundle.own, **bundle.outer}
            yield with_name(document, _iri(bundle.identifier, bundle), outer)
        elif len(document) or (document.prefixes and last is None):
            yield document
        last = bundle


def _document(bundle: ParsedBundle) -> Document:
    sections: dict[str, dict[str, list[Record]]] = {}
    unnamed_count = 0
    for statement in bundle.statements:
        kind = KINDS.get(statement.kind)
        if kind is None:  # an extension
            continue
        key = statement.identifier
        # Keys of relations without ids: from both ends if PROV allows nothing else in them, so
        # that they do not depend on the order of statements; else a number.
        if key is None and not kind.named and None not in statement.terms:
            key = unnamed(statement.kind, *map(str, statement.terms[:2]))
        elif key is None:
            unnamed_count += 1
            key = f"_:id{unnamed_count}"
        record = _record(statement)
        records = sections.setdefault(statement.kind, {}).setdefault(key, [])
        # Those with an id are merged below.
        if not (key.startswith("_:") and record in records):
            records.append(record)
    return Document(inherited(bundle.declared, bundle.outer), records_of(sections))


def _record(statement: ParsedStatement) -> Record:
    values = (*statement.terms, *statement.times)
    formal = zip(FORMAL[statement.kind], values, strict=True)
    written = [(key, argument) for key, argument in formal if argument is not None]
    return merge(chain(written, statement.attributes or ()))


def _iri(name: str, bundle: ParsedBundle) -> str:
    prefix, colon, local = name.partition(":")
    if not colon:
        prefix, local = "default", name
    namespace = bundle.prefixes.get(prefix)
    return namespace + local if namespace is not None else ""
