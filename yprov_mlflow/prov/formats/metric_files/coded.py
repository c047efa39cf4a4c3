"""Columns of numbers alone, for files of arrays: text as codes, with a list of what they mean."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from yprov_mlflow.prov.formats.metric_files.columns import (
    BATCH,
    COLUMNS,
    batch_of,
    side_file,
    texts,
)
from yprov_mlflow.prov.translate import Coded, PointBatch, SideFile

CHUNK = 8 * BATCH
"""Points of a chunk of an array."""

KNOWN = "epoch_known"
"""Column that tells whether a point has an epoch; where it has none, the epoch is 0."""

MISSING = -1
"""Code of text that is missing."""

ARRAYS: Mapping[str, str] = {
    **{column.name: {"text": "i", "real": "d"}.get(column.kind, "q") for column in COLUMNS},
    KNOWN: "b",
}
"""All arrays with their type codes."""


class CodedSink(ABC):
    """Takes batches of points and writes them in chunks of equal length."""

    def __init__(self, path: Path, media_type: str) -> None:
        """Name the file."""
        self.path = path
        self._media_type = media_type
        self._waiting = {name: array(code) for name, code in ARRAYS.items()}
        self._codes: dict[str, dict[str, int]] = {
            column.name: {} for column in COLUMNS if column.kind == "text"
        }
        self._opened = False

    @abstractmethod
    def begin(self) -> None:
        """Make the file."""

    @abstractmethod
    def append(self, columns: Mapping[str, array[Any]]) -> None:
        """Append points to its arrays."""

    @abstractmethod
    def end(self, labels: Mapping[str, Sequence[str]]) -> None:
        """Say what the codes of columns of text mean, and finish."""

    def write(self, batch: PointBatch) -> None:
        """Append one batch."""
        if not self._opened:
            self.begin()
            self._opened = True
        for name, field, kind in COLUMNS:
            values = getattr(batch, field)
            if kind == "text":
                column, codes = Coded.of(values), self._codes[name]
                code_of = [
                    MISSING if one is None else codes.setdefault(one, len(codes))
                    for one in texts(column.meanings)
                ]
                self._waiting[name].extend(map(code_of.__getitem__, column.codes))
            elif kind == "maybe integer":
                self._waiting[name].extend(0 if one is None else one for one in values)
                self._waiting[KNOWN].extend(one is not None for one in values)
            else:
                self._waiting[name].extend(values)
        while len(self._waiting[KNOWN]) >= CHUNK:
            self._flush(CHUNK)

    def close(self) -> SideFile:
        """Finish the file and say what it is."""
        if self._waiting[KNOWN]:
            self._flush(CHUNK)
        self.end({name: list(codes) for name, codes in self._codes.items()})
        return side_file(self.path, self._media_type)

    def _flush(self, count: int) -> None:
        self.append({name: column[:count] for name, column in self._waiting.items()})
        for column in self._waiting.values():
            del column[:count]


def batches(
    columns: Mapping[str, Any], labels: Mapping[str, Sequence[str]]
) -> Iterator[PointBatch]:
    """Give the batches of arrays that are read a piece at a time."""
    count = columns[KNOWN].shape[0]
    for chunk in range(0, count, CHUNK):
        read = {name: columns[name][chunk : chunk + CHUNK].tolist() for name in ARRAYS}
        for start in range(0, len(read[KNOWN]), BATCH):
            piece = {name: column[start : start + BATCH] for name, column in read.items()}
            for name, meanings in labels.items():
                piece[name] = [None if one == MISSING else meanings[one] for one in piece[name]]
            pairs = zip(piece["epoch"], piece[KNOWN], strict=True)
            piece["epoch"] = [epoch if known else None for epoch, known in pairs]
            yield batch_of(piece)
