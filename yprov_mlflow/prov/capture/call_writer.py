"""Writing of the calls that wait for one store, one batch at a time.

A batch is accepted, refused, or kept for another attempt. Part of a batch that is refused is
written; a refusal becomes an event of the run.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections import Counter, deque
from typing import Any

from mlflow.entities import LifecycleStage, Metric

from yprov_mlflow.prov.capture import store_answers
from yprov_mlflow.prov.capture.call_batches import (
    Batch,
    Bulk,
    Spilled,
    StoreCall,
    bulk_of,
    journaled_points,
)
from yprov_mlflow.prov.capture.known_runs import KnownRun
from yprov_mlflow.prov.capture.mlflow_objects import metrics_of
from yprov_mlflow.prov.capture.session import CaptureSession
from yprov_mlflow.prov.capture.store_answers import Point, point_of, stored_point
from yprov_mlflow.prov.capture.switch import LOGGER
from yprov_mlflow.prov.errors import JournalError, first_line
from yprov_mlflow.prov.events import CallRefused, MetricsLogged
from yprov_mlflow.prov.journal import JournalReader, JournalWriter
from yprov_mlflow.prov.redaction import redact

_SPILL_CHUNK = 20_000  # points that are read from a journal at once
MIN_ATTEMPTS = 3  # after which a batch is split, and a read no longer waits for the store
# A call of which a store says again and again that it has failed, while others succeed, is refused.
_MAX_ATTEMPTS = 8
_MIN_REFUSED_S = 30.0


class RunQueue:
    """The calls of one run that wait."""

    def __init__(self, run_id: str, known: KnownRun) -> None:
        self.run_id = run_id
        self.known = known
        self.items: deque[Any] = deque()
        self.sending: Batch | None = None
        # The caller's variables, such as MLflow's workspace, for the thread that writes.
        self.context = contextvars.copy_context()
        self.writer: JournalWriter | None = None  # since calls are written later
        self.is_noted = False  # whether the journal says that calls were written later
        self.wants_document = False  # once the store has all
        self.is_refused = False  # whether the user knows that calls were refused

    def is_empty(self) -> bool:
        """Return whether the store has all calls, or has refused them."""
        return not self.items and self.sending is None


class CallWriter:
    """Writes batches to a store.

    Args:
        capture: The session of this process.
        store: The store.
        base: MLflow's class of the store, whose methods write.
    """

    def __init__(self, capture: CaptureSession, store: Any, base: Any) -> None:
        self.capture, self.store, self.base = capture, store, base
        # Reentrant, as a signal handler may log in the middle of a call.
        self.lock = threading.RLock()
        self.waiting = 0  # items in memory
        self.failures = 0  # consecutive attempts without a clear answer
        self._success_s = 0.0
        self._is_reported = False  # whether the user knows that the store is away

    def has_calls(self) -> bool:
        """Return whether calls wait for their turn."""
        raise NotImplementedError

    def write(self, run: RunQueue, batch: Batch) -> bool:
        """Write a batch, and return whether the store has answered clearly."""
        try:
            if isinstance(batch, Spilled):
                self._unspill(run, batch)
                return True
            if batch.attempts and isinstance(batch, Bulk) and batch.metrics:
                batch = run.context.run(self._missing_part, run, batch)
                run.sending = batch
            result = run.context.run(self._call, run.run_id, batch)
        except Exception as error:  # noqa: BLE001 - each kind of store raises errors of its own
            if store_answers.is_refusal(error):
                if not _was_done(batch, error):
                    self._refused(run, batch, error)
                self._success(run)
                return True
            self._unclear(run, batch, error)
            return False
        if isinstance(batch, StoreCall) and batch.ticket is not None:
            batch.ticket.settle(result)
        self._success(run)
        return True

    def _call(self, run_id: str, batch: StoreCall | Bulk) -> Any:
        if isinstance(batch, StoreCall):
            return getattr(self.base, batch.method)(self.store, run_id, *batch.args)
        if not batch.items():
            return None
        method, args = batch.call()
        return getattr(self.base, method)(self.store, run_id, *args)

    def _success(self, run: RunQueue) -> None:
        self.failures, self._success_s = 0, time.monotonic()
        if self._is_reported and not run.items and not self.has_calls():
            self._is_reported = False
            LOGGER.warning(
                "The tracking store answers again, and has all calls that waited for it."
            )

    # -- calls that did not succeed ----------------------------------------------------------

    def _refused(self, run: RunQueue, batch: Batch, error: Exception) -> None:
        """Raise a refusal where the call is awaited; else write the rest, and record it."""
        ticket = batch.ticket if isinstance(batch, StoreCall) else None
        with self.lock:
            if ticket is not None and not ticket.gone:
                ticket.settle(error=error)
                return
        parts = _parts(batch)
        if parts and self._has_run(run) is not False:  # else it refuses everything about the run
            with self.lock:
                run.items.extendleft(reversed(parts))
                self.waiting += sum(map(count, parts))
            return
        reason = first_line(error)
        self.capture.recorder.record(run.run_id, CallRefused, _content(batch), reason)
        if not run.is_refused:
            run.is_refused = True
            LOGGER.warning(
                "The tracking store has refused a call of run %s that was written later: %s. The "
                "document of the run says so, and of later ones. The run goes on.",
                run.run_id,
                redact(reason).rstrip("."),
            )

    def _unclear(self, run: RunQueue, batch: Batch, error: Exception) -> None:
        """Keep a batch for another attempt."""
        LOGGER.debug("delivery of calls", exc_info=error)
        self.failures += 1
        if isinstance(batch, Spilled):
            with self.lock:
                run.items.appendleft(batch)
            return
        batch.attempts += 1
        batch.failed_s = batch.failed_s or time.monotonic()
        is_suspicious = batch.attempts >= MIN_ATTEMPTS
        if is_suspicious and self._is_poison(batch) and self._has_run(run):
            self._refused(run, batch, error)
            return
        kept: Batch = batch
        with self.lock:
            if isinstance(batch, StoreCall):
                if batch.ticket is not None:
                    batch.ticket.settle()
                    batch.ticket.gone = True
                if batch.items:
                    kept = bulk_of(batch.items)
                    kept.attempts, kept.failed_s = batch.attempts, batch.failed_s
                    kept.ticket = batch.ticket
            # Others go before a single point or param, as their order does not matter: if they
            # succeed, the store is well.
            goes_last = is_suspicious and isinstance(kept, Bulk) and not (kept.tags or _parts(kept))
            (run.items.append if goes_last else run.items.appendleft)(kept)
            self.waiting += count(kept)
        if self.failures > 1:
            self.report(first_line(error))

    def _is_poison(self, batch: StoreCall | Bulk) -> bool:
        """Return whether a batch has failed too often: several items are split, one is refused."""
        return bool(_parts(batch)) or (
            batch.attempts >= _MAX_ATTEMPTS
            and time.monotonic() - batch.failed_s >= _MIN_REFUSED_S
            and self._success_s > batch.failed_s
        )

    def _has_run(self, run: RunQueue) -> bool | None:
        """Return whether the store takes calls about a run; None if it does not answer."""
        try:
            stored = run.context.run(self.base.get_run, self.store, run.run_id)
        except Exception as error:  # noqa: BLE001 - each kind of store raises errors of its own
            return False if store_answers.is_refusal(error) else None
        return bool(stored.info.lifecycle_stage == LifecycleStage.ACTIVE)

    def report(self, reason: str) -> None:
        """Warn, once until it answers again, that a store does not answer."""
        if not self._is_reported:
            self._is_reported = True
            LOGGER.warning(
                "The tracking store does not answer (%s). The program goes on: what it logs is "
                "in its journal, and is written when the store answers again, or by "
                "`yprov-mlflow recover`.",
                redact(reason).rstrip("."),
            )

    # -- reading back ------------------------------------------------------------------------

    def _missing_part(self, run: RunQueue, bulk: Bulk) -> Bulk:
        """Return the part of a bulk that the store lacks after an attempt."""
        writer = self.capture.recorder.state(run.run_id, self.store).writer
        with self.lock:
            last = writer.last  # calls that come meanwhile count neither here nor there
            waiting = Counter(map(point_of, journaled_points([bulk, *run.items])))
            spilled = [range(s.first, s.last + 1) for s in run.items if isinstance(s, Spilled)]
        keys = {metric.key for metric in bulk.metrics}
        journaled: Counter[Point] = Counter()
        for event in self._journaled(run.run_id):
            if event.seq <= last and not any(event.seq in numbers for numbers in spilled):
                journaled.update(point for point in _points(event) if point[0] in keys)
        # The base reads: this thread is not captured, and waits for nothing.
        return store_answers.without_stored(self.store, run.run_id, bulk, journaled - waiting)

    def _unspill(self, run: RunQueue, spilled: Spilled) -> None:
        """Read points from the journal, so that they come next."""
        metrics: list[Metric] = []
        last = spilled.first - 1
        for event in self._journaled(run.run_id):
            if spilled.first <= event.seq <= spilled.last and len(metrics) < _SPILL_CHUNK:
                metrics.extend(metrics_of(event))
                last = event.seq
        if not metrics:
            self.capture.recorder.suspect(run.run_id)
            self._refused(run, spilled, JournalError.unwritable(run.run_id, "points are lost"))
            return
        with self.lock:
            if last < spilled.last:
                run.items.appendleft(Spilled(last + 1, spilled.last))
            run.items.extendleft(reversed(metrics))
            self.waiting += len(metrics)

    def _journaled(self, run_id: str) -> list[MetricsLogged]:
        """Return the events with points that this process has journaled for a run."""
        writer = self.capture.recorder.state(run_id, self.store).writer
        reader = JournalReader(writer.folder.file(writer.session), unsaved=writer.unsaved())
        return [event for event in reader if isinstance(event, MetricsLogged)]


# -- batches -----------------------------------------------------------------------------


def _points(event: MetricsLogged) -> list[Point]:
    rows = zip(event.keys, event.steps, event.timestamps_ms, event.values, strict=True)
    return [stored_point(*row) for row in rows]


def count(batch: Any) -> int:
    """Return how many items of memory a batch is."""
    if batch is None or isinstance(batch, Spilled):
        return 0
    return len(batch.items()) if isinstance(batch, Bulk) else 1


def _was_done(batch: Batch, error: Exception) -> bool:
    """Return whether an earlier attempt, whose answer was not clear, has deleted a tag."""
    is_deletion = isinstance(batch, StoreCall) and batch.method == "delete_tag"
    is_missing = getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST"
    return is_deletion and is_missing and getattr(batch, "attempts", 0) > 0


def _parts(batch: Batch) -> list[Bulk]:
    if isinstance(batch, StoreCall) and batch.items:
        return bulk_of(batch.items).split()
    return batch.split() if isinstance(batch, Bulk) else []


def _content(batch: Batch) -> dict[str, Any]:
    """Return what a store has refused, as ``CallRefused.content``."""
    if isinstance(batch, StoreCall) and not batch.items:
        key = batch.args[0] if batch.method == "delete_tag" else None
        return {"method": batch.method, **({"tags": {key: None}} if key else {})}
    bulk = bulk_of(batch.items) if isinstance(batch, StoreCall) else batch
    if not isinstance(bulk, Bulk):
        return {}
    content: dict[str, Any] = {"method": bulk.call()[0]}
    if bulk.params:
        content["params"] = {param.key: str(param.value) for param in bulk.params}
    if bulk.tags:
        content["tags"] = {key: str(tag.value) for key, tag in bulk.tags.items()}
    if bulk.metrics:
        content["metrics"] = dict(Counter(metric.key for metric in bulk.metrics))
    return content
