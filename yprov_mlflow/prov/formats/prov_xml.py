"""PROV-XML, by the ``prov`` library: one document after another, whatever their number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any, BinaryIO

from yprov_mlflow.prov.formats import prov_model
from yprov_mlflow.prov.formats.bundles import OF_BUNDLES, Names, named, one
from yprov_mlflow.prov.formats.faults import malformed
from yprov_mlflow.prov.translate import Document

NAME = "PROV-XML"

_PROV = "{http://www.w3.org/ns/prov#}"
_DOCUMENT, _BUNDLE, _ID = f"{_PROV}document", f"{_PROV}bundleContent", f"{_PROV}id"
_STANDARD = (None, "prov", "xsd", "xsi")

_START = b"""<?xml version="1.0" encoding="UTF-8"?>
<prov:document xmlns:prov="http://www.w3.org/ns/prov#">
"""


def dump(documents: Iterable[Document], stream: BinaryIO, *, single: bool = False) -> None:
    """Write one document flat, or any number of them as bundles.

    Raises:
        UsageError: There is not one document, with ``single``.
        DocumentError: A document has what XML cannot hold, such as most control characters.
    """
    from lxml import etree
    from prov import serializers

    make = serializers.get("xml")
    if single:
        found = prov_model.flat(one(documents, NAME), NAME)
        with prov_model.writing(NAME):
            make(found).serialize(stream)
        return
    stream.write(_START)
    names = Names()
    for document in documents:
        name = names.take(document)
        bundle = prov_model.bundle(document, name, NAME)
        with prov_model.writing(NAME, name.iri):
            writer = make(bundle.document)
            element = writer.serialize_bundle(bundle, writer.serialize_bundle(bundle.document))
            stream.write(etree.tostring(element, pretty_print=True, encoding="UTF-8"))
    stream.write(b"</prov:document>\n")


def load(stream: BinaryIO) -> Iterator[Document]:
    """Read bundle after bundle, then what is outside of them, as ``prov`` understands it.

    Raises:
        DocumentError: The content is no PROV-XML.
    """
    from lxml import etree

    # No entities and no network: a document is data, whoever wrote it.
    found = etree.iterparse(stream, events=("end",), resolve_entities=False, no_network=True)
    try:
        for _, element in found:
            if element.tag == _BUNDLE:
                yield from _document(element)
                element.getparent().remove(element)
        root = found.root
        if root is None or root.tag != _DOCUMENT:
            raise malformed(NAME, "its root is no prov:document")
        if len(root):
            yield from _document(root)
    except etree.LxmlError as error:
        raise malformed(NAME, error) from error


def _document(element: Any) -> Iterator[Document]:
    """Read one bundle, or the document without its bundles, by itself.

    In one model for all of them ``prov`` would rename prefixes that bundles have in common.
    """
    from lxml import etree

    identifier = element.attrib.pop(_ID, "")
    around = {p: ns for p, ns in element.nsmap.items() if p not in _STANDARD}
    prefixes = {p: ns for p, ns in around.items() if not OF_BUNDLES.match(p)}
    element.tag = _DOCUMENT
    for document in prov_model.load(BytesIO(etree.tostring(element)), "xml", NAME):
        document.prefixes = {**prefixes, **document.prefixes}
        prefix, _, local = identifier.partition(":")
        yield named(document, around[prefix] + local if prefix in around else "", around)
