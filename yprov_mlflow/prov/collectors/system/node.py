"""The node and its memory, disks and network: from the kernel's files, elsewhere by psutil."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from yprov_mlflow.prov.collectors.system.sysfiles import content, text

_MEMORY = re.compile(rb"MemTotal: +(\d+) kB\n(?:.*\n)*?MemAvailable: +(\d+) kB")
_SECTOR = 512  # bytes, whatever the disk's own sectors are


class Memory(NamedTuple):
    """Bytes there are, and those in use: what the kernel could not give to a new process."""

    total: int
    used: int


class Traffic(NamedTuple):
    """Bytes that came in and went out since the machine started."""

    into: int
    out: int


def boot_id(root: Path) -> str:
    """Give what tells this machine, since it started, from all others; "" where nothing does.

    Containers have host names of their own and share this one.
    """
    return text(root / "proc/sys/kernel/random/boot_id")


def memory(root: Path) -> Memory:
    """Give the use of memory."""
    match = _MEMORY.search(content(root / "proc/meminfo"))
    if match is not None:
        total, available = (int(number) * 1024 for number in match.groups())
        return Memory(total, max(total - available, 0))
    import psutil

    found = psutil.virtual_memory()
    return Memory(found.total, found.total - found.available)


def disks(root: Path) -> Traffic | None:
    """Give the bytes read from and written to disks; not again for what is built on top of them.

    None where there is no disk.
    """
    lines = content(root / "proc/diskstats").splitlines()
    read = written = 0
    found = False
    for line in lines:
        words = line.split(maxsplit=10)
        if len(words) < 10 or words[3] == words[7] == b"0":
            continue
        # Partitions, RAID, LVM and loops have no device of their own.
        if os.path.exists(f"{root}/sys/block/{words[2].decode()}/device"):
            found = True
            read += int(words[5])
            written += int(words[9])
    if found:
        return Traffic(read * _SECTOR, written * _SECTOR)
    import psutil

    counters = psutil.disk_io_counters(nowrap=False)
    return None if counters is None else Traffic(counters.read_bytes, counters.write_bytes)


def network(root: Path) -> Traffic | None:
    """Give the bytes that all network interfaces received and sent; None where there is none."""
    received = sent = 0
    lines = content(root / "proc/self/net/dev").splitlines()[2:]
    for line in lines:
        words = line.partition(b":")[2].split()
        received += int(words[0])
        sent += int(words[8])
    if lines:
        return Traffic(received, sent)
    import psutil

    counters = psutil.net_io_counters(nowrap=False)
    return None if counters is None else Traffic(counters.bytes_recv, counters.bytes_sent)
