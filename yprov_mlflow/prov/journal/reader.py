"""Read journals back: every whole line, and what was wrong with the others."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.journal import codec


class Problem(NamedTuple):
    """A line that holds no event."""

    path: Path
    line: int
    reason: str


class JournalReader:
    """One journal file; iterate over it for its events in the order of writing.

    ``problems`` has what was found wrong so far, ``gaps`` counts events known to be missing.
    """

    def __init__(self, path: Path) -> None:
        """Name the file; it is opened on iteration."""
        self.path = path
        self.problems: list[Problem] = []
        self.gaps = 0

    def __iter__(self) -> Iterator[Event]:
        """Give the events; lines that are torn, damaged or foreign go to ``problems``."""
        head: tuple[str, str] | None = None
        expected = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line == b"\n":
                    continue
                try:
                    value = codec.parse(line)
                    if found := codec.whose(value):
                        head = found
                        continue
                    if head is None:
                        raise ValueError("the file is no journal: it has no head")
                    event = codec.decode(value, *head)
                except ValueError as error:
                    # Without its head no line of a file can be read: that is one problem.
                    if head is not None or not self.problems:
                        self.problems.append(Problem(self.path, number, str(error)))
                    continue
                if event.seq < expected:  # a signal's handler wrote one in the middle of it
                    self.gaps -= 1
                else:
                    self.gaps += event.seq - expected
                    expected = event.seq + 1
                yield event


def merge(journals: Sequence[JournalReader]) -> Iterator[Event]:
    """Give the events of several journals in the order of time, ties by session."""
    return heapq.merge(*journals, key=lambda event: (event.time_ns, event.session, event.seq))
