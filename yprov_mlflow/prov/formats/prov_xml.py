"""PROV-XML through the ``prov`` library, with one document in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any, BinaryIO

from lxml import etree
from prov import serializers

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats import bundles, prov_model
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.model.relations import PROV

NAME = "PROV-XML"
_DOCUMENT, _BUNDLE, _ID = (f"{{{PROV}}}{tag}" for tag in ("document", "bundleContent", "id"))
_STANDARD_PREFIXES = (None, "prov", "xsd", "xsi")
_START = f'<?xml version="1.0" encoding="UTF-8"?>\n<prov:document xmlns:prov="{PROV}">\n'.encode()


def dump(documents: Iterable[Document], stream: BinaryIO, *, single: bool = False) -> None:
    """Write documents; XML refuses some values, such as most control characters."""
    serializer = serializers.get("xml")
    if single:
        converted = prov_model.flat(bundles.single_document(documents, NAME), NAME)
        with prov_model.writing(NAME):
            serializer(converted).serialize(stream)
        return
    stream.write(_START)
    names = bundles.NameAllocator()
    for document in documents:
        name = names.allocate(document)
        bundle = prov_model.bundle(document, name, NAME)
        with prov_model.writing(NAME, name.iri):
            writer = serializer(bundle.document)
            element = writer.serialize_bundle(bundle, writer.serialize_bundle(bundle.document))
            stream.write(etree.tostring(element, pretty_print=True, encoding="UTF-8"))
    stream.write(b"</prov:document>\n")


def load(stream: BinaryIO) -> Iterator[Document]:
    """Yield each bundle, then the records outside bundles as one document."""
    # Documents are untrusted: no entities, no network.
    events = etree.iterparse(stream, events=("end",), resolve_entities=False, no_network=True)
    try:
        for _, element in events:
            if element.tag == _BUNDLE:
                yield from _document(element)
                element.getparent().remove(element)
        root = events.root
        if root is None or root.tag != _DOCUMENT:
            raise DocumentError.unreadable(NAME, "its root is not prov:document")
        if len(root):
            yield from _document(root)
    except etree.LxmlError as error:
        raise DocumentError.unreadable(NAME, error) from error


def _document(element: Any) -> Iterator[Document]:
    """Yield a bundle, or the document without its bundles.

    Each is parsed by itself: in a common model, ``prov`` would rename prefixes that occur in
    several bundles.
    """
    identifier = element.attrib.pop(_ID, "")
    in_scope = {p: ns for p, ns in element.nsmap.items() if p not in _STANDARD_PREFIXES}
    prefixes = {p: ns for p, ns in in_scope.items() if not bundles.BUNDLE_PREFIX.match(p)}
    element.tag = _DOCUMENT
    for document in prov_model.load(BytesIO(etree.tostring(element)), "xml", NAME):
        document.prefixes = {**prefixes, **document.prefixes}
        prefix, _, local = identifier.partition(":")
        iri = in_scope[prefix] + local if prefix in in_scope else ""
        yield bundles.with_name(document, iri, in_scope)
