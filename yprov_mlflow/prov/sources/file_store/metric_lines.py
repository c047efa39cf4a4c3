"""Metric files: a line is a point; parsed in bulk, and line by line where that does not do.

A line has the time stamp, the value and, from MLflow 1.0 on, the step; then perhaps the name
and digest of a data set. In the folder of a logged model the run's id comes before those.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import orjson

from yprov_mlflow.prov.sources.file_store.tree_files import LFS, Files, excerpt, reason_of

MOST_POINTS = 8_192
"""Points of one event."""

BLOCK = 1 << 18
"""Bytes read at once, and of the longest line that is looked at."""

Dataset = tuple[str, str]
Row = tuple[int, float, int, Dataset | None, str]
"""Time stamp, value, step, data set and (of a model's point) run."""

_SMALL = 1 << 16
_BOMS = (b"\xff\xfe", b"\xfe\xff")
_NUMBERS = b"0123456789.eE+-"
_NUMBERS_AND_NAMES = _NUMBERS + b"naifNAIFtyTY"
"""Also the letters of ``nan`` and ``infinity``."""
_COMMAS = bytes.maketrans(b" \n", b",,")
_SECONDS = (10**8, 10**11)
"""Time stamps that mean seconds where a line has no step: from 1973 to 5138."""
_LEAST, _MOST = -(2**63), 2**63 - 1
_MARKERS = (b"<<<<<<<", b"=======", b">>>>>>>", b"|||||||")


class Columns(NamedTuple):
    """Points in their order; ``datasets`` and ``runs`` are None where no point has one."""

    timestamps: Sequence[int]
    values: Sequence[float]
    steps: Sequence[int]
    datasets: list[Dataset | None] | None = None
    runs: list[str] | None = None

    def rows(self) -> Iterator[Row]:
        """Give the points one by one."""
        count = len(self.values)
        datasets, runs = self.datasets or [None] * count, self.runs or [""] * count
        return zip(self.timestamps, self.values, self.steps, datasets, runs, strict=True)

    def part(self, start: int, end: int) -> Columns:
        """Give some of the points."""
        return Columns(*(None if column is None else column[start:end] for column in self))  # type: ignore[arg-type] # each column keeps its type

    def joined(self, other: Columns) -> Columns:
        """Give these points and then others."""
        none: list[Dataset | None] = [None] * len(self.values)
        datasets = None
        if self.datasets or other.datasets:
            datasets = (self.datasets or none) + (other.datasets or [None] * len(other.values))
        return Columns(
            _sum(self.timestamps, other.timestamps),
            array("d", self.values) + array("d", other.values),
            _sum(self.steps, other.steps),
            datasets,
            None if self.runs is None else self.runs + (other.runs or []),
        )


def events_worth(blocks: Iterable[Columns]) -> Iterator[Columns]:
    """Give the points again, as many at once as an event has."""
    rest: Columns | None = None
    for block in blocks:
        columns = block if rest is None else rest.joined(block)
        rest = None
        count = len(columns.values)
        if count <= MOST_POINTS:
            rest = columns
            continue
        last = count - (count % MOST_POINTS or MOST_POINTS)
        for start in range(0, last, MOST_POINTS):
            yield columns.part(start, start + MOST_POINTS)
        rest = columns.part(last, count)
    if rest is not None:
        yield rest


class PointsFile:
    """One metric file; after reading, ``in_seconds`` tells of time stamps that were made ms."""

    def __init__(self, files: Files, path: str, *, of_model: bool = False) -> None:
        self.in_seconds = False
        self._files = files
        self._path = path
        self._of_model = of_model
        self._line = 0
        self._width = 0
        self._bad = 0
        self._markers = 0
        self._first_bad = ""
        self._surplus = 0
        self._beyond = False

    def columns(self) -> Iterator[Columns]:
        """Give the points, block by block; then tell what was wrong with the file."""
        for data in self.blocks():
            found = self._parse(data)
            if found is None:
                found = self._parse_odd(data)
            self._line += data.count(b"\n")
            if found.values:
                yield found
        self._tell()

    # -- bytes -------------------------------------------------------------------------

    def blocks(self) -> Iterator[bytes]:
        """Give the file in blocks of lines, each of which ends in a line feed."""
        try:
            descriptor = self._files.open(self._path)
            try:
                data = os.read(descriptor, _SMALL)
                if not data:
                    self._files.report(self._path, "is empty", "its points, if there were any")
                elif data.startswith(LFS):
                    reason = "a git-lfs pointer stands for the file"
                    self._files.report(self._path, reason, "its points")
                elif data.startswith(_BOMS):
                    whole = self._files.read(self._path) or b""
                    yield from self._ended(self._files.foreign(self._path, whole).encode())
                elif len(data) < _SMALL and data.endswith(b"\n") and data[0] != 0xEF:
                    yield data
                else:
                    yield from self._lines(descriptor, data)
            finally:
                os.close(descriptor)
        except OSError as error:
            reason = f"cannot be read: {reason_of(error)}"
            self._files.report(self._path, reason, "the points that were not read yet")

    def _lines(self, descriptor: int, data: bytes) -> Iterator[bytes]:
        if data.startswith(b"\xef\xbb\xbf"):
            self._files.note(self._path, "starts with a byte order mark")
            data = data[3:]
        rest, skipping = b"", False
        while data:
            if skipping:
                _, feed, data = data.partition(b"\n")
                skipping = not feed
            head, feed, tail = data.rpartition(b"\n")
            if feed:
                yield rest + head + feed
                rest = tail
            else:
                rest += tail
            if len(rest) > BLOCK:
                self._mark_bad(rest, self._line + 1)
                self._line += 1
                rest, skipping = b"", True
            data = os.read(descriptor, BLOCK)
        yield from self._ended(rest)

    def _ended(self, rest: bytes) -> Iterator[bytes]:
        """Give what has no line feed at its end with one."""
        if rest and not rest.endswith(b"\n"):
            width = rest.rpartition(b"\n")[2].strip().count(b" ") + 1
            if width < self._width:
                # Cut off within its line.
                self._mark_bad(rest, self._line + 1)
                return
            self._files.note(self._path, "ends within a line, whose last number may be cut")
            rest += b"\n"
        if rest:
            yield rest

    # -- lines -------------------------------------------------------------------------

    def _parse(self, data: bytes) -> Columns | None:
        """Parse lines that are all of one kind; None if they are not."""
        found = None if self._of_model else _parse(data)
        if found is None:
            found = self._parse_same_ends(data)
        elif not found.steps:
            found = self._without_steps(found)
        if found is not None:
            self._width = max(self._width, 3 if found.steps else 2)
        return found

    def _parse_same_ends(self, data: bytes) -> Columns | None:
        """Parse lines that all have the same run or data set at their ends."""
        line, feed, _ = data.partition(b"\n")
        parts = line.split(b" ")
        if len(parts) < 4 or line != line.strip():
            return None
        end = b" " + b" ".join(parts[3:]) + feed
        if data.count(end) != data.count(feed):
            return None
        found = _parse(data.replace(end, feed))
        if found is None or not found.steps:
            return None
        try:
            *_, dataset, run = self._row(parts)
        except (ValueError, OverflowError):
            return None
        count = len(found.values)
        return found._replace(
            datasets=[dataset] * count if dataset is not None else None,
            runs=[run] * count if self._of_model else None,
        )

    def _without_steps(self, found: Columns) -> Columns:
        """Give points of MLflow before 1.0 as it means them: at step 0, with seconds as ms."""
        steps = array("q", bytes(8 * len(found.values)))
        stamps = _integers([self._in_ms(stamp) for stamp in found.timestamps])
        return found._replace(timestamps=stamps, steps=steps)

    def _in_ms(self, stamp: int) -> int:
        least, most = _SECONDS
        if not least <= stamp < most:
            return stamp
        self.in_seconds = True
        return stamp * 1000

    def _parse_odd(self, data: bytes) -> Columns:
        if b"\r\n" in data:
            self._files.note(self._path, "has lines that end in CR LF")
            data = data.replace(b"\r\n", b"\n")
            found = self._parse(data)
            if found is not None:
                return found
        rows: list[Row] = []
        for number, line in enumerate(data.split(b"\n")[:-1], self._line + 1):
            parts = line.strip().split(b" ")
            if parts == [b""]:
                continue
            self._width = max(self._width, len(parts))
            try:
                rows.append(self._row(parts))
            except (ValueError, OverflowError):
                self._mark_bad(line, number)
        return self._columns(rows)

    def _row(self, parts: list[bytes]) -> Row:
        if len(parts) < (4 if self._of_model else 2):
            raise ValueError("too few columns")
        timestamp, value = self._whole(parts[0]), float(parts[1])
        run, rest = "", parts[3:]
        if self._of_model:
            run, rest = self._text(rest[0]), rest[1:]
        dataset = None
        if len(rest) > 1:
            dataset = (self._text(b" ".join(rest[:-1])), self._text(rest[-1]))
        elif rest:
            self._surplus += 1
        if len(parts) > 2:
            return timestamp, value, self._whole(parts[2]), dataset, run
        return self._in_ms(timestamp), value, 0, dataset, run

    def _whole(self, token: bytes) -> int:
        try:
            whole = int(token)
        except ValueError:
            number = float(token)
            if not number.is_integer():
                self._files.note(self._path, "has a time stamp or step with a fraction, cut off")
            whole = int(number)
        self._beyond |= not _LEAST <= whole <= _MOST
        return whole

    def _text(self, token: bytes) -> str:
        try:
            return token.decode()
        except UnicodeDecodeError:
            return self._files.foreign(self._path, token)

    def _columns(self, rows: list[Row]) -> Columns:
        datasets = [row[3] for row in rows]
        return Columns(
            _integers([row[0] for row in rows]),
            array("d", [row[1] for row in rows]),
            _integers([row[2] for row in rows]),
            datasets if any(datasets) else None,
            [row[4] for row in rows] if self._of_model else None,
        )

    # -- faults ------------------------------------------------------------------------

    def _mark_bad(self, line: bytes, number: int) -> None:
        if line.startswith(_MARKERS):
            self._markers += 1
            return
        if not self._bad:
            self._first_bad = f"line {number}: {excerpt(line)}"
        self._bad += 1

    def _tell(self) -> None:
        files, path = self._files, self._path
        if self._markers:
            files.report(path, "has merge-conflict markers; the points of all sides are kept", "")
        if self._bad:
            more = f" and {self._bad - 1} more" if self._bad > 1 else ""
            files.report(path, f"has lines that are no points: {self._first_bad}{more}", "these")
        if self._surplus:
            files.report(path, "has lines with one column too many", "that column")
        if self._beyond:
            reason = "has time stamps or steps of more than 64 bits, for which the nearest stands"
            files.report(path, reason, "these numbers")


def _parse(data: bytes) -> Columns | None:
    """Parse lines of two or three numbers all at once; None if they are anything else."""
    width = _width(data.translate(None, _NUMBERS))
    if not width:
        return _parse_names(data)
    if b"-" in data and (b" -0 " in data or b" -0\n" in data):
        return None  # a whole number to JSON, and so without its sign
    try:
        numbers = orjson.loads(b"[" + data.translate(_COMMAS)[:-1] + b"]")
        return Columns(
            array("q", numbers[0::width]),
            array("d", numbers[1::width]),
            array("q", numbers[2::3] if width == 3 else ()),
        )
    except (ValueError, TypeError, OverflowError):
        return None


def _parse_names(data: bytes) -> Columns | None:
    """Parse lines in which values may be ``nan`` or ``inf``."""
    skeleton = data.translate(None, _NUMBERS_AND_NAMES)
    width = _width(skeleton)
    tokens = data.split()
    if not width or len(tokens) != len(skeleton):
        return None
    try:
        return Columns(
            array("q", map(int, tokens[0::width])),
            array("d", map(float, tokens[1::width])),
            array("q", map(int, tokens[2::3] if width == 3 else ())),
        )
    except (ValueError, OverflowError):
        return None


def _width(skeleton: bytes) -> int:
    """Tell how many columns each line has by what is between them; 0 if that differs."""
    if skeleton == b"  \n" * (len(skeleton) // 3):
        return 3
    return 2 if skeleton == b" \n" * (len(skeleton) // 2) else 0


def _sum(first: Sequence[int], second: Sequence[int]) -> Sequence[int]:
    if isinstance(first, array) and isinstance(second, array):
        return first + second
    return [*first, *second]


def _integers(found: list[int]) -> Sequence[int]:
    try:
        return array("q", found)
    except OverflowError:
        return found
