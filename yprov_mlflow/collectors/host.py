"""The machine: name, operating system, processor, memory, and what a container leaves of it."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

from yprov_mlflow.events import Json

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def collect() -> dict[str, Json]:
    """Describe the host of this process.

    Returns:
        ``hostname``, ``os``, ``release``, ``machine``, ``cpu_model``, ``cpu_count``
        (logical), ``cpu_count_physical``, ``cpu_limit`` (CPUs that the control group
        allows), ``memory_bytes`` and ``memory_limit_bytes``; None for what is not known
        or not limited.
    """
    import psutil

    memory_bytes = int(psutil.virtual_memory().total)
    limit_bytes = memory_limit_bytes(_CGROUPS, _OWN)
    return {
        "hostname": platform.node(),
        "os": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "cpu_model": _cpu_model(Path("/proc/cpuinfo")) or platform.processor() or None,
        "cpu_count": psutil.cpu_count(),
        "cpu_count_physical": psutil.cpu_count(logical=False),
        "cpu_limit": cpu_limit(_CGROUPS, _OWN),
        "memory_bytes": memory_bytes,
        # Version 1 says "none" by a number beyond any memory.
        "memory_limit_bytes": limit_bytes if limit_bytes and limit_bytes < memory_bytes else None,
    }


def cpu_limit(cgroups: Path, own: Path) -> float | None:
    """Give how many CPUs the control groups of the process allow, the tightest of them."""
    limits = []
    for folder in _groups(cgroups, own, "cpu"):
        version_2 = _text(folder / "cpu.max").split()
        quota, period = (
            version_2
            if len(version_2) == 2
            else (_text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us"))
        )
        if quota.isdigit() and period.isdigit() and int(period):  # not "max", not -1
            limits.append(int(quota) / int(period))
    return min(limits, default=None)


def memory_limit_bytes(cgroups: Path, own: Path) -> int | None:
    """Give the memory that the control groups of the process allow, the tightest of them."""
    limits = []
    for folder in _groups(cgroups, own, "memory"):
        limit = _text(folder / "memory.max") or _text(folder / "memory.limit_in_bytes")
        if limit.isdigit():
            limits.append(int(limit))
    return min(limits, default=None)


def _groups(cgroups: Path, own: Path, controller: str) -> Iterator[Path]:
    """Give the folders of the process's groups, from its own up to the root."""
    for line in _text(own).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers:
            root = cgroups
        elif controller in controllers.split(","):
            root = cgroups / controller
        else:
            continue
        folder = root / path.lstrip("/")
        if ".." in folder.parts:  # the group lies outside what the container sees
            folder = root
        yield folder
        while folder != root:
            folder = folder.parent
            yield folder


def _cpu_model(cpuinfo: Path) -> str | None:
    for line in _text(cpuinfo).splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "cpu model"):
            return value.strip()
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
