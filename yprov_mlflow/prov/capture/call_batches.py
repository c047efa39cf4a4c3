"""Calls that wait for their store, and the batches in which they are written to it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.utils import validation

_ESCAPED = 6  # bytes of a character that JSON escapes
_MAX_BYTES = validation.MAX_BATCH_LOG_REQUEST_SIZE // 2  # of texts; JSON has quotes and escapes


class Ticket:
    """The outcome of a call that its caller waits for, for a limited time."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.result: Any = None
        self.error: Exception | None = None  # the store's answer, which the caller raises
        self.journaled = False  # whether the journal has the call
        self.gone = False  # the caller has gone on: the call counts, like one that was not awaited

    def settle(self, result: Any = None, error: Exception | None = None) -> None:
        """Let the caller go on."""
        self.result, self.error = result, error
        self.done.set()


@dataclass(slots=True, eq=False)
class StoreCall:
    """A call that is made as it is, in its place among the others of its run.

    Args:
        method: Name of the store's method.
        args: Its arguments.
        items: Points, params and tags of the call, if it logs nothing else.
        ticket: The outcome, if a caller waits for it.
    """

    method: str
    args: tuple[Any, ...]
    items: Sequence[Any] = ()
    ticket: Ticket | None = None
    attempts: int = 0
    failed_s: float = 0.0  # when the first attempt failed, by a monotonic clock


@dataclass(slots=True, eq=False)
class Bulk:
    """Points, params and tags that one call of ``log_batch`` writes; tags by their key."""

    metrics: list[Any] = field(default_factory=list)
    params: list[Any] = field(default_factory=list)
    tags: dict[str, Any] = field(default_factory=dict)
    attempts: int = 0
    failed_s: float = 0.0
    ticket: Ticket | None = None  # of the call that the items are from, if a caller has waited

    def call(self) -> tuple[str, tuple[Any, ...]]:
        """Return the method and its arguments after the run; single items have their own."""
        single = self.items()
        if len(single) == 1:
            method = next(name for cls, name in _METHODS.items() if isinstance(single[0], cls))
            return method, (single[0],)
        return "log_batch", (self.metrics, self.params, list(self.tags.values()))

    def items(self) -> list[Any]:
        """Return all items."""
        return [*self.metrics, *self.params, *self.tags.values()]

    def split(self) -> list[Bulk]:
        """Return smaller parts, to find the items that a store refuses; none of a single item."""
        if self.params or self.tags:
            parts = [Bulk(params=[param]) for param in self.params]
            parts += [Bulk(tags={key: tag}) for key, tag in self.tags.items()]
            parts += [Bulk(metrics=self.metrics)] if self.metrics else []
        else:
            middle = len(self.metrics) // 2
            parts = [Bulk(metrics=self.metrics[:middle]), Bulk(metrics=self.metrics[middle:])]
        for part in parts:  # of which the store may have some
            part.attempts, part.failed_s, part.ticket = self.attempts, self.failed_s, self.ticket
        return parts if len(self.items()) > 1 else []


_METHODS = {Metric: "log_metric", Param: "log_param", RunTag: "set_tag"}


@dataclass(slots=True, eq=False)
class Spilled:
    """Points that are only in the journal: those of the events with these numbers."""

    first: int
    last: int


Batch = StoreCall | Bulk | Spilled


def take(waiting: deque[Any]) -> Batch:
    """Remove the first batch from the calls that wait, of which there is at least one."""
    first = waiting[0]
    if isinstance(first, Batch):
        waiting.popleft()
        return first
    bulk, size = Bulk(), 0
    while waiting and not isinstance(item := waiting[0], Batch):
        size += _size(item)
        if not _fits(bulk, item) or (size > _MAX_BYTES and bulk.items()):
            break
        waiting.popleft()
        _add(bulk, item)
    return bulk


def bulk_of(items: Iterable[Any]) -> Bulk:
    """Return the bulk of the items of one call."""
    bulk = Bulk()
    for item in items:
        _add(bulk, item)
    return bulk


def journaled_points(items: Iterable[Any]) -> Iterable[Any]:
    """Yield the metric points of calls that wait and that the journal has."""
    for item in items:
        ticket = getattr(item, "ticket", None)
        if ticket is not None and not ticket.journaled:
            continue
        if isinstance(item, Bulk):
            yield from item.metrics
        elif isinstance(item, StoreCall):
            yield from journaled_points(item.items)
        elif isinstance(item, Metric):
            yield item


def _fits(bulk: Bulk, item: Any) -> bool:
    if isinstance(item, Metric):
        # Params and tags leave room for it: together they may have no more items.
        count = len(bulk.metrics) + len(bulk.params) + len(bulk.tags)
        return count < validation.MAX_METRICS_PER_BATCH
    if len(bulk.metrics) + len(bulk.params) + len(bulk.tags) >= validation.MAX_ENTITIES_PER_BATCH:
        return False
    if isinstance(item, Param):
        return len(bulk.params) < validation.MAX_PARAMS_TAGS_PER_BATCH
    return item.key in bulk.tags or len(bulk.tags) < validation.MAX_PARAMS_TAGS_PER_BATCH


def _add(bulk: Bulk, item: Any) -> None:
    if isinstance(item, Metric):
        bulk.metrics.append(item)
    elif isinstance(item, Param):
        # A param may be logged again with the same value, but not in one batch.
        if all(param.key != item.key for param in bulk.params):
            bulk.params.append(item)
    else:
        bulk.tags.pop(item.key, None)
        bulk.tags[item.key] = item


def _size(item: Any) -> int:
    """Return about how many bytes an item is in JSON."""
    text = item.key if isinstance(item, Metric) else f"{item.key}{item.value}"
    return 100 + len(text) * (1 if text.isascii() else _ESCAPED)
