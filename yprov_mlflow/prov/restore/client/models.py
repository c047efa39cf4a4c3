"""Logged models, registered models and their versions, through the client."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yprov_mlflow.prov.restore.client.client_session import Session
from yprov_mlflow.prov.restore.client.runs import RESTORED_FROM
from yprov_mlflow.prov.restore.registry import DELETED
from yprov_mlflow.prov.restore.restore_report import REFUSED, RESTORED, UNCHANGED
from yprov_mlflow.prov.restore.state import LoggedModel, ModelVersion, RegisteredModel


class Models:
    """Makes models in the target, and knows their ids there."""

    def __init__(self, session: Session, runs: Mapping[str, str]) -> None:
        self._session = session
        self._client = session.client
        self._report = session.report
        self._runs = runs
        self.ids: dict[str, str] = {}

    def put_logged(
        self, model: LoggedModel, experiment_id: str, artifacts: Mapping[str, Path]
    ) -> None:
        """Write a logged model, unless the target has it already."""
        place = f"logged model {model.model_id}"
        if not hasattr(self._client, "create_logged_model"):
            self._report.count("logged model", REFUSED)
            self._report.lose(place, "this version of MLflow has no logged models")
            return
        known = self._find(experiment_id, model.model_id)
        if known is not None:
            self.ids[model.model_id] = known
            self._report.count("logged model", UNCHANGED)
            return
        source = self._runs.get(model.source_run_id or "", model.source_run_id)
        with self._session.reporting(place):
            made = self._client.create_logged_model(
                experiment_id,
                model.name or None,
                source,
                {**model.tags, RESTORED_FROM: model.model_id},
                model.params,
                model.model_type,
            )
            self.ids[model.model_id] = made.model_id
            self._report.ids[place] = made.model_id
            self._report.count("logged model", RESTORED)
            for path, file in artifacts.items():
                folder = path.rpartition("/")[0]
                self._client.log_model_artifact(made.model_id, str(file), folder or None)
                self._report.files["copied"] += 1
            if model.metrics:
                reason = f"its metric points are only for databases: {len(model.metrics)}"
                self._report.lose(place, reason)
            if model.status in ("READY", "FAILED"):
                self._client.finalize_logged_model(made.model_id, model.status)
            if model.lifecycle == "deleted":
                self._client.delete_logged_model(made.model_id)

    def _find(self, experiment_id: str, model_id: str) -> str | None:
        if "'" in model_id:
            return None
        wanted = f"tags.`{RESTORED_FROM}` = '{model_id}'"
        found = self._client.search_logged_models([experiment_id], wanted)
        return str(found[0].model_id) if found else None

    # -- the registry ------------------------------------------------------------------

    def put_registered(self, model: RegisteredModel) -> None:
        """Write a registered model with its versions, unless the target has one of its name."""
        place = f"registered model {model.name}"
        tags = {**model.tags, RESTORED_FROM: model.name}
        try:
            known = self._client.get_registered_model(model.name)
        except Exception:  # noqa: BLE001 - each store has its own way to say that there is none
            known = None
        if known is not None:
            ours = dict(known.tags).get(RESTORED_FROM) == model.name
            self._report.count("registered model", UNCHANGED if ours else REFUSED)
            if not ours:
                self._report.lose(place, "the target has one of this name already")
            return
        with self._session.reporting(place):
            self._client.create_registered_model(model.name, tags, model.description)
            self._report.count("registered model", RESTORED)
            for number in range(1, max(model.versions, default=0) + 1):
                self._put_version(model, model.versions.get(number), number)
            for alias, version in model.aliases.items():
                with self._session.reporting(f"{place}, alias {alias}"):
                    self._client.set_registered_model_alias(model.name, alias, str(version))

    def _put_version(
        self, model: RegisteredModel, version: ModelVersion | None, number: int
    ) -> None:
        """Write a version; where one was deleted for good, one is made and deleted."""
        place = f"registered model {model.name}, version {number}"
        fields: Mapping[str, Any] = version.fields if version is not None else {}
        with self._session.reporting(place):
            made = self._client.create_model_version(
                model.name,
                fields.get("source") or "unknown",
                self._runs.get(str(fields.get("run_id")), fields.get("run_id")),
                version.tags if version is not None else None,
                fields.get("run_link"),
                fields.get("description"),
                0,
            )
            if version is None or version.stage == DELETED:
                self._client.delete_model_version(model.name, made.version)
            elif version.stage:
                self._client.transition_model_version_stage(model.name, made.version, version.stage)
