"""PROV-N: written through the ``prov`` library, read by our own parser.

The parser is the one that validation uses, so every valid document can be read. It takes a tenth
of the time of the parser of ``prov``.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, BinaryIO

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats import parsed, prov_json
from yprov_mlflow.prov.formats.bundles import DocumentName, NameAllocator, single_document
from yprov_mlflow.prov.model.document import Document

if TYPE_CHECKING:
    from prov.model import ProvBundle

NAME = "PROV-N"
# Bytes of bundles that are kept in memory before a temporary file is used.
_IN_MEMORY = 1 << 24


def dump(documents: Iterable[Document], stream: BinaryIO, *, single: bool = False) -> None:
    """Write one document flat, or any number of documents as bundles."""
    # prov takes longer to import than capture may delay a training script.
    from prov.identifier import Namespace, QualifiedName

    if single:
        document = single_document(documents, NAME)
        with _writing():
            stream.write(prov_json.to_prov(document).get_provn().encode() + b"\n")
        return
    names = NameAllocator()
    # Bundles are preceded by the prefixes of their ids, which are known only after the last one.
    with SpooledTemporaryFile(_IN_MEMORY) as bundles:
        for document in documents:
            name = names.allocate(document)
            with _writing(name.iri):
                bundle = _bundle(document, name)
                # prov writes the bundle's id with a prefix that it makes up and never declares.
                _, _, records = bundle.get_provn(1).strip().partition("\n")
                qualified = QualifiedName(Namespace(name.prefix, name.namespace), name.local)
                identifier = qualified.provn_bare_representation()
                bundles.write(f"  bundle {identifier}\n{records}\n".encode())
        stream.write(b"document\n")
        for prefix, namespace in sorted(names.prefixes.items()):
            stream.write(f"  prefix {prefix} <{namespace}>\n".encode())
        bundles.seek(0)
        shutil.copyfileobj(bundles, stream)
    stream.write(b"endDocument\n")


def load(stream: BinaryIO) -> Iterator[Document]:
    """Yield each bundle, then the records outside bundles as one document."""
    # Its patterns take long to compile, and the first end of a run does not need them.
    from yprov_mlflow.prov.formats import prov_n_parser

    try:
        yield from parsed.documents(prov_n_parser.parse(stream.read().decode()))
    except (prov_n_parser.ProvNSyntaxError, UnicodeDecodeError) as error:
        raise DocumentError.unreadable(NAME, error) from error


def _bundle(document: Document, name: DocumentName) -> ProvBundle:
    """Return a document as the only bundle of a ``prov`` document."""
    outer = Document(
        {name.prefix: name.namespace}, {"bundle": {name.qualified: document.to_json_object()}}
    )
    (only,) = prov_json.to_prov(outer).bundles
    return only


@contextlib.contextmanager
def _writing(where: str | None = None) -> Iterator[None]:
    """Turn the exceptions of ``prov`` about a document into a ``DocumentError``."""
    try:
        yield
    except DocumentError:
        raise
    # Bad names and values raise many types.
    except Exception as error:
        raise DocumentError.unwritable(NAME, error, where) from error
