"""Runs whose processes have died: which these are, and their end in journal and store.

A run is closed only if a process that created or resumed it died without ending it, and no process
that wrote to it, or may hold it, may still be alive. A run that was left open by a process that
exited in order stays open: its program may have meant another one to end it. Servers hold no run.
"""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Mapping
from typing import Any, NamedTuple

from mlflow.entities import RunStatus

from yprov_mlflow.prov import events
from yprov_mlflow.prov.capture import mlflow_private
from yprov_mlflow.prov.capture.open_runs import installed_version
from yprov_mlflow.prov.events import TERMINAL, RunCreated, RunUpdated, SessionEnded
from yprov_mlflow.prov.ids import session_token, store_of
from yprov_mlflow.prov.journal import JournalDirectory, JournalWriter, merge
from yprov_mlflow.prov.journal.writer import now_ns
from yprov_mlflow.prov.sampling.liveness import Life, Observer

_MS = 10**6  # ns
_STORE_SLACK_MS = 60_000  # clocks of machines differ

ORDERLY, EXCEPTION, STORE = "exit", "exception", "store"
"""Rules that are observations: of the process itself, and of the store."""


class Lost(NamedTuple):
    """A session whose process has died."""

    token: str
    life: Life


_NOBODY = Lost("", Life("unknown", "", 0))


class Closing(NamedTuple):
    """A decision about a run without an end.

    Args:
        status: Status that the run gets; empty if it stays open.
        why: Why, for the user.
        cause: The session whose end is that of the run: the last that created or resumed it.
        lost: All sessions that died without a word of their own.
    """

    status: str
    why: str
    cause: Lost = _NOBODY
    lost: tuple[Lost, ...] = ()

    @property
    def end_time_ms(self) -> int:
        """Return the end of the run: when the last of its processes was last seen."""
        return max(each.life.last_seen_ns for each in (self.cause, *self.lost)) // _MS

    def summary(self) -> dict[str, Any]:
        """Return the parts as JSON."""
        if not self.status:
            return {"status": None, "why": self.why}
        life = self.cause.life
        return {
            "status": self.status,
            "why": self.why,
            "rule": life.rule,
            "reason": life.reason,
            "last_seen_ms": self.end_time_ms,
        }


@dataclasses.dataclass
class _Session:
    """A session, as its journal has it."""

    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    last_ns: int = 0
    is_opener: bool = False  # it created or resumed the run
    exit: SessionEnded | None = None

    @property
    def job(self) -> tuple[Any, ...]:
        """Return what the ranks of a parallel job have in common; empty without ranks."""
        names = ("launcher", "job_id", "world_size")
        return tuple(map(self.facts.get, names)) if "rank" in self.facts else ()


def closing(folder: JournalDirectory, observer: Observer) -> Closing | None:
    """Return a decision about a run; None if it has ended, was deleted, or stands for a store."""
    if store_of(folder.run_id):
        return None
    sessions: dict[str, _Session] = {}
    status, lifecycle = "", "active"
    for event in merge(folder.readers()[0]):
        session = sessions.setdefault(event.session, _Session())
        session.last_ns = max(session.last_ns, event.time_ns)
        match event:
            case events.SessionStarted():
                session.facts = event.facts
            case RunCreated():
                session.is_opener = True
            case SessionEnded(ended=""):
                session.exit = event
            case RunUpdated():
                status, lifecycle = event.status or status, event.lifecycle or lifecycle
                session.is_opener |= event.status == "RUNNING"
    clients = {
        token: session
        for token, session in sessions.items()
        if session.facts and session.facts.get("side") != "server"
    }
    if status in TERMINAL or lifecycle != "active" or not clients:
        return None
    return _judge(clients, observer)


