"""Samples of collectors logged as MLflow's system metrics, which its UI plots.

MLflow's own monitor, where it is on, has priority: a metric that it logs is not logged again.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mlflow.entities import Metric
from mlflow.tracking import fluent

from yprov_mlflow.prov.capture import mlflow_private
from yprov_mlflow.prov.capture.switch import Boundary
from yprov_mlflow.prov.collectors.base import Quantity

PREFIX = "system/"
INTERVAL_S = 10.0  # between two points of a metric, MLflow's own default
HANGING_S = 60.0  # how long the store may take for one call before a warning
_INTERVAL = "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"
_SAMPLES = "MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING"
_NODE = "MLFLOW_SYSTEM_METRICS_NODE_ID"


class Publisher:
    """Logs the mean of gauges and the last value of totals, in one thread for each run."""

    def __init__(self, everything: bool, warn: Callable[[BaseException], None]) -> None:
        self.everything = everything  # whether all runs get them, or only those with MLflow's own
        self.warn = warn  # called for each error of a store; expected to warn once
        self._runs: dict[str, _Run] = {}

    def take(
        self,
        run_id: str,
        store: Any,
        quantities: Sequence[Quantity],
        values: Sequence[float | None],
        time_ns: int,
    ) -> None:
        """Add one sample of a collector; returns at once, even if the store hangs.

        The sampler stops before ``finish`` is called: a later sample would start the run again.
        """
        run = self._runs.get(run_id)
        if run is None:
            if store is None or not (self.everything or monitor_of(run_id)):
                return
            try:
                run = self._runs[run_id] = _Run(run_id, store, self.warn)
            except RuntimeError as error:  # no thread can be started while the interpreter exits
                self.warn(error)
                return
        run.take(quantities, values, time_ns)

    def finish(self, run_id: str, timeout_s: float) -> None:
        """Log the remaining samples of a run; drop those that take longer than the timeout."""
        if (run := self._runs.pop(run_id, None)) is not None:
            run.finish(timeout_s)


def monitor_of(run_id: str) -> Any:
    """Return the monitor by which MLflow logs system metrics of a run, or None."""
    return getattr(fluent, "run_id_to_system_metrics_monitor", {}).get(run_id)


class _Sample(NamedTuple):
    """The samples of one metric since its last point: a gauge's are added up."""

    total: float
    number: int
    time_ns: int  # of the last one


class _Run:
    """The metrics of one run and the thread that logs them."""

    def __init__(self, run_id: str, store: Any, warn: Callable[[BaseException], None]) -> None:
        self._run_id = run_id
        self._store = store
        self._warn = warn
        self._lock = threading.RLock()
        self._samples: dict[str, _Sample] = {}
        self._of_monitor: set[str] = set()
        self._step: int | None = None
        self._called_at: float | None = None
        self._ending = threading.Event()
        self._dropped = False
        self._thread = threading.Thread(target=self._work, name="yprov-system-metrics", daemon=True)
        self._thread.start()

    def take(
        self, quantities: Sequence[Quantity], values: Sequence[float | None], time_ns: int
    ) -> None:
        """Add one sample of a collector; warn if a call of the store hangs."""
        self._read_monitor()
        with self._lock:
            for quantity, value in zip(quantities, values, strict=True):
                name = quantity.system_metric
                if name and value is not None and math.isfinite(value):
                    value *= quantity.scale
                    last = self._samples.get(name)
                    if last is None or quantity.cumulative:
                        self._samples[name] = _Sample(value, 1, time_ns)
                    else:
                        self._samples[name] = _Sample(last.total + value, last.number + 1, time_ns)
        called_at = self._called_at
        if called_at is not None and time.monotonic() - called_at > HANGING_S:
            self._warn(TimeoutError(f"the store takes no system metrics for {HANGING_S:g} s"))

    def finish(self, timeout_s: float) -> None:
        """Log the remaining samples, and wait until the store has them."""
        self._ending.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._dropped = True
            self._warn(TimeoutError(f"the last system metrics took more than {timeout_s:g} s"))

    def _work(self) -> None:
        while not self._ending.wait(_interval_s()):
            self._log()
        self._log()

    def _log(self) -> None:
        """Log the samples since the last point; those that the store refuses are dropped."""
        is_complete = self._read_monitor()
        with self._lock:
            # The monitor's names are known after its first sample: until then ours are kept.
            if not is_complete and not self._ending.is_set():
                return
            samples, self._samples = self._samples, {}
        node = os.environ.get(_NODE, "")
        prefix = f"{PREFIX}{node}/" if node else PREFIX
        points = {prefix + name: samples[name] for name in samples if name not in self._of_monitor}
        if points:
            self._called_at = time.monotonic()
            with Boundary(self._warn):
                self._send(points)
            self._called_at = None

    def _send(self, points: dict[str, _Sample]) -> None:
        if self._step is None:
            self._step = self._next_step(set(points))
        if self._dropped:  # the run ended while the store was called
            return
        metrics = [
            Metric(name, sample.total / sample.number, sample.time_ns // 1_000_000, self._step)
            for name, sample in points.items()
        ]
        self._step += 1
        self._store.log_batch(self._run_id, metrics=metrics, params=[], tags=[])

    def _next_step(self, names: set[str]) -> int:
        """Return the step after the last one that a resumed run has of these metrics, else 0."""
        latest = mlflow_private.latest_metrics(self._store.get_run(self._run_id))
        steps = [metric.step for metric in latest if metric.key in names]
        return max(steps, default=-1) + 1

    def _read_monitor(self) -> bool:
        """Remember the names that MLflow's monitor logs; return whether they are known.

        The monitor clears its samples each time it logs them, so it is read with every sample.
        """
        monitor = monitor_of(self._run_id)
        for part in list(getattr(monitor, "monitors", ())):
            self._of_monitor.update(list(getattr(part, "metrics", ())))
        return monitor is None or bool(self._of_monitor)


def _interval_s() -> float:
    """Return the time between two points, by the variables of MLflow's own monitor."""
    try:
        interval_s = float(os.environ.get(_INTERVAL) or INTERVAL_S)
        interval_s *= int(os.environ.get(_SAMPLES) or 1)
    except ValueError:
        return INTERVAL_S
    return interval_s if 0 < interval_s < math.inf else INTERVAL_S
