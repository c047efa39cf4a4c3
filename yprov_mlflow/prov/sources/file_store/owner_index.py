"""What a tree must be looked through for: whose the logged models and traces are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property

from yprov_mlflow.prov.sources.file_store.experiments import Experiment, run_folders
from yprov_mlflow.prov.sources.file_store.models import Model, read_models, runs_measured
from yprov_mlflow.prov.sources.file_store.traces import Trace, read_traces
from yprov_mlflow.prov.sources.file_store.tree_files import Files


class Index:
    """Models and traces by the key of their run, or by None where they have none here.

    Made when first asked for; a tree without models and traces costs two looks per experiment.
    """

    def __init__(self, files: Files, experiments: Sequence[Experiment]) -> None:
        self._files = files
        self._experiments = experiments

    @cached_property
    def _keys(self) -> dict[str, list[str]]:
        """Keys of the runs by their ids, which are names of folders; active experiments first."""
        found: dict[str, list[str]] = {}
        for experiment in self._experiments:
            for run in run_folders(self._files, experiment):
                found.setdefault(run.name, []).append(f"{experiment.place}/{run.name}")
        return found

    def home(self, run_id: str | None, experiment: Experiment) -> str | None:
        """Give the key of a run: the one in this experiment, if there are several."""
        keys = self._keys.get(run_id, ()) if run_id else ()
        here = f"{experiment.place}/{run_id}"
        return here if here in keys else next(iter(keys), None)

    @cached_property
    def _all_models(self) -> list[Model]:
        found = [model for one in self._experiments for model in read_models(self._files, one)]
        return sorted(found, key=lambda model: model.model_id)

    @cached_property
    def models(self) -> dict[str | None, list[Model]]:
        """Models by the run that made them."""
        found: dict[str | None, list[Model]] = {}
        for model in self._all_models:
            home = self.home(model.source_run_id, model.experiment)
            found.setdefault(home, []).append(model)
        return found

    @cached_property
    def measured(self) -> dict[str | None, list[Model]]:
        """Models by the runs that their metric points name; by None for runs not here."""
        found: dict[str | None, list[Model]] = {}
        for model in self._all_models:
            runs = runs_measured(self._files, model)
            for home in {self.home(run, model.experiment) for run in runs}:
                found.setdefault(home, []).append(model)
        return found

    @cached_property
    def traces(self) -> dict[str | None, list[Trace]]:
        """Traces by the run in which they came about."""
        found: dict[str | None, list[Trace]] = {}
        every = [trace for one in self._experiments for trace in read_traces(self._files, one)]
        for trace in sorted(every, key=lambda trace: os.path.basename(trace.path)):
            home = self.home(trace.source_run_id, trace.experiment)
            found.setdefault(home, []).append(trace)
        return found
