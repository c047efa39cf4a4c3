"""Metric points: a bounded buffer of columns that spills to a sink, and statistics of series."""

from __future__ import annotations

import dataclasses
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from yprov_mlflow.prov.events import INT64_MAX, INT64_MIN, MetricsLogged
from yprov_mlflow.prov.model.identifiers import segment
from yprov_mlflow.prov.translate.batches import Coded, PointBatch
from yprov_mlflow.prov.translate.timeline import Path, event_time

BATCH = 8_192
"""Number of points that are buffered for the sink."""

Dataset = tuple[str | None, str | None]
"""Name and digest of the dataset that a point was measured on."""


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


@dataclasses.dataclass(slots=True)
class Series:
    """Statistics of the points with one key, in one context, of one session."""

    session: str
    names: tuple[str, ...]
    key: str
    count: int = 0
    nan_count: int = 0
    first: float = math.nan
    last: float = math.nan
    first_order: tuple[int, int, float] | None = None
    last_order: tuple[int, int, float] | None = None
    minimum: float = math.inf
    maximum: float = -math.inf

    def add(self, value: float, step: int, timestamp_ms: int) -> None:
        """Add one point."""
        self.count += 1
        if value == value:  # False for NaN only
            if value < self.minimum:
                self.minimum = value
            if value > self.maximum:
                self.maximum = value
        else:
            self.nan_count += 1
        self._update_first_and_last(value, step, timestamp_ms)

    def _update_first_and_last(self, value: float, step: int, timestamp_ms: int) -> None:
        # By step, timestamp and value, with NaN as 0: MLflow's stores choose the metric's
        # latest value in this way, and `last` has to be the value that MLflow shows.
        last, first = self.last_order, self.first_order
        if last is None or step >= last[0]:
            order = (step, timestamp_ms, value if value == value else 0.0)
            if last is None or order > last:
                self.last, self.last_order = value, order
        if first is None or step <= first[0]:
            order = (step, timestamp_ms, value if value == value else 0.0)
            if first is None or order < first:
                self.first, self.first_order = value, order

    def add_columns(
        self, values: array[float], steps: array[int], timestamps_ms: array[int]
    ) -> None:
        """Add points, with the same result as a call of ``add`` for each, but faster."""
        # NaN must be counted and kept out of the bounds; it shows in the sum.
        if not math.isfinite(sum(values)):
            for point in zip(values, steps, timestamps_ms, strict=True):
                self.add(*point)
            return
        self.count += len(values)
        self.minimum = min(self.minimum, min(values))
        self.maximum = max(self.maximum, max(values))
        # Only points with the lowest or highest step can be the first or the last.
        for step in {min(steps), max(steps)}:
            index = -1
            for _ in range(steps.count(step)):
                index = steps.index(step, index + 1)
                self._update_first_and_last(values[index], step, timestamps_ms[index])

    def merge(self, other: Series) -> None:
        """Add all points of another series."""
        self.count += other.count
        self.nan_count += other.nan_count
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)
        if other.last_order and (self.last_order is None or other.last_order > self.last_order):
            self.last, self.last_order = other.last, other.last_order
        if other.first_order and (self.first_order is None or other.first_order < self.first_order):
            self.first, self.first_order = other.first, other.first_order


class Sample(NamedTuple):
    """One point that becomes a record."""

    series: Series
    path: Path
    value: float
    step: int
    timestamp_ms: int
    time_ns: int
    seq: int
    model: str | None
    dataset: Dataset


class _ContextPath(NamedTuple):
    """A path of contexts: as logged, its names, its text in batches, its innermost epoch."""

    path: Path
    names: tuple[str, ...]
    text: str
    epoch: int | None


