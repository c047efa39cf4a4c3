"""The calls that wait for one store, and the thread that writes them to it.

The calls of a run are written in their order, in batches. A store that does not answer is tried
again, after growing pauses; what it refuses becomes an event of the run.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from mlflow.entities import Metric

from yprov_mlflow.prov.capture import mlflow_private, store_answers
from yprov_mlflow.prov.capture.call_batches import Spilled, StoreCall, Ticket, take
from yprov_mlflow.prov.capture.call_writer import MIN_ATTEMPTS, CallWriter, RunQueue, count
from yprov_mlflow.prov.capture.session import CaptureSession
from yprov_mlflow.prov.capture.switch import LOGGER
from yprov_mlflow.prov.events import DELIVERY_FACTS, FactsCollected
from yprov_mlflow.prov.uris import is_offline

END_TIMEOUT_S = 10.0  # how long the end of a run waits until the store has all of it
LINGER_S = 0.5  # how long the thread waits for more calls, so that batches are large
MAX_WAITING = 50_000  # items in memory; then calls wait, and points are read from the journal
_FULL = 20_000  # items from which on the thread does not wait for more
_PAUSES_S = (0.25, 15.0)  # shortest and longest pause before another attempt


class StoreQueue(CallWriter):
    """The calls that wait for one store.

    Args:
        capture: The session of this process.
        store: The store.
        base: MLflow's class of the store, whose methods write.
        mode: ``DEFERRED`` or ``FAILOVER`` of ``setting_values``.
    """

    def __init__(self, capture: CaptureSession, store: Any, base: Any, mode: str) -> None:
        super().__init__(capture, store, base)
        if capture.is_forked and (engine := getattr(store, "engine", None)) is not None:
            # Connections to a database do not survive a fork; the parent goes on with them.
            engine.dispose(close=False)
        self.mode = mode
        # Of an offline store, the journals are all; what they say needs no other copy.
        self._is_view = is_offline(mlflow_private.store_uri(store))
        self.limit_s = capture.recorder.settings.call_limit_s
        self._changed = threading.Condition(self.lock)
        self.runs: dict[str, RunQueue] = {}
        self._order: OrderedDict[str, None] = OrderedDict()  # runs with calls that wait
        self._current: RunQueue | None = None  # of which a batch is being written
        self._attempts = 0
        self._work = threading.Event()
        self._hurry = threading.Event()
        self._again = threading.Event()
        self._thread: threading.Thread | None = None

    def has_calls(self) -> bool:
        """Return whether calls wait for their turn."""
        return bool(self._order)

    # -- for callers -------------------------------------------------------------------------

    def is_away(self) -> bool:
        """Return whether the last attempts had no clear answer."""
        return self.failures > 0

    def put(self, run: RunQueue, items: Sequence[Any], record: Callable[[], None]) -> None:
        """Have the thread write items, and record them; the record is in the same order."""
        with self.lock:
            spills = self.waiting >= MAX_WAITING and not self._make_room()
            if spills and all(isinstance(item, Metric) for item in items):
                self._spill(run, record)
            else:
                run.items.extend(items)
                self.waiting += len(items)
                record()
            if not run.is_noted:
                self._note(run)
            self._order[run.run_id] = None
        self._wake(hurry=self.waiting >= _FULL)
        # The journal is the acknowledgment: without it, the store has to have the call.
        if run.writer is not None and not run.writer.is_saved:
            self.flush(run.run_id, self.limit_s)

    def has_room(self) -> bool:
        """Return whether another item may wait in memory."""
        return self.waiting < MAX_WAITING

    def put_metric(self, run: RunQueue, metric: Any) -> None:
        """Do as ``put`` does for one point, while there is room; most calls are this one."""
        with self.lock:
            run.items.append(metric)
            self.waiting += 1
            self.capture.recorder.record_metric(run.run_id, metric, self.store)
            if not run.is_noted:
                self._note(run)
            self._order[run.run_id] = None
        if self.waiting >= _FULL or not self._work.is_set():
            self._wake(hurry=self.waiting >= _FULL)
        if run.writer is not None and not run.writer.is_saved:
            self.flush(run.run_id, self.limit_s)

    def ask(
        self, run: RunQueue, call: StoreCall, record: Callable[[], None], limit_s: float
    ) -> Any:
        """Have the thread make a call, and return its result if it comes in time, else None.

        Raises:
            Exception: The store has refused the call.
        """
        ticket = call.ticket = Ticket()
        with self.lock:
            run.items.append(call)
            self.waiting += 1
            self._order[run.run_id] = None
        self._wake(hurry=True)
        if self._thread is None:
            self._write_here()
        ticket.done.wait(limit_s)
        with self.lock:
            if ticket.error is not None:
                raise ticket.error
            if not ticket.done.is_set() or call.attempts:
                ticket.gone = True
                self._note(run)
            if not ticket.done.is_set():
                self.report("it has not answered in time")
            record()
            ticket.journaled = True
        return ticket.result

    def flush(self, run_id: str | None, timeout_s: float) -> bool:
        """Wait until the calls of a run, or all, are written, and return whether they are.

        A store that is away is tried a few times.
        """
        if threading.current_thread() is self._thread:
            return self._is_empty(run_id)
        end = time.monotonic() + timeout_s
        with self._changed:
            attempts = self._attempts
            while not self._is_empty(run_id):
                if self.failures >= MIN_ATTEMPTS and self._attempts > attempts:
                    return False
                self._again.set()
                self._wake(hurry=True)
                if self._thread is None:
                    self._write_here()
                elif (left_s := end - time.monotonic()) <= 0:
                    return False
                else:
                    self._changed.wait(left_s)
        return True

    def forget(self, run_id: Any) -> None:
        """Ask the store about a run again before the next call, if none waits."""
        with self.lock:
            if run_id in self.runs and self.runs[run_id].is_empty():
                del self.runs[run_id]

    def left(self) -> dict[str, int]:
        """Return the number of calls that wait, by run."""
        with self.lock:
            return {
                run_id: len(run.items) + (run.sending is not None)
                for run_id, run in self.runs.items()
                if not run.is_empty()
            }

    def _is_empty(self, run_id: str | None) -> bool:
        if run_id is None:
            return not self._order and self._current is None
        run = self.runs.get(run_id)
        return run is None or run.is_empty()

    def _make_room(self) -> bool:
        """Wait for the thread, but not for long, and return whether there is room."""
        if not self.failures:
            self._wake(hurry=True)
            self._changed.wait_for(lambda: self.waiting < MAX_WAITING, self.limit_s)
        return self.waiting < MAX_WAITING

    def _spill(self, run: RunQueue, record: Callable[[], None]) -> None:
        """Record points of which only the journal keeps the values until they are written."""
        writer = self.capture.recorder.state(run.run_id, self.store).writer
        first = writer.last + 1
        record()
        if run.items and isinstance(run.items[-1], Spilled):
            run.items[-1].last = writer.last
        else:
            run.items.append(Spilled(first, writer.last))

    def _note(self, run: RunQueue) -> None:
        """Note in the journal that the store may lack calls of the session."""
        run.is_noted = True
        run.writer = self.capture.recorder.state(run.run_id, self.store).writer
        facts = {"mode": self.mode}
        if not self._is_view:
            self.capture.recorder.append_if_open(run.run_id, FactsCollected, DELIVERY_FACTS, facts)

    def mark_delivered(self, run_id: str) -> None:
        """Note in the journal that the store has all calls of the session so far."""
        with self.lock:
            run, state = self.runs.get(run_id), self.capture.recorder.get(run_id)
            if run is not None and state is not None and run.is_noted and run.is_empty():
                run.is_noted = self._is_view
                if self._is_view:
                    return
                facts = {"delivered": state.writer.last}
                self.capture.recorder.append_if_open(run_id, FactsCollected, DELIVERY_FACTS, facts)

    # -- the thread --------------------------------------------------------------------------

    def _wake(self, *, hurry: bool) -> None:
        if hurry and not self._hurry.is_set():
            self._hurry.set()
        if not self._work.is_set():
            self._work.set()
            if self._thread is None:
                self._start()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="yprov-calls", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # from Python 3.12 on, no thread can be started while a process exits
            self._work.clear()
        else:
            self._thread = thread

    def _run(self) -> None:
        self.capture.guard.here.off = True
        while True:
            self._work.wait()
            self._hurry.wait(LINGER_S)
            self._hurry.clear()
            self._work.clear()
            self._write_all()
            if self._order:
                self._work.set()
                self._hurry.set()
                self._again.wait(self._pause_s())
                self._again.clear()

    def _pause_s(self) -> float:
        shortest, longest = _PAUSES_S
        return float(min(longest, shortest * 2 ** min(10, max(0, self.failures - 1))))

    def _write_here(self) -> None:
        """Write in the thread of the caller, as no other can be started."""
        with self.capture.uncaptured():
            self._write_all()

    def _write_all(self) -> None:
        """Write until nothing waits, or the store does not answer clearly."""
        with store_answers.one_attempt():
            while self._order:
                with self.lock:
                    run_id, _ = self._order.popitem(last=False)
                    self._current = run = self.runs[run_id]
                    run.sending = batch = take(run.items) if run.items else None
                    self.waiting -= count(batch)
                is_clear = batch is None or self.write(run, batch)
                with self._changed:
                    self._current = run.sending = None
                    if run.items:
                        self._order[run_id] = None
                    self._attempts += 1
                    self._changed.notify_all()
                if run.is_empty() and run.wants_document:
                    run.wants_document = False
                    self.capture.deliver_later(self.capture, run_id)
                if not is_clear:
                    return


# -- all stores of a process ---------------------------------------------------------------


def settle(capture: CaptureSession, run_id: str, timeout_s: float) -> bool:
    """Wait until the store of a run has all calls of this process, and return whether it has."""
    state = capture.recorder.get(run_id)
    queue = capture.queues.get(state.store) if state is not None else None
    if queue is None:
        return True
    if not queue.flush(run_id, timeout_s):
        return False
    queue.mark_delivered(run_id)
    return True


def settle_at_exit(capture: CaptureSession, timeout_s: float) -> None:
    """Write the calls that wait while the process exits, and warn of those that cannot be."""
    end = time.monotonic() + timeout_s
    for queue in list(capture.queues.values()):
        queue.flush(None, max(0.0, end - time.monotonic()))
        if left := queue.left():
            LOGGER.warning(
                "The tracking store lacks %d logging calls of %d runs. They are in the journals: "
                "`yprov-mlflow recover` writes them to the store once it answers.",
                sum(left.values()),
                len(left),
            )
