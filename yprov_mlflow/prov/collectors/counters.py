"""Energy since the start: from a counter that wraps and resets, or from power over time.

Both give None where they cannot tell, and would rather count too little than invent: what a
counter lost in a reset stays lost.
"""

from __future__ import annotations

MOST_W = 10_000.0
"""More than any one device takes: a counter that grew faster did not count energy."""

SPANS = (2**32, 2**64)
"""What counters count up to, before they begin again at 0."""

_SLACK_S = 2.0
"""Counters are refreshed some time after the energy was taken."""


class Counter:
    """Joules that a hardware counter counted since the first reading.

    Args:
        unit_j: What one count is worth.
    """

    def __init__(self, unit_j: float) -> None:
        self._unit_j = unit_j
        self._total_j = 0.0
        self._last: tuple[float, float] | None = None
        self._odd: tuple[float, float] | None = None

    def add(self, count: float | None, time_s: float) -> float | None:
        """Give the total after a reading of ``count``; None for one that cannot be."""
        if count is None:
            return None
        if self._last is None:
            self._last = count, time_s
            return self._total_j
        gained = self._gained(self._last, count, time_s)
        if gained is None and self._odd is not None:
            # Twice in a row: the counter jumped or was reset. It counts on, from where it is now.
            gained = self._gained(self._odd, count, time_s)
        if gained is None:
            self._odd = count, time_s
            return None
        self._last, self._odd = (count, time_s), None
        self._total_j += gained * self._unit_j
        return self._total_j

    def _gained(self, last: tuple[float, float], count: float, time_s: float) -> float | None:
        most = MOST_W * (time_s - last[1] + _SLACK_S) / self._unit_j
        if count >= last[0]:
            return count - last[0] if count - last[0] <= most else None
        for span in SPANS:
            # More than half of the span is rather a small step back.
            if last[0] < span and count + span - last[0] <= min(most, span / 2):
                return count + span - last[0]
        return None


class Integral:
    """Joules from watts, by trapezoids between readings; a gap counts as a straight line."""

    def __init__(self) -> None:
        self._total_j = 0.0
        self._last: tuple[float, float] | None = None

    def add(self, power_w: float | None, time_s: float) -> float | None:
        """Give the total after a reading of ``power_w``; None where there was no reading."""
        if power_w is None:
            return None
        if self._last is not None:
            before_w, before_s = self._last
            self._total_j += (power_w + before_w) / 2 * (time_s - before_s)
        self._last = power_w, time_s
        return self._total_j
