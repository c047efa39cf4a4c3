"""Wrapping of stores and artifact repositories: each becomes an instance of a subclass.

The object stays the one that MLflow made, and an instance of its class. Its methods call the
original by name, so that one that others have patched is used, and pass the result to a handler.
Only the outermost call is captured, because stores call their own public methods. A call that a
signal's handler makes meanwhile is a call of its own: it comes from MLflow's client, not the store.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any, cast

from yprov_mlflow.prov.capture import (
    artifacts,
    call_queue,
    deferred,
    document_thread,
    handlers,
    mlflow_private,
    owned_calls,
    removals,
    session,
)
from yprov_mlflow.prov.capture.switch import switch
from yprov_mlflow.prov.setting_values import DIRECT

_HIDDEN_METHODS = frozenset(mlflow_private.HARD_DELETES.values())


class Wrapped:
    """Marks the classes that are made here."""


def wrap(instance: Any, kind: str, uri: Any = None) -> Any:
    """Wrap a store of the kind ``"tracking"`` or ``"registry"``, or an ``"artifacts"`` repository.

    Raises:
        SettingsError: A setting has an invalid value.
    """
    if isinstance(instance, Wrapped):
        return instance
    current = session.get(uri)
    mode = current.delivery_of(uri) if kind == "tracking" else DIRECT
    instance.__class__ = _subclass(cast(type, type(instance)), kind, mode)
    if kind != "artifacts":
        switch.wrapped.add(type(instance))
        mlflow_private.set_store_uri(instance, uri)
        mlflow_private.rebind_async_queue(instance)
    if kind == "tracking":
        current.tracking[uri] = instance
        current.deliver_later = document_thread.deliver_later
    return instance


def deliver(capture: session.CaptureSession, store: Any, mode: str) -> None:
    """Have the calls of a wrapped tracking store reach it in another way from now on."""
    if (queue := capture.queues.get(store)) is not None:
        queue.flush(None, call_queue.END_TIMEOUT_S)
        queue.mode = mode
    store.__class__ = _subclass(type(store).captured_from, "tracking", mode)
    switch.wrapped.add(type(store))
    mlflow_private.rebind_async_queue(store)


@functools.cache
def _subclass(base: type, kind: str, mode: str = DIRECT) -> type:
    """Return a subclass that looks like its base, and whose pickles are wrapped when loaded.

    The state is pickled apart from the object, to which it may refer: the queue of asynchronous
    logging holds a method of its store.
    """

    def __reduce_ex__(self: Any, protocol: int) -> Any:
        return _unpickle, (base, kind, mlflow_private.store_uri(self)), self.__getstate__()

    names = ("__module__", "__qualname__", "__doc__")
    own = {name: getattr(base, name) for name in names}
    own["__reduce_ex__"] = __reduce_ex__
    own["captured_from"] = base
    if mode != DIRECT:
        captured = _subclass(base, kind)
        later = deferred.methods(base, captured, mode)
        return type(base.__name__, (captured,), {**own, "delivery": mode, **later})
    methods = _repository_methods(base) if kind == "artifacts" else _store_methods(base, kind)
    return type(base.__name__, (base, Wrapped), {**own, **methods})


def _unpickle(base: type, kind: str, uri: Any) -> Any:
    return switch.attempt(wrap, object.__new__(base), kind, uri)


def _store_methods(base: type, kind: str) -> dict[str, Any]:
    methods: dict[str, Any] = {}
    for name in dir(base):
        if name.startswith("_") and name not in _HIDDEN_METHODS:
            continue
        function = inspect.getattr_static(base, name)
        if not inspect.isfunction(function) or inspect.iscoroutinefunction(function):
            continue
        handler = handlers.handler(kind, name, function)
        if handler is handlers.log_metric and _has_usual_parameters(function):
            methods[name] = _wrap_log_metric(base, function)
        elif handler is not None:
            methods[name] = _wrap_method(base, name, function, handler)
    return methods


def _repository_methods(base: type) -> dict[str, Any]:
    functions = {name: inspect.getattr_static(base, name, None) for name in artifacts.WRAPPERS}
    return {
        name: _wrap_write(base, name, function, artifacts.WRAPPERS[name])
        for name, function in functions.items()
        if inspect.isfunction(function)
    }


# -- methods -------------------------------------------------------------------------------


def _wrap_method(
    base: type, name: str, function: Any, handler: handlers.Handler
) -> Callable[..., Any]:
    """Wrap a method of a store: the original runs first and, if it succeeds, the handler."""
    removes = name in removals.METHODS
    # A document that is written meanwhile would be left behind.
    changes_place = name.lstrip("_").startswith(("delete_run", "delete_exp", "hard_", "restore_"))

    @functools.wraps(function)
    def _captured_call(self: Any, *args: Any, **kwargs: Any) -> Any:
        current = session.existing or session.get()
        guard = current.guard.here
        outer = guard.store
        if (guard.off or outer is self) and not mlflow_private.is_called_by_client():
            return getattr(base, name)(self, *args, **kwargs)
        done = False
        guard.store = self
        try:
            before = None
            if changes_place:
                document_thread.wait(current)
            if removes:
                with current.recorder.warn_only():
                    before = removals.before(name, current, self, function, *args, **kwargs)
            if current.one_run is not None and name in current.one_run.METHODS:
                original = types.MethodType(getattr(base, name), self)
                result, arguments = current.one_run.call(name, original, args, kwargs)
                if arguments is None:
                    done = True
                    return result
                args, kwargs = arguments, {}
            else:
                result = getattr(base, name)(self, *args, **kwargs)
            done = True
            try:  # costs nothing, unlike a context manager
                handler(owned_calls.Call(current, self, result, before), *args, **kwargs)
            except Exception as error:  # noqa: BLE001 - provenance must never break the training
                current.recorder.warn(error)
            return result
        finally:
            guard.store = outer
            if not done:
                handlers.failed(current, args, kwargs)

    return _captured_call


def _wrap_log_metric(base: Any, function: Any) -> Callable[..., Any]:
    """Wrap ``log_metric``, which is called most by far, as ``_wrap_method`` does.

    Explicit parameters, and no handler between it and the recorder, make it a quarter cheaper.
    """

    @functools.wraps(function)
    def _captured_log_metric(self: Any, run_id: Any, metric: Any) -> Any:
        current = session.existing or session.get()
        guard = current.guard.here
        outer = guard.store
        if (guard.off or outer is self) and not mlflow_private.is_called_by_client():
            return base.log_metric(self, run_id, metric)
        done = False
        guard.store = self
        try:
            result = base.log_metric(self, run_id, metric)
            done = True
            current.recorder.record_metric(run_id, metric, self)
            return result
        finally:
            guard.store = outer
            if not done:
                handlers.failed(current, (run_id,), {})

    return _captured_log_metric


def _has_usual_parameters(log_metric: Callable[..., Any]) -> bool:
    return list(inspect.signature(log_metric).parameters) == ["self", "run_id", "metric"]


def _wrap_write(
    base: type, name: str, function: Any, wrapper: artifacts.Wrapper
) -> Callable[..., Any]:
    """Wrap a method of a repository that writes: the wrapper calls the original itself."""

    def captured(self: Any, *args: Any, **kwargs: Any) -> Any:
        return wrapper(getattr(base, name), self, *args, **kwargs)

    async def captured_async(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await wrapper(getattr(base, name), self, *args, **kwargs)

    is_async = inspect.iscoroutinefunction(wrapper)
    return functools.wraps(function)(captured_async if is_async else captured)
