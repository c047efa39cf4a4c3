"""The verbs of ``mlflow.prov``: contexts, epochs and collectors.

``import yprov_mlflow as mlflow`` has them as ``mlflow.prov``; users of plain MLflow write
``from yprov_mlflow import prov``. If nothing is captured, contexts and epochs do nothing.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ContextDecorator
from contextvars import Token
from typing import Any, TypeVar, cast

from yprov_mlflow.prov import settings
from yprov_mlflow.prov.capture import contexts, session
from yprov_mlflow.prov.collectors import catalog
from yprov_mlflow.prov.errors import UsageError

__all__ = ["Scoped", "context", "epoch", "epochs", "use_collectors"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Scoped(ContextDecorator):
    """A context or epoch, to be entered with ``with`` or ``async with``, or as a decorator."""

    def __init__(self, name: str | int, run_id: str | None) -> None:
        self._name = name
        self._run_id = run_id
        self._scopes: list[tuple[contexts.Scope, Token[contexts.Scope | None]]] = []

    def _recreate_cm(self) -> Scoped:
        """Return a new scope for each call of a decorated function, as calls may be concurrent."""
        return Scoped(self._name, self._run_id)

    def __call__(self, function: _Function) -> _Function:
        """Return the function with each of its calls inside a scope of its own."""
        if not inspect.iscoroutinefunction(function):
            return super().__call__(function)

        @functools.wraps(function)
        async def inside(*args: Any, **kwargs: Any) -> Any:
            with self._recreate_cm():
                return await function(*args, **kwargs)

        return cast(_Function, inside)

    def __enter__(self) -> Scoped:
        current = session.attempt()
        parent = contexts.current.get()
        run_id = self._run_id or (current.active_run() if current else None)
        if run_id is None and parent is not None:
            run_id = parent.run_id
        scope = contexts.Scope(self._name, parent, run_id)
        self._scopes.append((scope, contexts.current.set(scope)))
        if current is not None and run_id is not None:
            current.recorder.enter_contexts(run_id)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        scope, token = self._scopes.pop()
        try:
            contexts.current.reset(token)
        except ValueError:  # left in another task than it was entered in
            contexts.current.set(scope.parent)
        if session.existing is not None:
            # A generator that is closed, as by the break of its loop, has not failed.
            failed = error is not None and not isinstance(error, GeneratorExit)
            session.existing.recorder.leave(scope, failed=failed)

    async def __aenter__(self) -> Scoped:
        return self.__enter__()

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.__exit__(kind, error, trace)


def context(name: str, *, run_id: str | None = None) -> Scoped:
    """Record that everything logged inside belongs to a phase, such as ``"training"``.

    Contexts nest. One that is entered while no run is active belongs to every run that starts
    in it. Works in threads, in asyncio, and as a decorator of functions and coroutine functions.

    Args:
        name: Name of the phase, not empty.
        run_id: The run; by default the active one.

    Raises:
        UsageError: ``name`` is empty or not a string.
    """
    if not isinstance(name, str) or not name:
        raise UsageError(
            f"prov.context takes the name of a phase, not {name!r}: "
            'write prov.context("training"); for an epoch, prov.epoch(3)'
        )
    return Scoped(name, run_id)


def epoch(number: int, *, run_id: str | None = None) -> Scoped:
    """Record that everything logged inside belongs to an epoch of the context around it.

    Args:
        number: The epoch's number, counted from any start.
        run_id: The run; by default the active one.

    Raises:
        UsageError: ``number`` is not an integer.
    """
    try:
        return Scoped(number.__index__(), run_id)
    except AttributeError:
        raise UsageError(
            f"prov.epoch takes an integer, not {number!r}: write prov.epoch(3)"
        ) from None


_context = context  # ``epochs`` has a parameter of this name


def epochs(
    numbers: int | Iterable[int], *, context: str | None = None, run_id: str | None = None
) -> Iterator[int]:
    """Return an iterator over epochs, each of which is entered while the loop's body runs.

    ``for number in prov.epochs(10, context="training"):``. Ending the loop early, by ``break`` or
    an exception, ends the epoch and the context.

    Args:
        numbers: How many epochs, counted from 0, or the numbers themselves.
        context: Name of the phase around the epochs; by default the one that is entered already.
        run_id: The run; by default the active one.

    Raises:
        UsageError: ``numbers`` is neither a number nor an iterable, or ``context`` is not a name.
    """
    try:
        counted = range(numbers) if isinstance(numbers, int) else iter(numbers)
    except TypeError:
        raise UsageError(
            f"prov.epochs takes a number of epochs or their numbers, not {numbers!r}: "
            'write prov.epochs(10, context="training")'
        ) from None
    phase = contextlib.nullcontext() if context is None else _context(context, run_id=run_id)
    return _iterate(counted, phase, run_id)


def _iterate(
    numbers: Iterable[int], phase: contextlib.AbstractContextManager[Any], run_id: str | None
) -> Iterator[int]:
    with phase:
        for number in numbers:
            with epoch(number, run_id=run_id):
                yield number


def use_collectors(*names: str, interval_s: float | None = None) -> None:
    """Choose the collectors of energy and hardware for runs that start from now on.

    ``prov.use_collectors("default", "codecarbon", "-git", interval_s=0.1)``. Child processes use
    the same ones, through ``YPROV_MLFLOW_COLLECTORS`` and ``YPROV_MLFLOW_INTERVAL``.

    Args:
        names: Collectors and presets (``none``, ``default``, ``all``) to include. Prefix a name
            with "-" to exclude it; a list that starts with "-" starts from ``default``. Without
            names the choice stays as it is.
        interval_s: Seconds between two samples, from 0.05 to 3600; None leaves it as it is.

    Raises:
        CollectorError: A collector or preset is unknown.
        SettingsError: The interval is out of range.
    """
    catalog.choose(names)
    values = {"collectors": ",".join(names) or None, "interval_s": interval_s}
    chosen = {}
    for setting in settings.SETTINGS:
        value = values.get(setting.field)
        if value is not None:
            chosen[setting.field] = setting.value(setting.field, value, "argument")
            os.environ[setting.variable] = str(value)
    if session.existing is not None:
        session.existing.recorder.collectors.choose(chosen)
