"""The runs that a process writes to: the state of each, and its journal."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import getpass
import itertools
import os
import platform
import sys
import threading
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from yprov_mlflow.prov.capture.contexts import OpenContexts
from yprov_mlflow.prov.capture.switch import LOGGER, Boundary
from yprov_mlflow.prov.events import (
    Event,
    FactsCollected,
    RunCreated,
    RunUpdated,
    SessionEnded,
    SessionStarted,
)
from yprov_mlflow.prov.ids import session_token, store_of
from yprov_mlflow.prov.journal import JournalDirectory, JournalWriter
from yprov_mlflow.prov.journal.writer import now_ns
from yprov_mlflow.prov.layout import SERVER
from yprov_mlflow.prov.redaction import redact, redact_event
from yprov_mlflow.prov.sampling import heartbeat
from yprov_mlflow.prov.sampling.bridge import CollectorBridge
from yprov_mlflow.prov.settings import Settings

_MAX_WARNINGS = 10
_MAX_RUNS = 4096  # runs that are kept; a server that never stops sees more of them


@dataclasses.dataclass(slots=True, eq=False)
class RunState:
    """State of one run that this process writes to."""

    writer: JournalWriter
    contexts: OpenContexts = dataclasses.field(default_factory=OpenContexts)
    store: Any = None  # the wrapped tracking store to deliver the document to, if known
    created: bool = False  # this process made the run
    parent: str = ""  # the run that it is nested in, if this process made it
    opened: bool = False  # this process made the run, or resumed it
    terminal: bool = False  # the run has ended
    watched: bool = False  # the run may have ended, here or elsewhere: late events are reported
    resumed_ns: int = 0  # time of the run's document when the run was known to go on
    delivered: dict[str, int] = dataclasses.field(default_factory=dict)  # sizes of its journals
    suspect: bool = False  # events may be missing, so the store has to be read back in full
    dirty: bool = False  # there are events since the last document
    damaged: bool = False  # a warning about damaged journals was logged
    measured: bool = False  # collectors sample for the run
    facts: set[str] = dataclasses.field(default_factory=set)  # collectors in the journal


class OpenRuns:
    """The open runs of this process, and the collectors that measure for them.

    No method raises for a failure of capture: it logs one warning. ``on_late_event`` is called
    with a run's id for events that may come after the run's end.
    """

    def __init__(self, settings: Settings, *, side: str = "client", forked: bool = False) -> None:
        self.settings = settings
        self.side = side
        self.pid = os.getpid()
        self.host = platform.node()
        self.session = session_token(self.host, self.pid, now_ns())
        # A server's journals are kept apart: a client on the same machine journals the same calls.
        self.directory = settings.directory / SERVER if side == "server" else settings.directory
        self.on_late_event: Callable[[str], None] | None = None
        # Returns the URI of a store as journals have it: absolute and without password.
        self.journaled_uri: Callable[[Any], str] = str
        # Returns the state folder for a run, or what stands for a store, of a tracking store.
        self.directory_of: Callable[[str, Any], Path] = lambda run_id, store: self.directory
        self._runs: dict[str, RunState] = {}
        # Reentrant, as a signal handler may log in the middle of a call of its own thread.
        self._lock = threading.RLock()
        self._warned: set[str] = set()
        self.collectors = CollectorBridge(self)
        who = functools.partial(heartbeat.describe, forked=forked)
        self.heartbeat = heartbeat.Heartbeat(self.directory, self.session, who, self.note)

    # -- runs --------------------------------------------------------------------------

    def state(self, run_id: str, store: Any = None) -> RunState:
        """Return the state of a run of a store; the first call for a run starts its session."""
        if (state := self._runs.get(run_id)) is not None:
            return state
        with self._lock:
            if (state := self._runs.get(run_id)) is not None:
                return state
            folder = self.journals(run_id, store)
            session = self.session
            if os.path.exists(folder.file(session)):  # this process has dropped the run before
                session = session_token(self.host, self.pid, now_ns())
            uri = ""
            with self.warn_only():
                uri = self.journaled_uri(store) if store is not None else ""
            state = RunState(JournalWriter(folder, session, uri, self.settings.fsync_s))
            # In a server, any other worker may end any run.
            state.watched = self.side == "server"
            state.writer.on_check = functools.partial(self._look_for_end, state)
            with self.warn_only():
                self.collectors.probe()
            if self.side != "server":  # a server holds no run
                self.heartbeat.start()
            self._append(state, SessionStarted, self._session_facts())
            self._runs[run_id] = state
            self._add_facts(state)
            self._drop_excess()
            return state

    def journals(self, run_id: str, store: Any = None) -> JournalDirectory:
        """Return the journals of a run, or of what stands for a store."""
        if (state := self._runs.get(run_id)) is not None:
            return state.writer.folder
        if self.side == "server":
            return JournalDirectory(self.directory, run_id, root=self.settings.directory)
        return JournalDirectory(self.directory_of(run_id, store), run_id)

    def runs(self) -> dict[str, RunState]:
        """Return the states of all runs, by run id."""
        with self._lock:
            return dict(self._runs)

    def get(self, run_id: str) -> RunState | None:
        """Return the state of a run, or None if this process does not write to it."""
        return self._runs.get(run_id)

    def _drop_excess(self) -> None:
        """Drop runs that are over, so that a server's memory does not grow without limit."""
        excess = len(self._runs) - _MAX_RUNS
        if excess > 0:
            over = (
                run_id
                for run_id, state in self._runs.items()
                if (state.terminal and not state.dirty) or state.store is None
            )
            for run_id in list(itertools.islice(over, excess)):
                self._runs.pop(run_id).writer.close()

    def suspect(self, run_id: str) -> None:
        """Note that events of a run may be missing, if this process writes to it."""
        with self._lock:
            if (state := self._runs.get(run_id)) is not None:
                state.suspect = state.dirty = True

    def finish(self, run_id: str) -> None:
        """Take a run's last samples; called before the event of its end."""
        state = self._runs.get(run_id)
        if state is not None and state.measured:
            state.measured = False
            with self.warn_only():
                self.collectors.finish(run_id)

    def join(self, run_id: str, store: Any) -> None:
        """Take part in a run that another rank of the job has made."""
        state = self.state(run_id, store)
        state.store, state.dirty = store, True
        if not state.measured:
            state.measured = True
            with self.warn_only():
                self.collectors.begin(run_id)

    def leave_run(self, run_id: str) -> None:
        """Note that this process ends its part of a run that other ranks go on with."""
        if (state := self._runs.get(run_id)) is not None:
            reason = "the rank ended its part of the run"
            self._append(state, SessionEnded, "", "exit", reason, now_ns(), {})
            self.ended(state)
            # The rank that ends the run writes the document.
            state.dirty = False
            state.writer.close()

    def forked(self) -> None:
        """Close the files of the parent in a forked child, which writes to files of its own."""
        for state in self._runs.values():
            state.writer.close_in_child()
        self.collectors.release_in_child()
        self.heartbeat.close_in_child()

    # -- events ------------------------------------------------------------------------

    def record(self, run_id: str, cls: type[Event], *fields: Any, store: Any = None) -> None:
        """Append an event to the journal of a run, or of a store (``ids.store_id``).

        Args:
            run_id: The run, or the id of the store.
            cls: Class of the event.
            fields: Its fields after the header.
            store: Tracking store of the run, to deliver its document to.
        """
        state = self.state(run_id, store)
        if store is not None:
            state.store = store
        state.dirty = True
        if cls is RunCreated or (cls is RunUpdated and fields[0] == "RUNNING"):
            state.opened = True
        self._append(state, cls, *fields)
        if not (state.measured or state.terminal) and self.collectors.is_training(cls, fields):
            state.measured = True
            tags = fields[6] if cls is RunCreated else None
            with self.warn_only():
                self.collectors.begin(run_id, tags)
        self._note_late_event(state)

    def append_if_open(self, run_id: str, cls: type[Event], *fields: Any) -> None:
        """Append an event of a collector, if this process writes to the run."""
        if (state := self._runs.get(run_id)) is not None:
            state.dirty = True
            self._append(state, cls, *fields)

    def _append(self, state: RunState, cls: type[Event], *fields: Any) -> None:
        with self.warn_only(state):
            state.writer.append(cls, *redact_event(cls.kind, fields))

    def _note_late_event(self, state: RunState) -> None:
        if state.watched and self.on_late_event is not None:
            with self.warn_only():
                self.on_late_event(state.writer.folder.run_id)

    # -- the end of a run --------------------------------------------------------------

    def _look_for_end(self, state: RunState) -> None:
        """Note that another process has written the document of a run."""
        if not state.watched and state.writer.folder.delivery_time_ns() != state.resumed_ns:
            state.watched = True

    def ended(self, state: RunState) -> None:
        """Note that a run has ended: later events need another document."""
        state.terminal = state.watched = True

    def goes_on(self, state: RunState) -> None:
        """Note that a run has not ended, or was resumed."""
        state.terminal = False
        state.watched = self.side == "server"
        state.resumed_ns = state.writer.folder.delivery_time_ns()

    def note_exit(self, exception: str | None) -> None:
        """Note in the journals of open runs that this process exits, without an end of them.

        Args:
            exception: Name of the exception that ended the program, if one did.
        """
        rule, reason = "exit", "the process exited in order"
        if exception is not None:
            rule, reason = "exception", f"the program ended with {exception}"
        evidence = {} if exception is None else {"exception": exception}
        # A process that only logs to a run leaves it to those that opened it, as servers do.
        for run_id, state in self.runs().items() if self.side != "server" else ():
            if state.opened and not state.terminal and not store_of(run_id):
                state.dirty = True
                self._append(state, SessionEnded, "", rule, reason, now_ns(), evidence)

    # -- facts -------------------------------------------------------------------------

    def add_facts(self, wait_s: float = 0.0) -> None:
        """Write the facts of collectors to every run that lacks them, after a wait for facts."""
        if wait_s:
            self.collectors.wait(wait_s)
        with self._lock:
            for state in self._runs.values():
                self._add_facts(state)

    def _add_facts(self, state: RunState) -> None:
        for name, facts in list(self.collectors.facts.items()):
            if name not in state.facts:
                state.facts.add(name)
                state.dirty = True
                with self.warn_only(state):
                    # The bridge has redacted them, once for all runs.
                    state.writer.append(FactsCollected, name, facts)
                self._note_late_event(state)

    def _session_facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "side": self.side,
            "pid": self.pid,
            "host": self.host,
            "argv": list(sys.argv),
            "python": platform.python_version(),
            "heartbeat": self.side != "server",
            "yprov_mlflow": installed_version("yprov-mlflow"),
            "mlflow": installed_version("mlflow") or installed_version("mlflow-skinny"),
        }
        with contextlib.suppress(OSError, KeyError):  # a deleted folder, a uid without a name
            facts["cwd"] = str(Path.cwd())
            facts["user"] = getpass.getuser()
        if self.settings.embodied_g is not None:
            facts["embodied_g"] = self.settings.embodied_g
        return {**facts, **self.collectors.ranks}

    # -- failures ----------------------------------------------------------------------

    def note(self, error: BaseException) -> None:
        """Log an error for debugging only; nothing was lost."""
        LOGGER.debug("capture", exc_info=error)

    def complain(self, message: str) -> None:
        """Log a warning; capture itself is unaffected."""
        LOGGER.warning("%s", message)

    def warn(self, error: BaseException) -> None:
        """Log a warning that capture failed, once for each kind of failure."""
        self.note(error)
        kind = f"{type(error).__name__} {getattr(error, 'what', '')}"
        if kind not in self._warned and len(self._warned) < _MAX_WARNINGS:
            self._warned.add(kind)
            self.complain(
                f"Provenance capture failed ({type(error).__name__}: {redact(str(error))}). The "
                "run itself is not affected and continues; missing events are read back from "
                "MLflow where possible. Such a warning is logged once; set the log level of "
                "'yprov_mlflow' to DEBUG for later ones."
            )

    def warn_only(self, state: RunState | None = None) -> Boundary:
        """Return a context manager that turns an exception into a warning."""

        def handle(error: Exception) -> None:
            if state is not None:
                state.suspect = True  # it may lack events
            self.warn(error)

        return Boundary(handle)


@functools.cache  # a look at the files of packages, which takes longer than all else of a session
def installed_version(distribution: str) -> str | None:
    """Return the version of an installed package; None if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
