"""Documents go where the run's artifacts are: at its end, at exit, and on ``recover``.

What belongs to a store and to no run has no such place: ``recover`` puts its document beside
the journals.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from filelock import FileLock

from yprov_mlflow.prov import settings
from yprov_mlflow.prov.capture import session as process
from yprov_mlflow.prov.capture.artifacts import PROVENANCE
from yprov_mlflow.prov.capture.backfill import StoreBackfill
from yprov_mlflow.prov.capture.recorder import SERVER
from yprov_mlflow.prov.capture.run_artifacts import RunArtifacts
from yprov_mlflow.prov.capture.run_document import PROV_JSON, Written, write_document
from yprov_mlflow.prov.capture.session import CaptureSession
from yprov_mlflow.prov.collectors import ranks
from yprov_mlflow.prov.errors import DeliveryError, RunNotFoundError
from yprov_mlflow.prov.events import RunCreated
from yprov_mlflow.prov.ids import quote_key, redact, store_id, store_of
from yprov_mlflow.prov.journal import JournalDirectory, JournalReader

PATIENCE_S = 30.0
"""How long the end of a run, or of a process, waits for documents; the rest is for ``recover``."""

SERVER_PATIENCE_S = 5.0
"""The same in a server, where a client waits for the answer."""

QUIET_S = 2.0
"""How long a finished run must be quiet before late events make a new document."""

STORES = "stores"
"""Folder beside that of the journals, with a document for each store of what belongs to no run."""

_LOGGER = logging.getLogger("yprov_mlflow")


class Outcome(NamedTuple):
    """What ``recover`` did for one run or store: ``state`` is written, current or failed."""

    run_id: str
    state: str
    where: str
    events: int
    reason: str


class _DeliveryWorker:
    """One daemon thread that writes documents, so that no run waits for one without limit."""

    def __init__(self, capture: CaptureSession) -> None:
        self.capture = capture
        self._jobs: queue.SimpleQueue[tuple[str, threading.Event]] = queue.SimpleQueue()
        self._late: dict[str, float] = {}
        self._lock = threading.RLock()
        self.stuck = False
        threading.Thread(target=self._work, name="yprov-delivery", daemon=True).start()

    def deliver(self, run_id: str, patience_s: float) -> bool:
        """Have a document written; tell whether it was done in time.

        Once one was not, nobody waits until the thread is free again: whoever does not answer
        one run's end will not answer the next.
        """
        done = threading.Event()
        self._jobs.put((run_id, done))
        if done.wait(0.0 if self.stuck else patience_s):
            return True
        self.stuck = True
        return False

    def late(self, run_id: str) -> None:
        """Deliver again once the run has been quiet for a while."""
        with self._lock:
            self._late[run_id] = time.monotonic() + QUIET_S
        self._jobs.put(("", threading.Event()))

    def _due(self) -> tuple[list[str], float | None]:
        now = time.monotonic()
        with self._lock:
            due = [run_id for run_id, when in self._late.items() if when <= now]
            for run_id in due:
                del self._late[run_id]
            next_ = min(self._late.values(), default=None)
        return due, None if next_ is None else max(0.0, next_ - now)

    def _work(self) -> None:
        self.capture.guards.here.off = True
        wait: float | None = None
        while True:
            try:
                run_id, done = self._jobs.get(timeout=wait)
            except queue.Empty:
                run_id, done = "", threading.Event()
            due, wait = self._due()
            for run in dict.fromkeys([run_id, *due] if run_id else due):
                try:
                    _deliver_now(self.capture, run)
                except Exception as error:  # noqa: BLE001 - the run has ended well without it
                    self.capture.recorder.warn(error)
            done.set()
            self.stuck = False


def _postman(capture: CaptureSession) -> _DeliveryWorker:
    with capture.lock:
        if capture.postman is None:
            capture.postman = _DeliveryWorker(capture)
            capture.recorder.on_late_event = capture.postman.late
        return cast(_DeliveryWorker, capture.postman)


def deliver(capture: CaptureSession, run_id: str, patience_s: float = PATIENCE_S) -> None:
    """Write a run's document and put it among its artifacts; wait for it, within limits."""
    state = capture.recorder.get(run_id)
    if state is not None and _lives_in_its_thread(getattr(state.store, process.URI, None)):
        _deliver_here(capture, run_id)
        return
    try:
        postman = _postman(capture)
    except RuntimeError:  # from Python 3.12 on, a process that is ending starts no threads
        _deliver_here(capture, run_id)
        return
    patience_s = min(patience_s, SERVER_PATIENCE_S) if capture.server else patience_s
    if not postman.deliver(run_id, patience_s):
        _LOGGER.warning(
            "The provenance of run %s is not written yet; if the process ends before it is, "
            "`yprov-mlflow recover --run %s` writes it from the journal.",
            run_id,
            run_id,
        )


