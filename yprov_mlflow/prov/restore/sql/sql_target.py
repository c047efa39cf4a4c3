"""Restore into a database: every record keeps its id."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import SQLAlchemyError

from yprov_mlflow.prov.drivers import missing_driver, with_driver
from yprov_mlflow.prov.errors import StoreError
from yprov_mlflow.prov.redaction import redact
from yprov_mlflow.prov.restore.artifact_files import (
    TRACE_LOCATION,
    ArtifactFiles,
    is_anywhere,
)
from yprov_mlflow.prov.restore.restore_report import REFUSED, UNCHANGED
from yprov_mlflow.prov.restore.sql import models
from yprov_mlflow.prov.restore.sql.experiments import Experiments
from yprov_mlflow.prov.restore.sql.extension import Row
from yprov_mlflow.prov.restore.sql.other_rows import put_other_rows
from yprov_mlflow.prov.restore.sql.runs import Inputs, derived_id, run_record
from yprov_mlflow.prov.restore.sql.tables import Record, Tables, message_of
from yprov_mlflow.prov.restore.sql.traces import moves_spans, trace_record
from yprov_mlflow.prov.state import Experiment, LoggedModel, Run, StoreState, Trace

# Length of MLflow's column, which SQLite does not enforce.
_MAX_ID_LENGTH = 32


class DatabaseTarget:
    """Writes to MLflow's tables, which MLflow itself creates in an empty database."""

    keeps_locations = True

    def __init__(
        self,
        engine: Engine,
        root: str,
        files: ArtifactFiles,
        *,
        overwrite: bool,
        extends: bool = False,
        same_ids: bool = False,
    ) -> None:
        """Write to the database of a store of MLflow.

        Args:
            engine: The database, such as that of ``open_database``.
            root: Artifact root of new experiments.
            files: Finds and copies artifacts.
            overwrite: Replace records that differ.
            extends: Bring records of which the database has an earlier state up to date.
            same_ids: Whether the runs were logged to this store.
        """
        self._report, self._files = files.report, files
        self._engine = engine
        self._tables = Tables(engine, files.report, overwrite=overwrite, extends=extends)
        self._experiments = Experiments(self._tables, root, same_ids=same_ids)
        self._inputs = Inputs(self._tables)
        # A logged model comes after all runs, which have its metric points.
        self._model_points: dict[str, list[Row]] = {}
        self._runs: dict[str, str] = {}

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    # -- runs --------------------------------------------------------------------------

    def expect(self, state: StoreState) -> None:
        """Note experiments, with their names, before their runs come."""
        self._experiments.expect(state.experiments.values())

    def has_run(self, run_id: str) -> bool:
        """Return whether the database has a run."""
        return self._tables.find("runs", {"run_uuid": run_id}) is not None

    def put_run(self, run: Run, document: Path | None) -> None:
        """Write a run with everything that belongs to it."""
        label = f"run {run.run_id}"
        existing = self._tables.find("runs", {"run_uuid": run.run_id})
        if not run.created and existing is not None:
            run.experiment_id, experiment_id = "", existing["experiment_id"]
        else:
            experiment_id = self._experiments.of_run(run)
        if experiment_id is None:
            self._report.refuse("run", label, "its experiment is not in the target")
            return
        is_elsewhere = existing is not None and existing["experiment_id"] != experiment_id
        if is_elsewhere and self._tables.extends and not self._tables.overwrite:
            reason = "the target has a run with this id in another experiment"
            self._report.refuse("run", label, reason)
            return
        run_id = self._unique_id(run, experiment_id)
        default = f"{self._experiments.location(experiment_id)}/{run_id}/artifacts"
        artifacts = self._files.find(run, label, document)
        copies_to = default
        uri = default if artifacts else run.artifact_uri
        if self._tables.extends:
            own = run.artifact_uri if is_anywhere(run.artifact_uri) else None
            uri = copies_to = str((existing or {}).get("artifact_uri") or own or default)
        record, points = run_record(self._tables, run, run_id, experiment_id, uri)
        with self._engine.begin() as connection:
            inputs = list(self._inputs.parts(connection, run, run_id, experiment_id))
        outcome = self._tables.put(record._replace(parts=[*record.parts, *inputs]))
        if outcome == REFUSED:
            return
        # The points were counted while their rows were compared or written.
        if outcome != UNCHANGED:
            if artifacts and not self._tables.extends:
                reason = "its artifacts were copied, and artifact_uri is their new location"
                self._report.add_change(label, reason)
            for reason in points.changes():
                self._report.add_change(label, reason)
        self._report.points += points.count
        self._report.collapsed += points.collapsed
        models.add_model_points(self._model_points, run, run_id)
        self._files.copy(artifacts, copies_to, label)

    def _unique_id(self, run: Run, experiment_id: int) -> str:
        """Return the id of a run in the target: its own, unless another run has it.

        Two experiments of a file store may contain runs with the same id; a database cannot.
        """
        key = f"{run.experiment_id}/{run.run_id}"
        run_id = run.run_id
        row = self._tables.find("runs", {"run_uuid": run_id})
        is_elsewhere = row is not None and row["experiment_id"] != experiment_id
        is_used = self._runs.get(run_id) not in (None, key)
        is_too_long = len(run_id) > _MAX_ID_LENGTH and self._tables.dialect != "sqlite"
        if is_too_long or is_used or (is_elsewhere and not self._tables.overwrite):
            run_id = derived_id(run.experiment_id, run.run_id)
            self._report.ids[f"run {key}"] = run_id
            reason = "is too long" if is_too_long else "belongs to a run of another experiment"
            self._report.add_change(f"run {key}", f"its id {reason}: the new id is {run_id}")
        else:
            self._runs[run_id] = key
        return run_id

    # -- everything else ---------------------------------------------------------------

    def finish(self, state: StoreState, document: Path | None) -> None:
        """Write experiments, logged models, the registry, traces and other rows."""
        ids = [model.experiment_id for model in state.models.values()]
        ids += [trace.experiment_id for trace in state.traces.values() if trace.started]
        for experiment_id in ids:
            if experiment_id is not None:
                self._experiments.mention(experiment_id)
        for model_id in self._model_points:
            if model_id not in state.models:
                reason = "its metric points are missing: no document describes the model"
                self._report.add_loss(f"logged model {model_id}", reason)
        # Experiments first: all other rows refer to them.
        self._experiments.finish(state)
        for model in state.models.values():
            with self._report.guard(f"logged model {model.model_id}"):
                self._put_model(model, document)
        for registered in state.registered_models.values():
            with self._report.guard(f"registered model {registered.name}"):
                self._tables.put(models.registered_record(self._tables, registered))
        for trace in state.traces.values():
            with self._report.guard(f"trace {trace.trace_id}"):
                self._put_trace(trace, document)
        put_other_rows(self._tables, self._experiments, state)

    def _experiment_id(self, original: str | None) -> int | None:
        return self._experiments.id_of(Experiment(original)) if original is not None else None

    def _put_model(self, model: LoggedModel, document: Path | None) -> None:
        label = f"logged model {model.model_id}"
        experiment_id = self._experiment_id(model.experiment_id)
        if not self._tables.has("logged_models"):
            self._report.refuse("logged model", label, "this MLflow version lacks logged models")
            return
        if experiment_id is None:
            reason = "its experiment is unknown or not in the target"
            self._report.refuse("logged model", label, reason)
            return
        default = f"{self._experiments.location(experiment_id)}/models/{model.model_id}/artifacts"
        artifacts = self._files.find(model, label, document)
        location = model.artifact_location
        if location is None and not artifacts:
            self._report.add_change(label, f"MLflow requires a location: it is {default}")
        if artifacts or location is None:
            location = default
        if self._tables.extends and location != default:
            location = location if is_anywhere(location) else default
        points = [
            *self._model_points.get(model.model_id, ()),
            *map(models.metric_row, model.metrics),
        ]
        run_ids = {str(point["run_id"]) for point in points}
        runs = {
            run_id: row["experiment_id"]
            for run_id in run_ids
            if (row := self._tables.find("runs", {"run_uuid": run_id})) is not None
        }
        record = models.model_record(self._tables, model, experiment_id, location, points, runs)
        old = self._tables.find("logged_models", {"model_id": model.model_id})
        if self._tables.extends and old is not None:
            default = str(old["artifact_location"] or default)
        self._put_with_files(record, artifacts, default)

    def _put_with_files(self, record: Record, artifacts: Mapping[str, Path], uri: str) -> str:
        outcome = self._tables.put(record)
        if outcome != REFUSED:
            self._files.copy(artifacts, uri, record.label)
        if artifacts and not self._tables.extends and outcome not in (REFUSED, UNCHANGED):
            reason = "its files were copied, and its location is the new one"
            self._report.add_change(record.label, reason)
        return outcome

    def _put_trace(self, trace: Trace, document: Path | None) -> None:
        label = f"trace {trace.trace_id}"
        experiment_id = self._experiment_id(trace.experiment_id)
        if experiment_id is None or not trace.started or not self._tables.has("trace_info"):
            self._report.refuse("trace", label, "its documents do not describe it completely")
            return
        default = f"{self._experiments.location(experiment_id)}/traces/{trace.trace_id}/artifacts"
        artifacts = self._files.find(trace, label, document)
        where = {"request_id": trace.trace_id, "key": TRACE_LOCATION}
        if self._tables.extends and (tag := self._tables.find("trace_tags", where)):
            default = str(tag["value"])
        # MLflow finds the files of a trace by this tag alone.
        if artifacts:
            trace.tags[TRACE_LOCATION] = default
        moved = moves_spans(self._tables, trace)
        record = trace_record(self._tables, trace, experiment_id)
        outcome = self._put_with_files(record, artifacts, default)
        if moved and outcome not in (REFUSED, UNCHANGED):
            self._report.add_change(label, "its spans are in the database and no longer in a file")


