"""Read journals: every line that is whole, once and in order, and a problem for all else."""

from __future__ import annotations

import functools
import heapq
import os
import stat
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.ids import unquote_key
from yprov_mlflow.prov.journal import codec

_MAX_LINE = 2**28  # bytes; a file without newlines must not fill the memory
_MAX_HELD = 100_000  # events that are held until one with a smaller number appears

INCOMPLETE = "the line is incomplete"
"""Reason of a problem; of the last line, that its process was killed or still writes."""

_Array = tuple[list[Any], bool]  # of a line, and whether the line was written early


class Problem(NamedTuple):
    """Lines that are not events, or are not where they should be; line 0 is the file itself."""

    path: Path
    line: int
    reason: str
    last: int = 0  # the last line, if there are several
    lost: bool = True  # whether events may be lost

    def __str__(self) -> str:
        lines = f", lines {self.line}-{self.last}" if self.last else f", line {self.line}"
        return f"{self.path}{lines if self.line else ''}: {self.reason}"

    def short(self) -> Problem:
        """Return the problem without the folder, which means nothing on other machines."""
        return self._replace(path=Path(self.path.name))


class _Read(NamedTuple):
    """An event that was read, sorted by its number; ``moved`` if the line was moved."""

    seq: int
    line: int
    event: Event
    moved: bool


