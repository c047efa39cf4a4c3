"""Whether the process of a session is still alive, and if not, what is known of its end.

Only what cannot be wrong counts as a proof of death: on the same machine the table of processes,
for a job that is over SLURM, and for other machines a heartbeat that has been silent for a long
time by the clock of the file system that has it.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from yprov_mlflow.prov.collectors import slurm_jobs
from yprov_mlflow.prov.collectors.base import CollectorContext
from yprov_mlflow.prov.collectors.slurm_jobs import Job
from yprov_mlflow.prov.collectors.system import cgroups, node, processes
from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.layout import ALIVE
from yprov_mlflow.prov.sampling import heartbeat
from yprov_mlflow.prov.sampling.heartbeat import INTERVAL_S, Beat

SILENT_S = 900.0
"""Seconds without a heartbeat until a process on another machine counts as dead.

Thirty beats: code that keeps all Python threads waiting for so long is rare. A job that SLURM has
suspended is alive without heartbeats.
"""

_S = 10**9
_PROCESS = re.compile(r"\d+-[\d.]+\Z")
# Between the last heartbeat and the end of a job: SLURM waits before it kills (KillWait).
_SLURM_GRACE_S = 2 * INTERVAL_S + 120


class Life(NamedTuple):
    """The state of a session's process, and why it ended if it did.

    Args:
        state: ``"alive"``, ``"dead"`` or ``"unknown"``.
        why: Why, for the user.
        last_seen_ns: When it was last seen, in ns since the epoch.
        rule: For a dead process, the rule by which the reason of its end follows.
        reason: That reason.
        killed: Whether the process was ended from outside.
        evidence: The observations that the rule was applied to.
        left_heartbeat: Whether a dead process left its heartbeat, as no orderly exit does.
    """

    state: str
    why: str
    last_seen_ns: int
    rule: str = "last-seen"
    reason: str = "nothing is known of its end"
    killed: bool = False
    evidence: Mapping[str, Json] = {}
    left_heartbeat: bool = False


class Observer:
    """Looks at processes from this one; answers of SLURM and the file system are kept.

    Args:
        directory: State folder with the heartbeats.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._root = CollectorContext().root
        self._jobs: dict[str, list[Job]] = {}
        self._now_ns: int | None = None

    def life(self, token: str, session: Mapping[str, Any], last_event_ns: int) -> Life:
        """Return what is known of a process.

        Args:
            token: Token of the session.
            session: The facts of the session's start.
            last_event_ns: Time of its last event.
        """
        beat = heartbeat.read(heartbeat.file_of(self._directory, token))
        if beat is None:
            return self._without_beat(session, last_event_ns)
        facts, last_ns = beat.facts, max(beat.seen_ns, last_event_ns)
        if beat.terminated:
            # By the clock of the file system, which may differ from that of the machine.
            last_ns = min(max(beat.changed_ns, last_ns), last_ns + int(2 * INTERVAL_S * _S))
        job = self._job(facts.get("slurm_job"), last_ns)
        where = f"process {facts.get('process', '?')} on {facts.get('host', '?')}"
        if self._is_here(facts):
            texts = (str(facts.get(key)) for key in ("process", "parent"))
            names = [text for text in texts if _PROCESS.match(text)]
            if any(processes.is_running(self._root, name) for name in names):
                return Life("alive", f"{where} runs", last_ns)
        elif job is not None and job.state in slurm_jobs.SUSPENDED:
            return Life("alive", f"SLURM has suspended the job of {where}", last_ns)
        elif job is None or not job.has_ended:
            silent_s = (self._clock_ns() - beat.changed_ns) / _S
            if silent_s < SILENT_S:
                why = f"{where} had a heartbeat {max(silent_s, 0):.0f} s ago"
                return Life("alive", why, last_ns)
        return _dead(where, last_ns, beat, job)._replace(left_heartbeat=True)

    def remove_dead(self) -> None:
        """Remove the heartbeats of processes that have died; the runs of none may be open."""
        with contextlib.suppress(OSError):
            for entry in os.scandir(self._directory / ALIVE):
                if self.life(entry.name, {}, 0).state == "dead":
                    with contextlib.suppress(OSError):  # another process removes it, too
                        os.unlink(entry.path)

    def _without_beat(self, session: Mapping[str, Any], last_event_ns: int) -> Life:
        """Judge a process that has exited in order, was killed at once, or had no heartbeats."""
        host, pid = session.get("host"), session.get("pid")
        where = f"process {pid} on {host}"
        if host == platform.node() and isinstance(pid, int):
            if (self._root / f"proc/{pid}").exists() or _has_pid(pid):
                return Life("alive", f"a process {pid} runs on {host}", last_event_ns)
            return Life("dead", f"{where} has ended", last_event_ns)
        if session.get("heartbeat"):
            silent_s = (self._clock_ns() - last_event_ns) / _S
            if silent_s > SILENT_S:
                return Life("dead", f"{where} has removed its heartbeat", last_event_ns)
        return Life("unknown", f"{where} left no heartbeat", last_event_ns)

    def _is_here(self, facts: Mapping[str, Json]) -> bool:
        """Return whether this process sees the ids of processes that the other one saw."""
        here = node.boot_id(self._root) or platform.node(), processes.namespace(self._root)
        there = facts.get("machine") or facts.get("host"), facts.get("namespace", "")
        return here == there

    def _clock_ns(self) -> int:
        """Return the time by the clock that gives the heartbeats their times."""
        if self._now_ns is None:
            folder = self._directory / ALIVE
            with contextlib.suppress(OSError), tempfile.NamedTemporaryFile(dir=folder) as probe:
                self._now_ns = os.fstat(probe.fileno()).st_mtime_ns
        # In a folder that cannot be written, no time has passed: nothing is dead.
        return self._now_ns or 0

    def _job(self, job_id: object, last_ns: int) -> Job | None:
        if not job_id:
            return None
        key = str(job_id)
        if key not in self._jobs:
            self._jobs[key] = slurm_jobs.executions(key)
        return slurm_jobs.at(self._jobs[key], last_ns / _S)


