"""What this process and its children use: CPU time, memory, threads, disk."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from yprov_mlflow.prov.collectors.system.sysfiles import content

_SEARCH_SHARE = 1 / 500
"""Part of one core that looking for new children may take: it is a file for each thread."""

_FRESH_S = 0.02
"""For how long a reading holds: two collectors that are sampled together need one."""

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Usage(NamedTuple):
    """What a tree of processes uses, None for what is not known.

    Times and bytes are since each process started, and fall by those of a process whose end
    nobody waits for: ``Total`` makes totals of them.
    """

    cpu_s: float | None = None
    memory_bytes: float | None = None
    processes: int | None = None
    threads: int | None = None
    read_bytes: float | None = None
    written_bytes: float | None = None


class _One(NamedTuple):
    """What one process uses, with what its children used that ended and were waited for."""

    started: float
    cpu_s: float
    memory_bytes: float
    threads: int
    read_bytes: float | None = None
    written_bytes: float | None = None


class Tree:
    """This process and all that it started, directly or not.

    A process once found stays in the tree until it ends, also when its parent ends before it.

    Args:
        root: Folder that ``proc`` is in.
    """

    def __init__(self, root: Path) -> None:
        self._proc = str(root / "proc")
        self._own = _own_pid(self._proc)
        self._linux = _proc_one(self._proc, self._own) is not None
        self._listed = os.path.exists(f"{self._proc}/{self._own}/task/{self._own}/children")
        self._known: dict[int, float | None] = {self._own: None}
        self._search_at = self._fresh_until = 0.0
        self._lock = threading.Lock()

    def read(self) -> Usage:
        """Give what the processes use now, or did a moment ago when another collector asked."""
        with self._lock:
            now_s = time.monotonic()
            if now_s >= self._fresh_until:
                self._usage = self._read(now_s)
                self._fresh_until = now_s + _FRESH_S
            return self._usage

    def _read(self, now_s: float) -> Usage:
        if now_s >= self._search_at:
            self._search()
        # Parents come first: were a child read first and waited for before its parent is read,
        # its times would count twice.
        ones = []
        for pid, started in list(self._known.items()):
            one = _proc_one(self._proc, pid) if self._linux else _psutil_one(pid)
            if one is None and pid == self._own:  # too many files are open, it is not gone
                return Usage()
            if one is None or started not in (None, one.started):
                del self._known[pid]
                continue
            self._known[pid] = one.started
            ones.append(one)
        alive = [one for one in ones if one.threads]
        return Usage(
            sum(one.cpu_s for one in ones),
            sum(one.memory_bytes for one in ones),
            len(alive),
            sum(one.threads for one in alive),
            _known_sum(one.read_bytes for one in ones),
            _known_sum(one.written_bytes for one in ones),
        )

    def _search(self) -> None:
        begun = time.thread_time()
        if self._listed:
            waiting = list(self._known)
            for pid in waiting:
                for child in _children(self._proc, pid):
                    if child not in self._known:
                        self._known[child] = None
                        waiting.append(child)
        else:
            for child in _psutil_children(self._own):
                self._known.setdefault(child, None)
        took_s = time.thread_time() - begun
        self._search_at = time.monotonic() + took_s / _SEARCH_SHARE


def shared(root: Path) -> Tree:
    """Give the tree of this process, the same to all who ask."""
    return _shared(root, os.getpid())


@cache
def _shared(root: Path, _pid: int) -> Tree:  # a fork has a tree of its own
    return Tree(root)


def _own_pid(proc: str) -> int:
    """Give the number that this process has in ``proc``, which may be that of another namespace."""
    try:
        return int(os.readlink(f"{proc}/self"))
    except (OSError, ValueError):
        return os.getpid()


def _children(proc: str, pid: int) -> Iterator[int]:
    try:
        threads = os.listdir(f"{proc}/{pid}/task")
    except OSError:
        return
    for thread in threads:
        yield from map(int, content(f"{proc}/{pid}/task/{thread}/children").split())


def _proc_one(proc: str, pid: int) -> _One | None:
    """Read one process from its files; None once it is gone."""
    # The name of the program, in parentheses, may hold anything.
    fields = content(f"{proc}/{pid}/stat").rpartition(b") ")[2].split(maxsplit=22)
    if len(fields) < 22:
        return None
    read_bytes, written_bytes = _disk(proc, pid)
    return _One(
        int(fields[19]),
        sum(map(int, fields[11:15])) / _TICKS_PER_S,
        int(fields[21]) * _PAGE_BYTES,
        0 if fields[0] in (b"Z", b"X") else int(fields[17]),
        read_bytes,
        written_bytes,
    )


def _disk(proc: str, pid: int) -> tuple[float | None, float | None]:
    fields = content(f"{proc}/{pid}/io").split(maxsplit=12)
    if len(fields) < 12:  # of another user, or a kernel that does not count
        return None, None
    return int(fields[9]), int(fields[11])


def _psutil_children(pid: int) -> list[int]:
    import psutil

    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except (psutil.Error, OSError):
        return []


def _psutil_one(pid: int) -> _One | None:
    """Read one process where there are no such files; None once it is gone."""
    import psutil

    try:
        process = psutil.Process(pid)
        started = process.create_time()
        # psutil knows no times of children outside Linux.
        cpu = os.times()[:4] if pid == os.getpid() else process.cpu_times()[:4]
        memory_bytes = process.memory_info().rss
        threads = process.num_threads()
        counters = process.io_counters() if hasattr(process, "io_counters") else None
    except (psutil.Error, OSError):
        return None
    if counters is None:
        return _One(started, sum(cpu), memory_bytes, threads)
    read_bytes, written_bytes = counters.read_bytes, counters.write_bytes
    return _One(started, sum(cpu), memory_bytes, threads, read_bytes, written_bytes)


def _known_sum(values: Iterator[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
