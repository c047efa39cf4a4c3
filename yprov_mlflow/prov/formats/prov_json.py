"""PROV-JSON: the same document always gives the same bytes.

Several documents become bundles, each with its own prefixes and on a line of its own, so that
a file of any length is read and written with one document in memory. Files of other tools are
read whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats.bundles import OF_BUNDLES, Names, named, one
from yprov_mlflow.prov.formats.faults import malformed, unwritable
from yprov_mlflow.prov.formats.json_records import records_of
from yprov_mlflow.prov.translate import Document

if TYPE_CHECKING:
    from prov.model import ProvDocument

NAME = "PROV-JSON"

_SORTED = orjson.OPT_SORT_KEYS
_START, _BETWEEN, _END = b'{"bundle":{\n', b",\n", b"\n}"


def dumps(document: Document) -> bytes:
    """Give the document as PROV-JSON in UTF-8, keys sorted, on one line.

    Raises:
        DocumentError: It holds what JSON cannot, such as half a character.
    """
    return _encoded(document.to_json_object()) + b"\n"


def loads(content: bytes) -> Document:
    """Read a document that ``dumps`` wrote, or any flat PROV-JSON document.

    Raises:
        DocumentError: The content is no PROV-JSON object, or has bundles.
    """
    found = _decoded(content)
    if "bundle" in found:
        raise DocumentError(
            "the document has bundles, each of which is a document",
            None,
            "Read it with yprov_mlflow.prov.formats.prov_json.load, which gives them one by one",
        )
    return _document(found)


def dump(documents: Iterable[Document], stream: BinaryIO, *, single: bool = False) -> None:
    """Write one document flat, or any number of them as bundles.

    Raises:
        UsageError: There is not one document, with ``single``.
        DocumentError: A document holds what JSON cannot.
    """
    if single:
        stream.write(dumps(one(documents, NAME)))
        return
    names = Names()
    separator = _START
    for document in documents:
        key = orjson.dumps(names.take(document).qualified)
        stream.writelines((separator, key, b":", _encoded(document.to_json_object())))
        separator = _BETWEEN
    if separator is _START:
        stream.write(_START)
    stream.writelines((_END, b',"prefix":', _encoded(names.prefixes), b"}\n"))


def load(stream: BinaryIO) -> Iterator[Document]:
    """Read the documents of a file: what is outside of bundles, then each bundle.

    Raises:
        DocumentError: The content is no PROV-JSON object.
    """
    first = stream.readline()
    if first == _START:
        yield from _lines(stream)
        return
    found = _decoded(first + stream.read())
    bundles = found.pop("bundle", None)
    if bundles is None:
        yield _document(found)
        return
    outer = _document(found)
    if len(outer):
        yield outer
    yield from _bundles(bundles, outer.prefixes)


def to_prov(document: Document) -> ProvDocument:
    """Give the document as a ``prov.model.ProvDocument``."""
    from prov.model import ProvDocument

    text = dumps(document).decode()
    return ProvDocument.deserialize(content=text, format="json")


def from_prov(document: ProvDocument) -> Iterator[Document]:
    """Give what a ``prov.model.ProvDocument`` holds outside of bundles, then each bundle."""
    yield from load(BytesIO(document.serialize(format="json").encode()))


def _encoded(found: Any) -> bytes:
    try:
        return orjson.dumps(found, option=_SORTED)
    except TypeError as error:
        raise unwritable(NAME, error) from error


def _decoded(content: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(content.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise malformed(NAME, error) from error
    if not isinstance(found, dict):
        raise malformed(NAME, f"it is JSON, but a {type(found).__name__} and no object")
    return found


def _document(found: dict[str, Any]) -> Document:
    prefixes = found.pop("prefix", None) or {}
    if not isinstance(prefixes, dict) or not all(isinstance(u, str) for u in prefixes.values()):
        raise malformed(NAME, '"prefix" is no object of texts')
    return Document(prefixes, records_of(found))


def _lines(stream: BinaryIO) -> Iterator[Document]:
    """Read what ``dump`` wrote, line by line."""
    line = stream.readline()
    while line and not line.startswith(b"}"):
        if line != b"\n":
            yield from _bundles(_decoded(b"{" + line.rstrip(b",\n") + b"}"), {})
        line = stream.readline()
    rest = line + stream.read()
    if not rest:
        raise malformed(NAME, "it ends within its bundles")
    outside = _decoded(b'{"bundle":{' + rest)
    del outside["bundle"]
    outer = _document(outside)
    if len(outer):
        yield outer


def _bundles(bundles: Any, outer: dict[str, str]) -> Iterator[Document]:
    if not isinstance(bundles, dict):
        raise malformed(NAME, '"bundle" is no object')
    for identifier, found in bundles.items():
        if not isinstance(found, dict) or "bundle" in found:
            raise malformed(NAME, "a bundle is no object, or has bundles in it", identifier)
        document = _document(found)
        own = document.prefixes
        for prefix, namespace in outer.items():
            if not ("run" in own or "store" in own) or not OF_BUNDLES.match(prefix):
                own.setdefault(prefix, namespace)
        prefix, colon, local = identifier.partition(":")
        known = outer.get(prefix, own.get(prefix)) if colon else outer.get("default")
        iri = (known + (local if colon else prefix)) if known is not None else ""
        yield named(document, iri, outer)
