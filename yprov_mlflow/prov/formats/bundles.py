"""Names of documents that share a file: ids of bundles, IRIs of named graphs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from yprov_mlflow.prov.formats.faults import not_one
from yprov_mlflow.prov.translate import Document

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_OWN = (("run", "record"), ("store", "store"))
"""Prefixes of what documents of ours are about, and what in it stands for the document."""

OF_BUNDLES = re.compile(r"(run|store)-[0-9a-f]{32}\Z")
"""Prefixes that are declared for ids of bundles."""


class Name(NamedTuple):
    """Name of a document among others: a qualified name with its namespace."""

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
    """A document that was read under a name which its content does not tell."""

    def __init__(self, document: Document, name: Name) -> None:
        super().__init__(document.prefixes, document.records)
        self.name = name


class Names:
    """Gives names to documents; no two of one file have the same."""

    def __init__(self) -> None:
        self.prefixes: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def take(self, document: Document) -> Name:
        """Name a document: by its run's or store's record, the n-th of the same with ``@n``."""
        name = name_of(document)
        count = self._counts[name.iri] = self._counts.get(name.iri, 0) + 1
        if count > 1:
            name = name._replace(local=f"{name.local}@{count}")
        prefix, number = name.prefix, 1
        while self.prefixes.setdefault(prefix, name.namespace) != name.namespace:
            number += 1
            prefix = f"{name.prefix}-{number}"
        return name._replace(prefix=prefix)


def name_of(document: Document) -> Name:
    """Name a document by itself: what it is about, else its content."""
    if isinstance(document, Bundle):
        return document.name
    for prefix, local in _OWN:
        namespace = document.prefixes.get(prefix)
        if namespace is not None:
            return Name(f"{prefix}-{_hex(namespace)}", namespace, local)
    from yprov_mlflow.prov.formats.prov_json import dumps

    return Name("sha256", "urn:sha256:", hashlib.sha256(dumps(document)).hexdigest())


def named(document: Document, iri: str, prefixes: Mapping[str, str]) -> Document:
    """Give a document that was read under a name, which it keeps if it would get another."""
    if not iri or name_of(document).iri == iri:
        return document
    fitting = [item for item in prefixes.items() if item[1] and iri.startswith(item[1])]
    if fitting:
        prefix, namespace = max(fitting, key=lambda item: (len(item[1]), item[0]))
    else:
        end = max(iri.rfind(mark) for mark in "#/:") + 1
        prefix, namespace = "bundle", iri[:end]
    return Bundle(document, Name(prefix, namespace, iri.removeprefix(namespace)))


def one(documents: Iterable[Document], format_name: str) -> Document:
    """Give the document, if it is the only one.

    Raises:
        UsageError: There is none, or another one.
    """
    several = iter(documents)
    first = next(several, None)
    if first is None:
        raise not_one(format_name, "none")
    if next(several, None) is not None:
        raise not_one(format_name, "several")
    return first


def _hex(namespace: str) -> str:
    found = _UUID.search(namespace)
    if found is not None:
        return found.group().replace("-", "")
    return hashlib.sha256(namespace.encode("utf-8", "replace")).hexdigest()[:32]
