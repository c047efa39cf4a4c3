"""Totals that start at 0 and never decrease: energy counters, integrated power, sums, shares.

All of them return None when a reading cannot be used. They rather count too little than invent a
value: energy that a counter loses in a reset stays lost.
"""

from __future__ import annotations

MAX_POWER_W = 10_000.0
"""No single device draws more: a counter that grows faster does not count energy."""

COUNTER_RANGES = (2**32, 2**64)
"""Values at which hardware counters overflow to 0."""

# Drivers refresh a counter some time after the energy was used, so a reading may jump.
_REFRESH_DELAY_S = 2.0

# Shorter than the shortest interval, long enough for clocks that tick in 1/100 s.
_MIN_RATE_S = 0.04

# CPU time after which a share is final: 100 clock ticks, an error of 1 % at most.
_SHARE_STEP_S = 1.0


class EnergyCounter:
    """Joules counted by a hardware counter since the first reading.

    Args:
        unit_j: Joules per count.
    """

    def __init__(self, unit_j: float) -> None:
        self._unit_j = unit_j
        self._total_j = 0.0
        self._last: tuple[float, float] | None = None
        self._suspect: tuple[float, float] | None = None

    def add(self, count: float | None, time_s: float) -> float | None:
        """Return the total in joules after a reading; None for an implausible one."""
        if count is None:
            return None
        if self._last is None:
            self._last = count, time_s
            return self._total_j
        growth = self._growth(self._last, count, time_s)
        if growth is None and self._suspect is not None:
            # One odd reading may be a glitch. A second one that fits the first means that the
            # counter jumped or was reset: continue from there.
            growth = self._growth(self._suspect, count, time_s)
        if growth is None:
            self._suspect = count, time_s
            return None
        self._last, self._suspect = (count, time_s), None
        self._total_j += growth * self._unit_j
        return self._total_j

    def _growth(self, last: tuple[float, float], count: float, time_s: float) -> float | None:
        limit = MAX_POWER_W * (time_s - last[1] + _REFRESH_DELAY_S) / self._unit_j
        if count >= last[0]:
            return count - last[0] if count - last[0] <= limit else None
        for size in COUNTER_RANGES:
            # Growth by more than half of the range is more likely a small step back.
            if last[0] < size and count + size - last[0] <= min(limit, size / 2):
                return count + size - last[0]
        return None


class PowerIntegral:
    """Joules from power readings, by the trapezoidal rule; gaps are interpolated linearly."""

    def __init__(self) -> None:
        self._total_j = 0.0
        self._last: tuple[float, float] | None = None

    def add(self, power_w: float | None, time_s: float) -> float | None:
        """Return the total in joules after a reading; None without one."""
        if power_w is None:
            return None
        if self._last is not None:
            last_w, last_s = self._last
            self._total_j += (power_w + last_w) / 2 * (time_s - last_s)
        self._last = power_w, time_s
        return self._total_j


class MonotonicTotal:
    """A sum over parts that come and go, such as processes, as a total that never decreases.

    The sum drops when a part ends, but its value may only be in transit: the kernel adds the CPU
    time of a child to its parent when the parent waits for it, and a reading may fall in between.
    So the total pauses at the first drop, and continues from the lower sum at the second.
    """

    def __init__(self) -> None:
        self.value = 0.0
        self._base: float | None = None
        self._dropped = False

    def update(self, reading: float | None) -> float | None:
        """Return the total after a reading of the sum; None without one."""
        if reading is None:
            return None
        if self._base is None:
            self._base = reading
        growth = reading - self._base
        if growth >= self.value:
            self.value, self._dropped = growth, False
        elif self._dropped:
            self._base, self._dropped = reading - self.value, False
        else:
            self._dropped = True
        return self.value


class Rate:
    """Growth of a total per second of time, or of CPU time.

    Counters move in steps: over a very short time their growth is 0 or far too high, so such
    intervals are extended.
    """

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None

    def update(self, total: float, now_s: float) -> float | None:
        """Return the growth per second since the last rate; None if that was too recent."""
        if self._last is None:
            self._last = total, now_s
            return None
        growth, elapsed_s = total - self._last[0], now_s - self._last[1]
        if elapsed_s < _MIN_RATE_S:
            return None
        self._last = total, now_s
        return growth / elapsed_s


class EnergyShare:
    """A process's share of the energy of the node's processors, in proportion to CPU time.

    The kernel counts CPU time in 1/100 s, too coarse for two samples in quick succession. A step
    therefore lasts until a second of CPU time has passed.
    """

    def __init__(self) -> None:
        self._total_j = 0.0
        self._finished_j = 0.0
        self._step_start = (0.0, 0.0, 0.0)

    def update(self, energy_j: float, cpu_s: float, own_s: float) -> float:
        """Return the process's energy in joules; all arguments are totals since the same start.

        Args:
            energy_j: Energy of the processors.
            cpu_s: CPU seconds in which it was used: all of them, or only busy ones.
            own_s: CPU seconds of the process.
        """
        totals = (energy_j, cpu_s, own_s)
        step_j, cpu, own = (
            now - start for now, start in zip(totals, self._step_start, strict=True)
        )
        share_j = step_j * min(own / cpu, 1.0) if cpu > 0 else 0.0
        self._total_j = max(self._total_j, self._finished_j + share_j)
        if cpu >= _SHARE_STEP_S:
            self._finished_j += share_j
            self._step_start = totals
        return self._total_j
