"""What collectors sample, as MLflow's system metrics, which its UI plots.

MLflow's own monitor, where it is on, comes first: what it logs of a run is not logged again.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from yprov_mlflow.prov.collectors.base import Quantity

PREFIX = "system/"
INTERVAL_S = 10.0
"""Time between two points of a metric, MLflow's own default."""

HANGING_S = 60.0
"""How long the store may take for one call before that is warned of."""

_INTERVAL = "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"
_SAMPLES = "MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING"
_NODE = "MLFLOW_SYSTEM_METRICS_NODE_ID"


class Publisher:
    """Logs means of gauges and last values of totals, by a thread for each run.

    Args:
        everything: Whether all runs get system metrics, or only those of which MLflow logs
            its own.
        warn: Told of what a store does not take; it is to speak once.
    """

    def __init__(self, everything: bool, warn: Callable[[BaseException], None]) -> None:
        self.everything = everything
        self.warn = warn
        self._runs: dict[str, _Run] = {}

    def take(
        self,
        run_id: str,
        store: Any,
        quantities: Sequence[Quantity],
        values: Sequence[float | None],
        time_ns: int,
    ) -> None:
        """Note one sample of a collector; returns at once, whatever the store does.

        The sampler is through with a run before that is finished: a sample after it would
        begin anew.
        """
        run = self._runs.get(run_id)
        if run is None:
            if store is None or not (self.everything or monitor_of(run_id) is not None):
                return
            try:
                run = self._runs[run_id] = _Run(run_id, store, self.warn)
            except RuntimeError as error:  # an interpreter that ends starts no threads
                self.warn(error)
                return
        run.take(quantities, values, time_ns)

    def finish(self, run_id: str, patience_s: float) -> None:
        """Log what is left of a run, for so long at most; what is left then is dropped."""
        run = self._runs.pop(run_id, None)
        if run is not None:
            run.finish(patience_s)


def monitor_of(run_id: str) -> Any:
    """Give the monitor by which MLflow logs system metrics of a run, None if it does not."""
    fluent = sys.modules.get("mlflow.tracking.fluent")
    return getattr(fluent, "run_id_to_system_metrics_monitor", {}).get(run_id)


class _Aggregate:
    """The samples of one metric since it was last logged."""

    __slots__ = ("count", "cumulative", "sum", "time_ns")

    def __init__(self, cumulative: bool) -> None:
        self.cumulative = cumulative
        self.sum = 0.0
        self.count = 0
        self.time_ns = 0

    def add(self, value: float, time_ns: int) -> None:
        """Take one sample in."""
        self.sum = value if self.cumulative else self.sum + value
        self.count = 1 if self.cumulative else self.count + 1
        self.time_ns = time_ns

    @property
    def value(self) -> float:
        """What is to be logged: the mean, of a total the last."""
        return self.sum / self.count


class _Run:
    """The metrics of one run and the thread that logs them."""

    def __init__(self, run_id: str, store: Any, warn: Callable[[BaseException], None]) -> None:
        self._run_id = run_id
        self._store = store
        self._warn = warn
        self._lock = threading.RLock()
        self._samples: dict[str, _Aggregate] = {}
        self._theirs: set[str] = set()
        self._step: int | None = None
        self._asked_at: float | None = None
        self._ending = threading.Event()
        self._dropped = False
        self._thread = threading.Thread(target=self._work, name="yprov-system-metrics", daemon=True)
        self._thread.start()

    def take(
        self, quantities: Sequence[Quantity], values: Sequence[float | None], time_ns: int
    ) -> None:
        """Note one sample of a collector; warn where the store has hung for too long."""
        self._look_at_monitor()
        with self._lock:
            for quantity, value in zip(quantities, values, strict=True):
                if quantity.system_metric and value is not None and math.isfinite(value):
                    new = _Aggregate(quantity.cumulative)
                    aggregate = self._samples.setdefault(quantity.system_metric, new)
                    aggregate.add(value * quantity.scale, time_ns)
        asked_at = self._asked_at
        if asked_at is not None and time.monotonic() - asked_at > HANGING_S:
            self._warn(TimeoutError(f"the store takes no system metrics for {HANGING_S:g} s"))

    def finish(self, patience_s: float) -> None:
        """Log what is left, for so long at most."""
        self._ending.set()
        self._thread.join(patience_s)
        if self._thread.is_alive():
            self._dropped = True
            self._warn(TimeoutError(f"the last system metrics took more than {patience_s:g} s"))

    def _work(self) -> None:
        while not self._ending.wait(_interval_s()):
            self._log()
        self._log()

    def _log(self) -> None:
        """Log what was sampled since the last time; what a store refuses is not tried again."""
        known = self._look_at_monitor()
        with self._lock:
            if not known and not self._ending.is_set():
                return  # the names come with the monitor's first sample: nothing is lost till then
            samples, self._samples = self._samples, {}
        points = {name: found for name, found in samples.items() if name not in self._theirs}
        if not points:
            return
        node = os.environ.get(_NODE, "")
        prefix = f"{PREFIX}{node}/" if node else PREFIX
        self._asked_at = time.monotonic()
        try:
            self._send({prefix + name: found for name, found in points.items()})
        except Exception as error:  # noqa: BLE001 - provenance must never break the training
            self._warn(error)
        self._asked_at = None

    def _send(self, points: dict[str, _Aggregate]) -> None:
        from mlflow.entities import Metric

        if self._step is None:
            self._step = self._next_step(set(points))
        if self._dropped:  # the run ended while the store was asked
            return
        metrics = [
            Metric(name, found.value, found.time_ns // 1_000_000, self._step)
            for name, found in points.items()
        ]
        self._step += 1
        self._store.log_batch(self._run_id, metrics=metrics, params=[], tags=[])

    def _next_step(self, names: set[str]) -> int:
        """Give the step after the last that a resumed run has of these metrics, else 0."""
        data = self._store.get_run(self._run_id).data
        last = getattr(data, "_metric_objs", ())
        steps = [metric.step for metric in last if metric.key in names]
        return max(steps, default=-1) + 1

    def _look_at_monitor(self) -> bool:
        """Note what MLflow's monitor logs; tell whether that is known.

        It clears its samples each time it logs them, so that it is looked at with every sample
        of ours, and names once seen are remembered.
        """
        monitor = monitor_of(self._run_id)
        if monitor is None:
            return True
        for one in list(getattr(monitor, "monitors", ())):
            self._theirs.update(list(getattr(one, "metrics", ())))
        return bool(self._theirs)


def _interval_s() -> float:
    """Give the time between two points, as MLflow's variables for its own monitor have it."""
    try:
        interval_s = float(os.environ.get(_INTERVAL) or INTERVAL_S)
        interval_s *= int(os.environ.get(_SAMPLES) or 1)
    except ValueError:
        return INTERVAL_S
    return interval_s if 0 < interval_s < math.inf else INTERVAL_S