def _judge(sessions: Mapping[str, _Session], observer: Observer) -> Closing:
    lost = []
    for token, session in sessions.items():
        life = _life(token, session, observer)
        if life.state != "dead":
            return Closing("", life.why)
        lost.append(Lost(token, life))
    # Ranks that share a run hold it together, whichever of them has created it.
    jobs = [each.job for each in sessions.values() if each.is_opener and each.job]
    openers = [
        each
        for each in lost
        if sessions[each.token].is_opener
        or (each.life.left_heartbeat and sessions[each.token].job in jobs)
    ]
    if not openers:
        return Closing("", "the process that started it has no journal here")
    openers = [each for each in openers if each.life.rule != ORDERLY]
    if not openers:
        return Closing("", "the process that started it has exited in order and left it open")
    cause = max(openers, key=lambda each: each.life.last_seen_ns)
    silent = tuple(
        each
        for each in lost
        if each.life.rule not in (ORDERLY, EXCEPTION)
        and (each.life.left_heartbeat or each in openers)
    )
    return Closing("KILLED" if cause.life.killed else "FAILED", cause.life.why, cause, silent)


def _life(token: str, session: _Session, observer: Observer) -> Life:
    """Return what is known of a process: what it said itself, or else what is observed."""
    if (end := session.exit) is not None and session.last_ns <= end.time_ns:
        killed = end.evidence.get("exception") == "KeyboardInterrupt"
        return Life("dead", end.reason, end.last_seen_ns, end.rule, end.reason, killed)
    return observer.life(token, session.facts, session.last_ns)


# -- closing -----------------------------------------------------------------------------


def close(folder: JournalDirectory, decision: Closing, store: Any, store_uri: str) -> Closing:
    """Close a run in its store and in its journals, and return what was done.

    The store comes first: a journal that says more than the store would be corrected by the next
    document, one that says less is completed by it.

    Args:
        folder: The journals of the run.
        decision: What ``closing`` returned for it.
        store: The tracking store of the run.
        store_uri: Its URI as journals have it, without password.
    """
    run = store.get_run(folder.run_id)
    info = run.info
    if info.status in TERMINAL:
        record_end(folder, decision, store_uri, stored=info)
        return decision._replace(status="", why=f"the store has it as {info.status} already")
    if info.lifecycle_stage != "active":
        return decision._replace(status="", why="it was deleted")
    last_ms = decision.end_time_ms
    points = mlflow_private.latest_metrics(run)
    if any(point.timestamp > last_ms + _STORE_SLACK_MS for point in points):
        why = "the store has newer metrics: a process without a journal here writes to it"
        return decision._replace(status="", why=why)
    status = RunStatus.from_string(decision.status)
    store.update_run_info(folder.run_id, status, last_ms, None)
    record_end(folder, decision, store_uri)
    return decision


def record_end(
    folder: JournalDirectory, decision: Closing, store_uri: str, stored: Any = None
) -> None:
    """Write the end of a run and of its sessions to a new journal of the run.

    ``sync`` needs only this, as it writes the state that a run has in its journals to a store.

    Args:
        folder: The journals of the run.
        decision: What ``closing`` returned for it.
        store_uri: URI of its store, without password.
        stored: MLflow's ``RunInfo``, if the store has an end that no journal has.

    Raises:
        JournalError: The folder or the disk does not accept it.
    """
    token = session_token(platform.node(), os.getpid(), now_ns())
    writer = JournalWriter(folder, token, store_uri)
    for lost, life in decision.lost:
        fields = (lost, life.rule, life.reason, life.last_seen_ns, life.evidence)
        writer.append(SessionEnded, *fields)
    cause, status, end_ms = decision.cause, decision.status, decision.end_time_ms
    inference: dict[str, Any] = {"tool": f"yprov-mlflow {installed_version('yprov-mlflow')}"}
    if stored is not None:
        status, end_ms = stored.status, stored.end_time
        inference |= {"rule": STORE, "reason": "the store has this status"}
    else:
        last_seen_ns = max(cause.life.last_seen_ns, end_ms * _MS)
        inference |= {"rule": cause.life.rule, "reason": cause.life.reason}
        inference |= {"session": cause.token, "last_seen_ns": last_seen_ns}
    writer.append(RunUpdated, status, end_ms, None, None, inference)
    writer.close()