class Points:
    """Collects the points of a run.

    Keys, sessions and context paths repeat a thousandfold: they are interned, and points refer
    to them by number. Machine-typed arrays hold a point in about 50 bytes, where a tuple of
    Python objects takes several hundred.
    """

    def __init__(self, max_samples: int, sink: PointsSink | None) -> None:
        self.total = 0
        self.series: list[Series] = []
        self.last_times: dict[str, int] = {}
        self.first_times: dict[str, int] = {}
        self.flushed = False
        self._max_samples = max_samples
        self._limit = max(max_samples, BATCH)
        self._sink = sink
        self._series_numbers: dict[tuple[str, tuple[str, ...], str], int] = {}
        self._path_numbers: dict[Path, int] = {}
        self._paths: list[_ContextPath] = []
        self._clear()

    def _clear(self) -> None:
        self._series_column = array("i")
        self._path_column = array("i")
        self._values = array("d")
        self._steps = array("q")
        self._timestamps = array("q")
        self._times = array("q")
        self._seqs = array("q")
        # Few points name a model or a dataset: these columns are sparse, by position.
        self._models: dict[int, str] = {}
        self._datasets: dict[int, Dataset] = {}

    # -- input -------------------------------------------------------------------------

    def add(self, event: MetricsLogged) -> None:
        """Add the points of one event."""
        session, keys, time_ns = event.session, event.keys, event_time(event)
        if not keys:
            return
        if time_ns:
            self.last_times[session] = max(time_ns, self.last_times.get(session, 0))
            self.first_times.setdefault(session, time_ns)
        paths = [self._path_number(path) for path in event.context_paths or [()]]
        if isinstance(event.values, array) and self._add_columns(event, paths[0], time_ns):
            return
        contexts, start = event.contexts, len(self._values)
        for i, key in enumerate(keys):
            path = paths[contexts[i] if contexts is not None else 0]
            number = self._series_number(session, path, key)
            value = float(event.values[i])
            step, timestamp_ms = _int64(event.steps[i]), _int64(event.timestamps_ms[i])
            self.series[number].add(value, step, timestamp_ms)
            self._series_column.append(number)
            self._path_column.append(path)
            self._values.append(value)
            self._steps.append(step)
            self._timestamps.append(timestamp_ms)
            self._times.append(time_ns)
            self._seqs.append(event.seq)
        if event.models is not None:
            self._models.update((start + i, m) for i, m in enumerate(event.models) if m)
        if event.datasets is not None:
            self._datasets.update((start + i, _pair(d)) for i, d in enumerate(event.datasets) if d)
        self._count(len(keys))

    def _add_columns(self, event: MetricsLogged, path: int, time_ns: int) -> bool:
        """Add points as whole columns, if these are arrays of one metric in one context.

        Sources of old runs give a metric's history in this form: millions of points.
        """
        values, steps, timestamps_ms = event.values, event.steps, event.timestamps_ms
        if not (
            isinstance(values, array)
            and isinstance(steps, array)
            and isinstance(timestamps_ms, array)
            and values.typecode + steps.typecode + timestamps_ms.typecode == "dqq"
        ):
            return False
        key, count = event.keys[0], len(event.keys)
        linked = (event.contexts, event.models, event.datasets) != (None, None, None)
        if linked or event.keys != [key] * count:
            return False
        number = self._series_number(event.session, path, key)
        self.series[number].add_columns(values, steps, timestamps_ms)
        self._series_column.extend(_repeat("i", number, count))
        self._path_column.extend(_repeat("i", path, count))
        self._values.extend(values)
        self._steps.extend(steps)
        self._timestamps.extend(timestamps_ms)
        self._times.extend(_repeat("q", time_ns, count))
        self._seqs.extend(_repeat("q", event.seq, count))
        self._count(count)
        return True

    def _series_number(self, session: str, path: int, key: str) -> int:
        series = (session, self._paths[path].names, key)
        number = self._series_numbers.get(series)
        if number is None:
            number = self._series_numbers[series] = len(self.series)
            self.series.append(Series(*series))
        return number

    def _path_number(self, pieces: Sequence[str | int]) -> int:
        path = tuple(pieces)
        number = self._path_numbers.get(path)
        if number is None:
            number = self._path_numbers[path] = len(self._paths)
            names = tuple(piece for piece in path if isinstance(piece, str))
            epochs = [piece for piece in path if isinstance(piece, int)]
            epoch = epochs[-1] if epochs else None
            self._paths.append(_ContextPath(path, names, _context_text(path), epoch))
        return number

    def _count(self, count: int) -> None:
        self.total += count
        # As long as the points may still become records, all of them are needed here.
        if self._sink is None or self.total <= self._max_samples:
            return
        if len(self._values) >= self._limit:
            self._flush()

    # -- output ------------------------------------------------------------------------

    def times(self) -> Iterator[tuple[str, int]]:
        """Yield session and time of the points in the buffer: of all, if none was flushed."""
        if not self.last_times:  # all points are from a store: spare the walk over them
            return
        for number, time_ns in set(zip(self._series_column, self._times, strict=True)):
            if time_ns:
                yield self.series[number].session, time_ns

    def finish(self) -> SideFile | None:
        """Return the side file, or None if the points become records."""
        if self._sink is None or self.total <= self._max_samples:
            return None
        if self._values:
            self._flush()
        return self._sink.close()

    def samples(self) -> Iterator[Sample]:
        """Yield the points that become records, in order of input."""
        for i, number in enumerate(self._series_column):
            yield Sample(
                self.series[number],
                self._paths[self._path_column[i]].path,
                self._values[i],
                self._steps[i],
                self._timestamps[i],
                self._times[i],
                self._seqs[i],
                self._models.get(i),
                self._datasets.get(i, (None, None)),
            )

    def _flush(self) -> None:
        assert self._sink is not None
        count = len(self._values)
        names = {i: name for i, (name, _) in self._datasets.items()}
        digests = {i: digest for i, (_, digest) in self._datasets.items()}
        self._sink.write(
            PointBatch(
                series=Coded.lookup([s.key for s in self.series], self._series_column),
                context=Coded.lookup([path.text for path in self._paths], self._path_column),
                epoch=Coded.lookup([path.epoch for path in self._paths], self._path_column),
                value=self._values,
                step=self._steps,
                timestamp_ms=self._timestamps,
                time_ns=self._times,
                session=Coded.lookup([s.session for s in self.series], self._series_column),
                model=_sparse(self._models, count),
                dataset_name=_sparse(names, count),
                dataset_digest=_sparse(digests, count),
            )
        )
        self.flushed = True
        self._clear()


