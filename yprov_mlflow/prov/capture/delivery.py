"""Delivery of documents to the artifacts of their runs: at the end of a run, at exit, on demand.

The document of a store, which is not a run, goes to the state folder (``recover``).
"""

from __future__ import annotations

import contextlib
import functools
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from yprov_mlflow.prov.capture import mlflow_private
from yprov_mlflow.prov.capture.backfill import StoreBackfill
from yprov_mlflow.prov.capture.open_runs import RunState
from yprov_mlflow.prov.capture.run_artifacts import RunArtifacts
from yprov_mlflow.prov.capture.run_document import Written, write_document
from yprov_mlflow.prov.capture.session import SETTLE, CaptureSession
from yprov_mlflow.prov.capture.sinks import Delivery, Outbox
from yprov_mlflow.prov.capture.switch import LOGGER, Boundary
from yprov_mlflow.prov.collectors import ranks
from yprov_mlflow.prov.errors import first_line
from yprov_mlflow.prov.events import TERMINAL
from yprov_mlflow.prov.graph import handover
from yprov_mlflow.prov.ids import store_of
from yprov_mlflow.prov.journal import JournalDirectory
from yprov_mlflow.prov.layout import KEPT_CODE, PRIVATE_FILE
from yprov_mlflow.prov.redaction import redact
from yprov_mlflow.prov.settings import OFF

END_TIMEOUT_S = 10.0  # how long the end of a run waits; then the document follows meanwhile
SERVER_TIMEOUT_S = 5.0  # the same in a server, where a client waits for the response
UNFINISHED_TIMEOUT_S = 10.0  # how long the exit waits for such a document
TIMEOUT_S = 30.0  # how long the exit waits for all documents; ``recover`` writes later ones
SETTLE_TIMEOUT_S = 5.0  # how long the exit waits for the owners of spans without a trace
FACTS_TIMEOUT_S = 2.0  # how long a document waits for the first facts of collectors
QUIET_S = 2.0  # how long a finished run must be quiet before late events make a new document
MAX_LATE_S = 20.0  # after how long they do if it is never quiet
LOCK_TIMEOUT_S = 60.0  # how long one process waits for another that writes the same document


Send = Callable[[JournalDirectory, Delivery], None]
"""Sends the document of a finished run to sinks."""


class _Late(NamedTuple):
    """When the first and the last of a run's late events came."""

    first: float
    last: float

    def due(self) -> float:
        """Return when the run needs a look."""
        return min(self.last + QUIET_S, self.first + MAX_LATE_S)


# -- the thread ----------------------------------------------------------------------------


class _DeliveryWorker:
    """One daemon thread that writes documents, so that a run waits for one only so long."""

    def __init__(self, capture: CaptureSession) -> None:
        self.capture = capture
        self._jobs: queue.SimpleQueue[tuple[str | None, threading.Event]] = queue.SimpleQueue()
        self._late: dict[str, _Late] = {}
        # Reentrant, as a signal handler may log a late event.
        self._lock = threading.RLock()
        self.stuck = False
        self._unfinished = threading.Event()  # set once the last document that took long is written
        self._unfinished.set()
        threading.Thread(target=self._work, name="yprov-delivery", daemon=True).start()

    def deliver(self, run_id: str, timeout_s: float) -> bool:
        """Have a document written, and return whether it was written in time.

        After a timeout, later calls do not wait until the thread is free again: a store that did
        not answer at the end of one run will not answer at the end of the next.
        """
        done = threading.Event()
        self._jobs.put((run_id, done))
        if done.wait(0.0 if self.stuck else timeout_s):
            return True
        self.stuck, self._unfinished = True, done
        return False

    def finish(self, timeout_s: float) -> None:
        """Wait for documents that were not written in time."""
        self._unfinished.wait(timeout_s)

    def deliver_later(self, run_id: str) -> None:
        """Have a look at a run once it has been quiet for a while."""
        now = time.monotonic()
        with self._lock:
            earlier = self._late.get(run_id)
            self._late[run_id] = _Late(earlier.first if earlier else now, now)
        if earlier is None:
            self._jobs.put((None, threading.Event()))  # wakes the thread for a new timeout

    def is_late(self, run_id: str) -> bool:
        """Return whether a run waits for a look."""
        return run_id in self._late

    def _due(self) -> tuple[list[str], float | None]:
        """Return the late runs that are due, and the seconds until the next one is."""
        now = time.monotonic()
        with self._lock:
            due = [run_id for run_id, late in self._late.items() if late.due() <= now]
            for run_id in due:
                del self._late[run_id]
            next_ = min((late.due() for late in self._late.values()), default=None)
        return due, None if next_ is None else max(0.0, next_ - now)

    def _work(self) -> None:
        self.capture.guard.here.off = True
        timeout_s: float | None = None
        while True:
            try:
                run_id, done = self._jobs.get(timeout=timeout_s)
            except queue.Empty:
                run_id, done = None, threading.Event()
            if run_id is not None:
                self._do(run_id, _deliver_now)
            done.set()
            due, timeout_s = self._due()
            for late in due:
                self._do(late, _deliver_late)
            self.stuck = False

    def _do(self, run_id: str, deliver: Callable[[CaptureSession, str], object]) -> None:
        if run_id == SETTLE:
            with self.capture.recorder.warn_only():
                self.capture.settle()
        else:
            with Boundary(functools.partial(_warn_failed, run_id)):
                deliver(self.capture, run_id)


