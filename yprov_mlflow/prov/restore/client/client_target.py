"""Restore through MLflow's client into servers and folders, with new ids."""

from __future__ import annotations

import os
from pathlib import Path

import mlflow
from filelock import FileLock, Timeout
from mlflow.exceptions import MlflowException

from yprov_mlflow.prov.capture import mlflow_private
from yprov_mlflow.prov.errors import StoreError
from yprov_mlflow.prov.restore.artifact_files import ArtifactFiles
from yprov_mlflow.prov.restore.client.client_session import ClientSession
from yprov_mlflow.prov.restore.client.models import Models
from yprov_mlflow.prov.restore.client.runs import Runs
from yprov_mlflow.prov.restore.client.traces import put_trace
from yprov_mlflow.prov.restore.restore_report import (
    REFUSED,
    RESTORED,
    RESTORED_FROM,
    UNCHANGED,
)
from yprov_mlflow.prov.sources.file_store.store_files import is_name
from yprov_mlflow.prov.state import Experiment, Run, StoreState

_LOCK = ".yprov-sync.lock"
_LOCK_TIMEOUT_S = 60.0
_ONLY_DATABASES = "can only be restored into a database"


class ClientTarget:
    """Logs runs again with their original times; the original ids become tags."""

    keeps_locations = False

    def __init__(
        self, uri: str, files: ArtifactFiles, *, extends: bool = False, same_ids: bool = False
    ) -> None:
        """Connect to the target.

        Args:
            uri: Its tracking URI.
            files: Finds artifacts.
            extends: Bring runs and models up to date that it has.
            same_ids: Whether the runs were logged to this store.

        Raises:
            StoreError: The target does not answer.
        """
        self._report, self._files = files.report, files
        self._session = ClientSession(uri, self._report)
        self._client = self._session.client
        # MLflow looks up the model of a new version there, not at the URI of the client.
        self._uri_before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
        if mlflow_private.SERVER_STORE_VARIABLE not in os.environ:
            mlflow.set_tracking_uri(uri)
        self._file_store = mlflow_private.file_store_of(self._client)
        self._lock: FileLock | None = None
        if self._file_store is not None and extends:
            # A folder would take a point from each of two clients.
            self._lock = FileLock(Path(self._file_store.root_directory) / _LOCK)
            try:
                self._lock.acquire(timeout=_LOCK_TIMEOUT_S)
            except Timeout as error:
                cure = "Repeat the command when it has finished"
                raise StoreError("another client synchronizes into it", uri, cure) from error
        self._runs = Runs(self._session, extends=extends)
        self._expected: dict[str, Experiment] = {}
        self._models = Models(self._session, self._runs.ids, extends=extends, same_ids=same_ids)
        self._experiments: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def close(self) -> None:
        """Set the tracking URI of the process back, and unlock a folder."""
        if self._lock is not None:
            self._lock.release()
        if mlflow_private.SERVER_STORE_VARIABLE not in os.environ:
            mlflow.set_tracking_uri(self._uri_before)

    def expect(self, state: StoreState) -> None:
        """Note experiments, with their names, before their runs come."""
        self._expected.update(state.experiments)

    def has_run(self, run_id: str) -> bool:
        """Return whether the target has a run, under this or a new id."""
        ids = [experiment.experiment_id for experiment in self._client.search_experiments()]
        return self._runs.find(run_id, ids) is not None

    def put_run(self, run: Run, document: Path | None) -> None:
        """Write a run with everything that belongs to it."""
        experiment = Experiment(run.experiment_id, run.experiment_name)
        experiment_id = self._experiment_id(self._expected.get(run.experiment_id, experiment))
        if experiment_id is None:
            self._report.count("run", REFUSED)
            return
        artifacts = self._files.find(run, f"run {run.run_id}", document)
        self._runs.put(run, experiment_id, artifacts)

    def _experiment_id(self, experiment: Experiment) -> str | None:
        """Return the id in the target of an experiment, which is created if necessary."""
        original = experiment.experiment_id
        if original in self._experiments:
            return self._experiments[original]
        label = f"experiment {original}"
        wanted = experiment.name if experiment.name is not None else original
        name = wanted
        if self._names.get(wanted, original) != original:
            name = f"{wanted} ({original})"
            reason = f"another experiment has the name {wanted!r}: the new name is {name!r}"
            self._report.add_change(label, reason)
        self._names[name] = original
        experiment_id: str | None = None
        with self._session.reporting(label):
            existing = self._client.get_experiment_by_name(name)
            if existing is None:
                experiment_id = self._create_experiment(name, original)
                self._report.count("experiment", RESTORED)
            else:
                experiment_id = existing.experiment_id
                self._report.count("experiment", UNCHANGED)
                if existing.lifecycle_stage == "deleted":  # it accepts no runs
                    self._client.restore_experiment(experiment_id)
            self._experiments[original] = experiment_id
            self._report.ids[label] = experiment_id
        return experiment_id

    def _create_experiment(self, name: str, original: str) -> str:
        """Create an experiment, with its own id if the target is a folder where that is free."""
        if self._file_store is not None and is_name(original):
            try:
                self._client.get_experiment(original)
            except MlflowException:
                return mlflow_private.create_file_experiment(self._file_store, name, original, [])
        return str(self._client.create_experiment(name, tags={RESTORED_FROM: original}))

    def finish(self, state: StoreState, document: Path | None) -> None:
        """Write tags of experiments, models, the registry and traces; delete what was deleted."""
        for experiment in state.experiments.values():
            experiment_id = self._experiment_id(experiment)
            for key, value in experiment.tags.items() if experiment_id is not None else ():
                with self._session.reporting(f"experiment {experiment.experiment_id}, {key}"):
                    self._client.set_experiment_tag(experiment_id, key, value)
        # Only now are the new ids of all runs known.
        self._runs.link_parents()
        for model in state.models.values():
            experiment_id = self._experiment_id(Experiment(model.experiment_id or "0"))
            if experiment_id is not None:
                label = f"logged model {model.model_id}"
                artifacts = self._files.find(model, label, document)
                self._models.put_logged(model, experiment_id, artifacts)
        self._runs.write_model_points(self._models.ids)
        self._link_models()
        for registered in state.registered_models.values():
            self._models.put_registered(registered)
        for trace in state.traces.values():
            experiment_id = self._experiment_id(Experiment(trace.experiment_id or "0"))
            if experiment_id is not None:
                put_trace(self._session, trace, experiment_id, self._runs.ids)
        self._report_remaining(state)
        # A deleted run cannot be changed, and a deleted experiment accepts no runs.
        self._runs.delete()
        for experiment in state.experiments.values():
            experiment_id = self._experiments.get(experiment.experiment_id)
            if experiment.lifecycle == "deleted" and experiment_id is not None:
                with self._session.reporting(f"experiment {experiment.experiment_id}"):
                    self._client.delete_experiment(experiment_id)

    def _link_models(self) -> None:
        """Log the input and output models of runs, by the models' new ids."""
        ids = self._models.ids
        for run_id, run in self._runs.restored:
            if not run.input_models and not run.output_models:
                continue
            # MLflow 2 lacks these classes, and its runs lack such models.
            from mlflow.entities import LoggedModelInput, LoggedModelOutput

            with self._session.reporting(f"run {run.run_id}, its models"):
                existing = self._client.get_run(run_id)
                outputs = [LoggedModelOutput(ids.get(m, m), step) for m, step in run.output_models]
                made = _model_ids(existing.outputs, "model_outputs")
                if outputs := [model for model in outputs if model.model_id not in made]:
                    self._client.log_outputs(run_id, outputs)
                inputs = [LoggedModelInput(ids.get(model, model)) for model in run.input_models]
                used = _model_ids(existing.inputs, "model_inputs")
                if inputs := [model for model in inputs if model.model_id not in used]:
                    self._client.log_inputs(run_id, models=inputs)

    def _report_remaining(self, state: StoreState) -> None:
        """Report records that no method of the client can restore."""
        for table, rows in state.table_rows.items():
            self._report.add_loss(f"table {table}", f"its {len(rows)} rows {_ONLY_DATABASES}")
        datasets = (f"evaluation dataset {dataset_id}" for dataset_id in state.evaluation_datasets)
        for label in (*datasets, *(f"scorer {scorer['name']}" for scorer in state.scorers)):
            self._report.add_loss(label, _ONLY_DATABASES)
        for method, _ in state.unhandled_calls:
            self._report.add_loss(f"call {method}", "its effect cannot be restored")


def _model_ids(ends: object, name: str) -> set[str]:
    return {model.model_id for model in getattr(ends, name, None) or ()}
