"""Control groups of this process, versions 1 and 2: what they allow and what they have used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from yprov_mlflow.prov.collectors.system.sysfiles import text


class Limit(NamedTuple):
    """The tightest limit on the process and the folder of the group that sets it."""

    amount: float
    folder: Path


def cpus(root: Path, count: int) -> float | None:
    """Give how many CPUs the control groups of the process allow, by their time and by name.

    Args:
        root: Folder that ``proc`` and ``sys`` are in.
        count: Processors of the node: a set of all of them is no limit.
    """
    limit = cpu_limit(root)
    found = [] if limit is None else [limit.amount]
    for folder in _groups(root, "cpuset"):
        names = text(folder / "cpuset.cpus.effective") or text(folder / "cpuset.cpus")
        if names and (number := _length(names)) < count:
            found.append(number)
    return min(found, default=None)


def cpu_limit(root: Path) -> Limit | None:
    """Give how much CPU time the control groups of the process allow, in CPUs, the least."""
    limits = []
    for folder in _groups(root, "cpu"):
        version_2 = text(folder / "cpu.max").split()
        quota, period = (
            version_2
            if len(version_2) == 2
            else (text(folder / "cpu.cfs_quota_us"), text(folder / "cpu.cfs_period_us"))
        )
        if quota.isdigit() and period.isdigit() and int(period):  # not "max", not -1
            limits.append(Limit(int(quota) / int(period), folder))
    return min(limits, default=None)


def memory_limit(root: Path, memory_bytes: int) -> Limit | None:
    """Give the bytes that the control groups of the process allow, the tightest of them.

    Args:
        root: Folder that ``proc`` and ``sys`` are in.
        memory_bytes: Memory of the machine: version 1 says "none" by a number beyond any.
    """
    limits = []
    for folder in _groups(root, "memory"):
        limit = text(folder / "memory.max") or text(folder / "memory.limit_in_bytes")
        if limit.isdigit() and 0 < int(limit) < memory_bytes:
            limits.append(Limit(int(limit), folder))
    return min(limits, default=None)


def memory_used_bytes(folder: Path) -> float | None:
    """Give the memory of a group, less the pages of files that can be dropped at any time."""
    used = text(folder / "memory.current") or text(folder / "memory.usage_in_bytes")
    if not used.isdigit():
        return None
    fields = _fields(folder / "memory.stat")
    droppable = fields.get("total_inactive_file", fields.get("inactive_file", 0))
    return float(max(int(used) - droppable, 0))


def throttled_s(folder: Path) -> float | None:
    """Give the seconds for which a group had to wait because it had used up its CPUs."""
    fields = _fields(folder / "cpu.stat")
    if "throttled_usec" in fields:
        return fields["throttled_usec"] / 1e6
    nanoseconds = fields.get("throttled_time")  # version 1
    return None if nanoseconds is None else nanoseconds / 1e9


def identity(folder: Path) -> str:
    """Give a name of the group that is the same whatever namespace it is seen from."""
    return f"cgroup-{folder.stat().st_ino}"


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Give the folders of the process's groups, from its own up to the root."""
    mount = root / "sys/fs/cgroup"
    for line in text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers:
            top = mount
        elif controller in controllers.split(","):
            top = mount / controller
        else:
            continue
        folder = top / path.lstrip("/")
        if ".." in folder.parts:  # the group lies outside what the container sees
            folder = top
        yield folder
        while folder != top:
            folder = folder.parent
            yield folder


def _length(ranges: str) -> int:
    """Count what is in a list such as ``0-3,8``."""
    pairs = (one.partition("-") for one in ranges.split(","))
    return sum(int(last or first) - int(first) + 1 for first, _, last in pairs)


def _fields(path: Path) -> dict[str, int]:
    words = (line.split() for line in text(path).splitlines())
    return {word[0]: int(word[1]) for word in words if len(word) == 2 and word[1].isdigit()}
