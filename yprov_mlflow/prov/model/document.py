"""A PROV document as plain dicts in the shape of PROV-JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.model.literals import Value

Attributes = Mapping[str, Value | list[Value] | None]
Record = dict[str, Any]

EXACT = "mlf:exact"
"""Attribute with the original of texts that had to be changed, as JSON."""


class Document:
    """A PROV document.

    Args:
        prefixes: Namespace URIs by prefix.
        records: For each section of PROV-JSON its records by id.
    """

    def __init__(
        self,
        prefixes: Mapping[str, str] | None = None,
        records: Mapping[str, Mapping[str, Record]] | None = None,
    ) -> None:
        self.prefixes: dict[str, str] = dict(prefixes or {})
        self.records: dict[str, dict[str, Record]] = {
            section: dict(by_id) for section, by_id in (records or {}).items() if by_id
        }

    def __len__(self) -> int:
        """Return the number of records."""
        return sum(map(len, self.records.values()))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Document):
            return NotImplemented
        return self.prefixes == other.prefixes and self.records == other.records

    __hash__ = None  # type: ignore[assignment] # - Python's way to declare mutable objects unhashable

    def to_json_object(self) -> dict[str, Any]:
        """Return the document as one PROV-JSON object, which shares its records."""
        return {"prefix": self.prefixes, **self.records}

    def to_json_bytes(self) -> bytes:
        """Return the document as PROV-JSON in UTF-8: sorted keys, one line, no line break.

        Raises:
            DocumentError: A value cannot be encoded, such as half a surrogate pair.
        """
        try:
            return orjson.dumps(self.to_json_object(), option=orjson.OPT_SORT_KEYS)
        except TypeError as error:
            raise DocumentError.unwritable("PROV-JSON", error) from error

    def digest(self) -> str:
        """Return the SHA-256 of the document's PROV-JSON file as hexadecimal text.

        Raises:
            DocumentError: A value cannot be encoded.
        """
        # With the line break that ends the file.
        return hashlib.sha256(self.to_json_bytes() + b"\n").hexdigest()
