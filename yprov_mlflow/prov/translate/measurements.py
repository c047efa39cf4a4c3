"""Samples of collectors as columns, and their totals, means and shares of a time span."""

from __future__ import annotations

import bisect
import itertools
import math
from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from yprov_mlflow.prov.events import CollectorStarted, CollectorStopped, Sampled
from yprov_mlflow.prov.model.literals import mapping

JOULES_PER_KWH = 3.6e6
COMPONENTS = ("cpu", "gpu", "memory")
"""Parts of a machine that may have a measured energy."""


class CollectorSamples:
    """The samples of one collector from one of its starts in a session.

    Attributes:
        description: The collector's description of itself.
        quantities: Descriptions of the measured quantities.
        times_ns: Times of the samples.
        columns: The samples of each quantity, NaN where it could not be read.
        report: The collector's report at its stop.
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
        """Add one sample; one with another number of values is ignored."""
        if len(event.values) == len(self.columns):
            self.times_ns.append(event.time_ns)
            for column, value in zip(self.columns, event.values, strict=True):
                # NaN and not None: columns of machine numbers hold days of samples.
                column.append(math.nan if value is None else value)

    def readings(self, index: int) -> tuple[list[int], list[float]]:
        """Return times in ns and values of one quantity, where it could be read."""
        pairs = zip(self.times_ns, self.columns[index], strict=True)
        read = [(time_ns, value) for time_ns, value in pairs if not math.isnan(value)]
        return [time_ns for time_ns, _ in read], [value for _, value in read]


class Measurements:
    """All samples of a run; those of one session must be added in order of time."""

    def __init__(self) -> None:
        self._samples: dict[tuple[str, str], list[CollectorSamples]] = {}

    def add(self, event: CollectorStarted | Sampled | CollectorStopped) -> None:
        """Add one event of a collector."""
        starts = self._samples.setdefault((event.session, event.collector), [])
        if isinstance(event, CollectorStarted):
            starts.append(CollectorSamples(event.session, event.collector, event.description))
        elif not starts:
            pass  # its start was lost, and with it the meaning of its numbers
        elif isinstance(event, Sampled):
            starts[-1].add(event)
        else:
            starts[-1].report = event.report

    def __iter__(self) -> Iterator[CollectorSamples]:
        """Yield samples by session and collector, then in order of time."""
        for key in sorted(self._samples):
            yield from self._samples[key]

    def last_times(self) -> dict[str, int]:
        """Return the time of each session's last sample, by token."""
        times: dict[str, int] = {}
        for samples in self:
            if samples.times_ns:
                times[samples.session] = max(samples.times_ns[-1], times.get(samples.session, 0))
        return times


def sum_scope(parts: Iterable[tuple[str | None, str]]) -> str:
    """Return the scope of a sum of energies, whose parts have a component and a scope each.

    All processors and all memory of a node together are the node's.
    """
    scopes = {
        "node" if scope == "device" and component != "gpu" else scope for component, scope in parts
    }
    return scopes.pop() if len(scopes) == 1 else "node"


def rising(values: list[float]) -> list[float]:
    """Return the readings of a counter without falls: a fall is skipped."""
    # Our own counters never fall. Energy that a collector of another package lost stays lost,
    # but must not become negative.
    result, lost = values[:1], 0.0
    for before, value in itertools.pairwise(values):
        lost += max(before - value, 0.0)
        result.append(value + lost)
    return result


def growth_between(times_ns: list[int], values: list[float], start_ns: int, end_ns: int) -> float:
    """Return the growth of a counter between two times.

    It is assumed to grow evenly between two readings, and not at all before the first and after
    the last. At least two readings are needed.
    """
    return _value_at(times_ns, values, end_ns) - _value_at(times_ns, values, start_ns)


def _value_at(times_ns: list[int], values: list[float], time_ns: int) -> float:
    after = bisect.bisect_right(times_ns, time_ns)
    if after == 0:
        return values[0]
    if after == len(times_ns):
        return values[-1]
    begin_ns, end_ns = times_ns[after - 1], times_ns[after]
    share = (time_ns - begin_ns) / (end_ns - begin_ns)
    return values[after - 1] + share * (values[after] - values[after - 1])


def mean(times_ns: list[int], values: list[float]) -> float | None:
    """Return the time-weighted mean of a gauge, assumed to change evenly between readings."""
    if not values:
        return None
    duration_ns = times_ns[-1] - times_ns[0]
    if duration_ns <= 0:
        return math.fsum(values) / len(values)
    # The trapezoidal rule: readings are not equally spaced when the sampler was delayed.
    pairs = itertools.pairwise(zip(times_ns, values, strict=True))
    areas = ((end + start) / 2 * (end_ns - start_ns) for (start_ns, start), (end_ns, end) in pairs)
    return math.fsum(areas) / duration_ns
