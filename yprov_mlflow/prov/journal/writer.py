"""Append events to the journal of one run in one process.

Every logging call of the user's script waits for this module, so ``append`` does as little as
possible: no ``Event`` object, no buffering, one system call.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from time import monotonic_ns, time_ns
from typing import Any

from yprov_mlflow.prov.errors import JournalError
from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.journal.codec import encode, head
from yprov_mlflow.prov.journal.directory import JournalDirectory

_WALL_NS = time_ns() - monotonic_ns()


def now_ns() -> int:
    """Return the time in ns since the epoch by a clock that never goes back in this process."""
    return _WALL_NS + monotonic_ns()


class _OpenFiles:
    """Limits the number of open journals; a closed journal is reopened by its next event."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.RLock()
        self._writers: OrderedDict[JournalWriter, None] = OrderedDict()

    def add(self, writer: JournalWriter) -> None:
        with self._lock:
            self._writers[writer] = None
            for oldest in list(self._writers)[: max(0, len(self._writers) - self._limit)]:
                # Do not wait for a writer that is busy: its thread may be waiting for this lock.
                if oldest.close_if_idle():
                    # A signal handler may have removed it in between.
                    self._writers.pop(oldest, None)

    def remove(self, writer: JournalWriter) -> None:
        with self._lock:
            self._writers.pop(writer, None)

    def reset_in_child(self) -> None:
        """Forget the parent's files; a thread that the fork did not copy may hold the lock."""
        self._lock = threading.RLock()
        self._writers.clear()


_open_files = _OpenFiles(limit=256)
os.register_at_fork(after_in_child=_open_files.reset_in_child)


class JournalWriter:
    """The journal of one run in one process; threads may share it.

    The file is created by the first event.
    """

    def __init__(self, folder: JournalDirectory, session: str) -> None:
        self.folder = folder
        self.session = session
        # Reentrant: a signal handler may log while its own thread is writing a line.
        self._lock = threading.RLock()
        self._fd = -1
        self._seq = 0
        # Bytes that must precede the next line: the file's head, or the end of a torn line.
        self._before = b""

    def append(self, cls: type[Event], *fields: Any) -> None:
        """Write one event; the operating system has it when this returns.

        Raises:
            JournalError: The folder or the disk does not accept it.
        """
        with self._lock:
            # The number of an event that cannot be written is not reused: readers see the gap.
            seq = self._seq
            self._seq = seq + 1
            line = encode((cls.kind, seq, _WALL_NS + monotonic_ns(), *fields))
            try:
                if self._fd < 0:
                    self._open()
                if self._before:
                    line = self._before + line
                # A full disk may take part of a line. The event is lost then; the next event
                # first ends the torn line with a newline.
                if os.write(self._fd, line) != len(line):
                    raise OSError("the disk accepted only part of a line")
                self._before = b""
            except OSError as error:
                self._before = b"\n" + self._before.lstrip(b"\n")
                raise JournalError.unwritable(str(self.folder.path), str(error)) from error

    def close(self) -> None:
        """Close the file; the next event reopens it."""
        _open_files.remove(self)
        with self._lock:
            self.close_in_child()

    def close_if_idle(self) -> bool:
        """Close the file unless an event is being written; return whether it is closed."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            self.close_in_child()
        finally:
            self._lock.release()
        return True

    def close_in_child(self) -> None:
        """Close the file without the lock, which a thread that a fork did not copy may hold."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _open(self) -> None:
        path = self.folder.file(self.session)
        path.parent.mkdir(parents=True, exist_ok=True)
        # O_APPEND and one write per line keep lines whole if other processes write to the file.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)
        _open_files.add(self)
        if os.fstat(self._fd).st_size == 0:
            self._before = head(self.folder.run_id, self.session)
