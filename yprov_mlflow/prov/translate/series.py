"""Statistics of metric points, updated point by point."""

from __future__ import annotations

import dataclasses
import math
from array import array


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
