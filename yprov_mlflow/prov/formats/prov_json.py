"""PROV-JSON: equal documents always give equal bytes.

Several documents become bundles, each with its own prefixes and on its own line, so that a file
of any length is read and written with one document in memory. Files of other tools are read
into memory as a whole, and normalized to one object per id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats import bundles
from yprov_mlflow.prov.model.document import Document, Record
from yprov_mlflow.prov.model.relations import FORMAL

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
    members = json_object(content)
    if "bundle" in members:
        raise DocumentError(
            "the document has bundles, each of which is a document",
            None,
            "Read it with yprov_mlflow.prov.formats.prov_json.load, which yields them one by one",
        )
    return _document(members)


def dump(documents: Iterable[Document], stream: BinaryIO, *, single: bool = False) -> None:
    """Write one document flat, or any number of documents as bundles."""
    if single:
        stream.write(dumps(bundles.single_document(documents, NAME)))
        return
    names = bundles.NameAllocator()
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
    """Yield the records outside bundles as one document, then each bundle."""
    first = stream.readline()
    if first == _START:
        yield from _read_lines(stream)
        return
    members = json_object(first + stream.read())
    named = members.pop("bundle", None)
    outer = _document(members)
    if named is None or len(outer):
        yield outer
    if named is not None:
        yield from _bundles(named, outer.prefixes)


def to_prov(document: Document) -> ProvDocument:
    """Return the document as a ``prov.model.ProvDocument``."""
    from prov.model import ProvDocument

    return ProvDocument.deserialize(content=dumps(document).decode(), format="json")


def from_prov(document: ProvDocument) -> Iterator[Document]:
    """Yield the records of a ``prov.model.ProvDocument`` outside bundles, then each bundle."""
    yield from load(BytesIO(document.serialize(format="json").encode()))


def json_object(content: bytes, name: str = NAME) -> dict[str, Any]:
    """Return the JSON object of a file, which may start with a byte order mark.

    Raises:
        DocumentError: It is not JSON, or not an object; the message has the format's ``name``.
    """
    try:
        members = orjson.loads(content.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise DocumentError.unreadable(name, error) from error
    if not isinstance(members, dict):
        reason = f"its JSON is a {type(members).__name__}, not an object"
        raise DocumentError.unreadable(name, reason)
    return members


def _document(members: dict[str, Any]) -> Document:
    prefixes = members.pop("prefix", None) or {}
    if not isinstance(prefixes, dict) or not all(isinstance(u, str) for u in prefixes.values()):
        raise DocumentError.unreadable(NAME, '"prefix" is not an object of strings')
    return Document(prefixes, records_of(members))


def _read_lines(stream: BinaryIO) -> Iterator[Document]:
    """Yield the bundles of a file that ``dump`` wrote, line by line."""
    while (line := stream.readline()) and not line.startswith(b"}"):
        if line != b"\n":
            yield from _bundles(json_object(b"{" + line.rstrip(b",\n") + b"}"), {})
    if not line:
        raise DocumentError.unreadable(NAME, "the file ends inside its bundles")
    outside = json_object(b'{"bundle":{' + line + stream.read())
    del outside["bundle"]
    outer = _document(outside)
    if len(outer):
        yield outer


def _bundles(named: Any, outer: dict[str, str]) -> Iterator[Document]:
    if not isinstance(named, dict):
        raise DocumentError.unreadable(NAME, '"bundle" is not an object')
    for identifier, members in named.items():
        if not isinstance(members, dict) or "bundle" in members:
            reason = "a bundle is not an object, or contains bundles"
            raise DocumentError.unreadable(NAME, reason, identifier)
        document = _document(members)
        document.prefixes = bundles.inherited(document.prefixes, outer)
        prefix, colon, local = identifier.partition(":")
        # The id belongs to the file, but some tools declare its prefix only in the bundle.
        base = outer.get(prefix, document.prefixes.get(prefix)) if colon else outer.get("default")
        iri = (base + (local if colon else prefix)) if base is not None else ""
        yield bundles.with_name(document, iri, outer)


# -- normalization -------------------------------------------------------------------------
# PROV-JSON lets several records share an id and lets one record list several members. In PROV,
# records of one id are one record; where they contradict each other, the value becomes a list.


def values_of(value: Any) -> list[Any]:
    """Return all values of an attribute; PROV-JSON uses a list only for several."""
    return value if isinstance(value, list) else [value]


def records_of(sections: Mapping[str, Any]) -> dict[str, dict[str, Record]]:
    """Return the sections of a PROV-JSON object with one object per id."""
    normalized: dict[str, dict[str, Record]] = {}
    for section, records in sections.items():
        if not isinstance(records, dict):
            raise DocumentError.unreadable(NAME, f'"{section}" is not an object')
        # Our own documents pass both checks; the copies below are for other tools' documents.
        if any(type(record) is not dict for record in records.values()):
            records = _merge_by_id(section, records)
        for key in FORMAL.get(section, ()):
            if any(type(record.get(key, "")) is not str for record in records.values()):
                records = _flatten(section, records, key)
        normalized[section] = records
    return normalized


def _merge_by_id(section: str, records: Mapping[str, Any]) -> dict[str, Record]:
    # A blank id only satisfies JSON: in PROV it is not an id, so equal ones mean nothing.
    merged: dict[str, Record] = {}
    for identifier, value in records.items():
        parts = values_of(value)
        if not all(isinstance(part, dict) for part in parts):
            reason = f'a record in "{section}" is not an object'
            raise DocumentError.unreadable(NAME, reason, identifier)
        if identifier.startswith("_:"):
            _add_numbered(merged, identifier, parts)
        else:
            merged[identifier] = merge(item for part in parts for item in part.items())
    return merged


def merge(attributes: Iterable[tuple[str, Any]]) -> Record:
    """Return attributes, some of which occur repeatedly, with their distinct values."""
    merged: Record = {}
    for key, value in attributes:
        if key not in merged:
            merged[key] = value
            continue
        values = values_of(merged[key])
        values = values + [other for other in values_of(value) if other not in values]
        merged[key] = values if len(values) > 1 else values[0]
    return merged


def single_valued(section: str, record: Record, format_name: str) -> Iterable[Record]:
    """Return a record; one with several values for an argument as several with the same id.

    Raises:
        DocumentError: An argument is neither an id nor a time.
    """
    arguments = {key: record[key] for key in FORMAL[section] if key in record}
    lists = {key: value for key, value in arguments.items() if type(value) is list}
    if not all(isinstance(text, str) for value in arguments.values() for text in values_of(value)):
        reason = f"{section} has an argument that is neither an id nor a time"
        raise DocumentError.unwritable(format_name, reason)
    if not lists:
        return (record,)
    first = {**arguments, **{key: value[0] for key, value in lists.items()}}
    others = [{**first, key: text} for key, value in lists.items() for text in value[1:]]
    return ({**record, **first}, *others)


def _flatten(section: str, records: Mapping[str, Record], key: str) -> dict[str, Record]:
    """Return records with plain text for a formal attribute.

    A membership of several members becomes several memberships.
    """
    flat: dict[str, Record] = {}
    for identifier, record in records.items():
        value = record.get(key)
        if value is None:
            flat[identifier] = {k: v for k, v in record.items() if k != key}
            continue
        texts = [v.get("$") if isinstance(v, dict) else v for v in values_of(value)]
        if not all(isinstance(text, str) for text in texts):
            raise DocumentError.unreadable(NAME, f"{key} is not text", identifier)
        if len(texts) > 1 and section == "hadMember":
            _add_numbered(flat, identifier, [{**record, key: text} for text in texts])
        else:
            flat[identifier] = {**record, key: texts[0] if len(texts) == 1 else texts}
    return flat


def _add_numbered(records: dict[str, Record], identifier: str, parts: Iterable[Record]) -> None:
    for number, record in enumerate(parts, 1):
        records[identifier if number == 1 else f"{identifier}/{number}"] = record
