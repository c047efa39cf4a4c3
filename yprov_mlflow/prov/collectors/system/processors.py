"""The node's processors: how many, which, and for how long they have been busy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from yprov_mlflow.prov.collectors.system.sysfiles import content, text

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Times(NamedTuple):
    """Seconds since the machine started, summed over its logical processors."""

    busy_s: float
    all_s: float


def times(root: Path) -> Times | None:
    """Give the time that the processors were busy, waiting for disks not included."""
    try:
        words = content(root / "proc/stat").split(maxsplit=9)[1:9]
        user, nice, system, idle, iowait, irq, softirq, steal = map(int, words)
    except ValueError:
        return _times_of_psutil()
    # Time stolen by other machines of the same host is neither busy nor idle; that of
    # guests is within user and nice already.
    busy = user + nice + system + irq + softirq
    return Times(busy / _TICKS_PER_S, (busy + idle + iowait + steal) / _TICKS_PER_S)


def _times_of_psutil() -> Times | None:
    import psutil

    try:
        found = psutil.cpu_times()
    except (OSError, psutil.Error):
        return None
    return Times(sum(found) - found.idle, sum(found))


def count(root: Path) -> int:
    """Give the number of logical processors of the node."""
    lines = text(root / "proc/stat").splitlines()
    found = sum(line[:3] == "cpu" and line[3:4].isdigit() for line in lines)
    return found or os.cpu_count() or 1


def model(root: Path) -> str | None:
    """Give the name of the processors as their maker gave it; None where the system has none."""
    return _first(root, ("model name", "Model", "cpu model"))


def maker(root: Path) -> str | None:
    """Give who made the processors, as they say it: ``GenuineIntel``, ``AuthenticAMD``."""
    return _first(root, ("vendor_id",))


def virtual(root: Path) -> bool:
    """Say whether the processors are those of a virtual machine."""
    return "hypervisor" in (_first(root, ("flags",)) or "").split()


def _first(root: Path, keys: tuple[str, ...]) -> str | None:
    for line in text(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in keys:
            return value.strip()
    return None
