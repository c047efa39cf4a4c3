"""Delivery of documents to the artifacts of their runs: at the end of a run, at exit, on demand.

The document of a store, which is not a run, goes to the state folder (``recover``).
"""

from __future__ import annotations

import contextlib
import queue
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
from filelock import FileLock
from mlflow.exceptions import MlflowException

from yprov_mlflow.prov import settings
from yprov_mlflow.prov.capture import mlflow_private
from yprov_mlflow.prov.capture import session as process
from yprov_mlflow.prov.capture.backfill import StoreBackfill
from yprov_mlflow.prov.capture.diagnosis import needs_full_mlflow
from yprov_mlflow.prov.capture.run_artifacts import RunArtifacts
from yprov_mlflow.prov.capture.run_document import Written, write_document
from yprov_mlflow.prov.capture.session import CaptureSession
from yprov_mlflow.prov.capture.switch import LOGGER
from yprov_mlflow.prov.collectors import ranks
from yprov_mlflow.prov.errors import DeliveryError, MissingExtraError, RunNotFoundError
from yprov_mlflow.prov.events import RunCreated
from yprov_mlflow.prov.ids import quote_key, store_id, store_of
from yprov_mlflow.prov.journal import JournalDirectory, JournalReader
from yprov_mlflow.prov.layout import PROV_JSON, PROVENANCE, SERVER, STORES
from yprov_mlflow.prov.redaction import redact
from yprov_mlflow.prov.uris import strip_prefix

TIMEOUT_S = 30.0  # how long the end of a run or process waits; ``recover`` writes later documents
SERVER_TIMEOUT_S = 5.0  # the same in a server, where a client waits for the response
FACTS_TIMEOUT_S = 2.0  # how long a document waits for the first facts of collectors
QUIET_S = 2.0  # how long a finished run must be quiet before late events make a new document


class Outcome(NamedTuple):
    """The result of ``recover`` for one run or store."""

    run_id: str  # or what stands for a store (``ids.store_id``)
    state: str  # "written", "current" or "failed"
    where: str  # location of a written document
    events: int  # number of events in that document
    reason: str  # of a failure, or the damaged lines of journals


# -- the thread ----------------------------------------------------------------------------


class _DeliveryWorker:
    """One daemon thread that writes documents, so that a run waits for one only so long."""

    def __init__(self, capture: CaptureSession) -> None:
        self.capture = capture
        self._jobs: queue.SimpleQueue[tuple[str, threading.Event]] = queue.SimpleQueue()
        self._late: dict[str, float] = {}
        # Reentrant, as a signal handler may log a late event.
        self._lock = threading.RLock()
        self.stuck = False
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
        self.stuck = True
        return False

    def deliver_later(self, run_id: str) -> None:
        """Deliver again once the run has been quiet for a while."""
        with self._lock:
            self._late[run_id] = time.monotonic() + QUIET_S
        self._jobs.put(("", threading.Event()))  # wakes the thread, which computes its timeout

    def _due(self) -> tuple[list[str], float | None]:
        """Return the late runs that are due, and the seconds until the next one is."""
        now = time.monotonic()
        with self._lock:
            due = [run_id for run_id, when in self._late.items() if when <= now]
            for run_id in due:
                del self._late[run_id]
            next_ = min(self._late.values(), default=None)
        return due, None if next_ is None else max(0.0, next_ - now)

    def _work(self) -> None:
        self.capture.guard.here.off = True
        timeout_s: float | None = None
        while True:
            try:
                run_id, done = self._jobs.get(timeout=timeout_s)
            except queue.Empty:
                run_id, done = "", threading.Event()
            due, timeout_s = self._due()
            for run in dict.fromkeys([run_id, *due] if run_id else due):
                with self.capture.recorder.warn_only():
                    _deliver_now(self.capture, run)
            done.set()
            self.stuck = False


def _worker(capture: CaptureSession) -> _DeliveryWorker:
    with capture.lock:
        if capture.delivery_worker is None:
            capture.delivery_worker = _DeliveryWorker(capture)
            capture.recorder.on_late_event = capture.delivery_worker.deliver_later
        return capture.delivery_worker


