"""Final metrics: values that are folded from all points of a metric when the run ends."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mlflow.entities import Metric

from yprov_mlflow.prov.capture import session
from yprov_mlflow.prov.capture.switch import LOGGER, Boundary
from yprov_mlflow.prov.errors import UsageError

Fold = Callable[[list[float]], float]

FOLDS: Mapping[str, Fold] = {
    "min": min,
    "max": max,
    "sum": math.fsum,
    "mean": statistics.fmean,
    "first": lambda values: values[0],
    "last": lambda values: values[-1],
}
"""Folds by name; each gets all values, in order of steps, without NaN."""

registered: dict[str, dict[str, dict[str, Fold]]] = {}
"""For each run the folds of its metrics: metric, name of the fold, function."""


def fold_metrics(
    folds: Mapping[str, str | Fold | Iterable[str | Fold]], *, run_id: str | None = None
) -> None:
    """Log folds of metrics when the run ends: ``loss`` with ``min`` becomes ``loss.min``.

    ``prov.fold_metrics({"loss": "min", "energy": ["sum", my_function]})``. All points that the
    store has count, also those of other processes. NaN is left out.

    Args:
        folds: For each metric a fold or several: ``min``, ``max``, ``sum``, ``mean``, ``first``,
            ``last``, or a function of the list of values, which gives the fold its name.
        run_id: The run; by default the active one.

    Raises:
        UsageError: A fold is unknown, no run is active, or the run is not captured.
    """
    current = session.attempt()
    run_id = run_id or (current.active_run() if current is not None else None)
    if current is None or run_id is None:
        raise UsageError(
            "prov.fold_metrics needs an active run that is captured: call it within "
            "mlflow.start_run(), with `import yprov_mlflow as mlflow`"
        )
    new = {metric: dict(map(_named, _several(fold))) for metric, fold in folds.items()}
    for metric, functions in new.items():
        registered.setdefault(run_id, {}).setdefault(metric, {}).update(functions)


def _several(fold: str | Fold | Iterable[str | Fold]) -> Iterable[str | Fold]:
    return [fold] if isinstance(fold, str) or callable(fold) else fold


def _named(fold: str | Fold) -> tuple[str, Fold]:
    if callable(fold):
        return getattr(fold, "__name__", type(fold).__name__).strip("<>"), fold
    if fold not in FOLDS:
        raise UsageError(
            f"prov.fold_metrics has no fold {fold!r}: use {', '.join(FOLDS)}, or a function"
        )
    return fold, FOLDS[fold]


def log_folds(capture: session.CaptureSession, store: Any, run_id: str) -> None:
    """Log the folds of a run that ends; a fold that fails is named, and the others are logged."""
    metrics: list[Metric] = []
    now_ms = int(time.time() * 1000)
    for metric, functions in registered.pop(run_id, {}).items():
        values: list[float] = []
        with Boundary(_warning(metric, "its points")):
            values = _values(store.get_metric_history(run_id, metric))
        for name, function in functions.items() if values else ():
            with Boundary(_warning(metric, name)):
                value = float(function(list(values)))
                metrics.append(Metric(f"{metric}.{name}", value, now_ms, 0))
    if metrics:
        with Boundary(_warning("all metrics", "the store")):
            store.log_batch(run_id, metrics, [], [])
            capture.recorder.record_metrics(run_id, metrics, store)


def _values(points: Sequence[Any]) -> list[float]:
    ordered = sorted(points, key=lambda point: (point.step, point.timestamp))
    return [float(p.value) for p in ordered if not math.isnan(p.value)]


def _warning(metric: str, what: str) -> Callable[[Exception], None]:
    def warn(error: Exception) -> None:
        LOGGER.warning(
            "The final value of %s could not be logged (%s: %s: %s); the run is not affected.",
            metric,
            what,
            type(error).__name__,
            error,
        )

    return warn