class JournalReader:
    """One journal file; iterate over it for its events, in the order of their numbers.

    ``problems`` and ``missing``, the numbers of events that are known to be missing, are
    complete after the iteration. The file is opened by the iteration.

    Args:
        path: The file, in the folder of its run.
        session: The session that wrote it; by default the one that its name says.
        unsaved: Bytes that its process could not write to the file.
        parts: Functions that open the parts of the journal; by default the file at ``path``.
    """

    def __init__(
        self,
        path: Path,
        session: str | None = None,
        unsaved: bytes = b"",
        parts: Sequence[Callable[[], BinaryIO]] = (),
    ) -> None:
        self.path = path
        self.run_id = unquote_key(path.parent.name)
        self.session = session or path.stem
        self.problems: list[Problem] = []
        self.missing: list[range] = []
        self._unsaved = unsaved
        self._parts = parts or [functools.partial(open_regular, path)]
        self._head_line = 1  # where a head is expected: at the start of each part
        self._early: list[range] = []
        self._last = -1
        self._has_head = False
        self._last_line = 0

    def __iter__(self) -> Iterator[Event]:
        """Yield the events; lines that are not events go to ``problems``."""
        self.problems, self.missing, self._early, self._last = [], [], [], -1
        self._has_head, self._last_line = False, 0
        expected = 0
        waiting: list[_Read] = []
        numbers: set[int] = set()  # of the events that are waiting
        for read in self._events():
            # Later than expected, but not twice: more events were waiting than memory allows.
            late = read.seq < expected and self._fill(read.seq)
            if read.seq in numbers or (read.seq < expected and not late):
                self._add_problem(read.line, f"repeats event {read.seq}", lost=False)
                continue
            if read.moved:
                self._add_problem(read.line, f"event {read.seq} is not in its place", lost=False)
            if late:
                yield read.event
                continue
            heapq.heappush(waiting, read)
            numbers.add(read.seq)
            while waiting and (waiting[0].seq == expected or len(waiting) > _MAX_HELD):
                event, expected = self._take(waiting, numbers, expected)
                yield event
        while waiting:
            event, expected = self._take(waiting, numbers, expected)
            yield event
        if not self.missing:  # then lines between events were not events of this journal
            self.problems = [
                problem._replace(lost=problem.lost and not 0 < problem.line < self._last_line)
                for problem in self.problems
            ]

    def _take(self, waiting: list[_Read], numbers: set[int], expected: int) -> tuple[Event, int]:
        """Return the first waiting event, and the number that should follow it."""
        seq, line, event, _ = heapq.heappop(waiting)
        numbers.discard(seq)
        if seq > expected:
            self.missing.append(range(expected, seq))
            which = f"{expected}-{seq - 1} are" if seq - expected > 1 else f"{expected} is"
            self.problems.append(Problem(self.path, line, f"before it, event {which} missing"))
        return event, seq + 1

    def _fill(self, seq: int) -> bool:
        """Return whether an event was missing, and note that it is no longer."""
        index = bisect_right(self.missing, seq, key=lambda numbers: numbers.start) - 1
        if index < 0 or seq not in self.missing[index]:
            return False
        numbers = self.missing[index]
        parts = range(numbers.start, seq), range(seq + 1, numbers.stop)
        self.missing[index : index + 1] = [part for part in parts if part]
        return True

    def _events(self) -> Iterator[_Read]:
        """Yield the events in the order of the file."""
        start = codec.seed(self.run_id, self.session)
        if self.session != self.path.stem:
            self._add_problem(0, f"the journal of session {self.session} was renamed", lost=False)
        try:
            for number, line in self._lines():
                for value, early in self._arrays(number, line, start):
                    if (read := self._decode(number, value, early=early)) is not None:
                        yield read
        except OSError as error:
            self._add_problem(0, f"the file cannot be read: {error.strerror or error}")
        else:
            if not (self._has_head or any(problem.line == 1 for problem in self.problems)):
                reason = "the head of the file, with its run and session, is missing"
                self._add_problem(1, reason, lost=self._last < 0)

    def _arrays(self, number: int, line: bytes, start: int) -> Iterator[_Array]:
        """Yield the array of a line; several if newlines were lost, none of a head or damage."""
        content, complete = line.removesuffix(b"\n"), line.endswith(b"\n")
        try:
            array = codec.parse(content, start)
        except ValueError:
            if not complete:
                self._add_problem(number, INCOMPLETE)
            pieces = codec.pieces(content, start) or [b""]
            if pieces != [content]:
                self._add_problem(number, "a newline was changed or is missing", lost=False)
            arrays = (self._parse(number, piece, start) for piece in pieces)
            yield from (array for array in arrays if array is not None)
        else:
            if not complete:
                self._add_problem(number, "the newline is missing", lost=False)
            yield array

    def _parse(self, number: int, line: bytes, start: int) -> _Array | None:
        """Return the array of a piece of a line; None for heads, and for damaged lines."""
        try:
            if head := codec.parse_head(line):
                if head.run_id != self.run_id:
                    raise ValueError(f"the journal of run {head.run_id!r} begins here")
                if head.session != self.session:
                    raise ValueError(f"the journal of session {head.session!r} begins here")
                if number != self._head_line:
                    raise ValueError("the head of the file is not in its place, or repeated")
                self._has_head, self._head_line = True, 0
                return None
            return codec.parse(line, start)
        except ValueError as error:
            self._add_problem(number, str(error))
            return None

    def _decode(self, number: int, value: list[Any], *, early: bool) -> _Read | None:
        """Return the event in an array; None if it is not an event."""
        try:
            event = codec.decode(value, self.run_id, self.session)
        except ValueError as error:
            self._add_problem(number, str(error))
            return None
        self._last_line = number
        return _Read(event.seq, number, event, self._is_moved(event.seq, early=early))

    def _is_moved(self, seq: int, *, early: bool) -> bool:
        """Return whether a line was written before others that come before it now."""
        if seq < self._last:
            return not any(seq in numbers for numbers in self._early)
        if early and seq > self._last + 1:
            self._early.append(range(self._last + 1, seq))
        self._last = seq
        return False

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield the lines of the file with their numbers, then those that are not in the file."""
        number, remainder = 0, b""
        try:
            for part in self._parts:
                self._head_line = number + 1
                with part() as file:
                    while line := file.readline(_MAX_LINE):
                        number += 1
                        if self._unsaved and not line.endswith(b"\n"):
                            remainder, number = line, number - 1
                        else:
                            yield number, line
        except OSError:
            if not self._unsaved:  # then the process has all that the file should have
                raise
        for line in (remainder + self._unsaved).split(b"\n")[:-1]:
            number += 1
            yield number, line + b"\n"

    def _add_problem(self, line: int, reason: str, *, lost: bool = True) -> None:
        """Add a problem; one for neighboring lines."""
        last = self.problems[-1] if self.problems else None
        if last is not None and line and last.lost == lost:
            if line in (last.line, last.last):
                return
            if line == (last.last or last.line) + 1:
                self.problems[-1] = last._replace(last=line)
                return
        self.problems.append(Problem(self.path, line, reason, lost=lost))


def merge(journals: Sequence[JournalReader]) -> Iterator[Event]:
    """Yield the events of several journals in the order of time, then of session."""
    return heapq.merge(*journals, key=lambda event: (event.time_ns, event.session, event.seq))


# -- files that can be trusted -------------------------------------------------------------


def reason_to_refuse(status: os.stat_result, folder: Path) -> str | None:
    """Return why a file in ``folder`` is not read; None if it is a regular file of the owner."""
    if not stat.S_ISREG(status.st_mode):
        return "it is not a regular file, and is not read"
    # On some network drives all files belong to another user: then the folder does, too.
    if status.st_uid != os.geteuid() and status.st_uid != os.stat(folder).st_uid:
        return "it belongs to another user, and is not read"
    return None


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file of the owner; never wait for a pipe, and never follow a link.

    Raises:
        OSError: The file cannot be opened, or is refused.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(path, flags)
    try:
        reason = reason_to_refuse(os.fstat(fd), path.parent)
        if reason is not None:
            raise PermissionError(None, reason)
        return os.fdopen(fd, "rb")
    except OSError:
        os.close(fd)
        raise
