"""Read journals: every complete line, and a problem for each other line."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.journal import codec


class Problem(NamedTuple):
    """A line that is not an event."""

    path: Path
    line: int
    reason: str


class JournalReader:
    """One journal file; iterate over it for its events in the order of writing.

    ``problems`` and ``gaps``, the number of events that are known to be missing, are complete
    after the iteration. The file is opened by the iteration.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self.gaps = 0

    def __iter__(self) -> Iterator[Event]:
        """Yield the events; lines that are not events go to ``problems``."""
        head: tuple[str, str] | None = None
        expected = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line == b"\n":  # the writer completes a torn line before the next one
                    continue
                try:
                    value = codec.parse(line)
                    if new_head := codec.parse_head(value):
                        head = new_head
                        continue
                    if head is None:
                        raise ValueError("the file is not a journal: its first line is missing")
                    event = codec.decode(value, *head)
                except ValueError as error:
                    # Without a head no line of the file is readable: one problem, not thousands.
                    if head is not None or not self.problems:
                        self.problems.append(Problem(self.path, number, str(error)))
                    continue
                # A signal handler that logs in the middle of a write takes a later number, but
                # its line comes first: what looked like a gap is filled by the next line.
                if event.seq < expected:
                    self.gaps -= 1
                else:
                    self.gaps += event.seq - expected
                    expected = event.seq + 1
                yield event


def merge(journals: Sequence[JournalReader]) -> Iterator[Event]:
    """Yield the events of several journals in the order of time, then of session."""
    return heapq.merge(*journals, key=lambda event: (event.time_ns, event.session, event.seq))
