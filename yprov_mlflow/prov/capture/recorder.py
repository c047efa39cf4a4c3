"""Recording of metric points and contexts, the two things that need more than one append."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from yprov_mlflow.prov.capture import contexts, mlflow_private
from yprov_mlflow.prov.capture.mlflow_private import BATCHED, DATASET_NAME, MODEL_ID, QUEUED
from yprov_mlflow.prov.capture.open_runs import OpenRuns
from yprov_mlflow.prov.events import ContextEntered, ContextLeft, MetricsLogged
from yprov_mlflow.prov.settings import Settings

_MONITORED = "system/"  # first part of the keys that MLflow's monitor logs


class Recorder(OpenRuns):
    """The open runs of this process, with their metric points and contexts."""

    def __init__(self, settings: Settings, *, side: str = "client", forked: bool = False) -> None:
        super().__init__(settings, side=side, forked=forked)
        self._is_rank = "rank" in self.collectors.ranks

    # -- points ------------------------------------------------------------------------

    def record_metric(self, run_id: str, metric: Any, store: Any) -> None:
        """Record one point, as ``record_metrics`` does, but faster: most calls are this one.

        Measured (benchmarks/overhead.py): after a real write of MLflow the processor's caches
        hold little of our code, so each function that is not called saves most here. The usual
        case is a point without links whose context is certain, in a run that is being measured;
        it is written without another call. MLflow's attributes are read directly for that reason.
        """
        try:
            state = self._runs.get(run_id)
            scope = contexts.current.get()
            path = scope.runs.get(run_id) if scope is not None else ()
            attributes = metric.__dict__
            if (
                state is None
                or state.watched
                or (self._is_rank and not state.measured)
                or path is None
                or (scope is None and state.contexts.any)
                or id(metric) in QUEUED
                or BATCHED
                or attributes.get(MODEL_ID)
                or attributes.get(DATASET_NAME)
            ):
                self.record_metrics(run_id, (metric,), store)
                return
            state.store, state.dirty = store, True
            value, step = float(metric.value), metric.step or 0
            paths = [path] if path else ()
            state.writer.append(
                MetricsLogged, [metric.key], [value], [metric.timestamp], [step], paths
            )
        except Exception as error:  # noqa: BLE001 - provenance must never break the training
            self.suspect(run_id)
            self.warn(error)

    def record_metrics(self, run_id: str, metrics: Sequence[Any], store: Any) -> None:
        """Record the points of one call, at least one, as one event."""
        with self.warn_only(self.state(run_id, store)):
            self.record(run_id, MetricsLogged, *self._points(run_id, metrics), store=store)

    def _points(self, run_id: str, metrics: Sequence[Any]) -> tuple[Any, ...]:
        """Return the columns of ``MetricsLogged``, without trailing columns that are empty."""
        self.enter_contexts(run_id)
        columns = (
            [m.key for m in metrics],
            [float(m.value) for m in metrics],
            [m.timestamp for m in metrics],
            [m.step or 0 for m in metrics],
        )
        path, monitored = self.context_path(run_id), self.context_path(run_id, _MONITORED)
        paths = mlflow_private.metric_contexts(run_id, metrics, path)
        if path != monitored:
            others = mlflow_private.metric_contexts(run_id, metrics, monitored)
            of_monitor = [key.startswith(_MONITORED) for key in columns[0]]
            paths = [b if m else a for a, b, m in zip(paths, others, of_monitor, strict=True)]
        models = mlflow_private.metric_models(metrics)
        datasets = mlflow_private.metric_datasets(metrics)
        linked = any(models) or any(datasets)
        if not linked and not any(paths):
            return columns
        distinct = list(dict.fromkeys(paths))
        position = {path: index for index, path in enumerate(distinct)}
        indices = [position[path] for path in paths] if len(distinct) > 1 else None
        if not linked:
            return (*columns, distinct, indices)
        links = (column if any(column) else None for column in (models, datasets))
        return (*columns, distinct, indices, *links)

    # -- contexts ----------------------------------------------------------------------

    def enter_contexts(self, run_id: str) -> None:
        """Record the contexts around the caller that the run's journal lacks."""
        for scope in contexts.unrecorded(run_id):
            scope.runs[run_id] = path = scope.path(run_id)
            self.record(run_id, ContextEntered, path)
            if (state := self._runs.get(run_id)) is not None:
                state.contexts.enter(path)
                self.collectors.sample_extra(run_id)

    def leave(self, scope: contexts.Scope, *, failed: bool) -> None:
        """Record the end of a scope in each of its runs."""
        for run_id, path in sorted(scope.runs.items()):
            if (state := self._runs.get(run_id)) is not None:
                state.contexts.leave(path)
                self.collectors.sample_extra(run_id)
            self.record(run_id, ContextLeft, path, failed)

    def context_path(self, run_id: str, key: str = "") -> contexts.ContextPath:
        """Return the context of a call from this thread that logs to the metric ``key``, if any."""
        # The ``system/…`` metrics of a monitor, which samples through all contexts, belong to the
        # run itself.
        path = contexts.path_in(run_id)
        if path is None:
            state = self._runs.get(run_id)
            path = state.contexts.only() if state and not key.startswith(_MONITORED) else ()
        return path

    def attach_context(self, run_id: str, metrics: Sequence[Any]) -> None:
        """Attach the context of this thread to metrics that another thread will log."""
        self.enter_contexts(run_id)
        of_monitor = [m for m in metrics if m.key.startswith(_MONITORED)]
        others = [m for m in metrics if not m.key.startswith(_MONITORED)]
        for part, key in ((others, ""), (of_monitor, _MONITORED)):
            if part and (path := self.context_path(run_id, key)):
                mlflow_private.set_metric_context(part, path)

    def attach_batch_context(self, run_id: str, metrics: Sequence[Any]) -> None:
        """Attach the context of this thread to metrics of which autologging will log copies."""
        self.enter_contexts(run_id)
        if path := self.context_path(run_id):
            mlflow_private.set_batch_context(run_id, metrics, path)
