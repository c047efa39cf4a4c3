"""Restore runs through the client, as if they were logged now, with their original times."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.utils import validation

from yprov_mlflow.prov.events import TERMINAL
from yprov_mlflow.prov.restore.artifact_files import parent_of
from yprov_mlflow.prov.restore.client.client_session import ClientSession
from yprov_mlflow.prov.restore.restore_report import REFUSED, RESTORED, RESTORED_FROM, UNCHANGED
from yprov_mlflow.prov.state import Run

RESTORING = "yprov.restoring"
"""Tag of an incomplete run: the next restoration deletes and repeats it after an interruption."""

_PARENT, _USER, _NAME = "mlflow.parentRunId", "mlflow.user", "mlflow.runName"
_REQUIRED = ("name", "digest", "source_type", "source")


class Runs:
    """Creates runs in the target; ``ids`` maps original ids to those in the target.

    ``restored`` are the runs that were created now, with their ids in the target.
    """

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self._client = session.client
        self._report = session.report
        self.ids: dict[str, str] = {}
        self.restored: list[tuple[str, Run]] = []
        self._parents: dict[str, str] = {}
        self._deleted: list[str] = []

    def put(self, run: Run, experiment_id: str, artifacts: Mapping[str, Path]) -> None:
        """Write a run, unless the target has it already."""
        label = f"run {run.run_id}"
        existing = self._find(experiment_id, RESTORED_FROM, run.run_id)
        if existing is not None:
            self._report.count("run", UNCHANGED)
            self._remember(run, existing)
            return
        for partial in iter(lambda: self._find(experiment_id, RESTORING, run.run_id), None):
            # Without the tag the search does not return it again.
            self._client.delete_tag(partial, RESTORING)
            self._client.delete_run(partial)
        run_id = self._create(run, experiment_id, label)
        if run_id is None:
            self._report.count("run", REFUSED)
            return
        self._log(run, run_id, label)
        for path, file in artifacts.items():
            with self._session.reporting(f"{label}, artifact {path}"):
                self._client.log_artifact(run_id, str(file), parent_of(path))
                self._report.files["copied"] += 1
        with self._session.reporting(f"{label}, status"):
            if run.status in TERMINAL:
                self._client.set_terminated(run_id, run.status, run.end_time_ms)
            elif run.status in ("RUNNING", "SCHEDULED"):
                self._client.update_run(run_id, run.status)
        # In this order: a run without either tag would be restored twice.
        self._client.set_tag(run_id, RESTORED_FROM, run.run_id)
        self._client.delete_tag(run_id, RESTORING)
        self._report.count("run", RESTORED)
        self._report.points += sum(len(points.values) for points in run.points.values())
        self._remember(run, run_id)
        self.restored.append((run_id, run))
        if run.lifecycle == "deleted":
            self._deleted.append(run_id)

    def _remember(self, run: Run, run_id: str) -> None:
        self.ids[run.run_id] = run_id
        self._report.ids[f"run {run.run_id}"] = run_id
        if run.tags.get(_PARENT):
            self._parents[run_id] = run.tags[_PARENT]

    def _find(self, experiment_id: str, tag: str, value: str) -> str | None:
        if "'" in value:  # MLflow's filters cannot quote it
            return None
        # Restored runs may be deleted ones; deleted partial runs are done with.
        view = ViewType.ALL if tag == RESTORED_FROM else ViewType.ACTIVE_ONLY
        runs = self._client.search_runs([experiment_id], f"tags.`{tag}` = '{value}'", view, 1)
        return str(runs[0].info.run_id) if runs else None

    def _create(self, run: Run, experiment_id: str, label: str) -> str | None:
        tags = {RESTORING: run.run_id}
        if run.user_id or run.tags.get(_USER):
            tags[_USER] = run.tags.get(_USER) or str(run.user_id)
        name = run.tags.get(_NAME) or run.name
        run_id: str | None = None
        with self._session.reporting(label):
            created = self._client.create_run(experiment_id, run.start_time_ms, tags, name or None)
            run_id = created.info.run_id
        return run_id

    def _log(self, run: Run, run_id: str, label: str) -> None:
        """Log params, tags, metrics and input datasets."""
        session, log_batch = self._session, self._client.log_batch
        params = session.cut(label, run.params, validation.MAX_PARAM_VAL_LENGTH)
        tags = session.cut(label, run.tags, validation.MAX_TAG_VAL_LENGTH)
        items: list[Any] = [Param(key, value) for key, value in params.items()]
        session.put_batches(label, items, 100, lambda batch: log_batch(run_id, params=batch))
        items = [RunTag(key, value) for key, value in tags.items()]
        session.put_batches(label, items, 100, lambda batch: log_batch(run_id, tags=batch))
        with_model = 0
        for key, points in run.points.items():
            rows = zip(points.values, points.timestamps_ms, points.steps, strict=True)
            # A point that comes again for another model is one point of the run.
            named: set[tuple[str, int, int]] = set()
            items = []
            for i, (value, timestamp_ms, step) in enumerate(rows):
                point = (repr(value), timestamp_ms, step)
                if i not in points.models or point not in named:
                    items.append(Metric(key, value, timestamp_ms, step))
                if i in points.models:
                    named.add(point)
            with_model += len(named)
            session.put_batches(label, items, 1000, lambda batch: log_batch(run_id, metrics=batch))
        if with_model:
            reason = f"the models of {with_model} points can only be restored into a database"
            self._report.add_loss(f"{label}, metrics", reason)
        if run.datasets:
            with session.reporting(f"{label}, inputs"):
                self._client.log_inputs(run_id, [_dataset_input(data) for data in run.datasets])

    # -- after all runs ----------------------------------------------------------------

    def link_parents(self) -> None:
        """Set the parents of nested runs by their new ids."""
        for child, parent in self._parents.items():
            if parent in self.ids and child not in self._deleted:
                with self._session.reporting(f"run {child}, its parent"):
                    self._client.set_tag(child, _PARENT, self.ids[parent])

    def delete(self) -> None:
        """Delete the runs that were deleted in the original store."""
        for run_id in self._deleted:
            with self._session.reporting(f"run {run_id}, its deletion"):
                self._client.delete_run(run_id)


def _dataset_input(data: Mapping[str, Any]) -> Any:
    required = {field: data.get(field) or "" for field in _REQUIRED}
    dataset = Dataset(**required, schema=data.get("schema"), profile=data.get("profile"))
    tags = [InputTag(key, str(value)) for key, value in (data.get("tags") or {}).items()]
    return DatasetInput(dataset, tags)
