"""PROV-JSON: equal documents always give equal bytes.

Several documents become bundles, each with its own prefixes and on its own line, so that a file
of any length is read and written with one document in memory. Files of other tools are read
into memory as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats.bundles import (
    NameAllocator,
    inherited,
    single_document,
    with_name,
)
from yprov_mlflow.prov.formats.json_records import records_of
from yprov_mlflow.prov.model.document import Document

if TYPE_CHECKING:
    from prov.model import ProvDocument

NAME = "PROV-JSON"

# The first line identifies a file of ours, which can be read line by line.
_START, _BETWEEN, _END = b'{"bundle":{\n', b",\n", b"\n}"


def dumps(document: Document) -> bytes:
    """Return the document as PROV-JSON in UTF-8: sorted keys, one line with a line break.

    Raises:
        DocumentError: A value cannot be written as JSON, such as half a surrogate pair.
    """
    return document.to_json_bytes() + b"\n"


def loads(content: bytes) -> Document:
    """Return a document from the output of ``dumps`` or any PROV-JSON without bundles.

    Raises:
        DocumentError: The content is not a PROV-JSON object, or has bundles.
    """
    members = _decoded(content)
    if "bundle" in members:
        raise DocumentError(
            "the document has bundles, each of which is a document",
            None,
            "Read it with yprov_mlflow.prov.formats.prov_json.load, which yields them one by one",
        )
    return _document(members)


def dump(documents: Iterable[Document], stream: BinaryIO, *, single: bool = False) -> None:
    """Write one document flat, or any number of documents as bundles.

    Raises:
        UsageError: With ``single``, there is not exactly one document.
        DocumentError: A value cannot be written as JSON.
    """
    if single:
        stream.write(dumps(single_document(documents, NAME)))
        return
    names = NameAllocator()
    separator = _START
    for document in documents:
        key = orjson.dumps(names.allocate(document).qualified)
        stream.writelines((separator, key, b":", document.to_json_bytes()))
        separator = _BETWEEN
    if separator is _START:
        stream.write(_START)
    # The prefixes of the bundles' ids are known only after the last bundle.
    prefixes = orjson.dumps(names.prefixes, option=orjson.OPT_SORT_KEYS)
    stream.writelines((_END, b',"prefix":', prefixes, b"}\n"))


def load(stream: BinaryIO) -> Iterator[Document]:
    """Yield the records outside bundles as one document, then each bundle.

    Raises:
        DocumentError: The content is not a PROV-JSON object.
    """
    first = stream.readline()
    if first == _START:
        yield from _read_lines(stream)
        return
    members = _decoded(first + stream.read())
    bundles = members.pop("bundle", None)
    outer = _document(members)
    if bundles is None or len(outer):
        yield outer
    if bundles is not None:
        yield from _bundles(bundles, outer.prefixes)


def to_prov(document: Document) -> ProvDocument:
    """Return the document as a ``prov.model.ProvDocument``."""
    from prov.model import ProvDocument

    text = dumps(document).decode()
    return ProvDocument.deserialize(content=text, format="json")


def from_prov(document: ProvDocument) -> Iterator[Document]:
    """Yield the records of a ``prov.model.ProvDocument`` outside bundles, then each bundle."""
    yield from load(BytesIO(document.serialize(format="json").encode()))


def _decoded(content: bytes) -> dict[str, Any]:
    try:
        members = orjson.loads(content.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise DocumentError.unreadable(NAME, error) from error
    if not isinstance(members, dict):
        reason = f"its JSON is a {type(members).__name__}, not an object"
        raise DocumentError.unreadable(NAME, reason)
    return members


def _document(members: dict[str, Any]) -> Document:
    prefixes = members.pop("prefix", None) or {}
    if not isinstance(prefixes, dict) or not all(isinstance(u, str) for u in prefixes.values()):
        raise DocumentError.unreadable(NAME, '"prefix" is not an object of strings')
    return Document(prefixes, records_of(members))


def _read_lines(stream: BinaryIO) -> Iterator[Document]:
    """Yield the bundles of a file that ``dump`` wrote, line by line."""
    line = stream.readline()
    while line and not line.startswith(b"}"):
        if line != b"\n":
            yield from _bundles(_decoded(b"{" + line.rstrip(b",\n") + b"}"), {})
        line = stream.readline()
    remainder = line + stream.read()
    if not remainder:
        raise DocumentError.unreadable(NAME, "the file ends inside its bundles")
    outside = _decoded(b'{"bundle":{' + remainder)
    del outside["bundle"]
    outer = _document(outside)
    if len(outer):
        yield outer


def _bundles(bundles: Any, outer: dict[str, str]) -> Iterator[Document]:
    if not isinstance(bundles, dict):
        raise DocumentError.unreadable(NAME, '"bundle" is not an object')
    for identifier, members in bundles.items():
        if not isinstance(members, dict) or "bundle" in members:
            reason = "a bundle is not an object, or contains bundles"
            raise DocumentError.unreadable(NAME, reason, identifier)
        document = _document(members)
        document.prefixes = inherited(document.prefixes, outer)
        prefix, colon, local = identifier.partition(":")
        base = outer.get(prefix, document.prefixes.get(prefix)) if colon else outer.get("default")
        iri = (base + (local if colon else prefix)) if base is not None else ""
        yield with_name(document, iri, outer)
