"""Callback and logger for Lightning: contexts and epochs by themselves.

Capture adds the callback to every ``Trainer`` (``YPROV_MLFLOW_AUTO_CONTEXTS``); pass it yourself
where that is off. Works with ``lightning.pytorch`` and ``pytorch_lightning``.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import mlflow

from yprov_mlflow.prov.errors import MissingExtraError
from yprov_mlflow.prov.integrations.trainer_contexts import (
    PREDICTION,
    SANITY_CHECK,
    TESTING,
    TRAINING,
    VALIDATION,
    TrainerContexts,
)
from yprov_mlflow.prov.uris import with_prefix

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def _lightning() -> Any:
    """Return the package of Lightning: the one that is imported already, or else installed."""
    for name in sorted(_PACKAGES, key=lambda name: name not in sys.modules):
        try:
            return importlib.import_module(name)
        except ImportError as error:
            missing = error
    raise MissingExtraError.of(
        "Lightning", "lightning", "the callback for its trainer"
    ) from missing


_PACKAGE = _lightning()
_Callback: Any = _PACKAGE.Callback
_MLFlowLogger: Any = _PACKAGE.loggers.MLFlowLogger


class ContextCallback(_Callback):
    """Enter ``training/epoch/N``, ``validation``, ``testing`` and ``prediction``.

    Validation within an epoch is a context of that epoch. An epoch ends when the next one
    starts, so that metrics of its end belong to it. Checkpoints hold no state of it.
    """

    def __init__(self) -> None:
        self._contexts = TrainerContexts()

    def on_sanity_check_start(self, trainer: Any, pl_module: Any) -> None:
        """Enter the check that Lightning makes before training."""
        self._contexts.enter(SANITY_CHECK, _runs(trainer))

    def on_sanity_check_end(self, trainer: Any, pl_module: Any) -> None:
        """Leave the check."""
        self._contexts.leave()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Enter ``training``."""
        self._contexts.leave()
        self._contexts.enter(TRAINING, _runs(trainer))

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Leave the last epoch and enter the next."""
        self._contexts.leave(1)
        self._contexts.enter(int(trainer.current_epoch), _runs(trainer))

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Leave a validation in the middle of an epoch."""
        if self._contexts.depth > 2:
            self._contexts.leave(2)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Leave a validation at the end of an epoch; the epoch goes on."""
        self._contexts.leave(2)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Leave the last epoch."""
        self._contexts.leave(1)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Enter ``validation``, within the epoch if there is one."""
        self._contexts.enter(VALIDATION, _runs(trainer))

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """Enter ``testing``."""
        self._contexts.enter(TESTING, _runs(trainer))

    def on_predict_start(self, trainer: Any, pl_module: Any) -> None:
        """Enter ``prediction``."""
        self._contexts.enter(PREDICTION, _runs(trainer))

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Leave everything, as failed."""
        self._contexts.leave(error=exception)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Leave everything."""
        self._contexts.leave()


class ProvLogger(_MLFlowLogger):
    """Lightning's ``MLFlowLogger`` with capture on for its runs.

    Args:
        experiment_name: Name of the experiment.
        run_name: Name of the run.
        tracking_uri: Tracking URI; by default the one that MLflow has.
        options: All other arguments of ``MLFlowLogger``.
    """

    def __init__(
        self,
        experiment_name: str = "lightning_logs",
        run_name: str | None = None,
        tracking_uri: str | None = None,
        **options: Any,
    ) -> None:
        uri = with_prefix(tracking_uri or mlflow.get_tracking_uri())
        super().__init__(experiment_name, run_name, uri, **options)


def _runs(trainer: Any) -> tuple[str, ...]:
    """Return the runs that the trainer's MLflow loggers have started."""
    # The public run_id would start a run that Lightning itself starts later, or never.
    runs = (getattr(logger, "_run_id", None) for logger in trainer.loggers)
    return tuple(run_id for run_id in runs if isinstance(run_id, str))
