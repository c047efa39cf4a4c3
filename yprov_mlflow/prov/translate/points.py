"""The metric points of a run: a buffer that spills to a sink, and repetitions for models."""

from __future__ import annotations

import dataclasses
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from yprov_mlflow.prov.events import INT64_MAX, INT64_MIN, STORE_SESSION, MetricsLogged
from yprov_mlflow.prov.model.identifiers import segment
from yprov_mlflow.prov.translate.point_batches import (
    BATCH,
    Coded,
    PointBatch,
    PointsSink,
    SideFile,
)
from yprov_mlflow.prov.translate.series import Series
from yprov_mlflow.prov.translate.timeline import Path, event_time

Dataset = tuple[str | None, str | None]
"""Name and digest of the dataset that a point was measured on."""


class Link(NamedTuple):
    """A logged model for which MLflow logged a point again, and the dataset it named then."""

    model: str
    dataset: Dataset


class Sample(NamedTuple):
    """One point that becomes a record."""

    series: Series
    path: Path
    value: float
    step: int
    timestamp_ms: int
    time_ns: int
    epoch: int | None
    seq: int
    model: str | None
    dataset: Dataset
    links: Sequence[Link]


@dataclasses.dataclass(slots=True)
class _Logged:
    """A point of a metric that models have: its position, own model, models it was repeated for."""

    position: int
    model: str | None
    links: set[str] = dataclasses.field(default_factory=set)


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

    When a model is logged, MLflow logs points of the run again with the id of the model. Such a
    repetition is a link and no second measurement. A point of a model is one if an earlier
    point has its key, step, timestamp and value. If that point is of this model already, MLflow's
    databases ignore the repetition, and so does the document.
    """

    def __init__(self, max_samples: int, sink: PointsSink | None) -> None:
        self.total = 0
        self.series: list[Series] = []
        # Points that went to the sink cannot be asked for their times any more. These are kept:
        # the first and last time of each session, and its last time at each end of the run.
        self._first_times: dict[str, int] = {}
        self._last_times: dict[str, int] = {}
        self._times_at_ends: list[tuple[int, dict[str, int]]] = []
        self._flushed = False
        self._max_samples = max_samples
        self._limit = max(max_samples, BATCH)
        self._sink = sink
        self._series_numbers: dict[tuple[str, tuple[str, ...], str], int] = {}
        self._path_numbers: dict[Path, int] = {}
        self._paths: list[_ContextPath] = []
        # Of metrics that models have, all points by identity; hashes of what the sink has.
        self._logged: dict[str, dict[int, list[_Logged]]] = {}
        self._flushed_points: dict[str, array[int]] = {}
        self._flushed_count = 0
        self._clear()

    def _clear(self) -> None:
        self._series_column, self._path_column = array("i"), array("i")
        self._values, self._steps, self._timestamps = array("d"), array("q"), array("q")
        self._times, self._seqs = array("q"), array("q")
        # Few points name a model or a dataset: these columns are sparse, by position.
        self._models: dict[int, str] = {}
        self._datasets: dict[int, Dataset] = {}
        self._links: dict[int, list[Link]] = {}

    def add(self, event: MetricsLogged) -> None:
        """Add the points of one event."""
        session, keys, time_ns = event.session, event.keys, event_time(event)
        if not keys:
            return
        if time_ns:
            self._last_times[session] = max(time_ns, self._last_times.get(session, 0))
            self._first_times.setdefault(session, time_ns)
        paths = [self._path_number(path) for path in event.context_paths or [()]]
        if isinstance(event.values, array) and self._add_columns(event, paths[0], time_ns):
            return
        contexts, models, datasets = event.contexts, event.models, event.datasets
        for i, key in enumerate(keys):
            path = paths[contexts[i] if contexts is not None else 0]
            number = self._series_number(session, path, key)
            value = float(event.values[i])
            step, timestamp_ms = _int64(event.steps[i]), _int64(event.timestamps_ms[i])
            model = models[i] if models is not None else None
            dataset = datasets[i] if datasets is not None else None
            earlier = None
            if model or key in self._logged:
                link = Link(model, _pair(dataset or ())) if model else None
                identity = _identity(value, step, timestamp_ms)
                earlier = self._earlier(session, key, identity, link)
                if earlier is not None and earlier >= self._flushed_count:
                    continue
            # The sink has a repetition as a row of its own if the point was written before.
            if earlier is None:
                self.series[number].add(value, step, timestamp_ms)
                self.total += 1
            position = len(self._values)
            self._series_column.append(number)
            self._path_column.append(path)
            self._values.append(value)
            self._steps.append(step)
            self._timestamps.append(timestamp_ms)
            self._times.append(time_ns)
            self._seqs.append(event.seq)
            if model:
                self._models[position] = model
            if dataset:
                self._datasets[position] = _pair(dataset)
        self._flush_if_full()

    def _earlier(self, session: str, key: str, identity: int, link: Link | None) -> int | None:
        """Return the position of the point that this one repeats, and link it to the model.

        The position is below ``_flushed_count`` if the point went to the sink.
        """
        logged = self._logged.get(key)
        if logged is None:
            logged = self._logged[key] = self._logged_so_far(key)
        equal = logged.setdefault(identity, [])
        same: int | None = None
        for point in equal:
            index = point.position - self._flushed_count
            if link is not None and link.model in (point.model, *point.links):
                same = point.position
            elif link is not None:
                point.links.add(link.model)
                if index >= 0:
                    self._links.setdefault(index, []).append(link)
                return point.position
            # A file store has both lines, and its reader assigns the model to the first of them.
            if link is None and session == STORE_SESSION and point.model is not None:
                point.links.add(point.model)
                point.model = None
                if index >= 0:
                    model, dataset = self._models.pop(index), self._datasets.get(index)
                    self._links.setdefault(index, []).append(Link(model, dataset or (None, None)))
                return point.position
        if same is not None:  # autologging of LightGBM and Lightning logs points twice
            return same
        position = self._flushed_count + len(self._values)
        equal.append(_Logged(position, link.model if link is not None else None))
        return None

    def _logged_so_far(self, key: str) -> dict[int, list[_Logged]]:
        logged: dict[int, list[_Logged]] = {}
        for identity in self._flushed_points.pop(key, ()):
            logged.setdefault(identity, []).append(_Logged(-1, None))
        numbers = {i for i, series in enumerate(self.series) if series.key == key}
        for i, number in enumerate(self._series_column):
            if number in numbers:
                identity = _identity(self._values[i], self._steps[i], self._timestamps[i])
                logged.setdefault(identity, []).append(_Logged(self._flushed_count + i, None))
        return logged

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
        if linked or key in self._logged or event.keys != [key] * count:
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
        self.total += count
        self._flush_if_full()
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
            epoch = next((piece for piece in reversed(path) if isinstance(piece, int)), None)
            self._paths.append(_ContextPath(path, names, _context_text(path), epoch))
        return number

    def _flush_if_full(self) -> None:
        sink = self._sink_in_use()
        if sink is not None and len(self._values) >= self._limit:
            self._flush(sink)

    def _sink_in_use(self) -> PointsSink | None:
        # As long as the points may still become records, all of them are needed here.
        return self._sink if self.total > self._max_samples else None

    def mark_end(self, time_ns: int) -> None:
        """Note that the run ended, after the points so far."""
        self._times_at_ends.append((time_ns, dict(self._last_times)))

    def times(self) -> Iterator[tuple[str, int]]:
        """Yield sessions with times of points: of all, or those that are kept of flushed ones."""
        if not self._last_times:  # all points are from a store: spare the walk over them
            return
        for number, time_ns in set(zip(self._series_column, self._times, strict=True)):
            if time_ns:
                yield self.series[number].session, time_ns
        if self._flushed:
            yield from self._first_times.items()
            yield from self._last_times.items()
            for end_ns, times in self._times_at_ends:
                yield from ((session, t) for session, t in times.items() if t <= end_ns)

    def finish(self) -> SideFile | None:
        """Return the side file, or None if the points become records."""
        sink = self._sink_in_use()
        if sink is not None and self._values:
            self._flush(sink)
        return sink.close() if sink is not None else None

    def samples(self) -> Iterator[Sample]:
        """Yield the points that become records, in order of input."""
        for i, number in enumerate(self._series_column):
            context = self._paths[self._path_column[i]]
            yield Sample(
                self.series[number],
                context.path,
                self._values[i],
                self._steps[i],
                self._timestamps[i],
                self._times[i],
                context.epoch,
                self._seqs[i],
                self._models.get(i),
                self._datasets.get(i, (None, None)),
                self._links.get(i, ()),
            )

    def _flush(self, sink: PointsSink) -> None:
        self._note_identities()
        for i, links in self._links.items():
            for link in links:
                self._append_copy(i, link)
        count = len(self._values)
        names = {i: name for i, (name, _) in self._datasets.items()}
        digests = {i: digest for i, (_, digest) in self._datasets.items()}
        sink.write(
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
        self._flushed = True
        self._flushed_count += count
        self._clear()

    def _note_identities(self) -> None:
        """Keep what recognizes repetitions of the points that leave: eight bytes for each.

        A reader of a store assigns a model to the first of equal points, so there the repetition
        is found without this.
        """
        if all(series.session == STORE_SESSION for series in self.series):
            return
        for i, number in enumerate(self._series_column):
            key = self.series[number].key
            if key not in self._logged:
                identity = _identity(self._values[i], self._steps[i], self._timestamps[i])
                self._flushed_points.setdefault(key, array("q")).append(identity)

    def _append_copy(self, i: int, link: Link) -> None:
        """Append a point again, as MLflow logged it again for a model."""
        position = len(self._values)
        self._values.append(self._values[i])
        columns = (self._series_column, self._path_column, self._steps, self._timestamps)
        for column in (*columns, self._times, self._seqs):
            column.append(column[i])
        self._models[position] = link.model
        if link.dataset != (None, None):
            self._datasets[position] = link.dataset


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


def _identity(value: float, step: int, timestamp_ms: int) -> int:
    """Return a hash of a point, the same for NaN as for NaN."""
    return hash((value if value == value else "NaN", step, timestamp_ms))


def _pair(dataset: Sequence[str]) -> Dataset:
    name, digest = (*dataset, None, None)[:2]
    return name, digest


def _context_text(path: Path) -> str:
    """Return a path as ``PointBatch.context`` has it; the innermost epoch has its own column."""
    pieces: list[str] = []
    for piece in path[:-1] if path and isinstance(path[-1], int) else path:
        if isinstance(piece, str):
            pieces.append(segment(piece))
        else:
            pieces.append(f"{pieces.pop() if pieces else ''}@{piece}")
    return "+".join(pieces)