def deliver_later(capture: CaptureSession, run_id: str) -> None:
    """Write the document of a run that has ended again, once the run has been quiet for a while."""
    state = capture.recorder.get(run_id)
    # Other threads do not see a database in memory, and a store has no end.
    if not (store_of(run_id) or (state and _is_in_memory(mlflow_private.store_uri(state.store)))):
        _worker(capture).deliver_later(run_id)


def _worker(capture: CaptureSession) -> _DeliveryWorker:
    with capture.lock:
        if capture.delivery_worker is None:
            capture.delivery_worker = _DeliveryWorker(capture)
        return capture.delivery_worker


def deliver(capture: CaptureSession, run_id: str, timeout_s: float = END_TIMEOUT_S) -> None:
    """Write a run's document to its artifacts, and wait for it, but not for long."""
    state = capture.recorder.get(run_id)
    worker = None
    if state is None or not _is_in_memory(mlflow_private.store_uri(state.store)):
        # From Python 3.12 on, no thread can be started while a process exits.
        with contextlib.suppress(RuntimeError):
            worker = _worker(capture)
    if worker is None:
        with Boundary(functools.partial(_warn_failed, run_id)), capture.uncaptured():
            _deliver_now(capture, run_id)
        return
    timeout_s = min(timeout_s, SERVER_TIMEOUT_S) if capture.server else timeout_s
    was_stuck = worker.stuck
    if not worker.deliver(run_id, timeout_s) and not was_stuck:
        LOGGER.warning(
            "The provenance of run %s is not written yet, as its store does not answer or the run "
            "is large. It and that of later runs follow as soon as possible. If the process ends "
            "before, `yprov-mlflow recover` writes what is missing from the journals.",
            run_id,
        )


def _warn_failed(run_id: str, error: Exception) -> None:
    LOGGER.debug("delivery", exc_info=error)
    LOGGER.warning(
        "The provenance of run %s could not be written (%s: %s). Once the cause is removed, "
        "`yprov-mlflow recover --run %s` writes it from the journal.",
        run_id,
        type(error).__name__,
        redact(first_line(error)),
        run_id,
    )


def _is_in_memory(uri: object) -> bool:
    """Return whether a store is an SQLite database in memory, which other threads do not see."""
    text = str(uri)
    return text.startswith("sqlite:") and (":memory:" in text or text == "sqlite://")


def at_exit(capture: CaptureSession) -> None:
    """Write the documents of all runs with events since their last one, within one timeout."""
    end = time.monotonic() + TIMEOUT_S
    for run_id in capture.recorder.runs():
        with capture.recorder.warn_only():  # no run may cost another its document
            capture.recorder.finish(run_id)
            capture.publisher.finish(run_id, max(0.0, end - time.monotonic()))
    # In a thread, as the store may not answer. A server has journaled these spans already.
    if capture.early_spans and not capture.server:
        with contextlib.suppress(RuntimeError):
            _worker(capture).deliver(SETTLE, SETTLE_TIMEOUT_S)
    # Of a run of several ranks, the one that created it writes the one document for all.
    others = bool(ranks.collect().get("rank"))
    worker = capture.delivery_worker
    for run_id, state in capture.recorder.runs().items():
        if not state.dirty or state.store is None or store_of(run_id):
            continue
        if state.created or not others or (worker is not None and worker.is_late(run_id)):
            deliver(capture, run_id, max(0.0, end - time.monotonic()))
    if capture.delivery_worker is not None:
        left_s = max(0.0, end - time.monotonic())
        capture.delivery_worker.finish(min(UNFINISHED_TIMEOUT_S, left_s))
    if capture.outbox is not None:
        capture.outbox.finish()


# -- one document --------------------------------------------------------------------------


def _deliver_late(capture: CaptureSession, run_id: str) -> None:
    """Write the document of a run that has ended, if its journals have more than the last one.

    Each process looks after its own events, whichever process has ended the run: so the last
    event of all is followed by a look, and the document has it.
    """
    state = capture.recorder.state(run_id)
    if state.store is None:
        return
    folder = own_folder(capture, run_id, state)
    is_written = folder.sizes() == state.delivered or folder.is_current()
    if is_written and not (state.suspect or folder.unsaved):
        state.dirty = False
    elif _is_over(capture, folder, state):
        _deliver_now(capture, run_id)


def _is_over(capture: CaptureSession, folder: JournalDirectory, state: RunState) -> bool:
    """Return whether a run has ended; other processes may have ended or resumed it."""
    is_alone = len(folder.files()) < 2
    if is_alone and (state.terminal or state.created):
        return state.terminal
    run = capture.ask(state.store.get_run, folder.run_id)
    is_over = run is not None and run.info.status in TERMINAL
    if not is_over:
        capture.recorder.goes_on(state)
    return is_over


