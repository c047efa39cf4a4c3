"""Totals of sums over things that come and go, such as processes, and how fast totals grow."""

from __future__ import annotations

_LEAST_S = 0.04
"""Less than the shortest interval, and enough for clocks that tick in hundredths of a second."""


class Total:
    """A sum of counters as one that starts at 0 and never falls.

    A sum falls when a part of it ends. What ended may still be on its way to another part: the
    times of a child go to the parent that waits for it, and a reading may fall in between.
    So the total stands still at the first fall, and goes on from there at the second.
    """

    def __init__(self) -> None:
        self.value = 0.0
        self._base: float | None = None
        self._fell = False

    def of(self, reading: float | None) -> float | None:
        """Give the total at a reading of the sum; None where there is no reading."""
        if reading is None:
            return None
        if self._base is None:
            self._base = reading
        grown = reading - self._base
        if grown >= self.value:
            self.value, self._fell = grown, False
        elif self._fell:
            self._base, self._fell = reading - self.value, False
        else:
            self._fell = True
        return self.value


class Rate:
    """How fast a total grows: its growth over the time, or the CPU time, between two readings.

    Counters move in steps. Over less than ``_LEAST_S`` their growth is 0 or much too much.
    """

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None

    def of(self, total: float, now_s: float) -> float | None:
        """Give the growth per second since the last rate; None for one so short ago."""
        if self._last is None:
            self._last = total, now_s
            return None
        grown, took_s = total - self._last[0], now_s - self._last[1]
        if took_s < _LEAST_S:
            return None
        self._last = total, now_s
        return grown / took_s
