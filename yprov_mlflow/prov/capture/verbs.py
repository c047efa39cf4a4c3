"""Our own verbs: contexts, epochs, collectors and the document of a run.

``import yprov_mlflow as mlflow`` has them as ``mlflow.prov``; users of plain MLflow write
``from yprov_mlflow import prov``. Where nothing is captured they do nothing.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from contextlib import ContextDecorator
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from yprov_mlflow.prov.errors import UsageError

if TYPE_CHECKING:
    from contextvars import Token

    from prov.model import ProvDocument

    from yprov_mlflow.prov.capture.contexts import Scope

__all__ = ["context", "document", "epoch", "use_collectors"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Scoped(ContextDecorator):
    """A context or epoch to be entered with ``with`` or ``async with``, or as a decorator."""

    def __init__(self, name: str | int, run_id: str | None) -> None:
        self._name = name
        self._run_id = run_id
        self._scopes: list[tuple[Scope, Token[Scope | None]]] = []

    def _recreate_cm(self) -> _Scoped:
        """Give each call of a decorated function a scope of its own, whatever its thread."""
        return _Scoped(self._name, self._run_id)

    def __call__(self, function: _Function) -> _Function:
        """Decorate a function or coroutine function."""
        if not inspect.iscoroutinefunction(function):
            return super().__call__(function)

        @functools.wraps(function)
        async def inside(*args: Any, **kwargs: Any) -> Any:
            with self._recreate_cm():
                return await function(*args, **kwargs)

        return cast(_Function, inside)

    def __enter__(self) -> _Scoped:
        from yprov_mlflow.prov.capture import contexts, session

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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        from yprov_mlflow.prov.capture import contexts, session

        scope, token = self._scopes.pop()
        try:
            contexts.current.reset(token)
        except ValueError:  # left in another task than it was entered in
            contexts.current.set(scope.parent)
        current = session.existing
        if current is not None:
            current.recorder.leave(scope, failed=error is not None)

    async def __aenter__(self) -> _Scoped:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)


def context(name: str, *, run_id: str | None = None) -> _Scoped:
    """Say that what is logged inside belongs to a phase, such as ``"training"``.

    Contexts nest. One that no run was active in when it was entered holds every run that
    begins in it. Works in threads, in asyncio, and as a decorator of functions and coroutine
    functions.

    Args:
        name: Any text that is not empty.
        run_id: The run; by default the active one.

    Raises:
        UsageError: ``name`` is no text, or empty.
    """
    if not isinstance(name, str) or not name:
        raise UsageError(
            f"prov.context takes the name of a phase, not {name!r}: "
            'write prov.context("training"); for an epoch, prov.epoch(3)'
        )
    return _Scoped(name, run_id)


def epoch(number: int, *, run_id: str | None = None) -> _Scoped:
    """Say that what is logged inside belongs to an epoch of the context around it.

    Args:
        number: The epoch's number, counted as you like.
        run_id: The run; by default the active one.

    Raises:
        UsageError: ``number`` is no whole number.
    """
    try:
        return _Scoped(number.__index__(), run_id)
    except AttributeError:
        raise UsageError(
            f"prov.epoch takes a whole number, not {number!r}: write prov.epoch(3)"
        ) from None


def use_collectors(*names: str, interval_s: float | None = None) -> None:
    """Choose what measures energy and hardware, for runs that begin from now on.

    ``prov.use_collectors("default", "codecarbon", "-git", interval_s=0.1)``. Child processes do the
    same, by the variables ``YPROV_MLFLOW_COLLECTORS`` and ``YPROV_MLFLOW_INTERVAL``.

    Args:
        names: Collectors and presets (``none``, ``default``, ``all``), each added to those
            before it; a hyphen before a name takes it away, at the beginning from ``default``.
            None leaves the choice as it is.
        interval_s: Seconds between two samples, from 0.05 to 3600; None leaves it as it is.

    Raises:
        CollectorError: There is no collector or preset of that name.
        SettingsError: The interval is out of bounds.
    """
    from yprov_mlflow.prov import settings
    from yprov_mlflow.prov.capture import session
    from yprov_mlflow.prov.collectors import catalog

    catalog.choose(names)
    given = {"collectors": ",".join(names) or None, "interval_s": interval_s}
    chosen = {}
    for setting in settings.SETTINGS:
        if given.get(setting.field) is not None:
            chosen[setting.field] = setting.value(setting.field, given[setting.field], "argument")
            os.environ[setting.variable] = str(given[setting.field])
    current = session.existing
    if current is not None:
        current.recorder.collecting.choose(chosen)


def document(run_id: str | None = None) -> ProvDocument:
    """Give the provenance of a run as it is now.

    Args:
        run_id: MLflow's run id; by default the active run, else the last one.

    Returns:
        The document, as the ``prov`` library has it.

    Raises:
        UsageError: No run was given and there is none.
        RunNotFoundError: The tracking store does not know the run.
        DeliveryError: Nothing was captured of the run, here or elsewhere.
    """
    from yprov_mlflow.prov.capture import delivery, session
    from yprov_mlflow.prov.formats import prov_json

    if run_id is None:
        run_id = session.get().active_run() or _last_run()
    if run_id is None:
        raise UsageError("there is no run yet: pass its id, prov.document(run_id), or start one")
    return prov_json.to_prov(prov_json.loads(delivery.fetch_document(run_id)))


def _last_run() -> str | None:
    import mlflow

    run = mlflow.last_active_run()
    return None if run is None else str(run.info.run_id)
