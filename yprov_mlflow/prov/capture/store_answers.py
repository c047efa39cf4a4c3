"""Answers of stores to calls that are written later: accepted, refused, or not clear.

A call without a clear answer may have been done, wholly or in part. Before it is made again, the
store is read back, so that no point is logged twice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import math
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from mlflow.exceptions import MlflowException

from yprov_mlflow.prov.capture import mlflow_private
from yprov_mlflow.prov.capture.call_batches import Bulk
from yprov_mlflow.prov.events import LARGEST_FLOAT
from yprov_mlflow.prov.serialize import integer

_ATTEMPT_TIMEOUT_S = 20  # of one request of the thread that writes; MLflow's own limit is 120 s

_REFUSALS = frozenset(
    {
        "BAD_REQUEST",
        "INVALID_PARAMETER_VALUE",
        "INVALID_STATE",
        "MALFORMED_REQUEST",
        "RESOURCE_ALREADY_EXISTS",
        "RESOURCE_DOES_NOT_EXIST",
    }
)
"""Error codes of answers that will not change if the same call is made again."""

_REFUSED_PATHS = frozenset(
    {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EINVAL}
)
"""Errors of files that will not change either: a name that is not possible as a path."""

Point = tuple[str, int, int, str]
"""Key, step, timestamp and value of a metric point, as ``stored_point`` returns them."""


def is_refusal(error: Exception) -> bool:
    """Return whether a store has refused a call for good, without having done any of it."""
    if isinstance(error, MlflowException):
        return error.error_code in _REFUSALS
    return isinstance(error, OSError) and error.errno in _REFUSED_PATHS


class _Patience(threading.local):
    """Whether requests of this thread are made once, and not repeated by MLflow."""

    is_short = False


_patience = _Patience()


@contextlib.contextmanager
def one_attempt() -> Iterator[None]:
    """Make each request of this thread once, so that this module can judge its answer.

    MLflow repeats requests for minutes, also those of which a server has done a part.
    """
    mlflow_private.limit_requests(_limits)
    _patience.is_short = True
    try:
        yield
    finally:
        _patience.is_short = False


def _limits() -> dict[str, Any]:
    """Return the options of a request of this thread; without options, it is MLflow's own."""
    if not _patience.is_short:
        return {}
    # Without the last one, an answer such as 400 or 500 would become a failed connection.
    return {"max_retries": 0, "timeout": _ATTEMPT_TIMEOUT_S, "raise_on_status": False}


# -- reading back --------------------------------------------------------------------------


def stored_point(key: str, step: int, timestamp: int, value: float) -> Point:
    """Return a point so that it compares equal to itself read back from a store.

    As text, NaN equals NaN. MLflow's SQL store has the largest number for infinity, and no
    negative zero.
    """
    if math.isinf(value):
        value = math.copysign(LARGEST_FLOAT, value)
    return key, integer(step or 0), integer(timestamp), repr(float(value) + 0.0)


def point_of(metric: Any) -> Point:
    """Return the point of a ``Metric``."""
    return stored_point(metric.key, metric.step, metric.timestamp, metric.value)


def stored_points(store: Any, run_id: str, keys: Iterable[str]) -> Counter[Point]:
    """Return how often a store has each point of some metrics of a run."""
    points: Counter[Point] = Counter()
    for key in sorted(set(keys)):
        history = mlflow_private.pages(
            store.get_metric_history, run_id=run_id, metric_key=key, max_results=None
        )
        points.update(map(point_of, history))
    return points


def without_stored(store: Any, run_id: str, bulk: Bulk, before: Counter[Point]) -> Bulk:
    """Return the part of a bulk that a store lacks.

    Params and tags may be written again; a point may not.

    Args:
        store: The store, whose methods are MLflow's own.
        run_id: The run.
        bulk: The bulk, of which the store may have a part.
        before: How often each point had been written before the bulk was.
    """
    own = {metric.key for metric in bulk.metrics}
    surplus = stored_points(store, run_id, own) - before
    missing = []
    for metric in bulk.metrics:
        point = point_of(metric)
        if surplus[point] > 0:
            surplus[point] -= 1
        else:
            missing.append(metric)
    return dataclasses.replace(bulk, metrics=missing)
