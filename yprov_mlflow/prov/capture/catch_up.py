"""Write to a store what the journals of a run have and the store lacks.

After a process that wrote later was killed, or its store was away until its end, the journals are
ahead. Which of their calls the store has follows from a comparison: nothing is written twice.
"""

from __future__ import annotations

import os
import platform
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mlflow.entities import Param, RunStatus, RunTag
from mlflow.exceptions import MlflowException

from yprov_mlflow.prov import events
from yprov_mlflow.prov.capture import store_answers
from yprov_mlflow.prov.capture.call_batches import Bulk, bulk_of, take
from yprov_mlflow.prov.capture.mlflow_objects import dataset_input, metrics_of
from yprov_mlflow.prov.capture.run_document import journal_points
from yprov_mlflow.prov.capture.store_answers import point_of, stored_point, stored_points
from yprov_mlflow.prov.errors import first_line
from yprov_mlflow.prov.events import DELIVERY_FACTS, TERMINAL, Event
from yprov_mlflow.prov.journal import JournalDirectory, merge


@dataclass
class Tail:
    """The calls of a run that its store may lack."""

    metrics: list[Any] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str | None] = field(default_factory=dict)  # None: deleted
    datasets: list[Any] = field(default_factory=list)
    status: str | None = None
    end_time_ms: int | None = None
    run_name: str | None = None

    def feed(self, event: Event) -> None:
        """Add an event; the last write wins."""
        match event:
            case events.MetricsLogged():
                self.metrics += metrics_of(event)
            case events.ParamsLogged():
                self.params.update(event.params)
            case events.TagsSet():
                self.tags.update(event.tags)
            case events.TagDeleted():
                self.tags[event.key] = None
            case events.InputsLogged():
                self.datasets += map(dataset_input, event.datasets)
            case events.RunUpdated():
                self.status = event.status or self.status
                self.end_time_ms = event.end_time_ms or self.end_time_ms
                self.run_name = event.run_name or self.run_name
            case events.CallRefused():
                for key in event.content.get("params", {}):
                    self.params.pop(key, None)
                for key in event.content.get("tags", {}):
                    self.tags.pop(key, None)


def pending_sessions(folder: JournalDirectory) -> dict[str, int]:
    """Return the dead sessions of a run whose calls its store may lack.

    Returns:
        By session, the number of the last event before which the store has all.
    """
    pending: dict[str, int] = {}
    for journal in folder.readers()[0]:
        delivered, is_pending, is_alive = -1, False, False
        for event in journal:
            if isinstance(event, events.SessionStarted):
                is_alive = _is_alive(event)
            elif isinstance(event, events.FactsCollected) and event.collector == DELIVERY_FACTS:
                is_pending = "mode" in event.facts
                delivered = int(event.facts.get("delivered", delivered))
        if is_pending and not is_alive:
            pending[journal.session] = delivered
    return pending


def _is_alive(started: events.SessionStarted) -> bool:
    """Return whether the process of a session still runs on this machine."""
    pid, host = started.facts.get("pid"), started.facts.get("host")
    if host != platform.node() or not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # the process of another user
        return True
    return True


def catch_up(folder: JournalDirectory, store: Any) -> list[str]:
    """Write to a store what the journals of dead sessions are ahead.

    Returns:
        The answers of the store to calls that it has refused.

    Raises:
        Exception: The store does not answer, or lacks the run; what is missing is written the
            next time.
    """
    pending = pending_sessions(folder)
    if not pending:
        return []
    tail = Tail()
    for event in merge(folder.readers()[0]):
        if event.seq > pending.get(event.session, event.seq):
            tail.feed(event)
    run = store.get_run(folder.run_id)
    refused = [
        f"param {key!r} has another value in the store"
        for key, value in tail.params.items()
        if run.data.params.get(key, value) != value
    ]
    items = [*_missing_metrics(folder, tail, store), *_missing_values(tail, run)]
    for bulk in _bulks(items):
        refused += write(store, folder.run_id, bulk)
    for method, args in _calls(tail, run):
        refused += _refusal(store, method, folder.run_id, *args)
    return refused


def write(store: Any, run_id: str, bulk: Bulk) -> list[str]:
    """Write a bulk; of one that the store refuses, write the parts. Return its refusals."""
    method, args = bulk.call()
    reasons = _refusal(store, method, run_id, *args)
    parts = bulk.split() if reasons else []
    return [reason for part in parts for reason in write(store, run_id, part)] or reasons


def _refusal(store: Any, method: str, run_id: str, *args: Any) -> list[str]:
    """Call a method of a store, and return its refusal, or nothing."""
    try:
        getattr(store, method)(run_id, *args)
    except (MlflowException, OSError) as error:
        if not store_answers.is_refusal(error):
            raise
        return [first_line(error)]
    return []


def _missing_metrics(folder: JournalDirectory, tail: Tail, store: Any) -> list[Any]:
    keys = frozenset(metric.key for metric in tail.metrics)
    missing: Counter[Any] = Counter(
        stored_point(key, step, timestamp, value)
        for key, step, timestamp, value in journal_points(folder, keys)
    )
    missing.subtract(stored_points(store, folder.run_id, keys))
    result = []
    for metric in tail.metrics:
        point = point_of(metric)
        if missing[point] > 0:
            missing[point] -= 1
            result.append(metric)
    return result


def _missing_values(tail: Tail, run: Any) -> Iterator[Any]:
    data = run.data
    for key, value in tail.params.items():
        if key not in data.params:  # MLflow lets no param change
            yield Param(key, value)
    for key, text in tail.tags.items():
        if text is not None and data.tags.get(key) != text:
            yield RunTag(key, text)


def _bulks(items: list[Any]) -> Iterator[Bulk]:
    waiting = deque(items)
    while waiting:
        batch = take(waiting)
        yield batch if isinstance(batch, Bulk) else bulk_of(())


def _calls(tail: Tail, run: Any) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield the calls that no bulk contains: method and arguments after the run."""
    for key, value in tail.tags.items():
        if value is None and key in run.data.tags:
            yield "delete_tag", (key,)
    linked = getattr(getattr(run, "inputs", None), "dataset_inputs", None) or ()
    stored = {(item.dataset.name, item.dataset.digest) for item in linked}
    if datasets := [d for d in tail.datasets if (d.dataset.name, d.dataset.digest) not in stored]:
        yield "log_inputs", (datasets,)
    info = run.info
    # A run that has ended in the store, or was named there since, keeps that.
    status = tail.status if tail.status in TERMINAL and info.status not in TERMINAL else None
    if status is not None:
        value = RunStatus.from_string(status)
        yield "update_run_info", (value, tail.end_time_ms, tail.run_name)
