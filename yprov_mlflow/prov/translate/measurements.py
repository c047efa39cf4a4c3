"""Samples of collectors in columns, and what they come to: totals, means, parts by time."""

from __future__ import annotations

import bisect
import itertools
import math
from array import array
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from yprov_mlflow.prov.events import CollectorStarted, CollectorStopped, Sampled
from yprov_mlflow.prov.model.literals import mapping

JOULES_PER_KWH = 3.6e6
COMPONENTS = ("cpu", "gpu", "memory")
"""Parts of a machine's energy, whether or not they were measured."""

Measurement = CollectorStarted | Sampled | CollectorStopped


class Mean(NamedTuple):
    """A quantity that goes up and down, over a time: its mean weighs by time."""

    mean: float
    minimum: float
    maximum: float
    readings: int


class Stretch:
    """What one collector measured in one session, from its start on.

    ``times_ns`` are those of the samples; ``columns`` have for each quantity one number a
    sample, NaN where it could not be read.
    """

    def __init__(self, session: str, collector: str, description: Mapping[str, Any]) -> None:
        self.session = session
        self.collector = collector
        self.description = description
        self.quantities = [mapping(quantity) for quantity in description.get("quantities") or ()]
        self.times_ns = array("q")
        self.columns = [array("d") for _ in self.quantities]
        self.report: Mapping[str, Any] = {}

    def add(self, event: Sampled) -> None:
        """Take one sample; one of another shape is not ours."""
        if len(event.values) == len(self.columns):
            self.times_ns.append(event.time_ns)
            for column, value in zip(self.columns, event.values, strict=True):
                column.append(math.nan if value is None else value)

    def points(self, position: int) -> tuple[list[int], list[float]]:
        """Give times and values of one quantity, where it could be read."""
        pairs = zip(self.times_ns, self.columns[position], strict=True)
        read = [(time_ns, value) for time_ns, value in pairs if not math.isnan(value)]
        return [time_ns for time_ns, _ in read], [value for _, value in read]


class Measurements:
    """All samples of a run, fed in any order of sessions, in each session in order of time."""

    def __init__(self) -> None:
        self._stretches: dict[tuple[str, str], list[Stretch]] = {}

    def add(self, event: Measurement) -> None:
        """Take one event."""
        key = (event.session, event.collector)
        if isinstance(event, CollectorStarted):
            stretch = Stretch(event.session, event.collector, event.description)
            self._stretches.setdefault(key, []).append(stretch)
            return
        found = self._stretches.get(key)
        if found is None:  # its start is lost, and with it what the numbers mean
            return
        if isinstance(event, Sampled):
            found[-1].add(event)
        else:
            found[-1].report = event.report

    def __iter__(self) -> Iterator[Stretch]:
        """Give all stretches, by session and collector, then in order of time."""
        for key in sorted(self._stretches):
            yield from self._stretches[key]

    def last_times(self) -> dict[str, int]:
        """Give for each session the time of its last sample."""
        found: dict[str, int] = {}
        for stretch in self:
            if stretch.times_ns:
                last = max(stretch.times_ns[-1], found.get(stretch.session, 0))
                found[stretch.session] = last
        return found


def rising(values: list[float]) -> list[float]:
    """Give readings of a total as ones that do not fall: one that fell goes on from where it was.

    Our own collectors' totals never fall. What another's lost stays lost, and is no negative
    energy.
    """
    found, lost = values[:1], 0.0
    for before, value in itertools.pairwise(values):
        lost += max(before - value, 0.0)
        found.append(value + lost)
    return found


def total(values: list[float]) -> float | None:
    """Give how much a cumulative quantity grew; None for less than two readings."""
    return values[-1] - values[0] if len(values) > 1 else None


def grown(times_ns: list[int], values: list[float], start_ns: int, end_ns: int) -> float:
    """Give how much a cumulative quantity grew from one time to another.

    Between two readings it is taken to have grown evenly; before the first and after the last
    there is nothing known, and nothing counted. At least two readings are needed.
    """
    return _at(times_ns, values, end_ns) - _at(times_ns, values, start_ns)


def _at(times_ns: list[int], values: list[float], time_ns: int) -> float:
    after = bisect.bisect_right(times_ns, time_ns)
    if after == 0:
        return values[0]
    if after == len(times_ns):
        return values[-1]
    begin_ns, end_ns = times_ns[after - 1], times_ns[after]
    part = (time_ns - begin_ns) / (end_ns - begin_ns)
    return values[after - 1] + part * (values[after] - values[after - 1])


def mean(times_ns: list[int], values: list[float]) -> Mean | None:
    """Give the mean of what goes up and down, as if it changed evenly between two readings."""
    if not values:
        return None
    whole_ns = times_ns[-1] - times_ns[0]
    if whole_ns <= 0:
        average = math.fsum(values) / len(values)
    else:
        area = math.fsum(
            (values[i] + values[i - 1]) / 2 * (times_ns[i] - times_ns[i - 1])
            for i in range(1, len(values))
        )
        average = area / whole_ns
    return Mean(average, min(values), max(values), len(values))
