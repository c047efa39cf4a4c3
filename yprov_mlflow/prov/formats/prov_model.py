"""Documents in the model of the ``prov`` library, and back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.formats.bundles import Name
from yprov_mlflow.prov.formats.faults import malformed, unwritable
from yprov_mlflow.prov.formats.json_records import ENDS
from yprov_mlflow.prov.model.identifiers import unnamed
from yprov_mlflow.prov.translate import Document

if TYPE_CHECKING:
    from prov.model import ProvBundle, ProvDocument

_UNNAMED = ("specializationOf", "alternateOf", "hadMember", "mentionOf")


def flat(document: Document, format_name: str) -> ProvDocument:
    """Give a document as ``prov`` has it.

    Raises:
        DocumentError: ``prov`` refuses what it holds.
    """
    with writing(format_name):
        return prov_json.to_prov(document)


def bundle(document: Document, name: Name, format_name: str) -> ProvBundle:
    """Give a document as the one bundle of a document of ``prov``.

    Raises:
        DocumentError: ``prov`` refuses what it holds.
    """
    outer = Document(
        {name.prefix: name.namespace},
        {"bundle": {name.qualified: document.to_json_object()}},
    )
    (found,) = flat(outer, format_name).bundles
    return found


def load(stream: BinaryIO, serializer: str, format_name: str) -> Iterator[Document]:
    """Read documents by one of the serializers of ``prov``.

    Raises:
        DocumentError: ``prov`` cannot read the content.
    """
    from prov.model import ProvDocument

    try:
        read = ProvDocument.deserialize(source=stream, format=serializer)
    # What its parsers raise is not of one family: lxml's, its own, AssertionError, KeyError.
    except Exception as error:
        raise malformed(format_name, error) from error
    for document in prov_json.from_prov(read):
        yield _keyed(document)


@contextlib.contextmanager
def writing(format_name: str, where: str | None = None) -> Iterator[None]:
    """Turn what ``prov`` raises of a document into an error of ours."""
    try:
        yield
    except DocumentError:
        raise
    # Bad names, values and characters end in errors of many kinds, of prov's and lxml's own.
    except Exception as error:
        raise unwritable(format_name, error, where) from error


def _keyed(document: Document) -> Document:
    """Key relations that have no ids as we do, not by the number that ``prov`` gave them."""
    for section in _UNNAMED:
        first, second, *_ = ENDS[section]
        known = document.records.get(section)
        if known is not None:
            keyed = {
                unnamed(section, record[first], record[second]) if key.startswith("_:") else key: (
                    record
                )
                for key, record in known.items()
            }
            document.records[section] = keyed
    return document
