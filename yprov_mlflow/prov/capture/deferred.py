"""Stores whose logging calls return before MLflow's store has them.

The class of such a store is a subclass of the captured one. A logging call that the store is
certain to accept is journaled, and a thread writes it (``call_queue``). Every other call is made
at once, after those before it that it depends on.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from mlflow.entities import RunStatus
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.file_store import FileStore

from yprov_mlflow.prov.capture import handlers, mlflow_private, session
from yprov_mlflow.prov.capture.call_batches import StoreCall
from yprov_mlflow.prov.capture.call_queue import END_TIMEOUT_S, StoreQueue
from yprov_mlflow.prov.capture.call_writer import RunQueue
from yprov_mlflow.prov.capture.known_runs import KnownRun, are_valid_datasets
from yprov_mlflow.prov.capture.owned_calls import Call
from yprov_mlflow.prov.capture.session import CaptureSession
from yprov_mlflow.prov.events import TERMINAL
from yprov_mlflow.prov.setting_values import DEFERRED

READ_TIMEOUT_S = 30.0  # how long a read waits for the calls before it

_READS_OF_RUNS = ("run", "metric", "logged_models", "experiment")
"""Parts of the names of methods that depend on the calls of any run."""

_INDEPENDENT = frozenset(
    {"create_run", "get_experiment", "get_experiment_by_name", "search_experiments"}
    | {"create_experiment", "set_experiment_tag", "log_metric_async", "log_batch_async"}
)
"""Methods with such names that do not depend on them."""


def methods(base: Any, captured: type, mode: str) -> dict[str, Any]:
    """Return the methods of the class of a deferred store that differ from the captured one.

    Args:
        base: MLflow's class.
        captured: The subclass that captures each call after it was made.
        mode: ``DEFERRED`` or ``FAILOVER`` of ``setting_values``.
    """
    result: dict[str, Any] = {}
    for name in dir(captured):
        function = inspect.getattr_static(captured, name)
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        if inspect.iscoroutinefunction(function):
            continue
        if name in _CHECKS:
            result[name] = _later(base, name, function)
        elif name == "update_run_info":
            result[name] = _end(base, function)
        elif name in ("create_run", "get_run"):
            result[name] = _known(base, name, function)
        elif _depends(name, function):
            result[name] = _after(base, name, function)
    if mode == DEFERRED and _has_usual_parameters(result["log_metric"]):
        result["log_metric"] = _metric_later(result["log_metric"])
    return result


def _has_usual_parameters(log_metric: Callable[..., Any]) -> bool:
    return list(inspect.signature(log_metric).parameters) == ["self", "run_id", "metric"]


def queue_of(capture: CaptureSession, store: Any) -> StoreQueue:
    """Return the calls that wait for a deferred store."""
    queue = capture.queues.get(store)
    if queue is None:
        with capture.lock:
            queue = capture.queues.get(store)
            if queue is None:
                base, mode = type(store).captured_from, type(store).delivery  # of ``wrappers``
                queue = capture.queues[store] = StoreQueue(capture, store, base, mode)
    return queue


# -- methods -------------------------------------------------------------------------------


def _is_inner(current: CaptureSession, store: Any) -> bool:
    """Return whether a call is made by capture, or by the store itself."""
    guard = current.guard.here
    return (guard.off or guard.store is store) and not mlflow_private.is_called_by_client(2)


def _metric_later(general: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``log_metric`` for the usual case: one that is certain, while there is room."""

    @functools.wraps(general)
    def log_metric(self: Any, run_id: Any, metric: Any) -> Any:
        """Log a point later if it is certain; else as the general method does."""
        current = session.existing or session.get()
        guard = current.guard.here
        queue = current.queues.get(self)
        run = queue.runs.get(run_id) if queue is not None else None
        if (
            queue is None
            or run is None
            or guard.off
            or guard.store is not None
            or not queue.has_room()
            or not run.known.is_usual(metric)
        ):
            return general(self, run_id, metric)
        guard.store = self
        try:
            queue.put_metric(run, metric)
        finally:
            guard.store = None
        return None

    return log_metric


