"""Patches of the trainers of Lightning and Transformers: contexts and epochs by themselves.

Each call that trains or evaluates gets our callback, as the first one, and loses it at its end:
the user's callbacks, their order, checkpoints and results stay as they are. The patches are made
when the module of a trainer is imported; nothing is imported for them before. A setting,
``auto_contexts``, turns them off.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from yprov_mlflow.prov.capture import mlflow_private
from yprov_mlflow.prov.capture.switch import LOGGER, Boundary, switch

_PATCHED = "_yprov_mlflow_trainer"  # attribute of methods that are patched already
Method = Callable[..., Any]


def install() -> None:
    """Patch each trainer when its module is imported, or now if it is."""
    for name in ("lightning.pytorch.trainer.trainer", "pytorch_lightning.trainer.trainer"):
        mlflow_private.after_import(name, _patch_lightning)
    mlflow_private.after_import("transformers.trainer", _patch_transformers)
    mlflow_private.keep_contexts_of_batches(_attach_contexts)


def _patch_lightning(module: ModuleType) -> None:
    for name in ("fit", "validate", "test", "predict"):
        _patch(module.Trainer, name, _with_lightning_callback)


def _patch_transformers(module: ModuleType) -> None:
    # Imported here, with Transformers itself: most processes have neither.
    from yprov_mlflow.prov.integrations.trainer_contexts import TESTING, VALIDATION

    for name, context in (("train", None), ("evaluate", VALIDATION), ("predict", TESTING)):
        _patch(module.Trainer, name, functools.partial(_with_transformers_callback, context))


def _patch(cls: Any, name: str, make: Callable[[Method], Method]) -> None:
    original = getattr(cls, name)
    if not getattr(original, _PATCHED, False):
        replacement = functools.wraps(original)(make(original))
        setattr(replacement, _PATCHED, True)
        setattr(cls, name, replacement)


def _session() -> Any:
    """Return the session of this process, or None if nothing is captured."""
    if not switch.on:
        return None
    # Imported with the first call of a trainer: it loads all of capture (0.3 s).
    from yprov_mlflow.prov.capture import session

    return session.attempt()


def _is_on() -> bool:
    current = _session()
    return current is not None and current.recorder.settings.auto_contexts


def _with_lightning_callback(original: Method) -> Method:
    def call(trainer: Any, *args: Any, **kwargs: Any) -> Any:
        callback = _add_lightning_callback(trainer)
        try:
            return original(trainer, *args, **kwargs)
        finally:
            # By identity, as callbacks may compare in any way.
            if callback is not None:
                trainer.callbacks[:] = [c for c in trainer.callbacks if c is not callback]

    return call


def _add_lightning_callback(trainer: Any) -> Any:
    """Add our callback before the others; return None if it is there or cannot be added."""
    with Boundary(_warn):
        if _is_on():
            # Imported here: it imports Lightning, which only its users have.
            from yprov_mlflow.prov.integrations.lightning import ContextCallback

            if not any(isinstance(callback, ContextCallback) for callback in trainer.callbacks):
                callback = ContextCallback()
                trainer.callbacks.insert(0, callback)
                return callback
    return None


def _with_transformers_callback(context: str | None, original: Method) -> Method:
    def call(trainer: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the trainer's method, with the callback if it is not there yet."""
        callback, added = _add_transformers_callback(trainer)
        if callback is None:
            return original(trainer, *args, **kwargs)
        contexts = callback.contexts
        depth = contexts.depth
        if context is not None:
            contexts.enter(context)
        error: BaseException | None = None
        try:
            return original(trainer, *args, **kwargs)
        except BaseException as raised:
            error = raised
            raise
        finally:
            # Within training, the next hook leaves it: other callbacks log at its end.
            if added or error is not None:
                contexts.leave(depth, error)
            if added:
                callbacks = trainer.callback_handler.callbacks
                callbacks[:] = [c for c in callbacks if c is not callback]

    return call


def _add_transformers_callback(trainer: Any) -> tuple[Any, bool]:
    """Return our callback and whether it was added now; None if it cannot be."""
    with Boundary(_warn):
        if _is_on():
            # Imported here: it imports Transformers, which only its users have.
            from yprov_mlflow.prov.integrations.transformers import ContextCallback

            callbacks = trainer.callback_handler.callbacks
            for callback in callbacks:
                if isinstance(callback, ContextCallback):
                    return callback, False
            callback = ContextCallback()
            callback.ends_with_call = True
            callbacks.insert(0, callback)
            return callback, True
    return None, False


def _attach_contexts(run_id: str | None, metrics: list[Any]) -> None:
    """Attach the contexts of now to metrics that autologging writes in a batch later."""
    with Boundary(_warn):
        if metrics and (current := _session()) is not None:
            run_id = run_id or current.active_run()
            if run_id is not None:
                current.recorder.attach_batch_context(run_id, metrics)


def _warn(error: Exception) -> None:
    LOGGER.warning(
        "Contexts of a trainer are not recorded (%s: %s); the training continues.",
        type(error).__name__,
        error,
    )
