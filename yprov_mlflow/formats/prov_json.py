"""PROV-JSON: the same document always gives the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from yprov_mlflow.translate import Document

if TYPE_CHECKING:
    from prov.model import ProvDocument

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE


def dumps(document: Document) -> bytes:
    """Give the document as PROV-JSON in UTF-8, keys sorted, on one line."""
    return orjson.dumps(document.to_json_object(), option=_OPTIONS)


def loads(content: bytes) -> Document:
    """Read a document that ``dumps`` wrote, or any flat PROV-JSON document.

    Raises:
        ValueError: The content is no PROV-JSON object, or has bundles.
    """
    found = orjson.loads(content)
    if not isinstance(found, dict) or not all(isinstance(part, dict) for part in found.values()):
        raise ValueError("the content is JSON but no PROV-JSON document: not an object of objects")
    if "bundle" in found:
        raise ValueError("the document has bundles; only flat documents are read")
    prefixes: dict[str, str] = found.pop("prefix", {})
    return Document(prefixes, found)


def to_prov(document: Document) -> ProvDocument:
    """Give the document as a ``prov.model.ProvDocument``."""
    from prov.model import ProvDocument

    text = dumps(document).decode()
    return ProvDocument.deserialize(content=text, format="json")