def _deliver_here(capture: CaptureSession, run_id: str) -> None:
    with _unobserved(capture):
        _deliver_now(capture, run_id)


@contextlib.contextmanager
def _unobserved(capture: CaptureSession) -> Iterator[None]:
    """Keep what this thread does to stores and artifacts out of the journals."""
    guard = capture.guards.here
    off, guard.off = guard.off, True
    try:
        yield
    finally:
        guard.off = off


def _lives_in_its_thread(uri: object) -> bool:
    """Tell whether another thread would see another database: SQLite's in memory."""
    return (
        isinstance(uri, str)
        and uri.startswith("sqlite:")
        and (":memory:" in uri or uri == "sqlite://")
    )


def _deliver_now(capture: CaptureSession, run_id: str) -> None:
    """Write one run's document from all its journals; the work of the delivery thread."""
    if run_id in capture.delivered_by_client:
        return
    state = capture.recorder.state(run_id)
    capture.recorder.add_facts(wait_s=2.0)
    if state.store is None:
        return
    state.dirty = False
    try:
        folder = JournalDirectory(capture.recorder.directory, run_id)
        _write(capture, folder, state.store, thorough=state.suspect)
    except BaseException:
        state.dirty = True
        raise
    if state.terminal:
        state.writer.close()


def _write(
    capture: CaptureSession, folder: JournalDirectory, store: Any, *, thorough: bool
) -> Written:
    with _locked(folder), _made(capture, folder, store, thorough=thorough) as (target, written):
        if written.joined and not folder.delivered():
            target.keep_earlier()
        target.put(written.files)
        if written.sizes:
            folder.mark_delivered(written.sizes)
    for problem in written.problems:
        _LOGGER.debug("journal: %s", problem)
    return written


@contextlib.contextmanager
def _made(
    capture: CaptureSession, folder: JournalDirectory, store: Any, *, thorough: bool
) -> Iterator[tuple[RunArtifacts, Written]]:
    """Make a run's document, to be used before the folder that it is in goes away."""
    target = RunArtifacts(store, store.get_run(folder.run_id))
    snapshot = StoreBackfill(capture, target, folder, thorough=thorough)
    with tempfile.TemporaryDirectory(prefix="yprov-") as out:
        yield target, write_document(folder, Path(out), capture.recorder.settings, snapshot)


@contextlib.contextmanager
def _locked(folder: JournalDirectory) -> Iterator[None]:
    """Let one process at a time write a run's document.

    Where there is no journal, and no place for one, there is nothing to be locked either: the
    document is then made from the store alone.
    """
    if not folder.path.is_dir():
        yield
        return
    with FileLock(folder.lock):
        yield


def at_exit() -> None:
    """Write the documents of all runs that got events since their last one, within one limit."""
    capture = process.existing
    if capture is None:
        return
    end = time.monotonic() + PATIENCE_S
    for run_id in capture.recorder.runs():
        capture.recorder.finish(run_id)
        capture.publisher.finish(run_id, max(0.0, end - time.monotonic()))
    if ranks.collect().get("rank"):
        # The first rank, or recover, writes the one document from the journals of all.
        return
    for run_id, state in capture.recorder.runs().items():
        if state.dirty and state.store is not None and not store_of(run_id):
            deliver(capture, run_id, max(0.0, end - time.monotonic()))


# -- from outside ------------------------------------------------------------------------


def recover(
    tracking_uri: str | None = None, run_ids: Sequence[str] = (), *, again: bool = False
) -> Iterator[Outcome]:
    """Write the documents of runs and stores whose journals have more than their last document.

    Args:
        tracking_uri: Store of the runs; without it, the one that each journal names.
        run_ids: Only these runs, or what stands for one (``identity.store_id``).
        again: Also those whose document is current.

    Yields:
        One outcome per run or store, in the order of the journal folder.
    """
    capture = process.get()
    for folder in _folders(run_ids):
        place = _place(folder)
        there = folder.files() and (place is None or place.is_file())
        if there and folder.is_current() and not again:
            yield Outcome(folder.run_id, "current", "", 0, "")
        else:
            yield _recover_one(capture, folder, place, tracking_uri)


