"""Restores into a database: everything with its own id."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yprov_mlflow.prov.errors import StoreError
from yprov_mlflow.prov.ids import redact
from yprov_mlflow.prov.restore.artifact_files import Files
from yprov_mlflow.prov.restore.restore_report import REFUSED, UNCHANGED, RestoreReport
from yprov_mlflow.prov.restore.sql.experiments import Experiments
from yprov_mlflow.prov.restore.sql.inputs import Inputs
from yprov_mlflow.prov.restore.sql.models import ModelPoints, model_thing
from yprov_mlflow.prov.restore.sql.other_rows import Others
from yprov_mlflow.prov.restore.sql.registry import registered_thing
from yprov_mlflow.prov.restore.sql.runs import made_id, run_thing
from yprov_mlflow.prov.restore.sql.tables import Tables, Thing, told
from yprov_mlflow.prov.restore.sql.traces import moves_spans, trace_thing
from yprov_mlflow.prov.restore.state import Experiment, LoggedModel, Run, StoreState, Trace
from yprov_mlflow.prov.restore.target_contract import Target

_LOCATION = "mlflow.artifactLocation"
_LONGEST_ID = 32


class DatabaseTarget(Target):
    """Writes to the tables of MLflow, which MLflow itself makes if they are not there."""

    def __init__(
        self,
        uri: str,
        report: RestoreReport,
        files: Files,
        *,
        overwrite: bool,
        artifact_root: str | None,
    ) -> None:
        """Open the database.

        Raises:
            StoreError: It cannot be opened, or has not the schema of this MLflow.
        """
        store = _open(uri, artifact_root)
        self._engine = store.engine
        self._report = report
        self._files = files
        self._overwrite = overwrite
        self._tables = Tables(store.engine, report)
        root = store.artifact_root_uri
        self._experiments = Experiments(self._tables, root, overwrite=overwrite)
        self._inputs = Inputs(self._tables)
        self._model_points = ModelPoints()
        self._runs: dict[str, str] = {}

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    # -- runs --------------------------------------------------------------------------

    def put_run(self, run: Run, document: Path) -> None:
        """Write a run with all that is its own."""
        place = f"run {run.run_id}"
        experiment_id = self._experiments.of_run(run)
        if experiment_id is None:
            self._report.count("run", REFUSED)
            self._report.lose(place, "its experiment is not in the target")
            return
        run_id = self._id(run, experiment_id)
        here = f"{self._experiments.location(experiment_id)}/{run_id}/artifacts"
        folders = self._files.folders(
            document,
            run.artifact_uri,
            (run.experiment_id, run.run_id, "artifacts"),
            (run.run_id, "artifacts"),
        )
        found = self._files.found(run.artifacts, folders, place)
        uri = here if found or run.artifact_uri is None else run.artifact_uri
        thing, points = run_thing(self._tables, run, run_id, experiment_id, uri)
        with self._engine.begin() as connection:
            parts = list(self._inputs.parts(connection, run, run_id, experiment_id))
        outcome = self._tables.put(
            Thing(thing.kind, thing.place, [*thing.parts, *parts]), overwrite=self._overwrite
        )
        if outcome == REFUSED:
            return
        if found and outcome != UNCHANGED:
            self._report.change(place, "its artifacts were copied: artifact_uri is their new place")
        for reason in points.changes() if outcome != UNCHANGED else ():
            self._report.change(place, reason)
        self._report.points += points.count
        self._report.collapsed += points.collapsed
        self._model_points.take(run, run_id)
        self._files.copy(found, here, place)

    def _id(self, run: Run, experiment_id: int) -> str:
        """Give the id of a run in the target: its own, unless another run has it.

        Two experiments of a file store can both hold a run of one id; a database cannot.
        """
        key = f"{run.experiment_id}/{run.run_id}"
        run_id = run.run_id
        with self._engine.connect() as connection:
            there = self._tables.first(connection, "runs", {"run_uuid": run_id})
        elsewhere = there is not None and there["experiment_id"] != experiment_id
        taken = self._runs.get(run_id) not in (None, key)
        too_long = len(run_id) > _LONGEST_ID and self._tables.dialect != "sqlite"
        if too_long or taken or (elsewhere and not self._overwrite):
            run_id = made_id(run.experiment_id, run.run_id)
            self._report.ids[f"run {key}"] = run_id
            reason = "is too long" if too_long else "is that of a run of another experiment"
            self._report.change(f"run {key}", f"its id {reason}: it is {run_id} here")
        else:
            self._runs[run_id] = key
        return run_id

    # -- all else ----------------------------------------------------------------------

    def finish(self, estate: StoreState, document: Path) -> None:
        """Write experiments, logged models, the registry, traces and the rest."""
        for experiment_id in _mentioned(estate):
            self._experiments.mention(experiment_id)
        for model_id in self._model_points.models():
            if model_id not in estate.models:
                reason = "its metric points are left: no document tells of it"
                self._report.lose(f"logged model {model_id}", reason)
        self._experiments.finish(estate)
        for model in estate.models.values():
            self._put_model(model, document)
        for registered in estate.registered.values():
            thing = registered_thing(self._tables, registered)
            self._tables.put(thing, overwrite=self._overwrite)
        for trace in estate.traces.values():
            self._put_trace(trace, document)
        Others(self._tables, self._experiments, overwrite=self._overwrite).put(estate)

    def _put_model(self, model: LoggedModel, document: Path) -> None:
        place = f"logged model {model.model_id}"
        given = model.experiment_id
        experiment_id = self._experiments.id_of(Experiment(given)) if given is not None else None
        if experiment_id is None or not self._tables.has("logged_models"):
            self._report.count("logged model", REFUSED)
            reason = "its experiment is not known, or not in the target"
            if not self._tables.has("logged_models"):
                reason = "this version of MLflow has no logged models"
            self._report.lose(place, reason)
            return
        here = f"{self._experiments.location(experiment_id)}/models/{model.model_id}/artifacts"
        folders = self._files.folders(
            document.parent / "-",
            model.artifact_location,
            (str(given), "models", model.model_id, "artifacts"),
        )
        found = self._files.found(model.artifacts, folders, place)
        location = here if found or model.artifact_location is None else model.artifact_location
        points = self._model_points.of(model.model_id)
        runs = {str(row["run_id"]) for row in points} | {
            str(metric.get("run_id")) for metric in model.metrics
        }
        thing = model_thing(self._tables, model, experiment_id, location, points, self._there(runs))
        self._put_files(thing, found, here)

    def _put_files(self, thing: Thing, found: Mapping[str, Path], here: str) -> str:
        """Write a thing, and copy its files."""
        outcome = self._tables.put(thing, overwrite=self._overwrite)
        if outcome != REFUSED:
            self._files.copy(found, here, thing.place)
        if found and outcome not in (REFUSED, UNCHANGED):
            reason = "its files were copied: its location is their new place"
            self._report.change(thing.place, reason)
        return outcome

    def _there(self, runs: set[str]) -> set[str]:
        """Give those of the runs that the target has."""
        with self._engine.connect() as connection:
            return {
                run_id
                for run_id in runs
                if self._tables.first(connection, "runs", {"run_uuid": run_id}) is not None
            }

    def _put_trace(self, trace: Trace, document: Path) -> None:
        place = f"trace {trace.trace_id}"
        given = trace.experiment_id
        experiment_id = self._experiments.id_of(Experiment(given)) if given is not None else None
        if experiment_id is None or not trace.known or not self._tables.has("trace_info"):
            self._report.count("trace", REFUSED)
            self._report.lose(place, "its documents do not tell enough of it")
            return
        folders = self._files.folders(
            document.parent / "-",
            trace.tags.get(_LOCATION),
            (str(given), "traces", trace.trace_id, "artifacts"),
        )
        found = self._files.found(trace.artifacts, folders, place)
        here = f"{self._experiments.location(experiment_id)}/traces/{trace.trace_id}/artifacts"
        if found:
            trace.tags[_LOCATION] = here
        moved = moves_spans(self._tables, trace)
        outcome = self._put_files(trace_thing(self._tables, trace, experiment_id), found, here)
        if moved and outcome not in (REFUSED, UNCHANGED):
            self._report.change(place, "its spans are in the database, and no longer in a file")


def _mentioned(estate: StoreState) -> list[str]:
    found = {
        *(model.experiment_id for model in estate.models.values()),
        *(trace.experiment_id for trace in estate.traces.values() if trace.known),
    }
    return sorted(one for one in found if one is not None)


def _open(uri: str, artifact_root: str | None) -> Any:
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return SqlAlchemyStore(uri, artifact_root or DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH)
    except (MlflowException, SQLAlchemyError, ImportError, OSError) as error:
        raise StoreError(
            f"the target cannot be opened: {told(error).rstrip('.')}",
            redact(uri),
            "Give a database of this MLflow's schema (`mlflow db upgrade` brings an older one"
            " there), or one that is empty",
        ) from error
