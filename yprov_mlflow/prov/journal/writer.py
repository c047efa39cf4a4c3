"""Append events to the journal of one run in one process.

Every logging call of the user's script waits for this module, so ``append`` does as little as
possible: no ``Event`` object, no buffering, one system call.
"""

from __future__ import annotations

import os
import stat
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from math import isfinite
from time import monotonic_ns, time_ns
from typing import Any
from zlib import crc32

from orjson import OPT_APPEND_NEWLINE, OPT_NON_STR_KEYS, dumps

from yprov_mlflow.prov.errors import JournalError
from yprov_mlflow.prov.events import Event, MetricsLogged
from yprov_mlflow.prov.journal import codec
from yprov_mlflow.prov.journal.directory import JournalDirectory
from yprov_mlflow.prov.layout import private_folder

_WALL_NS = time_ns() - monotonic_ns()
_CHECK_INTERVAL_NS = 1_000_000_000
_MAX_HELD = 2**26  # bytes that all journals of the process together hold in memory


class _Count:
    """A number of bytes; concurrent changes may get lost, as it only limits memory."""

    value = 0


_held_bytes = _Count()


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
        _held_bytes.value = 0


_open_files = _OpenFiles(limit=256)
os.register_at_fork(after_in_child=_open_files.reset_in_child)


