"""Restores through the client: into servers and folders, with new ids."""

from __future__ import annotations

from pathlib import Path

from yprov_mlflow.prov.restore.artifact_files import Files
from yprov_mlflow.prov.restore.client.client_session import Session
from yprov_mlflow.prov.restore.client.models import Models
from yprov_mlflow.prov.restore.client.runs import RESTORED_FROM, Runs
from yprov_mlflow.prov.restore.client.traces import put_trace
from yprov_mlflow.prov.restore.restore_report import REFUSED, RESTORED, UNCHANGED, RestoreReport
from yprov_mlflow.prov.restore.state import Experiment, Run, StoreState
from yprov_mlflow.prov.restore.target_contract import Target


class ClientTarget(Target):
    """Logs runs anew, with their times; old ids become tags."""

    def __init__(self, uri: str, report: RestoreReport, files: Files) -> None:
        """Reach the target.

        Raises:
            StoreError: It does not answer.
        """
        self._session = Session(uri, report)
        self._client = self._session.client
        self._report = report
        self._files = files
        self._runs = Runs(self._session)
        self._models = Models(self._session, self._runs.ids)
        self._experiments: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def close(self) -> None:
        """Nothing stays open."""

    def put_run(self, run: Run, document: Path) -> None:
        """Write a run with all that is its own."""
        place = f"run {run.run_id}"
        experiment_id = self._experiment(Experiment(run.experiment_id, run.experiment_name))
        if experiment_id is None:
            self._report.count("run", REFUSED)
            return
        folders = self._files.folders(
            document,
            run.artifact_uri,
            (run.experiment_id, run.run_id, "artifacts"),
            (run.run_id, "artifacts"),
        )
        self._runs.put(run, experiment_id, self._files.found(run.artifacts, folders, place))

    def _experiment(self, experiment: Experiment) -> str | None:
        """Give the id in the target of an experiment, by its name; made if need be."""
        given = experiment.experiment_id
        if given in self._experiments:
            return self._experiments[given]
        wanted = experiment.name if experiment.name is not None else given
        name = wanted
        if self._names.get(wanted, given) != given:
            name = f"{wanted} ({given})"
            reason = f"two have the name {wanted!r}: it is {name!r} here"
            self._report.change(f"experiment {given}", reason)
        self._names[name] = given
        made: str | None = None
        with self._session.reporting(f"experiment {given}"):
            known = self._client.get_experiment_by_name(name)
            if known is None:
                made = self._client.create_experiment(name, tags={RESTORED_FROM: given})
                self._report.count("experiment", RESTORED)
            else:
                made = known.experiment_id
                self._report.count("experiment", UNCHANGED)
                if known.lifecycle_stage == "deleted":
                    self._client.restore_experiment(made)
            self._experiments[given] = made
            self._report.ids[f"experiment {given}"] = made
        return made

    def finish(self, estate: StoreState, document: Path) -> None:
        """Write experiments' tags, models, the registry and traces; delete what was deleted."""
        for experiment in estate.experiments.values():
            number = self._experiment(experiment)
            for key, value in experiment.tags.items() if number is not None else ():
                with self._session.reporting(f"experiment {experiment.experiment_id}, {key}"):
                    self._client.set_experiment_tag(number, key, value)
        self._runs.link_parents()
        for model in estate.models.values():
            number = self._experiment(Experiment(model.experiment_id or "0"))
            if number is None:
                continue
            folders = self._files.folders(
                document.parent / "-",
                model.artifact_location,
                (str(model.experiment_id), "models", model.model_id, "artifacts"),
            )
            place = f"logged model {model.model_id}"
            found = self._files.found(model.artifacts, folders, place)
            self._models.put_logged(model, number, found)
        self._link_models()
        for registered in estate.registered.values():
            self._models.put_registered(registered)
        for trace in estate.traces.values():
            number = self._experiment(Experiment(trace.experiment_id or "0"))
            if number is not None:
                put_trace(self._session, trace, number, self._runs.ids)
        self._leave(estate)
        self._runs.delete()
        for experiment in estate.experiments.values():
            number = self._experiments.get(experiment.experiment_id)
            if experiment.lifecycle == "deleted" and number is not None:
                with self._session.reporting(f"experiment {experiment.experiment_id}"):
                    self._client.delete_experiment(number)

    def _link_models(self) -> None:
        """Say which models runs read and put out, by the models' new ids."""
        for run_id, run in self._runs.links:
            if not run.models_in and not run.models_out:
                continue
            from mlflow.entities import LoggedModelInput, LoggedModelOutput

            ids = self._models.ids
            with self._session.reporting(f"run {run.run_id}, its models"):
                made = [
                    LoggedModelOutput(ids.get(model, model), step) for model, step in run.models_out
                ]
                if made:
                    self._client.log_outputs(run_id, made)
                used = [LoggedModelInput(ids.get(model, model)) for model in run.models_in]
                if used:
                    self._client.log_inputs(run_id, models=used)

    def _leave(self, estate: StoreState) -> None:
        """Report what no call of the client would bring back."""
        for table, rows in estate.rows.items():
            self._report.lose(f"table {table}", f"its {len(rows)} rows are only for databases")
        for dataset_id in estate.datasets:
            self._report.lose(f"evaluation data set {dataset_id}", "is only for databases")
        for scorer in estate.scorers:
            self._report.lose(f"scorer {scorer['name']}", "is only for databases")
        for method, _ in estate.left:
            self._report.lose(f"call {method}", "what it did cannot be restored")
