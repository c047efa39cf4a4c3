"""PROV-N: written through the ``prov`` library, read by our own parser.

The parser is the one that validation uses, so every valid document can be read. It takes a tenth
of the time of the parser of ``prov``.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from tempfile import SpooledTemporaryFile
from typing import BinaryIO

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats import prov_model, prov_n_parser
from yprov_mlflow.prov.formats.bundles import (
    DocumentName,
    NameAllocator,
    inherited,
    single_document,
    with_name,
)
from yprov_mlflow.prov.formats.json_records import records_of, values_of
from yprov_mlflow.prov.formats.prov_n_parser import ParsedBundle, ParsedStatement
from yprov_mlflow.prov.model.document import Document, Record
from yprov_mlflow.prov.model.identifiers import unnamed
from yprov_mlflow.prov.model.relations import FORMAL, KINDS

NAME = "PROV-N"

_IN_MEMORY = 1 << 24
"""Bytes of bundles that are kept in memory before a temporary file is used."""


def dump(documents: Iterable[Document], stream: BinaryIO, *, single: bool = False) -> None:
    """Write one document flat, or any number of documents as bundles.

    Raises:
        UsageError: With ``single``, there is not exactly one document.
        DocumentError: ``prov`` cannot write a value of a document.
    """
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
                bundles.write(f"  bundle {_escaped(name)}\n{records}\n".encode())
        stream.write(b"document\n")
        for prefix, namespace in sorted(names.prefixes.items()):
            stream.write(f"  prefix {prefix} <{namespace}>\n".encode())
        bundles.seek(0)
        shutil.copyfileobj(bundles, stream)
    stream.write(b"endDocument\n")


def load(stream: BinaryIO) -> Iterator[Document]:
    """Yield each bundle, then the records outside bundles as one document.

    Raises:
        DocumentError: The content is not PROV-N.
    """
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
        section = statement.kind
        kind = KINDS.get(section)
        if kind is None:  # an extension
            continue
        record = _record(statement)
        key = statement.identifier
        if key is None and not kind.named and None not in statement.terms:
            first, second = map(str, statement.terms[:2])
            key = unnamed(section, first, second)
        elif key is None:
            unnamed_count += 1
            key = f"_:id{unnamed_count}"
        records = sections.setdefault(section, {}).setdefault(key, [])
        if record not in records:
            records.append(record)
    prefixes = inherited(bundle.declared, bundle.outer)
    return Document(prefixes, records_of(sections))


def _record(statement: ParsedStatement) -> Record:
    record: Record = {}
    values = (*statement.terms, *statement.times)
    for key, argument in zip(FORMAL[statement.kind], values, strict=True):
        if argument is not None:
            record[key] = argument
    for key, value in statement.attributes or ():
        if key not in record:
            record[key] = value
        elif value not in (several := values_of(record[key])):
            record[key] = [*several, value]
    return record


def _iri(name: str, bundle: ParsedBundle) -> str:
    prefix, colon, local = name.partition(":")
    if not colon:
        prefix, local = "default", name
    namespace = bundle.declared.get(prefix, bundle.outer.get(prefix))
    return namespace + local if namespace is not None else ""


def _escaped(name: DocumentName) -> str:
    from prov.identifier import Namespace, QualifiedName

    qualified = QualifiedName(Namespace(name.prefix, name.namespace), name.local)
    return str(qualified.provn_bare_representation())