def _deliver_now(capture: CaptureSession, run_id: str) -> None:
    """Write one run's document from all its journals, in this thread."""
    state = capture.recorder.state(run_id)
    capture.recorder.add_facts(wait_s=FACTS_TIMEOUT_S)
    if state.store is None:
        return
    # Reset first: events that are appended meanwhile must make the run dirty again.
    state.dirty = False
    with contextlib.ExitStack() as failed:
        failed.callback(setattr, state, "dirty", True)
        folder = own_folder(capture, run_id, state)
        written = write(capture, folder, state.store, state.suspect, _outbox(capture))
        state.delivered = written.sizes
        if written.damaged and not state.damaged:
            state.damaged = True
            LOGGER.warning(
                "The journal of run %s is damaged, and its document may be partial: %s. "
                "This is logged once for each run.",
                run_id,
                "; ".join(written.problems),
            )
        failed.pop_all()
    if state.terminal:
        state.writer.close()
    # Another process notices the end within a second, and reports only what comes after.
    if state.terminal and len(written.sizes) > 1 and (worker := capture.delivery_worker):
        worker.deliver_later(run_id)


def own_folder(capture: CaptureSession, run_id: str, state: RunState) -> JournalDirectory:
    """Return the journals of a run of this process, and the events that they lack."""
    with capture.recorder.warn_only(state):
        state.writer.flush()
    unsaved = {state.writer.session: data} if (data := state.writer.unsaved()) else {}
    return JournalDirectory(capture.recorder.directory, run_id, unsaved)


def _outbox(capture: CaptureSession) -> Send | None:
    """Return the function that has documents sent to sinks, if the settings name any."""
    names = capture.recorder.settings.sinks
    if names and capture.outbox is None:
        # From Python 3.12 on, no thread can be started while a process exits: recover sends it.
        with contextlib.suppress(RuntimeError):
            capture.outbox = Outbox(names)
    return capture.outbox.put if capture.outbox else None


def write(
    capture: CaptureSession,
    folder: JournalDirectory,
    store: Any,
    thorough: bool,
    send: Send | None = None,
) -> Written:
    """Write a run's document, upload it to its artifacts, and ``send`` it if the run has ended."""
    with locked(folder), document(capture, folder, store, thorough) as (artifacts, written):
        if capture.server and folder.is_by_client():
            return written
        # Recover is thorough: it may see less than the client that wrote the run's document.
        if (thorough or written.joined or written.problems) and not folder.delivered():
            artifacts.keep_earlier()
        put_code(capture, artifacts, written)
        artifacts.put(written.files)
        # Without the mark, recover writes the document again.
        with contextlib.suppress(OSError):
            folder.mark_delivered(written.sizes, capture.recorder.journaled_uri(store))
        hand_over(capture, folder.run_id, written.files[-1])
        if send is not None and artifacts.run.info.status in TERMINAL:
            uri = capture.recorder.journaled_uri(store)
            # Without a copy, recover sends the document.
            with contextlib.suppress(OSError):
                send(folder, Delivery(folder.run_id, uri, written.files[-1], written.files))
    return written


def hand_over(capture: CaptureSession, run_id: str, document: Path) -> None:
    """Leave a document for the index, if the settings allow it."""
    config = capture.recorder.settings
    if config.index != OFF:
        # `yprov-mlflow index` adds what could not be left.
        with contextlib.suppress(OSError):
            handover.hand_over(config.index_folder, run_id, document.read_bytes())


def put_code(capture: CaptureSession, artifacts: RunArtifacts, written: Written) -> None:
    """Upload the kept code of a run, unless this process has done so before."""
    run_id, paths = artifacts.run.info.run_id, frozenset(written.kept.files)
    if not paths or capture.uploaded_code.get(run_id) == paths:
        return
    if (root := written.kept.copy_to(written.files[-1].parent)) is not None:
        artifacts.put_folder(root, KEPT_CODE)
        capture.uploaded_code[run_id] = paths


@contextlib.contextmanager
def document(
    capture: CaptureSession, folder: JournalDirectory, store: Any, thorough: bool
) -> Iterator[tuple[RunArtifacts, Written]]:
    """Write a run's document to a temporary folder; yield the run's artifacts and the result."""
    artifacts = RunArtifacts(store, store.get_run(folder.run_id))
    backfill = StoreBackfill(capture, artifacts, folder, thorough)
    with tempfile.TemporaryDirectory(prefix="yprov-") as out:
        yield artifacts, write_document(folder, Path(out), capture.recorder.settings, backfill)


@contextlib.contextmanager
def locked(folder: JournalDirectory) -> Iterator[None]:
    """Let one process at a time write a run's document."""
    with contextlib.ExitStack() as stack:
        # Without a journal folder, the document is made from the store alone. A lock that cannot
        # be opened, as in a folder that is read-only or without locks, or that a process holds
        # which hangs, must not cost a run its document.
        if folder.path.is_dir():
            with contextlib.suppress(OSError, NotImplementedError):
                lock = FileLock(folder.lock, LOCK_TIMEOUT_S, mode=PRIVATE_FILE)
                stack.enter_context(lock)
        yield
