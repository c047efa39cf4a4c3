"""Names for documents that share a file: ids of bundles, IRIs of named graphs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from yprov_mlflow.prov.errors import UsageError
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.model.identifiers import RUN, STORE

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
BUNDLE_PREFIX = re.compile(r"(run|store)-[0-9a-f]{32}(-[0-9]+)*\Z")
"""Matches prefixes that a file declares for the ids of its bundles."""


class DocumentName(NamedTuple):
    """The name of a document in a file: a qualified name with its namespace."""

    prefix: str
    namespace: str
    local: str

    @property
    def qualified(self) -> str:
        """The name as PROV writes it."""
        return f"{self.prefix}:{self.local}"

    @property
    def iri(self) -> str:
        """The name as RDF writes it."""
        return self.namespace + self.local


class Bundle(Document):
    """A document with a name that does not follow from its content."""

    def __init__(self, document: Document, name: DocumentName) -> None:
        super().__init__(document.prefixes, document.records)
        self.name = name


class NameAllocator:
    """Allocates names that are unique in one file, and collects their ``prefixes``."""

    def __init__(self) -> None:
        self.prefixes: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def allocate(self, document: Document) -> DocumentName:
        """Return a document's name; the n-th document of the same name gets the suffix ``@n``."""
        name = name_of(document)
        count = self._counts[name.iri] = self._counts.get(name.iri, 0) + 1
        if count > 1:
            name = name._replace(local=f"{name.local}@{count}")
        # Two stores may have runs of the same id but different namespaces (base URIs).
        prefix, number = name.prefix, 1
        while self.prefixes.setdefault(prefix, name.namespace) != name.namespace:
            number += 1
            prefix = f"{name.prefix}-{number}"
        return name._replace(prefix=prefix)


def name_of(document: Document) -> DocumentName:
    """Return the name of a document: of the run or store it describes, else of its content."""
    if isinstance(document, Bundle):
        return document.name
    # A document of a run has the prefix of its store as well.
    for prefix, local in ((RUN, "record"), (STORE, "store")):
        namespace = document.prefixes.get(prefix)
        if namespace is not None:
            return DocumentName(f"{prefix}-{_hexadecimal(namespace)}", namespace, local)
    return DocumentName("sha256", "urn:sha256:", document.digest())


def with_name(document: Document, iri: str, prefixes: Mapping[str, str]) -> Document:
    """Return a document that keeps the name it has in a file.

    Args:
        document: The document.
        iri: Its name in the file; empty for a document outside bundles.
        prefixes: The prefixes that the file declares.
    """
    if not iri or name_of(document).iri == iri:
        return document
    # The longest namespace, so that the local name is short: as all of them start the same IRI,
    # it is also the last in the order of text. The prefix only breaks ties.
    matches = [(ns, prefix) for prefix, ns in prefixes.items() if ns and iri.startswith(ns)]
    namespace, prefix = max(matches, default=(namespace_of(iri), "bundle"))
    return Bundle(document, DocumentName(prefix, namespace, iri.removeprefix(namespace)))


def inherited(own: Mapping[str, str], outer: Mapping[str, str]) -> dict[str, str]:
    """Return the prefixes of a bundle, with those that it inherits from its file.

    Prefixes that only name our own bundles must not become part of the documents.
    """
    ours = RUN in own or STORE in own
    kept = {p: ns for p, ns in outer.items() if not (ours and BUNDLE_PREFIX.match(p))}
    return {**kept, **own}


def namespace_of(iri: str) -> str:
    """Return an IRI up to its last ``#``, ``/`` or ``:``."""
    return iri[: max(iri.rfind(separator) for separator in "#/:") + 1]


def single_document(documents: Iterable[Document], format_name: str) -> Document:
    """Return the only document; any other number of documents is a ``UsageError``."""
    iterator = iter(documents)
    first = next(iterator, None)
    if first is None:
        raise UsageError.not_single(format_name, "none")
    if next(iterator, None) is not None:
        raise UsageError.not_single(format_name, "several")
    return first


def _hexadecimal(namespace: str) -> str:
    match = _UUID.search(namespace)
    if match is not None:
        return match.group().replace("-", "")
    return hashlib.sha256(namespace.encode("utf-8", "replace")).hexdigest()[:32]
