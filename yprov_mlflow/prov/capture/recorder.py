"""The recorder of a process: takes events of any run and writes them to journals."""

from __future__ import annotations

import getpass
import itertools
import logging
import os
import platform
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from yprov_mlflow.prov.capture import contexts
from yprov_mlflow.prov.events import (
    ContextEntered,
    ContextLeft,
    Event,
    FactsCollected,
    MetricsLogged,
    SessionStarted,
)
from yprov_mlflow.prov.ids import session_token
from yprov_mlflow.prov.journal import JournalDirectory, JournalWriter
from yprov_mlflow.prov.journal.writer import now_ns
from yprov_mlflow.prov.sampling.bridge import CollectorBridge
from yprov_mlflow.prov.settings import Settings

_LOGGER = logging.getLogger("yprov_mlflow")
SERVER = "server"
"""Folder, inside the state directory, of what servers saw."""

_MOST_KNOWN = 4096
"""Runs that are remembered; a server that never stops sees more of them than that."""


class RunState:
    """What this process knows of a run that it writes to."""

    __slots__ = (
        "contexts",
        "dirty",
        "facts",
        "measured",
        "store",
        "suspect",
        "terminal",
        "writer",
    )

    def __init__(self, writer: JournalWriter) -> None:
        """Start with nothing written."""
        self.writer = writer
        self.contexts = contexts.OpenContexts()
        self.store: Any = None
        self.terminal = False
        self.suspect = False
        self.dirty = False
        self.measured = False
        self.facts: set[str] = set()


