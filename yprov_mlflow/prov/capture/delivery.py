"""Delivery of documents to the artifacts of their runs: at the end of a run, at exit, on demand.

The document of a store, which is not a run, goes to the state folder (``recover``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from yprov_mlflow.prov.capture import call_queue
from yprov_mlflow.prov.capture.backfill import StoreBackfill
from yprov_mlflow.prov.capture.open_runs import RunState
from yprov_mlflow.prov.capture.run_artifacts import RunArtifacts
from yprov_mlflow.prov.capture.run_document import Written, write_document
from yprov_mlflow.prov.capture.session import CaptureSession
from yprov_mlflow.prov.capture.sinks import Delivery, Outbox
from yprov_mlflow.prov.capture.switch import LOGGER
from yprov_mlflow.prov.errors import first_line
from yprov_mlflow.prov.events import TERMINAL
from yprov_mlflow.prov.formats.metric_files import SERIES
from yprov_mlflow.prov.graph import handover
from yprov_mlflow.prov.journal import JournalDirectory
from yprov_mlflow.prov.layout import KEPT_CODE, PRIVATE_FILE, temporary_folder
from yprov_mlflow.prov.redaction import redact
from yprov_mlflow.prov.setting_values import OFF

CALLS_TIMEOUT_S = 10.0  # how long a document waits for calls that are written later
FACTS_TIMEOUT_S = 2.0  # how long a document waits for the first facts of collectors
LOCK_TIMEOUT_S = 60.0  # how long one process waits for another that writes the same document


Send = Callable[[JournalDirectory, Delivery], None]
"""Sends the document of a finished run to sinks."""


def preload() -> None:
    """Import the modules that the first document needs besides this one."""
    SERIES["parquet"].codec()


def warn_failed(run_id: str, error: Exception) -> None:
    """Log a warning that a run's document could not be written."""
    LOGGER.debug("delivery", exc_info=error)
    LOGGER.warning(
        "The provenance of run %s could not be written (%s: %s). Once the cause is removed, "
        "`yprov-mlflow recover --run %s` writes it from the journal.",
        run_id,
        type(error).__name__,
        redact(first_line(error)),
        run_id,
    )


def deliver_late(capture: CaptureSession, run_id: str) -> None:
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
        deliver_now(capture, run_id)


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


def deliver_now(capture: CaptureSession, run_id: str) -> None:
    """Write one run's document from all its journals, in this thread."""
    state = capture.recorder.state(run_id)
    capture.recorder.add_facts(wait_s=FACTS_TIMEOUT_S)
    if state.store is None:
        return
    # A document of a run of which the store lacks calls would say that they were taken back.
    if not call_queue.settle(capture, run_id, CALLS_TIMEOUT_S):
        capture.queues[state.store].runs[run_id].wants_document = True
        return
    # Reset first: events that are appended meanwhile must make the run dirty again.
    state.dirty = False
    with contextlib.ExitStack() as failed:
        failed.callback(setattr, state, "dirty", True)
        folder = own_folder(capture, run_id, state)
        written = _write_in_turn(capture, folder, state)
        if written is not None:
            state.delivered = written.sizes
        if written is not None and written.damaged and not state.damaged:
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
    is_shared = written is None or len(written.sizes) > 1
    if state.terminal and is_shared and (thread := capture.document_thread):
        thread.deliver_later(run_id)


def _write_in_turn(
    capture: CaptureSession, folder: JournalDirectory, state: RunState
) -> Written | None:
    """Write a run's document, or None if another process is writing it: it does so once more.

    So a run that many ranks end at once gets a few documents, and no rank waits for another.
    """
    arguments = (capture, folder, state.store, state.suspect, _outbox(capture))
    # The events that are only in memory are in no document of another process.
    if folder.unsaved or len(folder.sizes()) < 2 or not folder.request_document():
        return write(*arguments)
    written = None
    # The request is visible before the lock is tried, and is looked for after it is released: so
    # one of the two processes sees it.
    while folder.is_document_requested():
        with _attempted_lock(folder) as is_free:
            if not is_free:
                return written
            folder.take_request()
            written = _write(*arguments)
    return written


def own_folder(capture: CaptureSession, run_id: str, state: RunState) -> JournalDirectory:
    """Return the journals of a run of this process, and the events that they lack."""
    with capture.recorder.warn_only(state):
        state.writer.flush()
    unsaved = {state.writer.session: data} if (data := state.writer.unsaved()) else {}
    return JournalDirectory(state.writer.folder.directory, run_id, unsaved)


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
    with locked(folder):
        return _write(capture, folder, store, thorough, send)


def _write(
    capture: CaptureSession,
    folder: JournalDirectory,
    store: Any,
    thorough: bool,
    send: Send | None,
) -> Written:
    with document(capture, folder, store, thorough) as (artifacts, written):
        if capture.server and folder.is_by_client():
            return written
        # Recover is thorough: it may see less than the client that wrote the run's document.
        if (thorough or written.joined or written.problems) and not folder.delivered():
            artifacts.keep_earlier()
        put_code(capture, artifacts, written)
        artifacts.put(written.files)
        # Without the mark, recover writes the document again.
        with contextlib.suppress(OSError):
            uri, ended = capture.recorder.journaled_uri(store), written.ended
            folder.mark_delivered(written.sizes, uri, ended=ended)
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
    with temporary_folder() as out:
        yield artifacts, write_document(folder, out, capture.recorder.settings, backfill)


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


@contextlib.contextmanager
def _attempted_lock(folder: JournalDirectory) -> Iterator[bool]:
    """Yield whether no other process writes the run's document; none does until the end then."""
    lock = FileLock(folder.lock, 0, mode=PRIVATE_FILE)
    with contextlib.ExitStack() as stack:
        is_free = True
        try:
            stack.enter_context(lock)
        except Timeout:
            is_free = False
        except (OSError, NotImplementedError):  # a folder without locks
            pass
        yield is_free