class JournalWriter:
    """The journal of one run in one process; threads may share it.

    The file is created by the first event. If the file cannot be written, or its folder is gone,
    the lines are held in memory until they can be written.

    Args:
        folder: Folder of the run.
        session: Token of the process.
        store: URI of the run's store, without password, for the head of the file.
        fsync_s: Seconds after which the next event syncs the file to the disk; 0 if each event
            does, None if none does.
    """

    def __init__(
        self,
        folder: JournalDirectory,
        session: str,
        store: str = "",
        fsync_s: float | None = None,
    ) -> None:
        self.folder = folder
        self.session = session
        self.store = store
        self._fsync_s = fsync_s
        self._sync_ns = 0  # when to sync
        interval_ns = _CHECK_INTERVAL_NS
        if fsync_s is not None:
            interval_ns = min(interval_ns, int(fsync_s * 1e9))
        self._interval_ns = interval_ns
        # Reentrant: a signal handler may log while its own thread is writing a line.
        self._lock = threading.RLock()
        self._fd = -1
        self._file = (0, 0)  # device and inode of the open file
        self._seq = 0
        self._written = -1  # number of the last line that is in the file
        self._start = codec.seed(folder.run_id, session)
        self._check_ns = 0  # when to look whether the file is still where it was
        self._held: deque[bytes] = deque()  # what the disk did not accept
        # Called about once a second while events are written.
        self.on_check: Callable[[], None] | None = None

    @property
    def last(self) -> int:
        """The number of the last event; -1 before the first."""
        return self._seq - 1

    @property
    def is_saved(self) -> bool:
        """Whether the file has every event, as far as the last attempt to write says."""
        return not self._held

    def append(self, cls: type[Event], *fields: Any) -> None:
        """Write one event; the operating system has it when this returns.

        Raises:
            JournalError: The folder or the disk does not accept it, or lost the file. The event
                is held in memory until it does, unless it holds too much already.
        """
        with self._lock:
            # The number of an event that is lost is not reused: readers see the gap.
            seq = self._seq
            self._seq = seq + 1
            now = _WALL_NS + monotonic_ns()
            start = self._start if seq == self._written + 1 else codec.early(self._start)
            # Events are encoded here, as tuples: a call of ``codec.encode``, or an ``Event``, would
            # take longer than the rest. The sum finds NaN faster than a test of each value.
            value: tuple[Any, ...] = (cls.kind, seq, now, *fields)
            if cls is MetricsLogged and not isfinite(sum(fields[1])):
                value = codec.spell_out(value)
            try:
                line = dumps(value, codec.to_json, OPT_NON_STR_KEYS)
            except TypeError:
                line = codec.dump(value)
            line += dumps(crc32(line, start), None, OPT_APPEND_NEWLINE)
            if now < self._check_ns:
                try:
                    size = os.write(self._fd, line)
                except OSError:
                    size = 0  # tried again below, for an error that names the remedy
                if size == len(line):
                    self._written = seq
                    return
                line = line[size:]
            if self._held and _held_bytes.value + len(line) > _MAX_HELD:
                raise JournalError.unwritable(str(self.folder.path), "too much is held in memory")
            self._hold(line)
            self.flush()
            self._written = seq

    def _hold(self, line: bytes, *, first: bool = False) -> None:
        _held_bytes.value += len(line)
        self._check_ns = 0
        (self._held.appendleft if first else self._held.append)(line)

    def flush(self) -> None:
        """Write all lines that are held, to a file that is where it should be.

        Raises:
            JournalError: The folder or the disk does not accept them, or lost the file.
        """
        with self._lock:
            try:
                moved = self._locate()
                while self._held:
                    self._write_held()
                self._sync()
            except OSError as error:
                raise JournalError.unwritable(str(self.folder.path), str(error)) from error
            self._check_ns = now_ns() + self._interval_ns
        if self.on_check is not None:
            self.on_check()
        if moved:
            raise JournalError.moved(str(self.folder.path))

    def _sync(self, *, now: bool = False) -> None:
        """Sync the file to the disk, if the settings want it and it is due."""
        if self._fsync_s is not None and self._fd >= 0 and (now or now_ns() >= self._sync_ns):
            os.fsync(self._fd)
            self._sync_ns = now_ns() + int(self._fsync_s * 1e9)

    def _write_held(self) -> None:
        """Write the first line that is held."""
        # Taken out first: a signal handler that logs meanwhile must not write it again.
        line = self._held.popleft()
        _held_bytes.value -= len(line)
        size = 0
        try:
            size = os.write(self._fd, line)
        finally:
            if size != len(line):
                self._hold(line[size:], first=True)
        if size != len(line):
            raise OSError("the disk accepted only part of a line")

    def unsaved(self) -> bytes:
        """Return what the file lacks: lines that it did not accept, or all if it is gone."""
        with self._lock:
            content = b"" if self._fd < 0 or self._is_in_place() else b"".join(_content(self._fd))
            return content + b"".join(self._held)

    def close(self) -> None:
        """Close the file; the next event reopens it."""
        if self.close_if_idle():
            _open_files.remove(self)

    def close_if_idle(self) -> bool:
        """Close the file unless it is in use or holds what no other file has.

        Returns:
            Whether it is closed.
        """
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self._fd >= 0 and not self._is_in_place():
                return False
            with suppress(OSError):
                self._sync(now=True)
            self.close_in_child()
        finally:
            self._lock.release()
        return True

    def close_in_child(self) -> None:
        """Close the file without the lock, which a thread that a fork did not copy may hold."""
        fd, self._fd = self._fd, -1
        self._check_ns = 0
        if fd >= 0:
            os.close(fd)

    # -- the file --------------------------------------------------------------------------

    def _locate(self) -> bool:
        """Open the file if it is not open; return whether it was lost."""
        if self._fd >= 0 and self._is_in_place():
            return False
        path = self.folder.file(self.session)
        private_folder(path.parent, self.folder.root)
        # O_APPEND and one write per line keep lines whole if other processes write to the file.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        fd, old = os.open(path, flags, 0o600), self._fd
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise OSError("it is not a regular file")
            if status.st_size == 0 and old >= 0:
                # The file was removed or moved, but it can still be read.
                _copy(old, fd)
        except OSError:
            os.close(fd)
            raise
        if status.st_size == 0 and old < 0:
            head = codec.head(self.folder.run_id, self.session, self.store)
            if not (self._held and self._held[0] == head):  # not written before the file's close
                self._hold(head, first=True)
        # Not new, but empty: its content is gone with the file, unless it is in a pack.
        lost = old >= 0 or (
            status.st_size == 0 and self._written >= 0 and path.name not in self.folder.packed()
        )
        self._fd, self._file = fd, (status.st_dev, status.st_ino)
        if old >= 0:
            os.close(old)
        _open_files.add(self)
        return lost

    def _is_in_place(self) -> bool:
        try:
            status = os.lstat(self.folder.file(self.session))
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._file


def _copy(source: int, target: int) -> None:
    """Copy an open file to an empty one, which stays empty if it cannot have all."""
    try:
        for chunk in _content(source):
            if os.write(target, chunk) != len(chunk):
                raise OSError("the disk accepted only part of the journal")
    except OSError:
        os.ftruncate(target, 0)
        raise


def _content(fd: int) -> Iterator[bytes]:
    """Yield the content of an open file, whose name may be gone."""
    position = 0
    while chunk := os.pread(fd, 2**20, position):
        position += len(chunk)
        yield chunk
