"""PROV-N, by the ``prov`` library: one document after another, whatever their number."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from tempfile import SpooledTemporaryFile
from typing import BinaryIO

from yprov_mlflow.prov.formats import prov_model
from yprov_mlflow.prov.formats.bundles import Name, Names, one
from yprov_mlflow.prov.translate import Document

NAME = "PROV-N"

_IN_MEMORY = 1 << 24
"""Bytes of bundles up to which no temporary file is needed."""


def dump(documents: Iterable[Document], stream: BinaryIO, *, single: bool = False) -> None:
    """Write one document flat, or any number of them as bundles.

    Raises:
        UsageError: There is not one document, with ``single``.
        DocumentError: A document has what ``prov`` cannot write.
    """
    if single:
        found = prov_model.flat(one(documents, NAME), NAME)
        with prov_model.writing(NAME):
            stream.write(found.get_provn().encode() + b"\n")
        return
    names = Names()
    # What precedes the bundles are the prefixes of their ids, known after the last of them.
    with SpooledTemporaryFile(_IN_MEMORY) as bundles:
        for document in documents:
            name = names.take(document)
            bundle = prov_model.bundle(document, name, NAME)
            with prov_model.writing(NAME, name.iri):
                # prov names it by a prefix of its own, which nobody outside of it knows.
                _, _, records = bundle.get_provn(1).strip().partition("\n")
                bundles.write(f"  bundle {_spelt(name)}\n{records}\n".encode())
        stream.write(b"document\n")
        for prefix, namespace in sorted(names.prefixes.items()):
            stream.write(f"  prefix {prefix} <{namespace}>\n".encode())
        bundles.seek(0)
        shutil.copyfileobj(bundles, stream)
    stream.write(b"endDocument\n")


def _spelt(name: Name) -> str:
    from prov.identifier import Namespace, QualifiedName

    found = QualifiedName(Namespace(name.prefix, name.namespace), name.local)
    return str(found.provn_bare_representation())


def load(stream: BinaryIO) -> Iterator[Document]:
    """Read what is outside of bundles, then each bundle, as ``prov`` understands it.

    Raises:
        DocumentError: The content is no PROV-N.
    """
    return prov_model.load(stream, "provn", NAME)