def deliver(capture: CaptureSession, run_id: str, timeout_s: float = TIMEOUT_S) -> None:
    """Write a run's document to its artifacts, and wait for it, but not for long."""
    state = capture.recorder.get(run_id)
    worker = None
    if state is None or not _is_in_memory(mlflow_private.store_uri(state.store)):
        # From Python 3.12 on, no thread can be started while a process exits.
        with contextlib.suppress(RuntimeError):
            worker = _worker(capture)
    timeout_s = min(timeout_s, SERVER_TIMEOUT_S) if capture.server else timeout_s
    if worker is None:
        with _not_captured(capture):
            _deliver_now(capture, run_id)
    elif not worker.deliver(run_id, timeout_s):
        LOGGER.warning(
            "The provenance of run %s is not written yet. If the process ends before it is, "
            "`yprov-mlflow recover --run %s` writes it from the journal.",
            run_id,
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
        capture.recorder.finish(run_id)
        capture.publisher.finish(run_id, max(0.0, end - time.monotonic()))
    if ranks.collect().get("rank"):
        # Rank 0, or recover, writes the one document from the journals of all ranks.
        return
    for run_id, state in capture.recorder.runs().items():
        if state.dirty and state.store is not None and not store_of(run_id):
            deliver(capture, run_id, max(0.0, end - time.monotonic()))


# -- one document --------------------------------------------------------------------------


@contextlib.contextmanager
def _not_captured(capture: CaptureSession) -> Iterator[None]:
    """Capture nothing that this thread does."""
    guard = capture.guard.here
    off, guard.off = guard.off, True
    try:
        yield
    finally:
        guard.off = off


def _deliver_now(capture: CaptureSession, run_id: str) -> None:
    """Write one run's document from all its journals, in this thread."""
    if run_id in capture.delivered_by_client:
        return
    state = capture.recorder.state(run_id)
    capture.recorder.add_facts(wait_s=FACTS_TIMEOUT_S)
    if state.store is None:
        return
    # Reset first: events that are appended meanwhile must make the run dirty again.
    state.dirty = False
    with contextlib.ExitStack() as failed:
        failed.callback(setattr, state, "dirty", True)
        folder = JournalDirectory(capture.recorder.directory, run_id)
        _write(capture, folder, state.store, state.suspect)
        failed.pop_all()
    if state.terminal:
        state.writer.close()


def _write(
    capture: CaptureSession, folder: JournalDirectory, store: Any, thorough: bool
) -> Written:
    with _locked(folder), _document(capture, folder, store, thorough) as (artifacts, written):
        if written.joined and not folder.delivered():
            artifacts.keep_earlier()
        artifacts.put(written.files)
        if written.sizes:
            folder.mark_delivered(written.sizes)
    for problem in written.problems:
        LOGGER.debug("journal: %s", problem)
    return written


@contextlib.contextmanager
def _document(
    capture: CaptureSession, folder: JournalDirectory, store: Any, thorough: bool
) -> Iterator[tuple[RunArtifacts, Written]]:
    """Write a run's document to a temporary folder; yield the run's artifacts and the result."""
    artifacts = RunArtifacts(store, store.get_run(folder.run_id))
    backfill = StoreBackfill(capture, artifacts, folder, thorough)
    with tempfile.TemporaryDirectory(prefix="yprov-") as out:
        yield artifacts, write_document(folder, Path(out), capture.recorder.settings, backfill)


def _locked(folder: JournalDirectory) -> contextlib.AbstractContextManager[object]:
    """Let one process at a time write a run's document."""
    # Without a journal folder, the document is made from the store alone.
    return FileLock(folder.lock) if folder.path.is_dir() else contextlib.nullcontext()


# -- on demand -----------------------------------------------------------------------------


def recover(
    tracking_uri: str | None = None, run_ids: Sequence[str] = (), *, again: bool = False
) -> Iterator[Outcome]:
    """Write the documents of runs and stores whose journals are newer than their document.

    Args:
        tracking_uri: Store of the runs; by default the store that each journal names.
        run_ids: Only these runs, or what stands for a store (``ids.store_id``).
        again: Write current documents again, too.

    Yields:
        One outcome per run or store, in the order of the journal folder.
    """
    capture = process.get()
    for folder in _folders(run_ids):
        file = _store_document(folder)
        exists = folder.files() and (file is None or file.is_file())
        if exists and folder.is_current() and not again:
            yield Outcome(folder.run_id, "current", "", 0, "")
        else:
            yield _recover(capture, folder, file, tracking_uri)


def _folders(run_ids: Sequence[str]) -> Iterator[JournalDirectory]:
    """Yield the journals of clients, then those of servers for runs without client journals.

    A server's journal of a store is read in any case: it has more than those of clients.
    """
    directory = settings.load().directory
    roots = (directory, directory / SERVER)
    for run_id in run_ids:
        folders = [JournalDirectory(root, run_id) for root in roots]
        yield next((folder for folder in folders if folder.files()), folders[0])
    if run_ids:
        return
    seen: set[str] = set()
    for root in roots:
        folders = list(JournalDirectory.all(root))
        yield from (folder for folder in folders if folder.run_id not in seen)
        seen.update(folder.run_id for folder in folders if not store_of(folder.run_id))


def _recover(
    capture: CaptureSession, folder: JournalDirectory, file: Path | None, tracking_uri: str | None
) -> Outcome:
    run_id = folder.run_id
    try:
        with _not_captured(capture):
            if file is not None:
                written = _write_store_document(file, capture, folder)
                where = str(file)
            else:
                uri = tracking_uri or _recorded_uri(folder)
                written = _write(capture, folder, _open_store(uri), True)
                where = f"runs:/{run_id}/{PROVENANCE}/{PROV_JSON} in {uri}"
    except Exception as error:  # noqa: BLE001 - reported for this run; the others continue
        return Outcome(run_id, "failed", "", 0, f"{type(error).__name__}: {error}")
    return Outcome(run_id, "written", where, written.event_count, "; ".join(written.problems))


def _store_document(folder: JournalDirectory) -> Path | None:
    """Return the path of a store's document; None for the journals of a run.

    Its folder is named as the journals' folder is, so that no name of a store leads elsewhere.
    A server's documents are below its own folder, as its journals are.
    """
    if not store_of(folder.run_id):
        return None
    name = folder.path.name.removeprefix(quote_key(store_id("")))
    return folder.path.parents[1] / STORES / name / PROV_JSON


def _write_store_document(file: Path, capture: CaptureSession, folder: JournalDirectory) -> Written:
    """Write the document of a store, atomically."""
    if not folder.files():
        raise DeliveryError.no_journal(folder.run_id, str(folder.path))
    file.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder), tempfile.TemporaryDirectory(prefix="yprov-", dir=file.parent) as out:
        written = write_document(folder, Path(out), capture.recorder.settings)
        written.files[-1].replace(file)
        folder.mark_delivered(written.sizes)
    return written