class Recorder:
    """One per process. No method raises for what capture cannot do: it warns, once."""

    def __init__(self, settings: Settings, *, side: str = "client") -> None:
        """Make the recorder of this process; nothing is written before the first event."""
        self.settings = settings
        self.side = side
        self.pid = os.getpid()
        self.host = platform.node()
        self.session = session_token(self.host, self.pid, now_ns())
        # A server's journals lie apart: a client on the same machine journals the same calls.
        self.directory = settings.directory / SERVER if side == "server" else settings.directory
        self._runs: dict[str, RunState] = {}
        self._lock = threading.RLock()
        self._warned = False
        self.collecting = CollectorBridge(self)
        self._ranked = "rank" in self.collecting.ranks
        self.on_late_event: Callable[[str], None] | None = None

    # -- events ------------------------------------------------------------------------

    def record(self, run_id: str, cls: type[Event], *fields: Any, store: Any = None) -> None:
        """Write one event of a run; ``store`` is where its document will be delivered to."""
        state = self.state(run_id)
        if store is not None:
            state.store = store
        state.dirty = True
        self._append(state, cls, *fields)
        if not (state.measured or state.terminal) and self.collecting.trains(cls, fields):
            state.measured = True
            self._collect(self.collecting.begin, run_id)
        if state.terminal and self.on_late_event is not None:
            self.on_late_event(run_id)

    def _append(self, state: RunState, cls: type[Event], *fields: Any) -> None:
        try:
            state.writer.append(cls, *fields)
        except Exception as error:  # noqa: BLE001 - provenance must never break the training
            state.suspect = True
            self.warn(error)

    def record_metric(self, run_id: str, metric: Any, store: Any) -> None:
        """Write one event with one point, as ``record_metrics`` does: by far the commonest call.

        What is cold in the processor's caches costs most here, so the usual case, a bare point
        whose context is beyond doubt, takes the shortest way.
        """
        try:
            state = self._runs.get(run_id)
            scope = contexts.current.get()
            path = scope.runs.get(run_id) if scope is not None else ()
            held = metric.__dict__
            if (
                state is None
                or state.terminal
                or (self._ranked and not state.measured)
                or path is None
                or (scope is None and state.contexts.any)
                or STAMP in held
                or held.get("_model_id")
                or held.get("_dataset_name")
            ):
                self.record_metrics(run_id, (metric,), store)
                return
            state.store, state.dirty = store, True
            value, step = float(metric.value), metric.step or 0
            paths = [path] if path else ()
            state.writer.append(
                MetricsLogged, [metric.key], [value], [metric.timestamp], [step], paths
            )
        except Exception as error:  # noqa: BLE001 - provenance must never break the training
            self.suspect(run_id)
            self.warn(error)

    def record_metrics(self, run_id: str, metrics: Sequence[Any], store: Any) -> None:
        """Write one event with the points of one call: MLflow ``Metric`` objects, at least one."""
        try:
            fields = self._points(run_id, metrics)
        except Exception as error:  # noqa: BLE001 - provenance must never break the training
            self.state(run_id).suspect = True
            self.warn(error)
            return
        self.record(run_id, MetricsLogged, *fields, store=store)

    def _points(self, run_id: str, metrics: Sequence[Any]) -> tuple[Any, ...]:
        """Give the columns of an event; those at the end that hold nothing are left out."""
        if contexts.current.get() is not None:
            self.enter_contexts(run_id)
        columns = (
            [m.key for m in metrics],
            [float(m.value) for m in metrics],
            [m.timestamp for m in metrics],
            [m.step or 0 for m in metrics],
        )
        here = self.context_path(run_id, columns[0][0])
        paths = [m.__dict__.get(STAMP, here) for m in metrics]
        models = [m.__dict__.get("_model_id") for m in metrics]
        names = [m.__dict__.get("_dataset_name") for m in metrics]
        linked = any(models) or any(names)
        if not linked and not any(paths):
            return columns
        distinct = list(dict.fromkeys(paths))
        position = {path: index for index, path in enumerate(distinct)}
        indices = [position[path] for path in paths] if len(distinct) > 1 else None
        if not linked:
            return (*columns, distinct, indices)
        datasets = [n and (n, m.dataset_digest) for n, m in zip(names, metrics, strict=True)]
        return (
            *columns,
            distinct,
            indices,
            models if any(models) else None,
            datasets if any(names) else None,
        )

    def suspect(self, run_id: str) -> None:
        """Note that a call failed and may have left some of its work in the store."""
        with self._lock:
            if run_id in self._runs:
                self._runs[run_id].suspect = self._runs[run_id].dirty = True

    # -- runs --------------------------------------------------------------------------

    def state(self, run_id: str) -> RunState:
        """Give what is known of a run; the first time, its session starts."""
        state = self._runs.get(run_id)
        if state is not None:
            return state
        with self._lock:
            state = self._runs.get(run_id)
            if state is None:
                folder = JournalDirectory(self.directory, run_id)
                session = self.session
                if os.path.exists(folder.file(session)):  # this process had forgotten the run
                    session = session_token(self.host, self.pid, now_ns())
                state = RunState(JournalWriter(folder, session))
                self._collect(self.collecting.look)
                self._append(state, SessionStarted, self._session_facts())
                self._runs[run_id] = state
                self._add_facts(state)
                self._forget()
            return state

    def runs(self) -> dict[str, RunState]:
        """Give the runs that this process wrote to."""
        with self._lock:
            return dict(self._runs)

    def get(self, run_id: str) -> RunState | None:
        """Give what is known of a run; None if this process did not write to it."""
        return self._runs.get(run_id)

    def _forget(self) -> None:
        """Forget runs that are over, so that a server does not grow for ever."""
        excess = len(self._runs) - _MOST_KNOWN
        if excess <= 0:
            return
        over = (
            run_id
            for run_id, state in self._runs.items()
            if (state.terminal and not state.dirty) or state.store is None
        )
        for run_id in list(itertools.islice(over, excess)):
            self._runs.pop(run_id).writer.close()

    def forked(self) -> None:
        """Close the files in a child process, whose recorder is another."""
        for state in self._runs.values():
            state.writer.close_in_child()
        self.collecting.forked()

    # -- contexts ----------------------------------------------------------------------

    def enter_contexts(self, run_id: str) -> None:
        """Record the contexts around the caller that the run has not been told of."""
        if contexts.current.get() is None:
            return
        for scope in contexts.unrecorded(run_id):
            scope.runs[run_id] = path = scope.path(run_id)
            self.record(run_id, ContextEntered, path)
            if (state := self._runs.get(run_id)) is not None:
                state.contexts.enter(path)
                self.collecting.mark(run_id)

    def leave(self, scope: contexts.Scope, *, failed: bool) -> None:
        """Record that a scope was left; one that no run ever saw leaves no trace."""
        for run_id, path in sorted(scope.runs.items()):
            if (state := self._runs.get(run_id)) is not None:
                state.contexts.leave(path)
                self.collecting.mark(run_id)
            self.record(run_id, ContextLeft, path, failed)

    def context_path(self, run_id: str, key: str = "") -> contexts.ContextPath:
        """Give the context that a call from this thread belongs to.

        A monitor's ``system/…`` metrics belong to the run: it samples through all contexts.
        """
        path = contexts.path_in(run_id)
        if path is not None:
            return path
        state = self._runs.get(run_id)
        if state is None or key.startswith("system/"):
            return ()
        return state.contexts.only()

    def stamp(self, run_id: str, metrics: Sequence[Any]) -> None:
        """Mark metrics that another thread will log with the context of this one."""
        self.enter_contexts(run_id)
        if path := self.context_path(run_id, metrics[0].key if metrics else ""):
            for metric in metrics:
                metric.__dict__[STAMP] = path

    # -- facts -------------------------------------------------------------------------

    def add_facts(self, wait_s: float = 0.0) -> None:
        """Write what the collectors found to every run that lacks it, after a bounded wait."""
        if wait_s:
            self.collecting.wait(wait_s)
        with self._lock:
            for state in self._runs.values():
                self._add_facts(state)

    def _add_facts(self, state: RunState) -> None:
        for name, facts in list(self.collecting.facts.items()):
            if name in state.facts:
                continue
            state.facts.add(name)
            state.dirty = True
            self._append(state, FactsCollected, name, facts)
            if state.terminal and self.on_late_event is not None:
                self.on_late_event(state.writer.folder.run_id)

    def _session_facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "side": self.side,
            "pid": self.pid,
            "host": self.host,
            "argv": list(sys.argv),
            "python": platform.python_version(),
            "yprov_mlflow": _version("yprov-mlflow"),
            "mlflow": _version("mlflow") or _version("mlflow-skinny"),
        }
        try:
            facts["cwd"] = str(Path.cwd())
            facts["user"] = getpass.getuser()
        except (OSError, KeyError):  # a removed folder, a uid without a name
            pass
        if self.settings.embodied_g is not None:
            facts["embodied_g"] = self.settings.embodied_g
        return {**facts, **self.collecting.ranks}

    def _collect(self, act: Callable[..., None], *arguments: Any) -> None:
        """Have the collectors do something; without them the rest is captured."""
        try:
            act(*arguments)
        except Exception as error:  # noqa: BLE001 - provenance must never break the training
            self.warn(error)

    def finish(self, run_id: str) -> None:
        """Have a run's last samples taken: before the event that says that it has ended."""
        state = self._runs.get(run_id)
        if state is not None and state.measured:
            state.measured = False
            self._collect(self.collecting.finish, run_id)

    def write_aside(self, run_id: str, cls: type[Event], *fields: Any) -> None:
        """Write an event that this process made of itself, to a run that it writes to."""
        state = self._runs.get(run_id)
        if state is not None:
            state.dirty = True
            self._append(state, cls, *fields)

    # -- trouble -----------------------------------------------------------------------

    def note(self, error: BaseException) -> None:
        """Keep for debugging what went wrong without loss."""
        _LOGGER.debug("capture", exc_info=error)

    def complain(self, message: str) -> None:
        """Say something to the user that costs nothing but what it is about."""
        _LOGGER.warning("%s", message)

    def warn(self, error: BaseException) -> None:
        """Say once that capture failed; the run goes on as under plain MLflow."""
        self.note(error)
        if self._warned:
            return
        self._warned = True
        _LOGGER.warning(
            "Provenance capture failed (%s: %s). The run itself is not affected and goes on; "
            "what MLflow holds will be read back from it where possible. This is said once; "
            "set the log level of 'yprov_mlflow' to DEBUG for the rest.",
            type(error).__name__,
            error,
        )


STAMP = "_yprov_context"
"""Attribute of a queued metric: where it was logged, as its queue's thread cannot know."""


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
