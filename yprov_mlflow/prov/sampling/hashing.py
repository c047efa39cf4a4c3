"""A process that hashes files with low priority, and the lines between it and this process."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from yprov_mlflow.prov.sampling import hashing_program

_MOST_IN_LINE = 200  # requests: answers to a line come together
_START_S = 10.0


def identity(descriptor: int) -> tuple[int, int] | None:
    """Return what tells an open file from others; None if the descriptor was closed.

    A program that closes all descriptors may get one of ours for a file of its own.
    """
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def is_regular(path: str) -> bool:
    """Return whether a path is that of a regular file."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def without_hash(request: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """Return an answer by this process, which cannot wait for a hash."""
    number = request["id"]
    try:
        status = os.stat(request["path"])
    except (OSError, ValueError):
        return {"id": number, "dropped": "gone"}
    if not stat.S_ISREG(status.st_mode):
        return {"id": number, "dropped": "not a regular file"}
    return {"id": number, "size": status.st_size, "not_hashed": reason}


class HashingProcess:
    """Sends requests and receives answers without ever waiting for the process.

    It is not a child of this process, whose program may wait for its children, and ends when this
    process does.

    Args:
        niceness: How far the process gives way to others.

    Attributes:
        failure: Why the process does not answer; empty while it does.
    """

    def __init__(self, niceness: int = 19) -> None:
        self.failure = ""
        self._niceness = niceness
        self._outgoing = b""
        self._incoming = b""
        self._requests = self._answers = -1
        # In a program that contains Python, this is another program.
        if not os.path.basename(sys.executable or "").startswith(("python", "pypy")):
            self.failure = "this program cannot start Python"
            return
        try:
            self._start()
        except (OSError, subprocess.SubprocessError, RuntimeError) as error:
            self.failure = f"no process for hashing could be started: {type(error).__name__}"

    def _start(self) -> None:
        # Without the packages of the environment (-I -S) it starts in a hundredth of a second.
        command = [sys.executable, "-I", "-S", str(Path(hashing_program.__file__))]
        command.append(str(self._niceness))
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        assert process.stdin is not None and process.stdout is not None
        self._requests, self._answers = (
            os.dup(process.stdin.fileno()),
            os.dup(process.stdout.fileno()),
        )
        process.stdin.close()
        process.stdout.close()
        for descriptor in (self._requests, self._answers):
            os.set_blocking(descriptor, False)
        self._identities = self._current()
        process.wait(_START_S)  # it has left a process that is not our child

    def _current(self) -> tuple[object, object]:
        return identity(self._requests), identity(self._answers)

    def _check(self) -> None:
        if not self.failure and self._current() != self._identities:
            self._requests = self._answers = -1
            self.failure = "this program closed the files of the process for hashing"

    def send(self, requests: Sequence[Mapping[str, Any]]) -> None:
        """Send requests; what the process does not accept now is sent by a later ``receive``."""
        for start in range(0, len(requests), _MOST_IN_LINE):
            line = json.dumps(list(requests[start : start + _MOST_IN_LINE]))
            self._outgoing += line.encode() + b"\n"
        self._write()

    def _write(self) -> None:
        self._check()
        try:
            while self._outgoing and not self.failure:
                self._outgoing = self._outgoing[os.write(self._requests, self._outgoing) :]
        except BlockingIOError:
            pass
        except OSError:
            self.failure = "the process for hashing ended"

    def receive(self) -> Iterator[dict[str, Any]]:
        """Yield the answers that have come."""
        self._write()
        if self.failure:
            return
        try:
            while chunk := os.read(self._answers, 1 << 16):
                self._incoming += chunk
            self.failure = "the process for hashing ended"
        except BlockingIOError:
            pass
        except OSError:
            self.failure = "the process for hashing ended"
        *lines, self._incoming = self._incoming.split(b"\n")
        for line in lines:
            yield from json.loads(line)

    def close(self) -> None:
        """End the process once it has answered what it has got."""
        for descriptor in (self._requests, self._answers):
            if descriptor >= 0:
                os.close(descriptor)
        self._requests = self._answers = -1
        self.failure = "the process for hashing was closed"
