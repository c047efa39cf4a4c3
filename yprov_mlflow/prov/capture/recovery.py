"""Documents on demand: ``recover``, and the document of a run as its journals are now.

The document of a store, which is not a run, goes to the state folder.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
from mlflow.exceptions import MlflowException

from yprov_mlflow.prov import settings
from yprov_mlflow.prov.capture import (
    call_queue,
    dead_runs,
    housekeeping,
    kept_code,
    mlflow_private,
    rendezvous,
    sinks,
)
from yprov_mlflow.prov.capture import session as process
from yprov_mlflow.prov.capture.catch_up import catch_up
from yprov_mlflow.prov.capture.dead_runs import Closing
from yprov_mlflow.prov.capture.delivery import (
    CALLS_TIMEOUT_S,
    FACTS_TIMEOUT_S,
    document,
    hand_over,
    locked,
    own_folder,
    write,
)
from yprov_mlflow.prov.capture.diagnosis import is_missing, is_sql, require_full_mlflow
from yprov_mlflow.prov.capture.recovered_stores import OpenStores, with_password
from yprov_mlflow.prov.capture.run_artifacts import RunArtifacts
from yprov_mlflow.prov.capture.run_document import Written, write_document
from yprov_mlflow.prov.capture.session import CaptureSession
from yprov_mlflow.prov.capture.switch import LOGGER
from yprov_mlflow.prov.errors import (
    DeliveryError,
    RunNotFoundError,
    StoreError,
    first_line,
)
from yprov_mlflow.prov.events import TERMINAL, RunCreated
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.ids import quote_key, store_id, store_of
from yprov_mlflow.prov.journal import JournalDirectory
from yprov_mlflow.prov.layout import (
    PRIVATE_FILE,
    PROV_JSON,
    PROVENANCE,
    RENDEZVOUS,
    SERVER,
    STORES,
    private_folder,
)
from yprov_mlflow.prov.redaction import redact
from yprov_mlflow.prov.sampling.liveness import Observer
from yprov_mlflow.prov.translate import side_files
from yprov_mlflow.prov.uris import is_offline, offline_uri, strip_prefix


class Outcome(NamedTuple):
    """The result of ``recover`` for one run or store."""

    run_id: str  # or what stands for a store (``ids.store_id``)
    state: str  # "written", "sent", "current", "pruned" or "failed"
    where: str  # location of a written document, or the sinks it was sent to
    events: int  # number of events in that document
    reason: str  # of a failure, or the damaged lines of journals
    # Of a run without an end: ``Closing.summary``, and ``closed``, whether it was closed now.
    end: Mapping[str, Any] | None = None


class Plan(NamedTuple):
    """What ``recover`` would do about one run or store."""

    run_id: str
    document: str  # "write", "send" or ""
    end: Mapping[str, Any] | None  # of a run without an end: ``Closing.summary``


@dataclass
class _Request:
    """Options of a recovery, and the stores and processes that it has looked at.

    Args:
        tracking_uri: Store of all runs; by default the store that each journal names.
        again: Write current documents again, too.
        close: Close runs whose processes have died.
        directory: State folder.
    """

    tracking_uri: str | None
    again: bool
    close: bool
    directory: Path
    capture: CaptureSession = field(default_factory=process.get)
    stores: OpenStores = field(default_factory=OpenStores)

    def __post_init__(self) -> None:
        self.observer = Observer(self.directory)


def recover(
    tracking_uri: str | None = None,
    run_ids: Sequence[str] = (),
    *,
    again: bool = False,
    prune_days: float | None = None,
    close: bool = False,
) -> Iterator[Outcome]:
    """Write the documents of runs and stores whose journals are newer than their document.

    Args:
        tracking_uri: Store of the runs; by default the store that each journal names.
        run_ids: Only these runs, or what stands for a store (``ids.store_id``).
        again: Write current documents again, too.
        prune_days: Remove the journals of runs that ended and whose documents are current, if
            nothing was written to them for so many days.
        close: Close runs whose processes have died, in the store and in their documents.

    Yields:
        One outcome per run or store: those that were pruned, then the others in the order of the
        journal folder.
    """
    directory = process.state_directory(settings.load().directory, tracking_uri)
    request = _Request(tracking_uri, again, close, directory)
    done: set[str] = set()
    if prune_days is not None:
        kept_code.prune(directory, prune_days)
        pruned = housekeeping.prune(housekeeping.prunable(prune_days, run_ids, directory))
        yield from (Outcome(run_id, "pruned", "", 0, "") for run_id in pruned.run_ids)
        yield from (_failed(run_id, error) for run_id, error in pruned.failures.items())
        done = {*pruned.run_ids, *pruned.failures}
        is_kept = functools.partial(_has_journals, directory)
        rendezvous.prune(directory / RENDEZVOUS, is_kept)
    is_complete = close and not run_ids
    for folder in _folders(run_ids, tracking_uri):
        if folder.run_id in done:
            continue
        try:
            with request.capture.uncaptured():
                outcome = _recover(request, folder)
        except Exception as error:  # noqa: BLE001 - reported for this run; the others continue
            outcome = _failed(folder.run_id, error)
            is_complete = False
        yield outcome
    if is_complete:
        request.observer.remove_dead()


def _failed(run_id: str, error: Exception) -> Outcome:
    return Outcome(run_id, "failed", "", 0, redact(f"{type(error).__name__}: {error}"))


def plan(
    tracking_uri: str | None = None, run_ids: Sequence[str] = (), *, again: bool = False
) -> Iterator[Plan]:
    """Yield what ``recover`` would do about runs and stores; no store is asked."""
    directory = process.state_directory(settings.load().directory, tracking_uri)
    request = _Request(tracking_uri, again, False, directory)
    sinks_in_use = request.capture.recorder.settings.sinks
    for folder in _folders(run_ids, tracking_uri):
        decision = _closing(request, folder)
        document = ""
        if again or not _is_delivered(folder) or (decision is not None and decision.status):
            document = "write"
        elif not store_of(folder.run_id) and sinks.pending(folder, sinks_in_use):
            document = "send"
        yield Plan(folder.run_id, document, decision.summary() if decision else None)


def _is_delivered(folder: JournalDirectory) -> bool:
    """Return whether the document of a run or store has everything in its journals."""
    file = _store_document(folder)
    return (file is None or file.is_file()) and folder.is_current()


def _closing(request: _Request, folder: JournalDirectory) -> Closing | None:
    """Return what is to be done about the end of a run; None if it has one."""
    # Journals are read for this only if they may lack an end.
    if folder.is_current() and folder.delivered_end():
        return None
    return dead_runs.closing(folder, request.observer)


def _has_journals(directory: Path, run_id: str) -> bool:
    return JournalDirectory(directory, run_id).exists()


def _folders(run_ids: Sequence[str], tracking_uri: str | None) -> Iterator[JournalDirectory]:
    """Yield the journals of clients, then those of servers for runs without client journals.

    A server's journal of a store is read in any case: it has more than those of clients.
    """
    directory = process.state_directory(settings.load().directory, tracking_uri)
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


def _recover(request: _Request, folder: JournalDirectory) -> Outcome:
    if store_of(folder.run_id):
        return _recover_store_document(request, folder)
    end, decision = None, _closing(request, folder)
    if decision is not None:
        closed = False
        if request.close and decision.status:
            store, uri = _store_of(request, folder)
            decision = dead_runs.close(folder, decision, store, redact(process.absolute(uri)))
            closed = bool(decision.status)
        end = {**decision.summary(), "closed": closed}
    return _recover_document(request, folder)._replace(end=end)


def _store_of(request: _Request, folder: JournalDirectory) -> tuple[Any, str]:
    """Return the store of a run, and its URI."""
    uri = request.tracking_uri or _recorded_uri(folder)
    return request.stores.get(uri, open_store), uri


def _recover_document(request: _Request, folder: JournalDirectory) -> Outcome:
    """Write the document of a run, or send it, if that is due."""
    run_id, chosen = folder.run_id, request.capture.recorder.settings.sinks
    if folder.is_current() and not request.again:
        # The document is from before the damage, and better than a new one.
        problems = folder.readers()[1]
        if names := sinks.pending(folder, chosen):
            return _send(*_store_of(request, folder), folder, names)
        return Outcome(run_id, "current", "", 0, "; ".join(map(str, problems)))
    store, uri = _store_of(request, folder)
    for reason in catch_up(folder, store):
        LOGGER.warning("The store refused a call of run %s: %s", run_id, redact(reason))
    failures: list[str] = []
    written = write(
        *(request.capture, folder, store, True),
        lambda folder, delivery: failures.extend(sinks.send(folder, delivery, chosen)),
    )
    if failures:
        return Outcome(run_id, "failed", "", written.event_count, " ".join(failures))
    where = f"runs:/{run_id}/{PROVENANCE}/{PROV_JSON} in {redact(uri)}"
    return Outcome(run_id, "written", where, written.event_count, "; ".join(written.problems))


def _recover_store_document(request: _Request, folder: JournalDirectory) -> Outcome:
    run_id, file = folder.run_id, _store_document(folder)
    assert file is not None
    if _is_delivered(folder) and not request.again:
        problems = folder.readers()[1]
        return Outcome(run_id, "current", "", 0, "; ".join(map(str, problems)))
    written = _write_store_document(file, request.capture, folder)
    problems_text = "; ".join(written.problems)
    return Outcome(run_id, "written", str(file), written.event_count, problems_text)


def _send(store: Any, uri: str, folder: JournalDirectory, names: Sequence[str]) -> Outcome:
    """Send the document of a finished run to sinks that have not got it."""
    if get_run(store, folder.run_id).info.status not in TERMINAL:
        return Outcome(folder.run_id, "current", "", 0, "")
    with tempfile.TemporaryDirectory(prefix="yprov-") as out:
        document = _fetch(store, folder.run_id, Path(out), True)
        files = tuple(path for path in Path(out).rglob("*") if path.is_file())
        delivery = sinks.Delivery(folder.run_id, redact(uri), document, files)
        failures = " ".join(sinks.send(folder, delivery, names))
    state = "failed" if failures else "sent"
    return Outcome(folder.run_id, state, ", ".join(names), 0, failures)


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
        problems = [str(problem) for problem in folder.readers()[1]]
        raise DeliveryError.no_journal(folder.run_id, str(folder.path), problems)
    private_folder(file.parent, folder.path.parents[1])
    with locked(folder), tempfile.TemporaryDirectory(prefix="yprov-", dir=file.parent) as out:
        written = write_document(folder, Path(out), capture.recorder.settings)
        written.files[-1].chmod(PRIVATE_FILE)
        written.files[-1].replace(file)
        folder.mark_delivered(written.sizes)
        hand_over(capture, folder.run_id, file)
    return written


def _recorded_uri(folder: JournalDirectory) -> str:
    """Return the URI of the store that a run's journals name, or MLflow's current one."""
    if not folder.exists():
        raise DeliveryError.no_journal(folder.run_id, str(folder.path))
    current = str(mlflow.get_tracking_uri())
    # Three places have it, so that no damage in one of them costs the run its document.
    recorded = folder.store() or folder.delivered_store() or _created_in(folder)
    shown = redact(process.absolute(current))
    if not recorded:
        stores = {other.store() for other in JournalDirectory.all(folder.path.parents[1])} - {""}
        candidates = sorted(stores) if shown not in stores else []
        recorded = next((uri for uri in candidates if _has_run(uri, folder.run_id)), shown)
    if is_offline(recorded):  # its journals are in it, also after a move
        return offline_uri(str(folder.directory))
    return with_password(recorded, current)


def _has_run(uri: str, run_id: str) -> bool:
    """Return whether a store that another run's journal names has this run."""
    with contextlib.suppress(Exception):  # each kind of store has its own errors
        return open_store(uri).get_run(run_id) is not None
    return False


