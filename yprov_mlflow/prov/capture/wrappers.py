"""Stores and artifact repositories made observant: a subclass of their own class each.

The object stays what MLflow's builder made, and stays an instance of its class; its methods
call the original by name (so a patched one is honoured) and tell a handler what came of it.
Only the outermost call counts: stores call their own public methods.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, cast

from yprov_mlflow.prov.capture import artifacts, handlers, patches, session

_HIDDEN = frozenset({"_hard_delete_run", "_hard_delete_experiment", "_hard_delete_logged_model"})


class Observed:
    """Marks the classes made here."""


def store(instance: Any, kind: str, uri: Any) -> Any:
    """Make a tracking or registry store observed; harmless if it is already."""
    if isinstance(instance, Observed):
        return instance
    current = session.get()
    instance.__class__ = _store_class(cast(type, type(instance)), kind)
    patches.switch.classes.add(type(instance))
    instance.__dict__[session.URI] = uri
    if kind == "tracking":
        current.tracking[uri] = instance
    # The queue of asynchronous logging was given the unobserved method when it was made.
    queue: Any = instance.__dict__.get("_async_logging_queue")
    method = getattr(queue, "_logging_func", None)
    if method is not None and getattr(method, "__self__", None) is instance:
        queue._logging_func = getattr(instance, method.__name__)
    return instance


def repository(instance: Any) -> Any:
    """Make an artifact repository observed; harmless if it is already."""
    if isinstance(instance, Observed):
        return instance
    session.get()
    instance.__class__ = _repository_class(cast(type, type(instance)))
    return instance


@functools.cache
def _store_class(base: type, kind: str) -> type:
    namespace = _face(base)
    for name in dir(base):
        if name.startswith("_") and name not in _HIDDEN:
            continue
        function = inspect.getattr_static(base, name)
        if not inspect.isfunction(function) or inspect.iscoroutinefunction(function):
            continue
        handler = handlers.handler(kind, name, function)
        if handler is handlers.log_metric and _is_usual(function):
            namespace[name] = _log_metric(base, function)
        elif handler is not None:
            namespace[name] = _call(base, name, function, handler)
    namespace["__reduce_ex__"] = _reducer(base, "store", kind)
    return type(base.__name__, (base, Observed), namespace)


@functools.cache
def _repository_class(base: type) -> type:
    namespace = _face(base)
    for name, observer in artifacts.OBSERVERS.items():
        function = inspect.getattr_static(base, name, None)
        if inspect.isfunction(function):
            namespace[name] = _write(base, name, function, observer)
    namespace["__reduce_ex__"] = _reducer(base, "repository")
    return type(base.__name__, (base, Observed), namespace)


def _face(base: type) -> dict[str, Any]:
    return {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
    }


def _call(base: type, name: str, function: Any, handler: handlers.Handler) -> Callable[..., Any]:
    """Wrap one method of a store: the original first, then, if it succeeded, the handler."""

    @functools.wraps(function)
    def observed_call(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Make the call; have it recorded if it is the outermost one on this store."""
        current = session.existing or session.get()
        guard = current.guards.here
        outer = guard.store
        if outer is self or guard.off:
            return getattr(base, name)(self, *args, **kwargs)
        guard.store = self
        try:
            try:
                result = getattr(base, name)(self, *args, **kwargs)
            except BaseException:
                handlers.failed(current, args, kwargs)
                raise
            try:
                handler(current, self, result, *args, **kwargs)
            except Exception as error:  # noqa: BLE001 - provenance must never break the training
                current.recorder.warn(error)
            return result
        finally:
            guard.store = outer

    return observed_call


def _log_metric(base: Any, function: Any) -> Callable[..., Any]:
    """Wrap the method that is called most by far, to do as ``_call`` does, a quarter cheaper.

    Its parameters are spelt out, and no handler stands between it and the recorder.
    """

    @functools.wraps(function)
    def observed_log_metric(self: Any, run_id: Any, metric: Any) -> Any:
        """Log a point; have it recorded if this is the outermost call on this store."""
        current = session.existing or session.get()
        guard = current.guards.here
        outer = guard.store
        if outer is self or guard.off:
            return base.log_metric(self, run_id, metric)
        guard.store = self
        try:
            try:
                result = base.log_metric(self, run_id, metric)
            except BaseException:
                handlers.failed(current, (run_id,), {})
                raise
            current.recorder.record_metric(run_id, metric, self)
            return result
        finally:
            guard.store = outer

    return observed_log_metric


def _is_usual(log_metric: Callable[..., Any]) -> bool:
    """Tell whether a store's method has the parameters of MLflow's own."""
    return list(inspect.signature(log_metric).parameters) == ["self", "run_id", "metric"]


def _write(
    base: type, name: str, function: Any, observer: artifacts.Observer
) -> Callable[..., Any]:
    """Wrap one method of a repository: its observer calls the original, and notes the files."""

    def observed(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Leave the call to the observer."""
        return observer(getattr(base, name), self, *args, **kwargs)

    async def observed_async(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Leave the call to the observer, which is asynchronous as the method is."""
        return await observer(getattr(base, name), self, *args, **kwargs)

    awaited = inspect.iscoroutinefunction(observer)
    return functools.wraps(function)(observed_async if awaited else observed)


def _reducer(base: type, what: str, *arguments: Any) -> Callable[..., Any]:
    """Pickle as the base class does, and be observed again at the other end.

    The state comes apart from the object, which it may refer to: the queue of asynchronous
    logging holds a method of its store.
    """

    def __reduce_ex__(self: Any, protocol: int) -> Any:
        given = (*arguments, self.__dict__[session.URI]) if arguments else ()
        return _blank, (base, what, *given), self.__getstate__()

    return __reduce_ex__


def _blank(base: type, what: str, *arguments: Any) -> Any:
    return patches.observed(what, object.__new__(base), *arguments)
