"""The thread that writes documents, so that no run waits for its document for long.

A run that ends has its end in the journal; its document is *promised*: this thread writes it, reads
of the run's artifacts through MLflow in this process wait for it, and so does the exit. The thread
imports the translator and formats (0.3 s) while the first run works. Nothing is imported here that
takes time.
"""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import tempfile
import threading
import time
from typing import Any, NamedTuple

from yprov_mlflow.prov.capture import call_queue, mlflow_private, session
from yprov_mlflow.prov.capture.session import SETTLE, CaptureSession, is_in_memory
from yprov_mlflow.prov.capture.switch import LOGGER, Boundary
from yprov_mlflow.prov.collectors import ranks
from yprov_mlflow.prov.ids import store_of

SERVER_WAIT_S = 5.0  # how long the end of a run waits in a server, where a client waits as well
TEMPORARY_WAIT_S = 10.0  # the same if the run is in a folder for temporary files
READ_WAIT_S = 10.0  # how long a read of artifacts waits
TIMEOUT_S = 20.0  # how long the exit waits for a document; ``recover`` writes later ones
UNFINISHED_TIMEOUT_S = 5.0  # the same if someone has waited in vain already
SETTLE_TIMEOUT_S = 5.0  # how long the exit waits for the owners of spans without a trace
FORK_WAIT_S = 0.5  # how long a fork waits for a document that is being written
PRELOAD_DELAY_S = 1.0  # how long after the start of the first run the imports begin
QUIET_S = 2.0  # how long a finished run must be quiet before late events make a new document
MAX_LATE_S = 20.0  # after how long they do if it is never quiet
MOST_PROMISED = 50  # documents after which ends wait for the oldest of them
_LONG_S = 1.0  # an end that waited longer in vain is reported


class _Late(NamedTuple):
    """When the first and the last of a run's late events came."""

    first: float
    last: float

    def due(self) -> float:
        """Return when the run needs a look."""
        return min(self.last + QUIET_S, self.first + MAX_LATE_S)


class DocumentThread:
    """One daemon thread that writes the documents of a process, in the order of the ends."""

    def __init__(self, capture: CaptureSession) -> None:
        self.capture = capture
        # Whether a wait was in vain: a store that did not answer at the end of one run will not
        # answer at the end of the next.
        self.stuck = False
        self.warned = False
        self._jobs: queue.SimpleQueue[tuple[str | None, threading.Event]] = queue.SimpleQueue()
        self._promised: dict[str, threading.Event] = {}  # by run
        self._writing: str | None = None  # the run whose document is being written
        self._late: dict[str, _Late] = {}
        self._loaded = False
        # Reentrant, as a signal handler may log a late event.
        self._lock = threading.RLock()
        threading.Thread(target=self._work, name="yprov-delivery", daemon=True).start()

    def promise(self, run_id: str) -> None:
        """Have the document of a run written, after those that were promised before."""
        done = self._promised[run_id] = threading.Event()
        self._jobs.put((run_id, done))

    def wait(self, run_id: str, timeout_s: float) -> bool:
        """Return whether a run's document is written, after a wait for it if it is promised."""
        done = self._promised.get(run_id)
        if done is None or done.wait(0.0 if self.stuck else timeout_s):
            return True
        self.stuck = self.stuck or timeout_s >= _LONG_S
        return False

    def finish(self, timeout_s: float) -> list[str]:
        """Wait for all documents, but not longer for one; return the runs that lack theirs."""
        promised = dict(self._promised)
        all(done.wait(timeout_s) for done in promised.values())  # stops at the first timeout
        return [run_id for run_id, done in promised.items() if not done.is_set()]

    def catch_up(self) -> None:
        """Wait for the oldest document if runs end faster than documents are written."""
        promised = list(self._promised.values())
        if len(promised) > MOST_PROMISED and not self.stuck:
            self.stuck = not promised[0].wait(_LONG_S)

    def deliver_later(self, run_id: str) -> None:
        """Have a look at a run once it has been quiet for a while."""
        now = time.monotonic()
        with self._lock:
            earlier = self._late.get(run_id)
            self._late[run_id] = _Late(earlier.first if earlier else now, now)
        if earlier is None:
            self._jobs.put((None, threading.Event()))  # wakes the thread for a new timeout

    def is_promised(self, run_id: str) -> bool:
        """Return whether a document is promised, and will have all events so far."""
        return run_id in self._promised and run_id != self._writing

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

    # -- in the thread ------------------------------------------------------------------

    def _work(self) -> None:
        self.capture.guard.here.off = True
        timeout_s: float | None = PRELOAD_DELAY_S
        while True:
            try:
                run_id, done = self._jobs.get(timeout=timeout_s)
            except queue.Empty:
                run_id, done = None, threading.Event()
                with _working, Boundary(self.capture.recorder.note):
                    self._preload()
            if run_id is not None:
                self._writing = run_id
                self._do(run_id, late=False)
                self._writing = None
                if self._promised.get(run_id) is done:
                    del self._promised[run_id]
            done.set()
            due, timeout_s = self._due()
            for late in due:
                self._do(late, late=True)
            if timeout_s is None and not self._loaded:
                timeout_s = PRELOAD_DELAY_S
            self.stuck = False

    def _preload(self) -> None:
        if not self._loaded:
            self._loaded = True
            _delivery().preload()

    def _do(self, run_id: str, *, late: bool) -> None:
        if run_id == SETTLE:
            with self.capture.recorder.warn_only():
                self.capture.settle()
            return
        with _working:
            self._loaded = True
            write_document(self.capture, run_id, late=late)


