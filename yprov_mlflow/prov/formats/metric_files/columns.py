"""The columns of metric files, and what all kinds of files share."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from yprov_mlflow.prov.model.literals import text
from yprov_mlflow.prov.translate import PointBatch, SideFile


class Column(NamedTuple):
    """A column of a metric file.

    Args:
        name: Its name in the file.
        field: The field of ``PointBatch`` that it holds.
        kind: ``text``, ``integer``, ``optional integer`` or ``real``; text may be missing.
    """

    name: str
    field: str
    kind: str


COLUMNS = (
    Column("context", "context", "text"),
    Column("key", "series", "text"),
    Column("step", "step", "integer"),
    Column("timestamp_ms", "timestamp_ms", "integer"),
    Column("value", "value", "real"),
    Column("epoch", "epoch", "optional integer"),
    Column("time_ns", "time_ns", "integer"),
    Column("session", "session", "text"),
    Column("model_id", "model", "text"),
    Column("dataset_name", "dataset_name", "text"),
    Column("dataset_digest", "dataset_digest", "text"),
)
"""All columns, in their order in files."""


def batch_of(columns: Mapping[str, Sequence[Any]]) -> PointBatch:
    """Return the batch with these columns, which are given by their names in files."""
    fields: dict[str, Any] = {}
    for name, field, kind in COLUMNS:
        code = {"integer": "q", "real": "d"}.get(kind)
        # Values that cannot be missing are arrays, which need a quarter of the memory of a list.
        fields[field] = list(columns[name]) if code is None else array(code, columns[name])
    return PointBatch(**fields)


def texts(values: Sequence[str | None]) -> list[str | None]:
    """Return text that files can hold; lone surrogates are replaced as in documents."""
    return [value if value is None else text(value) for value in values]


def side_file(path: Path, media_type: str) -> SideFile:
    """Return the description of a finished file."""
    sha256, size = digest(path)
    return SideFile(path.name, sha256, size, media_type)


def digest(path: Path) -> tuple[str, int]:
    """Return the SHA-256 and the size in bytes of a file or of all files in a folder.

    The digest of a folder is that of its sorted listing, one line per file in the format of
    ``sha256sum``: digest, two spaces, path in the folder.
    """
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest(), path.stat().st_size
    # Not a digest of an archive: anyone can check this one with sha256sum.
    listing, total = hashlib.sha256(), 0
    files = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
    for name, file in sorted(files.items()):
        sha256, size = digest(file)
        listing.update(f"{sha256}  {name}\n".encode())
        total += size
    return listing.hexdigest(), total
