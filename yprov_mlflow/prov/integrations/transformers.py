"""Callback for the Trainer of Transformers: contexts and epochs by themselves.

Capture adds the callback to every ``Trainer`` (``YPROV_MLFLOW_AUTO_CONTEXTS``); pass it yourself
where that is off.
"""

from __future__ import annotations

from typing import Any

from yprov_mlflow.prov.errors import MissingExtraError
from yprov_mlflow.prov.integrations.trainer_contexts import TRAINING, VALIDATION, TrainerContexts

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise MissingExtraError.of(
        "Transformers", "transformers", "the callback for its trainer"
    ) from error

_SUMMARY = "train_runtime"  # key of the metrics that the Trainer logs after the last epoch


class ContextCallback(TrainerCallback):
    """Enter ``training/epoch/N`` and, for the evaluations in between, ``validation``.

    An epoch ends when the next one starts, so that the metrics, evaluations and checkpoints
    at its end belong to it. An evaluation starts with its first batch, as no hook comes earlier.
    """

    def __init__(self) -> None:
        self.contexts = TrainerContexts()
        self.ends_with_call = False  # whether the call of the Trainer leaves ``training``
        self._epoch = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Enter ``training``."""
        self.contexts.leave()
        self.contexts.enter(TRAINING)
        # A resumed training starts with a later epoch, possibly in the middle.
        self._epoch = int((state.epoch or 0) + 1e-6)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Leave the last epoch and enter the next."""
        self.contexts.leave(1)
        self.contexts.enter(self._epoch)
        self._epoch += 1

    def on_step_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Leave an evaluation in the middle of an epoch."""
        if self.contexts.depth > 2:
            self.contexts.leave(2)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Leave an evaluation after the last step of an epoch; the epoch goes on."""
        self.contexts.leave(2)

    def on_prediction_step(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Enter ``validation`` with the first batch."""
        if self.contexts.innermost in (None, TRAINING) or isinstance(self.contexts.innermost, int):
            self.contexts.enter(VALIDATION)

    def on_evaluate(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Leave an evaluation outside of training."""
        if self.contexts.position(TRAINING) is None and self.contexts.innermost == VALIDATION:
            self.contexts.leave()

    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any, **others: Any) -> None:
        """Leave a prediction outside of training, as an evaluation."""
        self.on_evaluate(args, state, control)

    def on_save(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Leave an evaluation before a checkpoint; the epoch goes on."""
        self.contexts.leave(2)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **others: Any) -> None:
        """Leave the last epoch before the summary of the training is logged."""
        if _SUMMARY in (logs or ()):
            self.contexts.leave(1)

    def on_train_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Leave the last epoch, and ``training`` unless other callbacks come after this one."""
        self.contexts.leave(1 if self.ends_with_call else 0)
