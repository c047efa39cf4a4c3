"""Append events to the journal of one run in one process."""

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
    """Give the time in ns since the epoch by a clock that never goes back in this process."""
    return _WALL_NS + monotonic_ns()


class _OpenFiles:
    """Bounds how many journals of a process are open; a closed one opens again when written."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.RLock()
        self._writers: OrderedDict[JournalWriter, None] = OrderedDict()

    def add(self, writer: JournalWriter) -> None:
        with self._lock:
            self._writers[writer] = None
            for oldest in list(self._writers)[: max(0, len(self._writers) - self._most)]:
                # One that is being written to is not idle, and waiting for it could go round.
                if oldest.close_if_idle():
                    self._writers.pop(oldest, None)  # a signal's handler may have come first

    def remove(self, writer: JournalWriter) -> None:
        with self._lock:
            self._writers.pop(writer, None)

    def reset_in_child(self) -> None:
        """Forget the files of the parent, of whose threads one may have had the lock."""
        self._lock = threading.RLock()
        self._writers.clear()


_open_files = _OpenFiles(most=256)
os.register_at_fork(after_in_child=_open_files.reset_in_child)


class JournalWriter:
    """The journal of one run in one process; safe to use from many threads."""

    def __init__(self, folder: JournalDirectory, session: str) -> None:
        """Prepare to write; the file is made with the first event."""
        self.folder = folder
        self.session = session
        # A signal's handler may log, too, in the middle of a line that its thread is writing.
        self._lock = threading.RLock()
        self._fd = -1
        self._seq = 0
        # What the next line has to be preceded by: the head of the file, the end of a torn line.
        self._before = b""

    def append(self, cls: type[Event], *fields: Any) -> None:
        """Write one event; when this returns the operating system has it.

        The number of an event that could not be written is not given again, so that the gap
        tells readers of the loss.

        Raises:
            JournalError: The folder or the disk does not take it.
        """
        with self._lock:
            seq = self._seq
            self._seq = seq + 1
            line = encode((cls.kind, seq, _WALL_NS + monotonic_ns(), *fields))
            try:
                if self._fd < 0:
                    self._open()
                if self._before:
                    line = self._before + line
                if os.write(self._fd, line) != len(line):
                    raise OSError("the disk took a part of a line")
                self._before = b""
            except OSError as error:
                self._before = b"\n" + self._before.lstrip(b"\n")
                raise JournalError.unwritable(str(self.folder.path), str(error)) from error

    def close(self) -> None:
        """Close the file; the next event opens it again."""
        _open_files.remove(self)
        with self._lock:
            self.close_in_child()

    def close_if_idle(self) -> bool:
        """Close the file unless an event is being written; tell whether it is closed."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            self.close_in_child()
        finally:
            self._lock.release()
        return True

    def close_in_child(self) -> None:
        """Close the file without the lock, which a thread that a fork left behind may hold."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _open(self) -> None:
        path = self.folder.file(self.session)
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)
        _open_files.add(self)
        if os.fstat(self._fd).st_size == 0:
            self._before = head(self.folder.run_id, self.session)
