"""Points as columns, many at once: what sinks take and side files give."""

from __future__ import annotations

import dataclasses
from array import array
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

_T = TypeVar("_T")


class Coded(Sequence[_T]):
    """A column of few different values: the n-th is ``meanings[codes[n]]``.

    ``meanings`` has each value once, in the order in which they first come.
    """

    __slots__ = ("codes", "meanings")

    def __init__(self, meanings: list[_T], codes: array[int]) -> None:
        self.meanings = meanings
        self.codes = codes

    @classmethod
    def constant(cls, value: _T, count: int) -> Coded[_T]:
        """Give a column that has one value throughout."""
        return cls([value], array("i", bytes(4 * count)))

    @classmethod
    def of(cls, values: Sequence[_T]) -> Coded[_T]:
        """Give the column with these values."""
        if isinstance(values, Coded):
            return values
        code_of: dict[_T, int] = {}
        codes = [code_of.setdefault(value, len(code_of)) for value in values]
        return cls(list(code_of), array("i", codes))

    @classmethod
    def looked_up(cls, found: Sequence[_T], numbers: array[int]) -> Coded[_T]:
        """Give the column of ``found[number]`` for each number, as an array of type ``i``."""
        if found.count(found[0]) == len(found):
            return cls.constant(found[0], len(numbers))
        used = list(dict.fromkeys(numbers))
        few = cls.of([found[number] for number in used])
        if list(few.codes) == used:
            return cls(few.meanings, numbers)
        code_of = dict(zip(used, few.codes, strict=True))
        return cls(few.meanings, array("i", map(code_of.__getitem__, numbers)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self)!r})"

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[_T]:
        return map(self.meanings.__getitem__, self.codes)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self.meanings[code] for code in self.codes[place]]
        return self.meanings[self.codes[place]]


@dataclasses.dataclass(frozen=True)
class PointBatch:
    """Points in order of logging, as columns of equal length.

    ``series`` has the metric's key; ``context`` the names of the contexts that it was logged
    in, quoted and joined by ``+`` (empty outside any), where an epoch around another context
    follows its name as ``@<n>``; ``epoch`` the innermost epoch.
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
