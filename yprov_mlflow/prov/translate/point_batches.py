"""Metric points as columns, in batches, and the sink that takes those too many for records."""

from __future__ import annotations

import dataclasses
from array import array
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

BATCH = 8_192
"""Number of points that are written or read at once."""

_T = TypeVar("_T")


class Coded(Sequence[_T]):
    """A dictionary-encoded column: its n-th value is ``meanings[codes[n]]``.

    ``meanings`` has each value once, in order of first occurrence, so that equal columns have
    equal codes.
    """

    __slots__ = ("codes", "meanings")

    def __init__(self, meanings: list[_T], codes: array[int]) -> None:
        self.meanings = meanings
        self.codes = codes

    @classmethod
    def constant(cls, value: _T, count: int) -> Coded[_T]:
        """Return a column that repeats one value."""
        # The type "i" has four bytes on every platform that CPython supports.
        return cls([value], array("i", bytes(4 * count)))

    @classmethod
    def of(cls, values: Sequence[_T]) -> Coded[_T]:
        """Return a column with these values."""
        if isinstance(values, Coded):
            return values
        code_of: dict[_T, int] = {}
        codes = [code_of.setdefault(value, len(code_of)) for value in values]
        return cls(list(code_of), array("i", codes))

    @classmethod
    def lookup(cls, table: Sequence[_T], indices: array[int]) -> Coded[_T]:
        """Return the column of ``table[index]`` for each index, in an array of type ``i``."""
        # Shortcuts first: mapping each point through Python costs more than all else.
        if table.count(table[0]) == len(table):
            return cls.constant(table[0], len(indices))
        used = list(dict.fromkeys(indices))
        distinct = cls.of([table[index] for index in used])
        if list(distinct.codes) == used:
            return cls(distinct.meanings, indices)
        code_of = dict(zip(used, distinct.codes, strict=True))
        return cls(distinct.meanings, array("i", map(code_of.__getitem__, indices)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self)!r})"

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[_T]:
        return map(self.meanings.__getitem__, self.codes)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self.meanings[code] for code in self.codes[index]]
        return self.meanings[self.codes[index]]


@dataclasses.dataclass(frozen=True)
class PointBatch:
    """Metric points in order of logging, as columns of equal length.

    ``series`` has the metric's key. ``context`` has the quoted names of the contexts that the
    point was logged in, joined by ``+`` and empty outside of contexts; an epoch with another
    context inside it follows the name as ``@<n>``. ``epoch`` has the innermost epoch.
    """

    series: Sequence[str]
    context: Sequence[str]
    epoch: Sequence[int | None]
    value: array[float]
    step: array[int]
    timestamp_ms: array[int]
    time_ns: array[int]
    session: Sequence[str]
    model: Sequence[str | None]
    dataset_name: Sequence[str | None]
    dataset_digest: Sequence[str | None]


class SideFile(NamedTuple):
    """A file of metric points: its path relative to the document, hash, size and type."""

    path: str
    sha256: str
    size: int
    media_type: str


class PointsSink(Protocol):
    """Takes the points of a run that has too many for a record each."""

    def write(self, batch: PointBatch) -> None:
        """Write a batch; never called for a run with few points."""

    def close(self) -> SideFile | None:
        """Finish the file, after at least one batch; return None if nothing was written."""
