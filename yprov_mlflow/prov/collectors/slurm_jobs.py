"""What SLURM says of a job: whether it still runs, and how it ended."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from typing import NamedTuple

_TIMEOUT_S = 10.0
_STATE = re.compile(r"\bJobState=([A-Z_]+)")
_END = re.compile(r"\bEndTime=(\d+)")
_JOB_ID = re.compile(r"\d+\Z")

RUNNING = frozenset({"RUNNING", "COMPLETING", "CONFIGURING", "RESIZING", "SIGNALING", "STAGE_OUT"})
SUSPENDED = frozenset({"SUSPENDED", "STOPPED"})

KILLED: Mapping[str, str] = {
    "TIMEOUT": "it reached its time limit",
    "DEADLINE": "it reached its deadline",
    "PREEMPTED": "it was preempted",
    "OUT_OF_MEMORY": "it ran out of memory",
    "NODE_FAIL": "a node failed",
    "BOOT_FAIL": "a node failed",
    "CANCELLED": "it was cancelled",
    "REVOKED": "it was revoked",
    "REQUEUED": "it was requeued",
    "REQUEUE_HOLD": "it was requeued",
    "SPECIAL_EXIT": "it was requeued",
}
"""States of a job that was ended from outside, in words."""


class Job(NamedTuple):
    """One execution of a job; a job that is requeued has several."""

    state: str
    start_s: int | None
    end_s: int | None  # None while it runs

    @property
    def has_ended(self) -> bool:
        """Return whether no process of this execution can be alive."""
        return self.state not in RUNNING | SUSPENDED | {"PENDING"}


def executions(job_id: str) -> list[Job]:
    """Return the executions of a job, the latest last; empty without SLURM or its answer."""
    if not _JOB_ID.match(job_id):
        return []
    text = _run("sacct", "-n", "-P", "-X", "-D", "-j", job_id, "-o", "State,Start,End")
    jobs = [_from_line(line) for line in text.splitlines() if line.count("|") == 2]
    if jobs:
        return jobs
    # Without accounting; the controller forgets a job some minutes after its end.
    text = _run("scontrol", "-o", "show", "job", job_id)
    state, end = _STATE.search(text), _END.search(text)
    if state is None:
        return []
    job = Job(state[1], None, int(end[1]) if end else None)
    return [job if job.has_ended else job._replace(end_s=None)]


def at(jobs: list[Job], time_s: float) -> Job | None:
    """Return the execution that a process was part of that was seen at a time."""
    candidates = [job for job in jobs if job.start_s is None or job.start_s <= time_s + 60]
    return candidates[-1] if candidates else None


def _from_line(line: str) -> Job:
    state, start, end = line.split("|")
    # The state of a cancelled job is followed by who has cancelled it.
    return Job((state.split() or [""])[0].rstrip("+"), _seconds(start), _seconds(end))


def _seconds(text: str) -> int | None:
    return int(text) if text.isdigit() else None  # or Unknown, None


def _run(command: str, *options: str) -> str:
    path = shutil.which(command)
    if path is None:
        return ""
    try:
        return subprocess.run(
            [path, *options],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "SLURM_TIME_FORMAT": "%s"},  # seconds since the epoch
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
