"""The datasets that models were trained on, where the order of a run's calls has one reading."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator


@dataclasses.dataclass
class _Stage:
    """Training datasets in order, and the models that were created before the next one.

    ``models`` has False for a model that later datasets may have trained as well.
    """

    datasets: dict[str, None] = dataclasses.field(default_factory=dict)
    models: dict[str, bool] = dataclasses.field(default_factory=dict)


class TrainingStages:
    """Assigns models to the training datasets that were logged before them.

    MLflow does not record the training data of a model. A model was trained on a dataset with
    the context ``training`` that was logged before the model was ready, if no other reading is
    possible: the stage has one dataset, or its datasets led to one model. A later stage with
    several models may have trained some of them on earlier datasets.
    """

    def __init__(self) -> None:
        self._stages: list[_Stage] = []
        self._created_in: dict[str, int] = {}

    def add_dataset(self, entity: str) -> None:
        """Note a dataset that was logged for training."""
        if self._stages and entity in self._stages[-1].datasets:
            return
        if not self._stages or self._stages[-1].models:
            self._stages.append(_Stage())
        self._stages[-1].datasets[entity] = None

    def add_model(self, entity: str) -> None:
        """Note a model that was created; training may go on until it is ready."""
        self._created_in[entity] = len(self._stages)
        if self._stages:
            self._stages[-1].models[entity] = True

    def complete_model(self, entity: str) -> None:
        """Note that a model is ready."""
        created_in = self._created_in.pop(entity, None)
        if created_in is None or created_in == len(self._stages):
            return
        if created_in:  # datasets came before its creation and after it
            self._stages[created_in - 1].models[entity] = False
        else:
            self._stages[-1].models[entity] = True

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield each model with each dataset that it was trained on."""
        for number, stage in enumerate(self._stages):
            one_dataset = len(stage.datasets) == 1 and number == 0
            if one_dataset or len(stage.models) == 1:
                certain = [model for model, is_certain in stage.models.items() if is_certain]
                yield from itertools.product(certain, stage.datasets)
