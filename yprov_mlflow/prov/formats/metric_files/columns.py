"""The columns of side files, and what all kinds of them need."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from yprov_mlflow.prov.model.literals import text
from yprov_mlflow.prov.translate import PointBatch, SideFile

BATCH = 8192
"""Points that are read at once."""


class Column(NamedTuple):
    """A column: ``kind`` is ``text``, ``integer``, ``maybe integer`` or ``real``."""

    name: str
    field: str
    kind: str


COLUMNS = (
    Column("context", "context", "text"),
    Column("key", "series", "text"),
    Column("step", "step", "integer"),
    Column("timestamp_ms", "timestamp_ms", "integer"),
    Column("value", "value", "real"),
    Column("epoch", "epoch", "maybe integer"),
    Column("time_ns", "time_ns", "integer"),
    Column("session", "session", "text"),
    Column("model_id", "model", "text"),
    Column("dataset_name", "dataset_name", "text"),
    Column("dataset_digest", "dataset_digest", "text"),
)
"""All columns, in the order that files have them in; text may be missing."""

_CODES = {"integer": "q", "real": "d"}


def batch_of(columns: Mapping[str, Sequence[Any]]) -> PointBatch:
    """Give the batch that columns, by their names, are."""
    fields: dict[str, Any] = {
        column.field: (
            array(_CODES[column.kind], columns[column.name])
            if column.kind in _CODES
            else list(columns[column.name])
        )
        for column in COLUMNS
    }
    return PointBatch(**fields)


def texts(values: Sequence[str | None]) -> list[str | None]:
    """Give text that files can hold: halves of characters are replaced, as in documents."""
    return [value if value is None else text(value) for value in values]


def side_file(path: Path, media_type: str) -> SideFile:
    """Say what a finished file is."""
    sha256, size = digest(path)
    return SideFile(path.name, sha256, size, media_type)


def digest(path: Path) -> tuple[str, int]:
    """Give SHA-256 and size of a file; of a folder those of all files in it.

    The digest of a folder is that of a line for each file, sorted, as ``sha256sum`` writes
    them: digest, two spaces, path in the folder.
    """
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size
    whole, size = hashlib.sha256(), 0
    files = {one.relative_to(path).as_posix(): one for one in path.rglob("*") if one.is_file()}
    for name, one in sorted(files.items()):
        sha256, length = digest(one)
        whole.update(f"{sha256}  {name}\n".encode())
        size += length
    return whole.hexdigest(), size
