"""The node: kernel files, processors, memory, disks and network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import psutil


class CpuTimes(NamedTuple):
    """CPU seconds since boot, summed over all logical processors."""

    busy_s: float
    total_s: float


class Memory(NamedTuple):
    """Bytes of memory; ``used`` is the part that is not available to new processes."""

    total: int
    used: int


class Traffic(NamedTuple):
    """Bytes since boot: read and written, or received and sent."""

    incoming: int
    outgoing: int


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a kernel file; empty if it cannot be read.

    Takes half the time of ``open``, which counts for files that every sample reads.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    chunks = []
    try:
        while chunk := os.read(fd, 65536):  # the kernel returns long files page by page
            chunks.append(chunk)
    except OSError:  # such as a process that has ended since
        return b""
    finally:
        os.close(fd)
    return b"".join(chunks)


def read_text(path: str | os.PathLike[str]) -> str:
    """Return the stripped text of a kernel file; empty if it cannot be read."""
    return read_bytes(path).decode("utf-8", "replace").strip()


def boot_id(root: Path) -> str:
    """Return an id of this machine's running kernel, or "".

    Unlike the host name, all containers on the machine share it.
    """
    return read_text(root / "proc/sys/kernel/random/boot_id")


def cpu_times() -> CpuTimes | None:
    """Return the CPU times of the node, waiting for disks not counted as busy."""
    try:
        times = psutil.cpu_times()
    except (OSError, ValueError, psutil.Error):
        return None
    # Time stolen by other machines on the same hardware is neither busy nor idle. Guest time is
    # already contained in user and nice.
    seconds = times._asdict()
    busy = sum(seconds.get(key, 0.0) for key in ("user", "nice", "system", "irq", "softirq"))
    idle = sum(seconds.get(key, 0.0) for key in ("idle", "iowait", "steal"))
    return CpuTimes(busy, busy + idle)


def cpu_count() -> int:
    """Return the number of logical processors of the node."""
    return psutil.cpu_count() or 1


def cpu_model(root: Path) -> str | None:
    """Return the manufacturer's name of the processors; None if unknown."""
    return _cpuinfo(root, "model name", "Model", "cpu model")


def cpu_vendor(root: Path) -> str | None:
    """Return the vendor id of the processors: ``GenuineIntel``, ``AuthenticAMD``."""
    return _cpuinfo(root, "vendor_id")


def cpu_packages(root: Path) -> int:
    """Return the number of processor packages (sockets); 1 if unknown."""
    lines = read_text(root / "proc/cpuinfo").splitlines()
    return len({line for line in lines if line.startswith("physical id")}) or 1


def is_virtual_machine(root: Path) -> bool:
    """Return whether the processors are those of a virtual machine."""
    return "hypervisor" in (_cpuinfo(root, "flags") or "").split()


def _cpuinfo(root: Path, *keys: str) -> str | None:
    for line in read_text(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in keys:
            return value.strip()
    return None


def memory() -> Memory:
    """Return the memory usage of the node."""
    usage = psutil.virtual_memory()
    return Memory(usage.total, usage.total - usage.available)


def disk_traffic(root: Path) -> Traffic | None:
    """Return the traffic of all disks; None without disks."""
    # psutil's own sum counts the same bytes again for RAID and LVM, and for loop devices. Only
    # disks, neither these nor partitions, have a device folder. No wrap-around handling (nowrap):
    # it would share a cache with other users of psutil in this process.
    disks = psutil.disk_io_counters(perdisk=True, nowrap=False)
    physical = [
        counters
        for name, counters in disks.items()
        if os.path.exists(f"{root}/sys/block/{name}/device")
    ]
    if not physical:  # no sysfs here
        total = psutil.disk_io_counters(nowrap=False)
        return None if total is None else Traffic(total.read_bytes, total.write_bytes)
    return Traffic(sum(c.read_bytes for c in physical), sum(c.write_bytes for c in physical))


def network_traffic() -> Traffic | None:
    """Return the traffic of all network interfaces; None without interfaces."""
    total = psutil.net_io_counters(nowrap=False)
    return None if total is None else Traffic(total.bytes_recv, total.bytes_sent)
