"""Runs, written through the client as if they were logged now, with the times they had."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from yprov_mlflow.prov.restore.client.client_session import Session
from yprov_mlflow.prov.restore.restore_report import REFUSED, RESTORED, UNCHANGED
from yprov_mlflow.prov.restore.state import Run

RESTORED_FROM = "yprov.restored_from"
RESTORING = "yprov.restoring"
"""Tag of a run that is not whole yet, for whoever goes on after an interruption."""

_PARENT, _USER, _NAME = "mlflow.parentRunId", "mlflow.user", "mlflow.runName"
_TERMINAL = ("FINISHED", "FAILED", "KILLED")
_NEEDED = ("name", "digest", "source_type", "source")


class Runs:
    """Makes runs in the target, and knows their ids there."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._client = session.client
        self._report = session.report
        self.ids: dict[str, str] = {}
        self._children: dict[str, str] = {}
        self._deleted: list[str] = []
        self.links: list[tuple[str, Run]] = []

    def put(self, run: Run, experiment_id: str, artifacts: Mapping[str, Path]) -> None:
        """Write a run, unless the target has it already."""
        place = f"run {run.run_id}"
        known = self._find(experiment_id, RESTORED_FROM, run.run_id)
        if known is not None:
            self._report.count("run", UNCHANGED)
            self._remember(run, known)
            return
        for half in iter(lambda: self._find(experiment_id, RESTORING, run.run_id), None):
            self._client.delete_tag(half, RESTORING)
            self._client.delete_run(half)
        run_id = self._create(run, experiment_id, place)
        if run_id is None:
            self._report.count("run", REFUSED)
            return
        self._fill(run, run_id, place)
        for path, file in artifacts.items():
            folder = str(PurePosixPath(path).parent)
            with self._session.reporting(f"{place}, artifact {path}"):
                self._client.log_artifact(run_id, str(file), None if folder == "." else folder)
                self._report.files["copied"] += 1
        self._end(run, run_id, place)
        self._client.set_tag(run_id, RESTORED_FROM, run.run_id)
        self._client.delete_tag(run_id, RESTORING)
        self._report.count("run", RESTORED)
        self._report.points += sum(len(points.values) for points in run.points.values())
        self._remember(run, run_id)
        self.links.append((run_id, run))
        if run.lifecycle == "deleted":
            self._deleted.append(run_id)

    def _remember(self, run: Run, run_id: str) -> None:
        self.ids[run.run_id] = run_id
        self._report.ids[f"run {run.run_id}"] = run_id
        if run.tags.get(_PARENT):
            self._children[run_id] = run.tags[_PARENT]

    def _find(self, experiment_id: str, tag: str, value: str) -> str | None:
        from mlflow.entities import ViewType

        if "'" in value:
            return None
        view = ViewType.ALL if tag == RESTORED_FROM else ViewType.ACTIVE_ONLY
        found = self._client.search_runs([experiment_id], f"tags.`{tag}` = '{value}'", view, 1)
        return str(found[0].info.run_id) if found else None

    def _create(self, run: Run, experiment_id: str, place: str) -> str | None:
        tags = {RESTORING: run.run_id}
        if run.user_id or run.tags.get(_USER):
            tags[_USER] = run.tags.get(_USER) or str(run.user_id)
        name = run.tags.get(_NAME) or run.name
        run_id: str | None = None
        with self._session.reporting(place):
            made = self._client.create_run(experiment_id, run.start_time_ms, tags, name or None)
            run_id = made.info.run_id
        return run_id

    def _fill(self, run: Run, run_id: str, place: str) -> None:
        from mlflow.entities import Metric, Param, RunTag
        from mlflow.utils import validation

        session, batch = self._session, self._client.log_batch
        params = session.cut(place, run.params, validation.MAX_PARAM_VAL_LENGTH)
        tags = session.cut(place, run.tags, validation.MAX_TAG_VAL_LENGTH)
        session.each(
            place, [Param(k, v) for k, v in params.items()], 100, lambda b: batch(run_id, params=b)
        )
        session.each(
            place, [RunTag(k, v) for k, v in tags.items()], 100, lambda b: batch(run_id, tags=b)
        )
        for key, points in run.points.items():
            rows = zip(points.values, points.timestamps_ms, points.steps, strict=True)
            metrics = [Metric(key, *row) for row in rows]
            session.each(place, metrics, 1000, lambda b: batch(run_id, metrics=b))
        of_models = sum(len(points.models) for points in run.points.values())
        if of_models:
            reason = f"of which logged models {of_models} points are is only for databases"
            self._report.lose(f"{place}, metrics", reason)
        if run.datasets:
            with session.reporting(f"{place}, inputs"):
                self._client.log_inputs(run_id, [_dataset(one) for one in run.datasets])

    def _end(self, run: Run, run_id: str, place: str) -> None:
        with self._session.reporting(f"{place}, status"):
            if run.status in _TERMINAL:
                self._client.set_terminated(run_id, run.status, run.end_time_ms)
            elif run.status in ("RUNNING", "SCHEDULED"):
                self._client.update_run(run_id, run.status)

    # -- when all runs are there -------------------------------------------------------

    def link_parents(self) -> None:
        """Give nested runs the new ids of their parents."""
        for child, parent in self._children.items():
            if parent in self.ids and child not in self._deleted:
                with self._session.reporting(f"run {child}, its parent"):
                    self._client.set_tag(child, _PARENT, self.ids[parent])

    def delete(self) -> None:
        """Delete the runs that were."""
        for run_id in self._deleted:
            with self._session.reporting(f"run {run_id}, its deletion"):
                self._client.delete_run(run_id)


def _dataset(given: Mapping[str, Any]) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    needed = {field: given.get(field) or "" for field in _NEEDED}
    dataset = Dataset(**needed, schema=given.get("schema"), profile=given.get("profile"))
    tags = [InputTag(key, str(value)) for key, value in (given.get("tags") or {}).items()]
    return DatasetInput(dataset, tags)