def _repeat(typecode: str, value: int, count: int) -> array[int]:
    return array(typecode, (value,)) * count


def _sparse(values: Mapping[int, str | None], count: int) -> Coded[str | None]:
    """Return a column of ``count`` values from the few that are not None, by position."""
    if not values:
        return Coded.constant(None, count)
    return Coded.of([values.get(i) for i in range(count)])


def _int64(value: Any) -> int:
    """Return the nearest 64-bit integer, or 0 for a value that is not a number."""
    if type(value) is int and INT64_MIN <= value <= INT64_MAX:
        return value
    # The arrays raise on anything else, and stores of real users contain anything.
    try:
        return max(INT64_MIN, min(INT64_MAX, int(value)))
    except (TypeError, ValueError, OverflowError):
        return 0


def _pair(dataset: Sequence[str]) -> Dataset:
    name, digest = (*dataset, None, None)[:2]
    return name, digest


def _context_text(path: Path) -> str:
    """Return a path as ``PointBatch.context`` has it; the innermost epoch has its own column."""
    pieces: list[str] = []
    for piece in path[:-1] if path and isinstance(path[-1], int) else path:
        if isinstance(piece, str):
            pieces.append(segment(piece))
        elif pieces:
            pieces[-1] += f"@{piece}"
        else:
            pieces.append(f"@{piece}")
    return "+".join(pieces)
