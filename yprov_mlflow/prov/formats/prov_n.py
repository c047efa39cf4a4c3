"""PROV-N: written through the ``prov`` library, read by our own parser.

The parser is the one that validation uses, so every valid document can be read. It takes a tenth
of the time of the parser of ``prov``.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from itertools import chain
from tempfile import SpooledTemporaryFile
from typing import BinaryIO

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats import prov_model, prov_n_parser
from yprov_mlflow.prov.formats.bundles import NameAllocator, inherited, single_document, with_name
from yprov_mlflow.prov.formats.prov_json import merge, records_of
from yprov_mlflow.prov.formats.prov_n_parser import ParsedBundle, ParsedStatement
from yprov_mlflow.prov.model.document import Document, Record
from yprov_mlflow.prov.model.identifiers import unnamed
from yprov_mlflow.prov.model.relations import FORMAL, KINDS

NAME = "PROV-N"
# Bytes of bundles that are kept in memory before a temporary file is used.
_IN_MEMORY = 1 << 24


def dump(documents: Iterable[Document], stream: BinaryIO, *, single: bool = False) -> None:
    """Write one document flat, or any number of documents as bundles."""
    # prov takes longer to import than capture may delay a training script.
    from prov.identifier import Namespace, QualifiedName

    if single:
        converted = prov_model.flat(single_document(documents, NAME), NAME)
        with prov_model.writing(NAME):
            stream.write(converted.get_provn().encode() + b"\n")
        return
    names = NameAllocator()
    # Bundles are preceded by the prefixes of their ids, which are known only after the last one.
    with SpooledTemporaryFile(_IN_MEMORY) as bundles:
        for document in documents:
            name = names.allocate(document)
            bundle = prov_model.bundle(document, name, NAME)
            with prov_model.writing(NAME, name.iri):
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
    bundles = False
    try:
        for bundle in prov_n_parser.parse(stream.read().decode()):
            document = _document(bundle)
            if bundle.identifier is not None:
                bundles = True
                yield with_name(document, _iri(bundle.identifier, bundle), bundle.outer)
            elif len(document) or not bundles:
                yield document
    except (prov_n_parser.ProvNSyntaxError, UnicodeDecodeError) as error:
        raise DocumentError.unreadable(NAME, error) from error


def _document(bundle: ParsedBundle) -> Document:
    sections: dict[str, dict[str, list[Record]]] = {}
    unnamed_count = 0
    for statement in bundle.statements:
        kind = KINDS.get(statement.kind)
        if kind is None:  # an extension
            continue
        key = statement.identifier
        # Keys of relations without ids: from both ends if PROV allows nothing else in them, so
        # that they do not depend on the order of statements; else a number.
        if key is None and not kind.named and None not in statement.terms:
            key = unnamed(statement.kind, *map(str, statement.terms[:2]))
        elif key is None:
            unnamed_count += 1
            key = f"_:id{unnamed_count}"
        record = _record(statement)
        records = sections.setdefault(statement.kind, {}).setdefault(key, [])
        if record not in records:
            records.append(record)
    return Document(inherited(bundle.declared, bundle.outer), records_of(sections))


def _record(statement: ParsedStatement) -> Record:
    values = (*statement.terms, *statement.times)
    formal = zip(FORMAL[statement.kind], values, strict=True)
    written = [(key, argument) for key, argument in formal if argument is not None]
    return merge(chain(written, statement.attributes or ()))


def _iri(name: str, bundle: ParsedBundle) -> str:
    prefix, colon, local = name.partition(":")
    if not colon:
        prefix, local = "default", name
    namespace = bundle.declared.get(prefix, bundle.outer.get(prefix))
    return namespace + local if namespace is not None else ""
