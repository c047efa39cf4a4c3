"""Sums over things that come and go, such as processes and network interfaces."""

from __future__ import annotations


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