def _folders(run_ids: Sequence[str]) -> Iterator[JournalDirectory]:
    """Give the journals of clients, then those of servers for runs that no client here has.

    What a server saw of a store is more than what the clients here did to it.
    """
    seen: set[str] = set()
    directory = settings.load().directory
    places = (directory, directory / SERVER)
    for run_id in run_ids:
        found = [JournalDirectory(place, run_id) for place in places]
        yield next((folder for folder in found if folder.files()), found[0])
    if not run_ids:
        for place in places:
            yield from (
                folder for folder in JournalDirectory.all(place) if folder.run_id not in seen
            )
            seen.update(f.run_id for f in JournalDirectory.all(place) if not store_of(f.run_id))


def _recover_one(
    capture: CaptureSession, folder: JournalDirectory, place: Path | None, tracking_uri: str | None
) -> Outcome:
    run_id = folder.run_id
    try:
        with _unobserved(capture):
            if place is not None:
                written = _write_to(place, capture, folder)
                where = str(place)
            else:
                uri = tracking_uri or _recorded_uri(folder)
                written = _write(capture, folder, _store(uri), thorough=True)
                where = f"runs:/{run_id}/{PROVENANCE}/{PROV_JSON} in {uri}"
    except Exception as error:  # noqa: BLE001 - told to the user for this run; others go on
        return Outcome(run_id, "failed", "", 0, f"{type(error).__name__}: {error}")
    return Outcome(run_id, "written", where, written.events, "; ".join(written.problems))


def _place(folder: JournalDirectory) -> Path | None:
    """Give where the document of a store's journals lies; None for those of a run.

    A server's lie apart, as its journals do. The store is spelt as in the folder's name, so
    that whatever a client called it leads nowhere else.
    """
    if not store_of(folder.run_id):
        return None
    name = folder.path.name.removeprefix(quote_key(store_id("")))
    return folder.path.parents[1] / STORES / name / PROV_JSON


def _write_to(place: Path, capture: CaptureSession, folder: JournalDirectory) -> Written:
    """Write the document of what belongs to no run, whole or not at all."""
    if not folder.files():
        raise DeliveryError.no_journal(folder.run_id, str(folder.path))
    place.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder), tempfile.TemporaryDirectory(prefix="yprov-", dir=place.parent) as out:
        written = write_document(folder, Path(out), capture.recorder.settings)
        written.files[-1].replace(place)
        folder.mark_delivered(written.sizes)
    return written


def _recorded_uri(folder: JournalDirectory) -> str:
    """Give the URI of the store that a run's journals name, else MLflow's current one."""
    if not folder.files():
        raise DeliveryError.no_journal(folder.run_id, str(folder.path))
    import mlflow

    current = str(mlflow.get_tracking_uri())
    for path in folder.files():
        for event in JournalReader(path):
            if isinstance(event, RunCreated):
                # The journal has no passwords; MLflow's own setting may have the one needed.
                recorded = event.store["uri"]
                return current if redact(process.absolute(current)) == recorded else recorded
    return current


def _store(uri: str) -> Any:
    from mlflow.tracking._tracking_service import utils

    from yprov_mlflow.prov.capture.patches import PREFIX

    plain = uri.removeprefix(PREFIX)
    store = utils._get_store(plain)
    store.__dict__[process.URI] = plain
    return store


def fetch_document(run_id: str, tracking_uri: str | None = None) -> bytes:
    """Give a run's ``prov.json``: from its journals if they are here, else from its artifacts.

    Raises:
        RunNotFoundError: The store does not know the run.
        DeliveryError: There is neither.
    """
    capture = process.get()
    (folder,) = _folders([run_id])
    with _unobserved(capture):
        state = capture.recorder.get(run_id)
        if state is not None and state.store is not None:
            capture.recorder.add_facts(wait_s=2.0)
            return _rebuild(capture, folder, state.store)
        import mlflow

        uri = tracking_uri or (_recorded_uri(folder) if folder.files() else None)
        store = _store(uri or mlflow.get_tracking_uri())
        if folder.files() and not folder.is_current():
            return _rebuild(capture, folder, store)
        with tempfile.TemporaryDirectory(prefix="yprov-") as out:
            target = RunArtifacts(store, _found(store, run_id))
            try:
                local = target.fetch(PROV_JSON, out)
            except Exception as error:
                raise DeliveryError.no_document(run_id, str(error)) from error
            return local.read_bytes()


def _found(store: Any, run_id: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return store.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        where = redact(str(getattr(store, process.URI, "the tracking store")))
        raise RunNotFoundError.of(run_id, where) from error


def _rebuild(capture: CaptureSession, folder: JournalDirectory, store: Any) -> bytes:
    with _made(capture, folder, store, thorough=False) as (_, written):
        return written.files[-1].read_bytes()
