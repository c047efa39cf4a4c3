"""Metric points on their way: a bounded buffer of columns, a sink beyond it, series' figures."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from yprov_mlflow.prov.events import STORE_SESSION, MetricsLogged
from yprov_mlflow.prov.model.identifiers import segment
from yprov_mlflow.prov.translate.batches import Coded, PointBatch
from yprov_mlflow.prov.translate.timeline import Path

BATCH = 8_192
"""Most points that wait for the sink."""

_LEAST, _MOST = -(2**63), 2**63 - 1


class SideFile(NamedTuple):
    """A file that holds points: where it is beside the document, and what it is."""

    path: str
    sha256: str
    size: int
    media_type: str


class PointsSink(Protocol):
    """Takes the points of a run that are too many to be records each."""

    def write(self, batch: PointBatch) -> None:
        """Take a batch; not called at all for a run with few points."""

    def close(self) -> SideFile | None:
        """Finish, after at least one batch, and say what was written; None if nothing was."""


class Series:
    """What is known of all points with one key, in one context, of one session.

    First and last are by step, then time stamp: the last point is the one MLflow shows.
    """

    __slots__ = (
        "count",
        "first",
        "first_order",
        "key",
        "last",
        "last_order",
        "last_time",
        "maximum",
        "minimum",
        "names",
        "nan_count",
        "session",
    )

    def __init__(self, session: str, names: tuple[str, ...], key: str) -> None:
        self.session = session
        self.names = names
        self.key = key
        self.count = 0
        self.nan_count = 0
        self.first = self.last = math.nan
        self.first_order: tuple[int, int, float] | None = None
        self.last_order: tuple[int, int, float] | None = None
        self.minimum = math.inf
        self.maximum = -math.inf

    def add(self, value: float, step: int, timestamp_ms: int) -> None:
        """Take one more point into account."""
        self.count += 1
        if value == value:
            if value < self.minimum:
                self.minimum = value
            if value > self.maximum:
                self.maximum = value
        else:
            self.nan_count += 1
        self._order(value, step, timestamp_ms)

    def _order(self, value: float, step: int, timestamp_ms: int) -> None:
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
        """Take points into account as if they had been added one by one."""
        if not math.isfinite(sum(values)):  # NaN and infinity show in the sum
            for point in zip(values, steps, timestamps_ms, strict=True):
                self.add(*point)
            return
        self.count += len(values)
        self.minimum = min(self.minimum, min(values))
        self.maximum = max(self.maximum, max(values))
        for step in {min(steps), max(steps)}:
            at, end = -1, len(steps)
            for _ in range(steps.count(step)):
                at = steps.index(step, at + 1, end)
                self._order(values[at], step, timestamps_ms[at])

    def merge(self, other: Series) -> None:
        """Take all points of another series into account."""
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
    dataset: tuple[str | None, str | None]


class Points:
    """Takes the points of a run as they come."""

    def __init__(self, max_samples: int, sink: PointsSink | None) -> None:
        self.total = 0
        self.series: list[Series] = []
        self.last_times: dict[str, int] = {}
        self.first_times: dict[str, int] = {}
        self._max_samples = max_samples
        self._limit = max(max_samples, BATCH)
        self._sink = sink
        self._sunk = False
        self._index: dict[tuple[str, tuple[str, ...], str], int] = {}
        self._paths: dict[Path, int] = {}
        self._names: list[tuple[Path, tuple[str, ...], str, int | None]] = []
        self._clear()

    def _clear(self) -> None:
        self._series_column = array("i")
        self._path_column = array("i")
        self._values = array("d")
        self._steps = array("q")
        self._timestamps = array("q")
        self._times = array("q")
        self._seqs = array("q")
        self._models: dict[int, str] = {}
        self._datasets: dict[int, tuple[str | None, str | None]] = {}

    # -- in ----------------------------------------------------------------------------

    def add(self, event: MetricsLogged) -> None:
        """Take the points of one call."""
        session, keys = event.session, event.keys
        time_ns = 0 if session == STORE_SESSION else event.time_ns
        if not keys:
            return
        if time_ns:
            self.last_times[session] = max(time_ns, self.last_times.get(session, 0))
            self.first_times.setdefault(session, time_ns)
        paths = [self._path(path) for path in event.context_paths] or [self._path(())]
        contexts = event.contexts
        if isinstance(event.values, array) and self._add_columns(event, paths[0], time_ns):
            return
        start = len(self._values)
        for i, key in enumerate(keys):
            path = paths[contexts[i] if contexts is not None else 0]
            number = self._number((session, self._names[path][1], key))
            value = float(event.values[i])
            step, timestamp_ms = _integer(event.steps[i]), _integer(event.timestamps_ms[i])
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
        self._counted(len(keys))

    def _add_columns(self, event: MetricsLogged, path: int, time_ns: int) -> bool:
        """Take a call's points at once, if they are arrays of one metric and nothing else."""
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
        number = self._number((event.session, self._names[path][1], key))
        self.series[number].add_columns(values, steps, timestamps_ms)
        self._series_column.extend(_repeated("i", number, count))
        self._path_column.extend(_repeated("i", path, count))
        self._values.extend(values)
        self._steps.extend(steps)
        self._timestamps.extend(timestamps_ms)
        self._times.extend(_repeated("q", time_ns, count))
        self._seqs.extend(_repeated("q", event.seq, count))
        self._counted(count)
        return True

    def _number(self, series_key: tuple[str, tuple[str, ...], str]) -> int:
        number = self._index.get(series_key)
        if number is None:
            number = self._index[series_key] = len(self.series)
            self.series.append(Series(*series_key))
        return number

    def _counted(self, count: int) -> None:
        self.total += count
        if self._sink is not None and len(self._values) >= self._limit:
            self._flush()

    def _path(self, given: Sequence[str | int]) -> int:
        path = tuple(given)
        number = self._paths.get(path)
        if number is None:
            names = tuple(piece for piece in path if isinstance(piece, str))
            epochs = [piece for piece in path if isinstance(piece, int)]
            number = self._paths[path] = len(self._names)
            self._names.append((path, names, _context(path), epochs[-1] if epochs else None))
        return number

    # -- out ---------------------------------------------------------------------------

    @property
    def flushed(self) -> bool:
        """Whether points went to the sink and are no longer here."""
        return self._sunk

    def times(self) -> Iterator[tuple[str, int]]:
        """Give session and time of the points that are here; all, while none is flushed."""
        series = self.series
        if not self.last_times:
            return
        for number, time_ns in set(zip(self._series_column, self._times, strict=True)):
            if time_ns:
                yield series[number].session, time_ns

    def finish(self) -> SideFile | None:
        """Give the side file, if there are too many points for records."""
        if self._sink is None or self.total <= self._max_samples:
            return None
        if self._values:
            self._flush()
        return self._sink.close()

    def samples(self) -> Iterator[Sample]:
        """Give the points that become records, in the order in which they came."""
        for i, number in enumerate(self._series_column):
            yield Sample(
                self.series[number],
                self._names[self._path_column[i]][0],
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
        keys = [series.key for series in self.series]
        sessions = [series.session for series in self.series]
        count = len(self._values)
        self._sink.write(
            PointBatch(
                series=Coded.looked_up(keys, self._series_column),
                context=Coded.looked_up([name[2] for name in self._names], self._path_column),
                epoch=Coded.looked_up([name[3] for name in self._names], self._path_column),
                value=self._values,
                step=self._steps,
                timestamp_ms=self._timestamps,
                time_ns=self._times,
                session=Coded.looked_up(sessions, self._series_column),
                model=_scattered(self._models, count),
                dataset_name=_scattered({i: d[0] for i, d in self._datasets.items()}, count),
                dataset_digest=_scattered({i: d[1] for i, d in self._datasets.items()}, count),
            )
        )
        self._sunk = True
        self._clear()


def _repeated(kind: str, value: int, count: int) -> array[int]:
    return array(kind, (value,)) * count


def _scattered(found: Mapping[int, str | None], count: int) -> Coded[str | None]:
    """Give a column of which few values are known, by their places."""
    if not found:
        return Coded.constant(None, count)
    return Coded.of([found.get(place) for place in range(count)])


def _integer(value: Any) -> int:
    """Give an integer of 64 bits; what is none of these is 0, or the nearest that is."""
    if type(value) is int and _LEAST <= value <= _MOST:
        return value
    try:
        return max(_LEAST, min(_MOST, int(value)))
    except (TypeError, ValueError, OverflowError):
        return 0


def _pair(dataset: Sequence[str]) -> tuple[str | None, str | None]:
    name, digest = (*dataset, None, None)[:2]
    return name, digest


def _context(path: Path) -> str:
    outer = path[:-1] if path and isinstance(path[-1], int) else path
    found = ""
    for piece in outer:
        if isinstance(piece, int):
            found += f"@{piece}"
        else:
            found += ("+" if found else "") + segment(piece)
    return found
