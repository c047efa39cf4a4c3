"""The clock with which file systems stamp changes: it tells what changed before an opening."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable

_REALTIME_COARSE = 5  # ``CLOCK_REALTIME_COARSE`` of Linux, which Python does not name
_LATEST_NS = 10_000_000  # how far the clocks of other systems are behind, at most


def _get_clock() -> Callable[[], int]:
    if "linux" in sys.platform:
        # The kernel moves this clock once in a tick, and late where others use the processors. Only
        # itself shows what it was: a time in ns minus the length of a tick would not be enough.
        return functools.partial(time.clock_gettime_ns, _REALTIME_COARSE)
    return lambda: time.time_ns() - _LATEST_NS


file_clock_ns = _get_clock()
"""Return the time of the clock in ns. A file that has an earlier time did not change since."""