def open_database(uri: str, artifact_root: str | None) -> Any:
    """Open MLflow's store of a database; MLflow creates the tables and checks their version.

    Args:
        uri: Its URI.
        artifact_root: Artifact root of a new database; MLflow's default if None.

    Raises:
        StoreError: The database cannot be opened, or has the schema of another version.
    """
    dialect, separator, address = with_driver(uri).partition("://")
    # MLflow knows MariaDB by the name of MySQL only.
    dialect = dialect.replace("mariadb", "mysql", 1)
    target = f"{dialect}{separator}{address}"
    cure = "Check that the database is running, that its URI is right, and your permission"
    try:
        _check(target)
        cure = (
            "Give an empty database, or one with the schema of this MLflow version (`mlflow db"
            " upgrade` converts older ones)"
        )
        return SqlAlchemyStore(target, artifact_root or DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH)
    except ModuleNotFoundError as error:
        raise missing_driver(dialect.partition("+")[0], str(error.name)) from error
    except (MlflowException, SQLAlchemyError, ImportError, OSError, ValueError) as error:
        message = message_of(error)
        if "locked" in message:
            cure = "Try again when the program that writes to it has finished"
        raise StoreError(f"the target cannot be opened: {message}", redact(uri), cure) from error


def _check(uri: str) -> None:
    """Connect to a database once: MLflow would repeat it for 100 seconds if nothing answers."""
    engine = create_engine(uri)
    try:
        engine.connect().close()
    finally:
        engine.dispose()
