"""Control groups of this process, versions 1 and 2: their limits and usage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from yprov_mlflow.prov.collectors.system.node import read_text


class Limit(NamedTuple):
    """A number of a group, such as the tightest limit on the process, and the group's folder."""

    amount: float
    folder: Path


def cpu_allowance(root: Path, count: int) -> float | None:
    """Return the number of CPUs that the process may use, by quota and by CPU set.

    Args:
        root: Folder that contains ``proc`` and ``sys``.
        count: Logical processors of the node: a set of all of them is not a limit.
    """
    quota = cpu_limit(root)
    limits = [] if quota is None else [quota.amount]
    for folder in _groups(root, "cpuset"):
        cpus = read_text(folder / "cpuset.cpus.effective") or read_text(folder / "cpuset.cpus")
        if cpus and (size := _set_size(cpus)) < count:
            limits.append(size)
    return min(limits, default=None)


def cpu_limit(root: Path) -> Limit | None:
    """Return the tightest limit on CPU time, in CPUs."""
    limits = []
    for folder in _groups(root, "cpu"):
        version_2 = read_text(folder / "cpu.max").split()
        quota, period = (
            version_2
            if len(version_2) == 2
            else (read_text(folder / "cpu.cfs_quota_us"), read_text(folder / "cpu.cfs_period_us"))
        )
        if quota.isdigit() and period.isdigit() and int(period):  # unlimited is "max" or -1
            limits.append(Limit(int(quota) / int(period), folder))
    return min(limits, default=None)


def memory_limit(root: Path, memory_bytes: int) -> Limit | None:
    """Return the tightest limit on memory, in bytes.

    Args:
        root: Folder that contains ``proc`` and ``sys``.
        memory_bytes: Memory of the node: "unlimited" is a larger number in version 1.
    """
    limits = []
    for folder in _groups(root, "memory"):
        limit = read_text(folder / "memory.max") or read_text(folder / "memory.limit_in_bytes")
        if limit.isdigit() and 0 < int(limit) < memory_bytes:
            limits.append(Limit(int(limit), folder))
    return min(limits, default=None)


def memory_used_bytes(folder: Path) -> float | None:
    """Return the memory of a group, without file pages that can be dropped at any time."""
    usage = read_text(folder / "memory.current") or read_text(folder / "memory.usage_in_bytes")
    if not usage.isdigit():
        return None
    stat = _statistics(folder / "memory.stat")
    droppable = stat.get("total_inactive_file", stat.get("inactive_file", 0))
    return float(max(int(usage) - droppable, 0))


def oom_kills(root: Path) -> Limit | None:
    """Return how many processes of this process's own group were killed for lack of memory."""
    for folder in _groups(root, "memory"):
        if (count := oom_kills_of(folder)) is not None:
            return Limit(count, folder)
    return None


def oom_kills_of(folder: Path) -> int | None:
    """Return how many processes of a group were killed for lack of memory; None if unknown."""
    for name in ("memory.events", "memory.oom_control"):
        if (count := _statistics(folder / name).get("oom_kill")) is not None:
            return int(count)
    return None


def throttled_s(folder: Path) -> float | None:
    """Return the seconds during which a group waited because its quota was used up."""
    stat = _statistics(folder / "cpu.stat")
    if "throttled_usec" in stat:
        return stat["throttled_usec"] / 1e6
    version_1_ns = stat.get("throttled_time")
    return None if version_1_ns is None else version_1_ns / 1e9


def identity(folder: Path) -> str:
    """Return a name of the group that is the same in every namespace."""
    return f"cgroup-{folder.stat().st_ino}"


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of the process's groups, from its own up to the root."""
    mount = root / "sys/fs/cgroup"
    for line in read_text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers:  # version 2
            top = mount
        elif controller in controllers.split(","):
            top = mount / controller
        else:
            continue
        folder = top / path.lstrip("/")
        if ".." in folder.parts:  # the group is outside the container's view
            folder = top
        yield folder
        while folder != top:
            folder = folder.parent
            yield folder


def _set_size(cpus: str) -> int:
    """Return the number of CPUs in a list such as ``0-3,8``."""
    ranges = (part.partition("-") for part in cpus.split(","))
    return sum(int(last or first) - int(first) + 1 for first, _, last in ranges)


def _statistics(path: Path) -> dict[str, int]:
    words = (line.split() for line in read_text(path).splitlines())
    return {word[0]: int(word[1]) for word in words if len(word) == 2 and word[1].isdigit()}