def write_document(capture: CaptureSession, run_id: str, *, late: bool = False) -> None:
    """Write a run's document in this thread; log a warning if that fails."""
    delivery = _delivery()
    with Boundary(lambda error: delivery.warn_failed(run_id, error)):
        (delivery.deliver_late if late else delivery.deliver_now)(capture, run_id)


def _delivery() -> Any:
    # Imported where a document is written: it loads the translator and the formats (0.3 s).
    from yprov_mlflow.prov.capture import delivery

    return delivery


# -- what others ask of the thread -------------------------------------------------------------


def prepare(capture: CaptureSession) -> None:
    """Start the thread with the first run, so that its imports are made while the run works."""
    if capture.document_thread is None:
        with contextlib.suppress(RuntimeError):
            _thread(capture)


def _thread(capture: CaptureSession) -> DocumentThread:
    # From Python 3.12 on, no thread can be started while a process exits: RuntimeError.
    with capture.lock:
        if capture.document_thread is None:
            capture.document_thread = DocumentThread(capture)
            _finish_before_executors()
        thread: DocumentThread = capture.document_thread
        return thread


@functools.cache
def _finish_before_executors() -> None:
    """Wait for promised documents before the exit ends the thread pools that uploads may use.

    Functions of ``atexit`` run after that, and not at all in processes of multiprocessing.
    """
    with contextlib.suppress(KeyError, RuntimeError):
        register: Any = vars(threading)["_register_atexit"]  # Python's own thread pools use it
        register(_finish_promised)


def _finish_promised() -> None:
    if (capture := session.existing) is None:
        return
    if capture.one_run is not None:
        capture.one_run.finish()
    thread: DocumentThread | None = capture.document_thread
    if thread is not None:
        timeout_s = UNFINISHED_TIMEOUT_S if thread.stuck else TIMEOUT_S
        thread.stuck = bool(thread.finish(timeout_s)) or thread.stuck


def deliver(capture: CaptureSession, run_id: str) -> None:
    """Have a run's document written, and wait for it as long as the settings say."""
    state = capture.recorder.get(run_id)
    thread = None
    if state is None or not is_in_memory(mlflow_private.store_uri(state.store)):
        with contextlib.suppress(RuntimeError):
            thread = _thread(capture)
    if thread is None:
        with capture.uncaptured():
            write_document(capture, run_id)
        return
    thread.promise(run_id)
    parent = capture.recorder.get(state.parent) if state is not None and state.parent else None
    wait_s = _end_wait_s(capture, run_id)
    # The runs of a sweep do not wait for their own document: their parent goes on.
    if parent is not None and not parent.terminal and wait_s < _LONG_S:
        thread.catch_up()
    elif not thread.wait(run_id, wait_s) and wait_s >= _LONG_S:
        _warn_unfinished(thread, [run_id])


