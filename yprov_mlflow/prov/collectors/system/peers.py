"""The processes of this machine that measure runs: which runs overlap, and whose work is whose.

Each process has a small file in a folder of the machine, with the runs that it measures and the
CPU time that is billed to them. It tells other processes which runs are measured at the same time,
and a parent process which part of the work of its children is billed to runs of their own.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from yprov_mlflow.prov.collectors.system.processes import ProcessTree, lineage, shared_tree
from yprov_mlflow.prov.layout import private_folder

# After this time no process needs the file of one that has ended: samples are more frequent.
_KEEP_NS = 120 * 10**9
# In a sweep of thousands of trials, each of them writes the file twice. Samples are more frequent
# than a hundred trials.
_KEEP_RUNS = 100
# Clocks of file systems are coarse: a file that changed just now may change again at one time.
_COARSE_NS = 10**9
# Collectors that are sampled together need only one search for files.
_REUSE_S = 0.02

_KEYS = ("lineage", "billed_s", "since_s", "runs")

_Span: TypeAlias = tuple[int, int | None]
"""Start and end of a run's measurement in ns since the epoch; no end while it is open."""

_File: TypeAlias = tuple[int, Mapping[str, Any]]
"""The time of change and the content of a file."""


@dataclass
class _Child:
    """A descendant process that measures runs of its own."""

    tree: ProcessTree
    between: list[str]  # names of its ancestors up to this process
    cpu_s: float = 0.0  # its CPU time when it was last alive
    measuring: bool = False
    work_s: float = 0.0  # CPU time that its runs are billed for, with that of its descendants
    billed_s: float = 0.0  # the same without what the work of an ancestor contains