def _created_in(folder: JournalDirectory) -> str:
    """Return the URI of the store that the event of a run's creation names."""
    for journal in folder.readers()[0]:
        for event in journal:
            if isinstance(event, RunCreated):
                return str(event.store["uri"])
    return ""


def open_store(uri: str) -> Any:
    """Return the tracking store at a URI.

    Raises:
        MissingExtraError: The store needs the whole of MLflow, not mlflow-skinny.
        StoreError: The URI leads to no store.
    """
    uri = strip_prefix(uri)
    require_full_mlflow(uri)
    if is_missing(uri):
        raise StoreError.missing(redact(uri))
    is_database = is_sql(uri)
    with mlflow_private.few_database_retries() if is_database else contextlib.nullcontext():
        store = mlflow_private.open_store(uri)
    mlflow_private.set_store_uri(store, uri)
    return store


def fetch_document(
    run_id: str, out: Path, tracking_uri: str | None = None, *, with_points: bool = False
) -> Path:
    """Write a run's document: from its journals if they are here, else from its artifacts.

    Args:
        run_id: The run.
        out: An existing folder for the document.
        tracking_uri: The store of the run; by default that of its journals, or MLflow's current
            one.
        with_points: Write its metric file beside it as well, if it has one.

    Returns:
        The ``prov.json``, at any depth in the folder.

    Raises:
        RunNotFoundError: The store does not have the run.
        DeliveryError: There is neither a journal nor a document.
        MissingExtraError: The store needs the whole of MLflow, not mlflow-skinny.
    """
    capture = process.get()
    (folder,) = _folders([run_id], tracking_uri)
    with capture.uncaptured():
        state = capture.recorder.get(run_id)
        if state is not None and state.store is not None:
            if not call_queue.settle(capture, run_id, CALLS_TIMEOUT_S):
                journals = own_folder(capture, run_id, state)
                return write_document(journals, out, capture.recorder.settings).files[-1]
            capture.recorder.add_facts(wait_s=FACTS_TIMEOUT_S)
            return _rebuild(capture, own_folder(capture, run_id, state), state.store, out)
        if not folder.exists():
            uri = tracking_uri or mlflow.get_tracking_uri()
            return _fetch(open_store(uri), run_id, out, with_points)
        try:
            store = open_store(tracking_uri or _recorded_uri(folder))
            if folder.is_current():
                return _fetch(store, run_id, out, with_points)
            return _rebuild(capture, folder, store, out)
        except Exception as error:  # noqa: BLE001 - each kind of store has its own errors
            reason = redact(first_line(error))
            LOGGER.warning("%s. The journal of run %s is used alone.", reason.rstrip("."), run_id)
        return write_document(folder, out, capture.recorder.settings).files[-1]


def _fetch(store: Any, run_id: str, out: Path, with_points: bool) -> Path:
    """Download the document among the artifacts of a run."""
    artifacts = RunArtifacts(store, get_run(store, run_id))
    try:
        local = artifacts.fetch(PROV_JSON, str(out))
        names = side_files(prov_json.loads(local.read_bytes())) if with_points else []
        for name, _ in names:
            artifacts.fetch(name, str(out))
    except Exception as error:  # each artifact repository raises errors of its own
        raise DeliveryError.no_document(run_id, str(error)) from error
    return local


def get_run(store: Any, run_id: str) -> Any:
    """Return a run of a store.

    Raises:
        RunNotFoundError: The store does not contain the run.
    """
    try:
        return store.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        where = redact(str(mlflow_private.store_uri(store) or "the tracking store"))
        raise RunNotFoundError.of(run_id, where) from error


def _rebuild(capture: CaptureSession, folder: JournalDirectory, store: Any, out: Path) -> Path:
    with document(capture, folder, store, False) as (_, written):
        return [Path(shutil.copy(file, out)) for file in written.files][-1]