def _recorded_uri(folder: JournalDirectory) -> str:
    """Return the URI of the store that a run's journals name, or MLflow's current one."""
    if not folder.files():
        raise DeliveryError.no_journal(folder.run_id, str(folder.path))
    current = str(mlflow.get_tracking_uri())
    for path in folder.files():
        for event in JournalReader(path):
            if isinstance(event, RunCreated):
                # Journals lack passwords; MLflow's own setting may have the right one.
                recorded = event.store["uri"]
                return current if redact(process.absolute(current)) == recorded else recorded
    return current


def _open_store(uri: str) -> Any:
    uri = strip_prefix(uri)
    if needs_full_mlflow(uri):
        raise MissingExtraError(
            "SQL stores need the whole of MLflow, not mlflow-skinny",
            redact(uri),
            "Install it with: pip install mlflow",
        )
    store = mlflow_private.open_store(uri)
    mlflow_private.set_store_uri(store, uri)
    return store


def fetch_document(run_id: str, tracking_uri: str | None = None) -> bytes:
    """Return a run's ``prov.json``: from its journals if they are here, else from its artifacts.

    Raises:
        RunNotFoundError: The store does not have the run.
        DeliveryError: There is neither a journal nor a document.
        MissingExtraError: The store needs the whole of MLflow, not mlflow-skinny.
    """
    capture = process.get()
    (folder,) = _folders([run_id])
    with _not_captured(capture):
        state = capture.recorder.get(run_id)
        if state is not None and state.store is not None:
            capture.recorder.add_facts(wait_s=FACTS_TIMEOUT_S)
            return _rebuild(capture, folder, state.store)
        journaled = bool(folder.files())
        uri = tracking_uri or (_recorded_uri(folder) if journaled else mlflow.get_tracking_uri())
        store = _open_store(uri)
        if journaled and not folder.is_current():
            return _rebuild(capture, folder, store)
        artifacts = RunArtifacts(store, _get_run(store, run_id))
        with tempfile.TemporaryDirectory(prefix="yprov-") as out:
            try:
                local = artifacts.fetch(PROV_JSON, out)
            except Exception as error:  # each artifact repository raises errors of its own
                raise DeliveryError.no_document(run_id, str(error)) from error
            return local.read_bytes()


def _get_run(store: Any, run_id: str) -> Any:
    try:
        return store.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        where = redact(str(mlflow_private.store_uri(store) or "the tracking store"))
        raise RunNotFoundError.of(run_id, where) from error


def _rebuild(capture: CaptureSession, folder: JournalDirectory, store: Any) -> bytes:
    with _document(capture, folder, store, False) as (_, written):
        return written.files[-1].read_bytes()