def _later(base: Any, name: str, captured: Callable[..., Any]) -> Callable[..., Any]:
    """Return a logging method that returns before the store has the call, if it is certain."""
    signature = inspect.signature(captured)
    check, record = _CHECKS[name], handlers.HANDLERS[name][0]

    @functools.wraps(captured)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Check and record the call, and have it written later."""
        current = session.existing or session.get()
        if _is_inner(current, self):
            return getattr(base, name)(self, *args, **kwargs)
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        _, run_id, *values = bound.arguments.values()
        queue = queue_of(current, self)
        guard = current.guard.here
        outer, guard.store = guard.store, self
        try:
            run = _run(queue, run_id)
            try:
                items = check(run.known, *values) if run is not None else None
            except MlflowException:
                if queue.is_away():  # else MLflow raises its own error below
                    raise
                items = None
            if run is not None and items is not None:
                event = functools.partial(record, Call(current, self, None), run_id, *values)
                return _put(queue, run, StoreCall(name, tuple(values), items), event)
        finally:
            guard.store = outer
        queue.flush(run_id, READ_TIMEOUT_S)
        return _now(current, captured, self, *args, **kwargs)

    return call


def _now(
    current: CaptureSession, captured: Callable[..., Any], self: Any, *args: Any, **kwargs: Any
) -> Any:
    """Make a call at once, and capture it, also inside of another call of the store."""
    guard = current.guard.here
    outer, guard.store = guard.store, None
    try:
        return captured(self, *args, **kwargs)
    finally:
        guard.store = outer


def _put(queue: StoreQueue, run: RunQueue, call: StoreCall, record: Callable[[], None]) -> None:
    """Have a call written, and wait for it only if the mode says so and the store answers."""
    if queue.mode != DEFERRED and not queue.is_away() and run.is_empty():
        queue.ask(run, call, record, queue.limit_s)
    else:
        queue.put(run, call.items or [call], record)
    if call.items:
        run.known.add(*_params_and_tags(call))


def _params_and_tags(call: StoreCall) -> tuple[list[Any], list[Any]]:
    if call.method == "log_batch":
        return call.args[1], call.args[2]
    return (
        list(call.items) if call.method == "log_param" else [],
        list(call.items) if call.method == "set_tag" else [],
    )


def _run(queue: StoreQueue, run_id: Any) -> RunQueue | None:
    """Return the calls of a run; at first, ask the store about the run.

    Raises:
        MlflowException: The store does not have it.
    """
    run = queue.runs.get(run_id)
    if run is None and isinstance(run_id, str):
        asking = RunQueue(run_id, KnownRun(None))
        with queue.lock:
            asking = queue.runs.setdefault(run_id, asking)
        question = StoreCall("get_run", ())
        stored = queue.ask(asking, question, _nothing, queue.limit_s)
        run = learn(queue, stored) if stored is not None else asking
    return run


def _nothing() -> None:
    """Record nothing."""


def learn(queue: StoreQueue, stored: Any) -> RunQueue:
    """Note the state of a run that the store has returned."""
    run_id = stored.info.run_id
    on_files = isinstance(queue.store, FileStore)
    state = KnownRun(stored, on_files=on_files, models=queue.capture.model_runs)
    with queue.lock:
        run = queue.runs.get(run_id)
        if run is None:
            run = queue.runs[run_id] = RunQueue(run_id, state)
        elif run.is_empty():  # else calls that wait would be missing
            run.known = state
    return run


def _known(base: Any, name: str, captured: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that returns a run, of which the process knows the state from then on."""

    @functools.wraps(captured)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Make the call, and remember the state of the run."""
        current = session.existing or session.get()
        if _is_inner(current, self):
            return getattr(base, name)(self, *args, **kwargs)
        queue = queue_of(current, self)
        if name == "get_run":
            run_id = str(kwargs.get("run_id", args[0] if args else None))
            queue.flush(run_id, READ_TIMEOUT_S)
            run = queue.runs.get(run_id)
            # Otherwise the end of a run waits for minutes if the store is away.
            if queue.is_away() and run and run.known.run and mlflow_private.is_printing_url():
                return run.known.run
        result = _now(current, captured, self, *args, **kwargs)
        with current.recorder.warn_only():
            learn(queue, result)
        return result

    return call


def _after(base: Any, name: str, captured: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that is called when the store has the calls that it depends on."""
    parameters = list(inspect.signature(captured).parameters)
    of_one_run = parameters[1:2] == ["run_id"]

    @functools.wraps(captured)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        current = session.existing or session.get()
        if _is_inner(current, self):
            return getattr(base, name)(self, *args, **kwargs)
        run_id = kwargs.get("run_id", args[0] if args else None) if of_one_run else None
        queue = queue_of(current, self)
        queue.flush(run_id, READ_TIMEOUT_S)
        if name in ("delete_run", "restore_run"):
            queue.forget(run_id)
        return _now(current, captured, self, *args, **kwargs)

    return call