class Peers:
    """The file of this process, and those of the others.

    Without a folder that can be written, the process knows of its own runs only.

    Args:
        folder: Folder of the machine, which all its processes share.
        root: Folder that contains ``proc``.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder = folder
        self._root = root
        self._tree = shared_tree(root)
        self._lineage = lineage(root)
        self._name = self._lineage[0] if self._lineage else str(os.getpid())
        self._fd: int | None = None
        self._billed_s = 0.0  # CPU time of spans that are over
        self._since_s: float | None = None  # CPU time at the start of the present span
        self._runs: dict[str, _Span] = {}
        self._files: dict[str, _File] = {}
        self._children: dict[str, _Child] = {}
        self._folder_ns = 0
        self._scan_from_s = 0.0
        self._lock = threading.RLock()

    # -- the file of this process --------------------------------------------------------

    def begin(self, run_id: str) -> None:
        """Note that this process measures a run from now on."""
        with self._lock:
            if self._since_s is None:
                self._since_s = self._tree.read().cpu_s
            self._runs[run_id] = (time.time_ns(), None)
            self._write()

    def end(self, run_id: str) -> None:
        """Note that this process does not measure a run any more."""
        with self._lock:
            if run_id in self._runs:
                self._runs[run_id] = (self._runs[run_id][0], time.time_ns())
            ended = [run for run, (_, end) in self._runs.items() if end]
            for run in ended[:-_KEEP_RUNS]:
                del self._runs[run]
            if self._since_s is not None and all(end for _, end in self._runs.values()):
                self._billed_s += max((self._tree.read().cpu_s or 0.0) - self._since_s, 0.0)
                self._since_s = None
            self._write()

    def close_in_child(self) -> None:
        """Close the parent's file in a forked child, where its lock would outlive the parent."""
        if self._fd is not None:
            os.close(self._fd)
        self._fd, self._runs = None, {}

    def _write(self) -> None:
        values = (self._lineage, self._billed_s, self._since_s, self._runs)
        data = json.dumps(dict(zip(_KEYS, values, strict=True))).encode()
        with suppress(OSError):
            if self._fd is None:
                private_folder(self._folder, self._folder.parents[1])
                self._prune()
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                self._fd = os.open(self._folder / self._name, flags, 0o600)
                with suppress(OSError):  # a file system without locks
                    fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.pwrite(self._fd, data, 0)
            os.ftruncate(self._fd, len(data))

    def _prune(self) -> None:
        """Remove the files of processes that have ended."""
        for entry in os.scandir(self._folder):
            with suppress(FileNotFoundError):  # another process removes it, too
                old = time.time_ns() - entry.stat().st_mtime_ns > _KEEP_NS
                if old and not self._is_alive(entry.name):
                    os.unlink(entry.path)

    def _is_alive(self, name: str) -> bool:
        """Return whether a process holds the lock of its file."""
        try:
            fd = os.open(self._folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # a file system without locks: nothing is known
            return False
        finally:
            os.close(fd)
        return False

    # -- the files of others -------------------------------------------------------------

    def overlapping(self, run_id: str, reported: Collection[str] = ()) -> set[str]:
        """Return the other runs that were measured on this machine at the same time as a run.

        Args:
            run_id: A run of this process.
            reported: Runs that were reported earlier, and are left out.
        """
        with self._lock:
            self._scan()
            own = self._runs.get(run_id)
            others = {name: content["runs"] for name, (_, content) in self._files.items()}
            return {
                run
                for name, runs in {**others, self._name: self._runs}.items()
                for run, span in runs.items()
                if own is not None and run != run_id and run not in reported and _overlap(own, span)
                # A killed process cannot say when it ended.
                if span[1] is not None or name == self._name or self._is_alive(name)
            }

    def children_cpu_s(self) -> float:
        """Return the CPU seconds of child processes that are billed to runs of their own."""
        with self._lock:
            self._scan()
            before = {name for name, child in self._children.items() if child.measuring}
            growths = {name: self._grow(name, file[1]) for name, file in self._files.items()}
            now = {name for name, child in self._children.items() if child.measuring}
            for name, growth_s in growths.items():
                # An ancestor that measures runs has the work of its descendants in its own.
                if growth_s and not before.intersection(now, self._children[name].between):
                    self._children[name].billed_s += growth_s
            return sum(child.billed_s for child in self._children.values())

    def _grow(self, name: str, content: Mapping[str, Any]) -> float:
        """Bring a child up to date, and return by how much its work has grown."""
        if (child := self._children.get(name)) is None:
            if self._name not in (names := content["lineage"])[1:]:
                return 0.0  # not a child
            pid, start_time = map(float, name.split("-"))
            tree = ProcessTree(self._root, int(pid), start_time)
            child = _Child(tree, names[1 : names.index(self._name)])
            self._children[name] = child
        since_s, before_s = content["since_s"], child.work_s
        cpu_s = None if since_s is None else child.tree.read().cpu_s
        child.measuring = cpu_s is not None  # else its runs have ended, or it was killed
        if cpu_s is not None:
            child.cpu_s = cpu_s
            # Else its time could be subtracted from a tree that does not contain it yet.
            self._tree.adopt(child.tree.pid)
        open_s = 0.0 if since_s is None else max(child.cpu_s - since_s, 0.0)
        child.work_s = max(content["billed_s"] + open_s, before_s)
        return child.work_s - before_s

    def children_pids(self) -> set[int]:
        """Return the ids of child processes whose work is billed to runs of their own now."""
        with self._lock:
            self.children_cpu_s()
            trees = [child.tree for child in self._children.values() if child.measuring]
            return set().union(*(tree.pids() for tree in trees))

    def _scan(self) -> None:
        """Read the files that have changed."""
        now_s = time.monotonic()
        if now_s < self._scan_from_s:
            return
        self._scan_from_s = now_s + _REUSE_S
        files = {}
        with suppress(OSError):
            changed_ns = _unless_recent(os.stat(self._folder).st_mtime_ns)
            if changed_ns == self._folder_ns and changed_ns and not self._files:
                return  # still without others, as usual: this is called in every sample
            self._folder_ns = changed_ns
            for entry in os.scandir(self._folder):
                if entry.name != self._name:
                    files[entry.name] = self._read(entry)
        self._files = {name: file for name, file in files.items() if file is not None}

    def _read(self, entry: os.DirEntry[str]) -> _File | None:
        before = self._files.get(entry.name)
        try:
            changed_ns = entry.stat(follow_symlinks=False).st_mtime_ns
            if before is not None and before[0] == changed_ns:
                return before
            content = json.loads(Path(entry.path).read_bytes())
            content = {key: content[key] for key in _KEYS}
        except (OSError, ValueError, KeyError, TypeError):  # it is just being written
            return before
        return _unless_recent(changed_ns), content


def _unless_recent(changed_ns: int) -> int:
    """Return a time of change, or 0 if another change may still get the same time."""
    return changed_ns if time.time_ns() - changed_ns > _COARSE_NS else 0


def _overlap(own: _Span, other: Any) -> bool:
    start, end = own
    other_start, other_end = other
    return (end is None or other_start < end) and (other_end is None or start < other_end)
