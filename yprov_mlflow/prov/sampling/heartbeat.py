"""The heartbeat of a process with open runs, which tells others whether it is still alive.

A file in the state folder has who the process is and, from a thread, twice a minute, the time. It
is removed when the process exits in order, so that only a process that was killed leaves one. A
plain SIGTERM, which ends Python at once, leaves a mark in the file.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import platform
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, NamedTuple

from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.journal.writer import now_ns
from yprov_mlflow.prov.layout import ALIVE, PRIVATE_FILE, private_folder
from yprov_mlflow.prov.sampling.watchdog import SupervisedThread

INTERVAL_S = 30.0

_LIMIT_S = 60.0  # nothing waits for the thread, and nothing replaces it
_LOCK_TIMEOUT_S = 1.0  # the thread may hang in a folder on a network drive
_TIME = "%020d "
_MOST_BYTES = 2**16
_SIGTERM_BIT = 1 << signal.SIGTERM - 1


class Beat(NamedTuple):
    """The content of the file of a process.

    Args:
        seen_ns: When the process last wrote to it, by the clock of its machine.
        changed_ns: When it changed last, by the clock of the file system.
        facts: Who the process is (see ``describe``).
        terminated: Whether SIGTERM has reached the process.
    """

    seen_ns: int
    changed_ns: int
    facts: Mapping[str, Json]
    terminated: bool


def file_of(directory: Path, token: str) -> Path:
    """Return the path of the heartbeat of a process in a state folder."""
    return directory / ALIVE / token


def read(path: Path) -> Beat | None:
    """Return the content of a heartbeat; None if it is missing, or just being written."""
    try:
        with path.open("rb") as file:
            content, status = file.read(_MOST_BYTES), os.fstat(file.fileno())
        line, _, mark = content.partition(b"\n")
        seen, _, facts = line.partition(b" ")
        return Beat(int(seen), status.st_mtime_ns, dict(json.loads(facts)), bool(mark.strip()))
    except (OSError, ValueError, TypeError):
        return None


class Heartbeat:
    """The heartbeat of this process; no method raises or waits.

    Args:
        directory: State folder.
        token: Token of the process.
        describe: Returns who the process is; called in the thread.
        on_error: Called with errors, such as of a folder that cannot be written.
    """

    def __init__(
        self,
        directory: Path,
        token: str,
        describe: Callable[[], Mapping[str, Json]],
        on_error: Callable[[BaseException], None],
    ) -> None:
        self.token = token
        self._directory = directory
        self._path = file_of(directory, token)
        self._describe = describe
        self._on_error = on_error
        self._thread: SupervisedThread | None = None
        self._lock = threading.Lock()
        self._stopped = False
        self._mark: IO[bytes] | None = None  # what SIGTERM is noted in

    def start(self) -> None:
        """Start the thread, once."""
        if self._thread is not None or self._stopped:
            return
        self._thread = SupervisedThread(
            "yprov-heartbeat",
            _LIMIT_S,
            tick=self._beat,
            on_hang=lambda _: None,
            on_error=self._on_error,
        )
        # From Python 3.12 on, no thread can be started while a process exits.
        with contextlib.suppress(RuntimeError):
            self._thread.put(lambda: None)

    def stop(self) -> None:
        """Remove the file: the process exits in order."""
        self._stopped = True
        if self._thread is None or not self._lock.acquire(timeout=_LOCK_TIMEOUT_S):
            return
        try:
            self._forget_mark()
            with contextlib.suppress(OSError):
                self._path.unlink()
        finally:
            self._lock.release()

    def close_in_child(self) -> None:
        """Leave the parent's file alone in a forked child, where its thread does not exist."""
        self._stopped = True
        self._forget_mark()

    # -- in the thread -----------------------------------------------------------------

    def _beat(self) -> float | None:
        with self._lock:
            if self._stopped:
                return None
            try:
                self._write()
            except OSError as error:
                self._on_error(error)
        return INTERVAL_S

    def _write(self) -> None:
        # Opened for each write: network drives write a file when it is closed.
        flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = os.open(self._path, flags)
        except FileNotFoundError:
            private_folder(self._path.parent, self._directory)
            fd = os.open(self._path, flags | os.O_CREAT, PRIVATE_FILE)
            self._forget_mark()
        try:
            if os.fstat(fd).st_size == 0:
                facts = json.dumps(self._describe()).encode()
                os.pwrite(fd, _TIME.encode() % now_ns() + facts + b"\n", 0)
            else:
                os.pwrite(fd, _TIME.encode() % now_ns(), 0)
        finally:
            os.close(fd)
        self._mark_sigterm()

    def _mark_sigterm(self) -> None:
        """Mark a plain SIGTERM in the file before it ends the process.

        ``signal.signal`` would run Python code, which waits for the library that the main
        thread is in, and other libraries would see a handler that is not the user's. This one
        writes a traceback at once, even while a library runs, then raises the signal again with
        the default action. It is there only while no other library has one.
        """
        if _is_handled():
            return
        if self._mark is None:
            self._mark = open(self._path, "ab", buffering=0)  # noqa: SIM115 - closed by stop
        faulthandler.unregister(signal.SIGTERM)  # of ours, which another handler replaced since
        faulthandler.register(signal.SIGTERM, self._mark, all_threads=False, chain=True)

    def _forget_mark(self) -> None:
        mark, self._mark = self._mark, None
        if mark is not None:
            faulthandler.unregister(signal.SIGTERM)
            mark.close()


def _is_handled() -> bool:
    """Return whether SIGTERM has a handler, of Python or of a library, or is ignored."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:  # not Linux: a handler of a library could not be noticed
        return True
    masks = dict(line.split(":\t", 1) for line in lines if line.startswith(("SigCgt", "SigIgn")))
    return len(masks) < 2 or any(int(mask, 16) & _SIGTERM_BIT for mask in masks.values())


def describe(forked: bool) -> dict[str, Json]:
    """Return who this process is, and what will tell why it ended if nothing else does.

    Args:
        forked: Whether the process is a fork of another one that captures.

    Returns:
        ``process`` (id and start time), ``host``, ``machine`` (id of the running kernel) and
        ``namespace`` (of process ids); ``parent``, of a fork; ``oom_group`` and ``oom_kills``,
        the memory control group and how many of its processes the kernel has killed for lack of
        memory; ``slurm_job`` and ``slurm_end_s``, the job and the end of its time limit.
    """
    # They import psutil, in the thread rather than when the training starts.
    from yprov_mlflow.prov.collectors.base import CollectorContext
    from yprov_mlflow.prov.collectors.system import cgroups, node, processes

    root = CollectorContext().root
    names = processes.lineage(root)
    kills = cgroups.oom_kills(root)
    facts: dict[str, Json] = {
        "process": names[0] if names else None,
        "host": platform.node(),
        "machine": node.boot_id(root),
        "namespace": processes.namespace(root),
        "parent": names[1] if forked and len(names) > 1 else None,
        "oom_group": str(kills.folder) if kills else None,
        "oom_kills": int(kills.amount) if kills else None,
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "slurm_end_s": os.environ.get("SLURM_JOB_END_TIME"),
    }
    return {key: value for key, value in facts.items() if value is not None}
