"""Restore runs through the client, as if they were logged now, with their original times."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.utils import validation

from yprov_mlflow.prov.capture import mlflow_private
from yprov_mlflow.prov.capture.mlflow_objects import dataset_input
from yprov_mlflow.prov.errors import StoreError
from yprov_mlflow.prov.events import TERMINAL
from yprov_mlflow.prov.restore.artifact_files import parent_of, sha256_of
from yprov_mlflow.prov.restore.client.client_session import ClientSession
from yprov_mlflow.prov.restore.client.run_extension import (
    RESTORING,
    ConflictError,
    Missing,
    missing,
)
from yprov_mlflow.prov.restore.restore_report import (
    EXTENDED,
    REFUSED,
    RESTORED,
    RESTORED_FROM,
    UNCHANGED,
)
from yprov_mlflow.prov.sources.file_store.store_files import is_name
from yprov_mlflow.prov.state import Run

_PARENT, _USER, _NAME = "mlflow.parentRunId", "mlflow.user", "mlflow.runName"
_UNKNOWN_USER = "unknown"  # of runs that a client creates without a user


class _ModelPoint(NamedTuple):
    """A metric point of a logged model.

    ``is_repeated`` says that the run has it already, for another model: databases keep equal
    points of a run once.
    """

    run_id: str  # in the target
    label: str
    model: str
    point: tuple[str, float, int, int]
    is_repeated: bool


class Runs:
    """Creates runs in the target; ``ids`` maps original ids to those in the target.

    ``restored`` are the runs that were created now, with their ids in the target.
    """

    def __init__(self, session: ClientSession, *, extends: bool) -> None:
        self._session = session
        self._client = session.client
        self._report = session.report
        self._extends = extends
        self._files = mlflow_private.file_store_of(session.client)
        self.ids: dict[str, str] = {}
        self.restored: list[tuple[str, Run]] = []
        self._parents: dict[str, str] = {}
        self._deleted: list[str] = []
        self._model_points: list[_ModelPoint] = []
        self._restoring: list[str] = []

    def put(self, run: Run, experiment_id: str, artifacts: Mapping[str, Path]) -> None:
        """Write a run, unless the target has it already."""
        label = f"run {run.run_id}"
        if self._files is not None:
            self._remove_unfinished(run.run_id)
        existing = self.find(run.run_id, [experiment_id])
        is_new = existing is None
        if existing is None:
            existing = self._create(run, experiment_id, label)
        if existing is None:
            self._report.count("run", REFUSED)
            return
        run_id = existing.info.run_id
        self._remember(run, run_id)
        is_complete = RESTORING not in existing.data.tags
        if (is_complete and not self._extends) or existing.info.lifecycle_stage == "deleted":
            self._report.count("run", UNCHANGED)
            return
        try:
            todo = missing(self._session, run, existing)
        except ConflictError as error:
            reason = f"the target has a different version ({error})"
            self._report.refuse("run", label, reason)
            return
        self._write(run, run_id, todo, label)
        copied = self._put_artifacts(run_id, artifacts, label)
        if not is_complete:
            self._restoring.append(run_id)
        changed = EXTENDED if todo or copied else UNCHANGED
        self._report.count("run", RESTORED if is_new or not is_complete else changed)
        self._report.points += sum(len(points.values) for points in run.points.values())
        self.restored.append((run_id, run))
        if run.lifecycle == "deleted":
            self._deleted.append(run_id)

    def _remove_unfinished(self, run_id: str) -> None:
        """Remove a run that an interrupted restoration left in a folder.

        MLflow writes files in place: any of them may be incomplete.
        """
        folder = mlflow_private.file_run_folder(self._files, run_id)
        if folder is not None and (folder / "tags" / RESTORING).exists():
            shutil.rmtree(folder)

    def _put_artifacts(self, run_id: str, artifacts: Mapping[str, Path], label: str) -> int:
        """Upload the artifacts that the run lacks or has otherwise; return how many."""
        copied = 0
        with tempfile.TemporaryDirectory(prefix="yprov-") as out:
            for path, file in artifacts.items():
                with self._session.reporting(f"{label}, artifact {path}"):
                    if self._extends and self._has_artifact(run_id, path, file, out):
                        continue
                    self._client.log_artifact(run_id, str(file), parent_of(path))
                    copied += 1
        if copied:
            self._report.files["copied"] += copied
        return copied

    def _has_artifact(self, run_id: str, path: str, file: Path, out: str) -> bool:
        infos = self._client.list_artifacts(run_id, parent_of(path))
        sizes = {info.path: info.file_size for info in infos}
        if sizes.get(path) != file.stat().st_size:
            return False
        return sha256_of(Path(self._client.download_artifacts(run_id, path, out))) == sha256_of(
            file
        )

    def _remember(self, run: Run, run_id: str) -> None:
        self.ids[run.run_id] = run_id
        self._report.ids[f"run {run.run_id}"] = run_id
        if run.tags.get(_PARENT):
            self._parents[run_id] = run.tags[_PARENT]

    def find(self, original: str, experiment_ids: Sequence[str]) -> Any:
        """Return the run of the target that stands for an original one, or None."""
        if self._files is not None or self._extends:
            try:
                return self._client.get_run(original)
            except MlflowException:
                pass  # it is not there, or has a new id
        if "'" in original:  # MLflow's filters cannot quote it
            return None
        # Restored runs may be deleted ones.
        query = f"tags.`{RESTORED_FROM}` = '{original}'"
        runs = self._client.search_runs(experiment_ids, query, ViewType.ALL, 1)
        return runs[0] if runs else None

    def _create(self, run: Run, experiment_id: str, label: str) -> Any:
        """Create a run; return MLflow's entity, or None if the target rejects it."""
        tags = {RESTORING: run.run_id}
        if self._files is None or not is_name(run.run_id):
            tags[RESTORED_FROM] = run.run_id
        if run.tags.get(_USER) or run.user_id not in (None, "", _UNKNOWN_USER):
            tags[_USER] = run.tags.get(_USER) or str(run.user_id)
        name = run.tags.get(_NAME) or run.name
        created: Any = None
        if self._files is not None:
            folder = mlflow_private.file_run_folder(self._files, run.run_id)
            if folder is not None and (folder / "tags").exists():
                self._report.add_loss(label, "the target has it, and MLflow cannot read it there")
                return None
        with self._session.reporting(label), self._fixed_id(run.run_id):
            created = self._client.create_run(experiment_id, run.start_time_ms, tags, name or None)
        if created is None or self._files is not None or not self._extends:
            return created
        return self._only(run, experiment_id, created)

    def _only(self, run: Run, experiment_id: str, created: Any) -> Any:
        """Return the run that was created, or that of another client that did so meanwhile.

        A server does not keep two clients from it. Each looks after it has created a run: then the
        later one at least sees the other, and takes its own back.
        """
        query = f"tags.`{RESTORED_FROM}` = '{run.run_id}'"
        runs = self._client.search_runs([experiment_id], query, ViewType.ACTIVE_ONLY)
        if len(runs) < 2:
            return created
        for tag in (RESTORED_FROM, RESTORING):
            self._client.delete_tag(created.info.run_id, tag)
        self._client.delete_run(created.info.run_id)
        raise StoreError(
            "another client restores the same runs at this time",
            None,
            "Repeat the command when it has finished",
        )

    def _fixed_id(self, run_id: str) -> AbstractContextManager[None]:
        if self._files is None or not is_name(run_id):
            return nullcontext()
        return mlflow_private.fixed_file_store_id(run_id)

    def _write(self, run: Run, run_id: str, todo: Missing, label: str) -> None:
        """Log params, tags, metrics and input datasets, then the status."""
        session, log_batch = self._session, self._client.log_batch
        params = session.cut(label, todo.params, validation.MAX_PARAM_VAL_LENGTH)
        tags = session.cut(label, todo.tags, validation.MAX_TAG_VAL_LENGTH)
        items: list[Any] = [Param(key, value) for key, value in params.items()]
        session.put_batches(label, items, 100, lambda batch: log_batch(run_id, params=batch))
        items = [RunTag(key, value) for key, value in tags.items()]
        session.put_batches(label, items, 100, lambda batch: log_batch(run_id, tags=batch))
        for key in todo.deleted_tags:
            with session.reporting(f"{label}, {key}"):
                self._client.delete_tag(run_id, key)
        self._write_points(run, run_id, todo, label)
        if todo.datasets:
            with session.reporting(f"{label}, inputs"):
                self._client.log_inputs(run_id, [dataset_input(data) for data in todo.datasets])
        with session.reporting(f"{label}, status"):
            if todo.status and run.status in TERMINAL:
                self._client.set_terminated(run_id, run.status, run.end_time_ms)
            elif todo.status and run.status in ("RUNNING", "SCHEDULED"):
                self._client.update_run(run_id, run.status)

    def _write_points(self, run: Run, run_id: str, todo: Missing, label: str) -> None:
        """Log points; those of logged models wait until the models are there."""
        session, log_batch = self._session, self._client.log_batch
        one_per_call = _is_folder(run.store.get("uri", ""))
        for key, points in todo.points.items():
            rows = list(zip(points.values, points.timestamps_ms, points.steps, strict=True))
            items = [Metric(key, *row) for i, row in enumerate(rows) if i not in points.models]
            session.put_batches(label, items, 1000, lambda batch: log_batch(run_id, metrics=batch))
            seen: dict[tuple[str, int, int], set[str]] = {}
            for i, model in points.models.items():
                value, time_ms, step = rows[i]
                models = seen.setdefault((repr(value), time_ms, step), set())
                is_repeated = bool(models) and model not in models and not one_per_call
                models.add(model)
                point = (key, *rows[i])
                self._model_points.append(_ModelPoint(run_id, label, model, point, is_repeated))

    # -- after all runs ----------------------------------------------------------------

    def write_model_points(self, models: Mapping[str, str]) -> None:
        """Log the points of logged models, whose ids in the target are in ``models``."""
        for run_id, label, model, point, is_repeated in self._model_points:
            with self._session.reporting(f"{label}, metric {point[0]}"):
                metric = Metric(*point)
                if model in models:
                    metric = Metric(*point, model_id=models[model])
                else:
                    reason = f"the target lacks model {model} of a point"
                    self._report.add_loss(f"{label}, metric {point[0]}", reason)
                if not is_repeated or self._files is None:
                    self._client.log_batch(run_id, metrics=[metric])
                elif model in models:
                    mlflow_private.log_file_model_point(self._files, run_id, metric)
        # Last: a run with this tag is completed by the next restoration.
        for run_id in self._restoring:
            self._client.delete_tag(run_id, RESTORING)
        self._restoring.clear()

    def link_parents(self) -> None:
        """Set the parents of nested runs by their new ids."""
        for child, parent in self._parents.items():
            if parent in self.ids and child not in self._deleted:
                with self._session.reporting(f"run {child}, its parent"):
                    tags = self._client.get_run(child).data.tags
                    if tags.get(_PARENT) != self.ids[parent]:
                        self._client.set_tag(child, _PARENT, self.ids[parent])

    def delete(self) -> None:
        """Delete the runs that were deleted in the original store."""
        for run_id in self._deleted:
            with self._session.reporting(f"run {run_id}, its deletion"):
                self._client.delete_run(run_id)


def _is_folder(uri: str) -> bool:
    """Return whether a store is a folder, which keeps a line for each call."""
    return bool(uri) and urlsplit(uri).scheme in ("", "file")