def _dead(where: str, last_ns: int, beat: Beat, job: Job | None) -> Life:
    """Return why a process has ended, by the first rule that applies."""
    facts, last_s, why = beat.facts, last_ns / _S, f"{where} has ended"
    end_s = int(text) if (text := str(facts.get("slurm_end_s"))).isdigit() else None
    killed = slurm_jobs.KILLED.get(job.state) if job is not None else None
    if job is not None and killed and (job.end_s or 0) - _SLURM_GRACE_S <= last_s:
        reason = f"SLURM ended job {facts['slurm_job']}: {killed}"
        evidence = {"job": facts["slurm_job"], "state": job.state, "end_s": job.end_s}
        return Life("dead", why, last_ns, "slurm", reason, True, evidence)
    if end_s is not None and last_s >= end_s - 2 * INTERVAL_S:
        reason = f"the time limit of SLURM job {facts.get('slurm_job', '?')} was reached"
        return Life("dead", why, last_ns, "slurm-end-time", reason, True, {"end_s": end_s})
    if beat.terminated:
        return Life("dead", why, last_ns, "signal", "SIGTERM", True, {"signal": "SIGTERM"})
    group, before = facts.get("oom_group"), facts.get("oom_kills")
    after = cgroups.oom_kills_of(Path(str(group))) if group else None
    if isinstance(before, int) and after is not None and after > before:
        reason = "the kernel killed processes of its control group for lack of memory"
        evidence = {"group": group, "kills_before": before, "kills_after": after}
        return Life("dead", why, last_ns, "oom-counter", reason, True, evidence)
    return Life("dead", why, last_ns)


def _has_pid(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True
