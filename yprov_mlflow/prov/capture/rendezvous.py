"""Agreement of the ranks of a job on a run, through small files that all of its nodes share.

It needs exclusive creation, renaming and listing, which NFS, Lustre and GPFS have; no locks and no
hard links. The rank that creates the record of a run makes the run, and the others read its id from
the record. A record without an id, whose creator has died, is left behind for the next one.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from yprov_mlflow.prov.ids import quote_key, unquote_key
from yprov_mlflow.prov.layout import PRIVATE_FILE

RUNNING = "RUNNING"
_POLL_S = 0.02
_MEMBER = re.compile(r"(\d+)-(\d+)-(\d+)-(\d+)@(.*)\.([A-Z]+)")
_WORST = ("FAILED", "KILLED", "FINISHED")


class Record(NamedTuple):
    """The record of a run; ``run_id`` is empty if this process is to make the run."""

    path: Path
    run_id: str = ""

    def publish(self, run_id: str | None) -> None:
        """Let the other ranks know the run, or None that it could not be made."""
        with self.path.open("a") as file:
            file.write(json.dumps({"run_id": run_id}) + "\n")


def meet(
    folder: Path, name: str, is_mine: Callable[[str], bool], host: str, timeout_s: float
) -> Record:
    """Return the record of a run that the ranks of a job look for under a name.

    Args:
        folder: An existing folder that all ranks share.
        name: Name of the file, the same for all of them.
        is_mine: Whether a run is the one of this rank, and not that of an earlier job or program.
        host: Name of this machine.
        timeout_s: How long to wait for the rank that makes the run.
    """
    for number in itertools.count():
        path = folder / f"{name}-{number}"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
        except FileExistsError:
            run_id = _wait_for_run(path, host, time.monotonic() + timeout_s)
            if run_id is not None and is_mine(run_id):
                return Record(path, run_id)
        else:
            with os.fdopen(fd, "w") as file:
                file.write(json.dumps({"host": host, "pid": os.getpid()}) + "\n")
            return Record(path)
    raise AssertionError  # the count has no end


def _wait_for_run(path: Path, host: str, end_s: float) -> str | None:
    """Return the run of a record; None if its creator failed, died, or takes too long."""
    while True:
        # Opened each time: NFS shows new content to those who open a file, not to those who have.
        lines = path.read_text().split("\n")[:-1]
        if len(lines) > 1:
            run_id = json.loads(lines[1])["run_id"]
            return None if run_id is None else str(run_id)
        creator = json.loads(lines[0]) if lines else {}
        is_dead = creator.get("host") == host and not is_alive(creator["pid"])
        if is_dead or time.monotonic() > end_s:
            return None
        time.sleep(_POLL_S)


def prune(folder: Path, is_kept: Callable[[str], bool]) -> None:
    """Remove the records of runs that are not kept."""
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, IndexError):
                run_id = json.loads(Path(entry).read_text().split("\n")[1])["run_id"]
                if run_id is None or not is_kept(run_id):
                    os.unlink(entry)


class Member(NamedTuple):
    """A rank that has joined a run; the name of an empty file holds all of it.

    Args:
        rank: Its number.
        restarts: How often its job had been started again by then.
        pid: Its process.
        parent: The process that started it.
        host: Its machine.
        state: ``RUNNING``, or the status with which it has ended its part of the run.
    """

    rank: int
    restarts: int
    pid: int
    parent: int
    host: str
    state: str = RUNNING

    @property
    def filename(self) -> str:
        """Name of the file."""
        numbers = f"{self.rank}-{self.restarts}-{self.pid}-{self.parent}"
        return f"{numbers}@{quote_key(self.host)}.{self.state}"

    def is_dead(self, host: str) -> bool:
        """Return whether its process is gone, as far as this machine can see it."""
        return self.host == host and not is_alive(self.pid)


class Members:
    """The ranks that have joined a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __iter__(self) -> Iterator[Member]:
        """Yield all members; a rank that was started again has several."""
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self.folder):
                if match := _MEMBER.fullmatch(name):
                    rank, restarts, pid, parent = map(int, match.groups()[:4])
                    host, state = unquote_key(match[5]), match[6]
                    yield Member(rank, restarts, pid, parent, host, state)

    def join(self, member: Member) -> None:
        """Add a member, in place of the same rank before its restart."""
        self.folder.mkdir(0o700, parents=True, exist_ok=True)
        earlier = [other for other in self if other.rank == member.rank]
        (self.folder / member.filename).touch(PRIVATE_FILE)
        for other in earlier:
            if other.filename != member.filename:
                (self.folder / other.filename).unlink(missing_ok=True)

    def leave(self, member: Member, status: str) -> str | None:
        """Note that a member ends its part of the run; return the same as ``status``.

        Of two that leave at once, both may be the last.
        """
        ended = member._replace(state=status)
        # The own change comes first: a folder that this machine has changed is listed afresh.
        os.replace(self.folder / member.filename, self.folder / ended.filename)
        return self.status(member.host)

    def status(self, host: str) -> str | None:
        """Return the worst status of all members; None if some have not ended."""
        states = set()
        for member in self:
            if member.state == RUNNING and not member.is_dead(host):
                return None
            states.add("FAILED" if member.state == RUNNING else member.state)
        return next((state for state in _WORST if state in states), None)


def is_alive(pid: Any) -> bool:
    """Return whether this machine has a process with a number."""
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (OSError, ValueError, OverflowError):
        return True
    return True
