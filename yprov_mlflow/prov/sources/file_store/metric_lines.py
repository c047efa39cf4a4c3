"""Metric files: a line is a point; parsed in bulk, or line by line where that is impossible.

A line has the timestamp, the value and, since MLflow 1.0, the step; then optionally the name and
digest of a dataset. In the folder of a logged model, the run's id precedes those two.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import orjson

from yprov_mlflow.prov.events import INT64_MAX, INT64_MIN
from yprov_mlflow.prov.sources.file_store import decoding
from yprov_mlflow.prov.sources.file_store.store_files import StoreFiles
from yprov_mlflow.prov.sources.state_events import MOST_POINTS

BLOCK = 1 << 18
"""Bytes per read, and of the longest line that is parsed."""

Dataset = tuple[str, str]
Row = tuple[int, float, int, Dataset | None, str]
"""Timestamp, value, step, dataset and (for a model's point) run id."""

_SMALL = 1 << 16
_NUMBERS = b"0123456789.eE+-"
# Also the letters of "nan", "inf" and "infinity" in any case, as Python's float() accepts them.
_NUMBERS_AND_NAMES = _NUMBERS + b"naifNAIFtyTY"
_COMMAS = bytes.maketrans(b" \n", b",,")
# A timestamp in this range, from 1973 to 5138, is in seconds if the line has no step.
_MIN_SECONDS, _MAX_SECONDS = 10**8, 10**11

_CONFLICT_MARKERS = (b"<<<<<<<", b"=======", b">>>>>>>", b"|||||||")


class Columns(NamedTuple):
    """Points in file order; ``datasets`` and ``runs`` are None if no point has one.

    Numbers are in arrays; integers beyond 64 bits are in lists.
    """

    timestamps: Sequence[int]
    values: Sequence[float]
    steps: Sequence[int]
    datasets: list[Dataset | None] | None = None
    runs: list[str] | None = None

    def rows(self) -> Iterator[Row]:
        """Return an iterator over the points."""
        count = len(self.values)
        datasets, runs = self.datasets or [None] * count, self.runs or [""] * count
        return zip(self.timestamps, self.values, self.steps, datasets, runs, strict=True)

    def part(self, start: int, end: int) -> Columns:
        """Return the points with these indexes."""
        return Columns(*(None if column is None else column[start:end] for column in self))  # type: ignore[arg-type] # each column keeps its type

    def joined(self, other: Columns) -> Columns:
        """Return these points followed by others."""
        datasets = None
        if self.datasets or other.datasets:
            no_datasets: list[Dataset | None] = [None]
            datasets = (self.datasets or no_datasets * len(self.values)) + (
                other.datasets or no_datasets * len(other.values)
            )
        return Columns(
            _joined(self.timestamps, other.timestamps),
            array("d", self.values) + array("d", other.values),
            _joined(self.steps, other.steps),
            datasets,
            None if self.runs is None else self.runs + (other.runs or []),
        )


def in_events(blocks: Iterable[Columns]) -> Iterator[Columns]:
    """Yield all points again, divided as events are: ``MOST_POINTS`` each, the last one fewer.

    The division must not depend on the size of the blocks read: documents must be reproducible.
    """
    pending: Columns | None = None
    for block in blocks:
        columns = block if pending is None else pending.joined(block)
        count = len(columns.values)
        # The last points stay pending even if they are enough: nothing empty may follow.
        last = count - (count % MOST_POINTS or MOST_POINTS)
        for start in range(0, last, MOST_POINTS):
            yield columns.part(start, start + MOST_POINTS)
        pending = columns.part(last, count) if last else columns
    if pending is not None:
        yield pending


class MetricFile:
    """One metric file; after reading, ``in_seconds`` says if timestamps were converted to ms."""

    def __init__(self, files: StoreFiles, path: str, *, of_model: bool = False) -> None:
        self.in_seconds = False
        self._files = files
        self._path = path
        self._of_model = of_model
        self._line = 0
        self._width = 0
        self._bad_lines = 0
        self._first_bad_line = ""
        self._has_conflict = False
        self._has_extra_column = False
        self._has_fraction = self._beyond_64_bits = False

    def columns(self) -> Iterator[Columns]:
        """Yield the points, block by block; then report what was wrong with the file."""
        for data in self.blocks():
            columns = self._parse(data) or self._parse_lines(data)
            self._line += data.count(b"\n")
            if columns.values:
                yield columns
        self._report()

    # -- blocks of lines -----------------------------------------------------------------

    def blocks(self) -> Iterator[bytes]:
        """Yield the file in blocks of complete lines, each of which ends with a line feed."""
        try:
            descriptor = self._files.open(self._path)
            try:
                data = os.read(descriptor, _SMALL)
                if not data:
                    self._files.report(self._path, decoding.IS_EMPTY, decoding.CONTENT)
                elif data.startswith(decoding.LFS):
                    self._files.report(self._path, decoding.IS_LFS_POINTER, decoding.CONTENT)
                elif data.startswith(decoding.UTF_16_BOMS):
                    whole = self._files.read(self._path) or b""
                    yield from self._terminated(self._files.decode(self._path, whole).encode())
                elif len(data) < _SMALL and data.endswith(b"\n") and data[0] != decoding.BOM[0]:
                    yield data  # nearly all files: one read, no copy
                else:
                    yield from self._blocks(descriptor, data)
            finally:
                os.close(descriptor)
        except OSError as error:
            reason = f"cannot be read: {decoding.os_reason(error)}"
            self._files.report(self._path, reason, "the points that were not read yet")

    def _blocks(self, descriptor: int, data: bytes) -> Iterator[bytes]:
        if data.startswith(decoding.BOM):
            self._files.note(self._path, decoding.HAS_BOM)
            data = data[len(decoding.BOM) :]
        incomplete, skipping = b"", False
        while data:
            if skipping:
                _, line_feed, data = data.partition(b"\n")
                skipping = not line_feed
            lines, line_feed, tail = data.rpartition(b"\n")
            if line_feed:
                yield incomplete + lines + line_feed
                incomplete = tail
            else:
                incomplete += tail
            # A line may be gigabytes long (a sparse file, say): skip it rather than collect it.
            if len(incomplete) > BLOCK:
                self._mark_bad(incomplete, self._line + 1)
                self._line += 1
                incomplete, skipping = b"", True
            data = os.read(descriptor, BLOCK)
        yield from self._terminated(incomplete)

    def _terminated(self, data: bytes) -> Iterator[bytes]:
        """Yield lines, the last of which may lack its line feed, with that line feed."""
        if data and not data.endswith(b"\n"):
            width = data.rpartition(b"\n")[2].strip().count(b" ") + 1
            if width < self._width:
                # The last line has fewer columns than others: it was cut off, and what looks like
                # its value may be a part of the timestamp.
                self._mark_bad(data, self._line + 1)
                return
            self._files.note(self._path, "lacks a final line feed; its last number may be cut off")
            data += b"\n"
        if data:
            yield data

    # -- parsing -------------------------------------------------------------------------

    def _parse(self, data: bytes) -> Columns | None:
        """Parse lines that all have the same form; None if they do not."""
        columns = None if self._of_model else _parse_numbers(data)
        if columns is None:
            columns = self._parse_same_ends(data)
        elif not columns.steps:
            columns = self._with_steps(columns)
        if columns is not None:
            self._width = max(self._width, 3 if columns.steps else 2)
        return columns

    def _parse_same_ends(self, data: bytes) -> Columns | None:
        """Parse lines that end with the same run or dataset; None if they do not.

        A metric is mostly logged by one run for one dataset. Without the common end, the lines
        are numbers only, for which there is a fast parser.
        """
        line, line_feed, _ = data.partition(b"\n")
        parts = line.split(b" ")
        if len(parts) < 4 or line != line.strip():
            return None
        end = b" " + b" ".join(parts[3:]) + line_feed
        if data.count(end) != data.count(line_feed):
            return None
        columns = _parse_numbers(data.replace(end, line_feed))
        if columns is None or not columns.steps:
            return None
        try:
            *_, dataset, run = self._row(parts)
        except (ValueError, OverflowError):
            return None
        count = len(columns.values)
        return columns._replace(
            datasets=[dataset] * count if dataset is not None else None,
            runs=[run] * count if self._of_model else None,
        )

    def _with_steps(self, columns: Columns) -> Columns:
        """Return points of MLflow before 1.0 with step 0 and timestamps in ms."""
        steps = array("q", bytes(8 * len(columns.values)))
        timestamps = _integers([self._in_ms(timestamp) for timestamp in columns.timestamps])
        return columns._replace(timestamps=timestamps, steps=steps)

    def _in_ms(self, timestamp: int) -> int:
        if not _MIN_SECONDS <= timestamp < _MAX_SECONDS:
            return timestamp
        self.in_seconds = True
        return timestamp * 1000

    def _parse_lines(self, data: bytes) -> Columns:
        """Parse each line by itself, leaving out those that are not points."""
        if b"\r\n" in data:
            self._files.note(self._path, decoding.HAS_CRLF)
            data = data.replace(b"\r\n", b"\n")
            if columns := self._parse(data):
                return columns
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
        datasets = [row[3] for row in rows]
        return Columns(
            _integers([row[0] for row in rows]),
            array("d", [row[1] for row in rows]),
            _integers([row[2] for row in rows]),
            datasets if any(datasets) else None,
            [row[4] for row in rows] if self._of_model else None,
        )

    def _row(self, parts: list[bytes]) -> Row:
        if len(parts) < (4 if self._of_model else 2):
            raise ValueError("too few columns")
        timestamp, value = self._whole(parts[0]), float(parts[1])
        run, extra = "", parts[3:]
        if self._of_model:
            run, extra = self._text(extra[0]), extra[1:]
        dataset = None
        if len(extra) > 1:
            # MLflow does not quote the dataset's name: only the last column is the digest.
            dataset = (self._text(b" ".join(extra[:-1])), self._text(extra[-1]))
        elif extra:
            self._has_extra_column = True
        if len(parts) > 2:
            return timestamp, value, self._whole(parts[2]), dataset, run
        return self._in_ms(timestamp), value, 0, dataset, run

    def _whole(self, token: bytes) -> int:
        try:
            whole = int(token)
        except ValueError:
            number = float(token)
            if not number.is_integer():
                self._has_fraction = True
            whole = int(number)
        self._beyond_64_bits |= not INT64_MIN <= whole <= INT64_MAX
        return whole

    def _text(self, token: bytes) -> str:
        try:
            return token.decode()
        except UnicodeDecodeError:
            return self._files.decode(self._path, token)

    # -- problems ------------------------------------------------------------------------

    def _mark_bad(self, line: bytes, number: int) -> None:
        if line.startswith(_CONFLICT_MARKERS):
            self._has_conflict = True
            return
        if not self._bad_lines:
            self._first_bad_line = f"line {number}: {decoding.excerpt(line)}"
        self._bad_lines += 1

    def _report(self) -> None:
        files, path = self._files, self._path
        if self._has_conflict:
            files.report(path, decoding.HAS_CONFLICT, "")
        if self._bad_lines:
            more = f" and {self._bad_lines - 1} more" if self._bad_lines > 1 else ""
            reason = f"has lines that are not points: {self._first_bad_line}{more}"
            files.report(path, reason, "these lines")
        if self._has_extra_column:
            files.report(path, "has lines with an extra column", "that column")
        if self._has_fraction:
            reason = "has timestamps or steps with a fraction, which is cut off"
            files.report(path, reason, "the fractions")
        if self._beyond_64_bits:
            # The translator clamps them: PROV's integers (xsd:long) have 64 bits.
            reason = "has timestamps or steps beyond 64 bits, replaced by the nearest value"
            files.report(path, reason, "these numbers")


def _parse_numbers(data: bytes) -> Columns | None:
    """Parse lines of two or three numbers all at once; None if they are anything else.

    One call of orjson for a whole block is several times faster than a loop in Python over lines.
    It accepts fewer forms than Python's int() and float(), and no other: equal results are tested.
    """
    # Without the characters of numbers, only the separators remain: they show the columns.
    width = _width(data.translate(None, _NUMBERS))
    if not width:
        return _parse_numbers_and_nan(data)
    if b"-" in data and (b" -0 " in data or b" -0\n" in data):
        return None  # JSON has -0 as an integer, whose sign would be lost
    try:
        numbers = orjson.loads(b"[" + data.translate(_COMMAS)[:-1] + b"]")
        return Columns(
            array("q", numbers[0::width]),
            array("d", numbers[1::width]),
            array("q", numbers[2::3] if width == 3 else ()),
        )
    except (ValueError, TypeError, OverflowError):
        return None


def _parse_numbers_and_nan(data: bytes) -> Columns | None:
    """Parse lines whose values may be ``nan`` or ``inf``, which JSON lacks."""
    separators = data.translate(None, _NUMBERS_AND_NAMES)
    width = _width(separators)
    tokens = data.split()
    # split() drops empty tokens, after which values would move into other columns.
    if not width or len(tokens) != len(separators):
        return None
    try:
        return Columns(
            array("q", map(int, tokens[0::width])),
            array("d", map(float, tokens[1::width])),
            array("q", map(int, tokens[2::3] if width == 3 else ())),
        )
    except (ValueError, OverflowError):
        return None


def _width(separators: bytes) -> int:
    """Return the number of columns, given the separators of all lines; 0 if it differs."""
    if separators == b"  \n" * (len(separators) // 3):
        return 3
    return 2 if separators == b" \n" * (len(separators) // 2) else 0


def _joined(first: Sequence[int], second: Sequence[int]) -> Sequence[int]:
    if isinstance(first, array) and isinstance(second, array):
        return first + second
    return [*first, *second]


def _integers(numbers: list[int]) -> Sequence[int]:
    try:
        return array("q", numbers)
    except OverflowError:
        return numbers
