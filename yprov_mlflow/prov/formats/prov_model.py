"""Convert documents to and from the model of the ``prov`` library."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.formats.bundles import DocumentName
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.model.identifiers import unnamed
from yprov_mlflow.prov.model.relations import KINDS, UNNAMED

if TYPE_CHECKING:
    from prov.model import ProvBundle, ProvDocument


def flat(document: Document, format_name: str) -> ProvDocument:
    """Return a document in the model of ``prov``, which may refuse a name or a value."""
    with writing(format_name):
        return prov_json.to_prov(document)


def bundle(document: Document, name: DocumentName, format_name: str) -> ProvBundle:
    """Return a document as the only bundle of a ``prov`` document; see ``flat``."""
    outer = Document(
        {name.prefix: name.namespace}, {"bundle": {name.qualified: document.to_json_object()}}
    )
    (only,) = flat(outer, format_name).bundles
    return only


def load(stream: BinaryIO, serializer: str, format_name: str) -> Iterator[Document]:
    """Yield documents that one of the serializers of ``prov`` reads.

    Raises:
        DocumentError: ``prov`` cannot read the content.
    """
    from prov.model import ProvDocument

    try:
        parsed = ProvDocument.deserialize(source=stream, format=serializer)
    # The parsers of prov raise lxml's errors, their own, AssertionError, KeyError and others.
    except Exception as error:
        raise DocumentError.unreadable(format_name, error) from error
    for document in prov_json.from_prov(parsed):
        # prov numbers relations without ids. Our keys follow from both ends, so they do not
        # depend on the order of records in a file.
        for section in document.records.keys() & set(UNNAMED):
            first, second, *_ = KINDS[section].formals
            document.records[section] = {
                unnamed(section, r[first], r[second]) if key.startswith("_:") else key: r
                for key, r in document.records[section].items()
            }
        yield document


@contextlib.contextmanager
def writing(format_name: str, where: str | None = None) -> Iterator[None]:
    """Turn the exceptions of ``prov`` about a document into a ``DocumentError``."""
    try:
        yield
    except DocumentError:
        raise
    # Bad names, values and characters raise many types, some of prov and some of lxml.
    except Exception as error:
        raise DocumentError.unwritable(format_name, error, where) from error