def _end_wait_s(capture: CaptureSession, run_id: str) -> float:
    config = capture.recorder.settings
    if capture.server:
        return SERVER_WAIT_S
    if config.origin.get("end_wait_s") != "default":
        return config.end_wait_s
    # A program may remove such a folder as soon as its run has ended: it would fail if a document
    # came in between.
    temporary = f"{os.path.realpath(tempfile.gettempdir())}/"
    is_temporary = any(
        os.path.realpath(path).startswith(temporary) for path in capture.local_folders(run_id)
    )
    return TEMPORARY_WAIT_S if is_temporary else config.end_wait_s


def wait(capture: CaptureSession, run_id: str | None = None) -> None:
    """Wait for the promised document of a run, or of all runs, before a call that may need it."""
    thread: DocumentThread | None = capture.document_thread
    if thread is not None and not capture.guard.here.off:
        if run_id is not None:
            thread.wait(run_id, READ_WAIT_S)
        elif not thread.stuck:
            thread.finish(READ_WAIT_S)


def deliver_later(capture: CaptureSession, run_id: str) -> None:
    """Write the document of a run that has ended again, once the run has been quiet for a while."""
    state = capture.recorder.get(run_id)
    # Other threads do not see a database in memory, and a store has no end.
    if not (store_of(run_id) or (state and is_in_memory(mlflow_private.store_uri(state.store)))):
        _thread(capture).deliver_later(run_id)


def _warn_unfinished(thread: DocumentThread, run_ids: list[str]) -> None:
    """Log, once, a warning about documents that are not written."""
    if thread.warned:
        return
    thread.warned = True
    more = f" and {len(run_ids) - 1} more runs" if len(run_ids) > 1 else ""
    LOGGER.warning(
        "The provenance of run %s%s is not written yet, as its store does not answer or the run "
        "is large. It follows as soon as possible. If the process ends before, "
        "`yprov-mlflow recover` writes what is missing from the journals.",
        run_ids[0],
        more,
    )


def at_exit(capture: CaptureSession, exception: str | None = None) -> None:
    """Write the documents of all runs with events since their last one, within time limits.

    Args:
        capture: The session of the process.
        exception: Name of the exception that ended the program, if one did.
    """
    if capture.one_run is not None:
        capture.one_run.finish()
    capture.recorder.note_exit(exception)
    end_s = time.monotonic() + TIMEOUT_S
    if capture.queues:
        call_queue.settle_at_exit(capture, TIMEOUT_S / 2)
    for run_id in capture.recorder.runs():
        with capture.recorder.warn_only():  # no run may cost another its document
            capture.recorder.finish(run_id)
            capture.publisher.finish(run_id, max(0.0, end_s - time.monotonic()))
    # In a thread, as the store may not answer. A server has journaled these spans already.
    if capture.early_spans and not capture.server:
        with contextlib.suppress(RuntimeError):
            _thread(capture).promise(SETTLE)
            capture.document_thread.wait(SETTLE, SETTLE_TIMEOUT_S)
    # Of a run of several ranks, the one that created it writes the one document for all.
    others = bool(ranks.collect().get("rank"))
    for run_id, state in capture.recorder.runs().items():
        if not state.dirty or state.store is None or store_of(run_id):
            continue
        thread: DocumentThread | None = capture.document_thread
        if thread is not None and thread.is_promised(run_id):
            continue
        if state.created or not others or (thread is not None and thread.is_late(run_id)):
            deliver(capture, run_id)
    _finish(capture)
    if capture.outbox is not None:
        capture.outbox.finish()
    capture.recorder.heartbeat.stop()


def _finish(capture: CaptureSession) -> None:
    """Wait for promised documents, and log a warning if some are not written."""
    thread: DocumentThread | None = capture.document_thread
    if thread is not None:
        timeout_s = UNFINISHED_TIMEOUT_S if thread.stuck else TIMEOUT_S
        if unfinished := thread.finish(timeout_s):
            _warn_unfinished(thread, unfinished)


# -- forks -------------------------------------------------------------------------------------

# Held while modules are imported or a document is written: a child that is forked meanwhile would
# inherit locks, such as those of imports, that no thread of it ever releases.
_working = threading.RLock()
_held_for_fork = threading.local()


def _before_fork() -> None:
    _held_for_fork.lock = _working.acquire(timeout=FORK_WAIT_S)


def _after_fork_in_parent() -> None:
    if getattr(_held_for_fork, "lock", False):
        _working.release()


def _after_fork_in_child() -> None:
    global _working
    _working = threading.RLock()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)