def _depends(name: str, function: Callable[..., Any]) -> bool:
    """Return whether a method depends on logging calls that wait."""
    first = list(inspect.signature(function).parameters)[1:2]
    about_runs = first == ["run_id"] or any(part in name for part in _READS_OF_RUNS)
    return about_runs and name not in _INDEPENDENT and not name.endswith("_async")


def _end(base: Any, captured: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``update_run_info``: it waits longer than other calls, as a run should be whole."""
    signature = inspect.signature(captured)

    @functools.wraps(captured)
    def update_run_info(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Update the run after the calls that wait for it."""
        current = session.existing or session.get()
        if _is_inner(current, self):
            return base.update_run_info(self, *args, **kwargs)
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        _, run_id, *values = bound.arguments.values()
        queue = queue_of(current, self)
        guard = current.guard.here
        outer, guard.store = guard.store, self
        try:
            run = _run(queue, run_id)
            if run is None or run.known.info is None:
                return _now(current, captured, self, *args, **kwargs)
            limit_s = queue.limit_s if queue.is_away() else END_TIMEOUT_S
            call = Call(current, self, None)
            record = functools.partial(handlers.update_run_info, call, run_id, *values)
            question = StoreCall("update_run_info", tuple(values))
            result = queue.ask(run, question, _nothing, limit_s)
            if result is None and _status(values[0]) in TERMINAL:
                run.wants_document = True
            record()
            run.known.info = result or run.known.info
            return run.known.info
        finally:
            guard.store = outer

    return update_run_info


def _status(status: Any) -> str | None:
    if status is None or isinstance(status, str):
        return status
    return str(RunStatus.to_string(status))


# -- checks: the items of a call that is certain, else None -------------------------------------


def _check_metric(known: KnownRun, metric: Any) -> list[Any] | None:
    return [metric] if known.accepts_metric(metric) else None


def _check_param(known: KnownRun, param: Any) -> list[Any] | None:
    return [param] if known.accepts_param(param) else None


def _check_tag(known: KnownRun, tag: Any) -> list[Any] | None:
    return [tag] if known.accepts_tag(tag) else None


def _check_batch(known: KnownRun, metrics: Any, params: Any, tags: Any) -> list[Any] | None:
    return [*metrics, *params, *tags] if known.accepts_batch(metrics, params, tags) else None


def _check_deletion(known: KnownRun, key: Any) -> list[Any] | None:
    if not known.active or key not in known.tags:
        return None
    known.tags.discard(key)
    return []


def _check_inputs(known: KnownRun, datasets: Any = None, models: Any = None) -> list[Any] | None:
    return [] if known.active and are_valid_datasets(datasets) and not models else None


_CHECKS: dict[str, Callable[..., list[Any] | None]] = {
    "log_metric": _check_metric,
    "log_param": _check_param,
    "set_tag": _check_tag,
    "log_batch": _check_batch,
    "delete_tag": _check_deletion,
    "log_inputs": _check_inputs,
}
"""Methods that log, with their checks: an empty list is for calls that are made as they are."""
