"""Hash files in a process of its own, so that no hashing holds the lock of the user's Python.

``hashing`` starts this file as a program, without any package: it imports the standard library
only. It reads requests from standard input and writes answers to standard output, a JSON list a
line, until its input ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import sys
import time
from typing import Any

_CHUNK = 1 << 20
_ANSWER_S = 0.2  # how long answers wait for others
_MOST_CACHED = 200_000

_hashes: dict[tuple[int, ...], str] = {}  # by identity and times of a file
_hashed_bytes: dict[str, int] = {}  # by run

Signature = list[int]


def signature(path: str) -> Signature | None:
    """Return what changes with each change of a file, None if it does not exist."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return _signature(status)


def _signature(status: os.stat_result) -> Signature:
    return [
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    ]


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of one file: its size and SHA-256, or why it lacks one of them.

    ``dropped`` instead says that the file cannot be the one that was opened.
    """
    path = request["path"]
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return {"dropped": "gone"}
    if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device would take from its user
        return {"dropped": "not a regular file"}
    if request["mode"] == "written":
        if _signature(status) == request["before"]:
            return {"dropped": "unchanged"}
    elif request.get("not_after") and status.st_ctime_ns > request["not_after"]:
        return {"dropped": "temporary"}
    size = status.st_size
    if request["mode"] == "read" and status.st_ctime_ns >= request["opened_ns"]:
        return {"size": None, "not_hashed": "it changed after it was opened"}
    key = tuple(_signature(status))
    if key in _hashes:
        return {"size": size, "sha256": _hashes[key]}
    if size > request["limit"]:
        return {"size": size, "not_hashed": "it is larger than YPROV_MLFLOW_FILES_LIMIT"}
    if _hashed_bytes.get(request["run"], 0) + size > request["run_limit"]:
        return {"size": size, "not_hashed": "the files of the run are too large together"}
    try:
        sha256 = _sha256(path, status)
    except OSError as error:
        if request["mode"] == "read":  # who opened it could not read it either
            return {"dropped": "unreadable"}
        return {"size": size, "not_hashed": f"it cannot be read: {error.strerror}"}
    if sha256 is None:
        return {"size": None, "not_hashed": "it changed while it was hashed"}
    _hashed_bytes[request["run"]] = _hashed_bytes.get(request["run"], 0) + size
    if len(_hashes) < _MOST_CACHED:
        _hashes[key] = sha256
    return {"size": size, "sha256": sha256}


def _sha256(path: str, status: os.stat_result) -> str | None:
    """Return the SHA-256 of a file, None if it is no longer the file of ``status``."""
    # It may have become a pipe meanwhile, whose opening must not wait.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if _signature(os.fstat(file)) != _signature(status):
            return None
        total, hasher = 0, hashlib.sha256()
        while chunk := os.read(file, _CHUNK):
            hasher.update(chunk)
            total += len(chunk)
            if total > status.st_size:
                return None
        same = total == status.st_size and _signature(os.fstat(file)) == _signature(status)
        return hasher.hexdigest() if same else None
    finally:
        os.close(file)


def main() -> None:
    """Answer requests until standard input ends."""
    # Not a child of the user's process, which may wait for its children.
    if os.fork():
        os._exit(0)
    with contextlib.suppress(OSError):
        os.nice(int(sys.argv[1]))
    answers: list[dict[str, Any]] = []
    first_s = 0.0
    for line in sys.stdin.buffer:
        requests = json.loads(line)
        for position, request in enumerate(requests):
            first_s = first_s if answers else time.monotonic()
            answers.append({"id": request["id"], **answer(request)})
            if position == len(requests) - 1 or time.monotonic() - first_s > _ANSWER_S:
                sys.stdout.write(json.dumps(answers) + "\n")
                sys.stdout.flush()
                answers = []


if __name__ == "__main__":
    with contextlib.suppress(OSError, KeyboardInterrupt):  # the other process has ended
        main()
