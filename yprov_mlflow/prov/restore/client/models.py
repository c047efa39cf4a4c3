"""Restore logged models, registered models and their versions through the client."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from yprov_mlflow.prov.capture import mlflow_private
from yprov_mlflow.prov.restore.artifact_files import parent_of
from yprov_mlflow.prov.restore.client.client_session import ClientSession
from yprov_mlflow.prov.restore.registry import DELETED
from yprov_mlflow.prov.restore.restore_report import (
    EXTENDED,
    RESTORED,
    RESTORED_FROM,
    UNCHANGED,
)
from yprov_mlflow.prov.sources.file_store.store_files import is_name
from yprov_mlflow.prov.state import LoggedModel, ModelVersion, RegisteredModel, was


class Models:
    """Creates models in the target; ``ids`` maps original ids to those in the target."""

    def __init__(
        self,
        session: ClientSession,
        runs: Mapping[str, str],
        *,
        extends: bool = False,
        same_ids: bool = False,
    ) -> None:
        self._session = session
        self._same_ids = same_ids
        self._extends = extends
        self._files = mlflow_private.file_store_of(session.client)
        self._client = session.client
        self._report = session.report
        self._runs = runs
        self.ids: dict[str, str] = {}

    def put_logged(
        self, model: LoggedModel, experiment_id: str, artifacts: Mapping[str, Path]
    ) -> None:
        """Write a logged model, unless the target has it already."""
        label = f"logged model {model.model_id}"
        if not hasattr(self._client, "create_logged_model"):  # MLflow 2
            self._report.refuse("logged model", label, "this MLflow version lacks logged models")
            return
        existing = self._find(experiment_id, model.model_id)
        if existing is not None:
            self.ids[model.model_id] = existing.model_id
            outcome = UNCHANGED
            with self._session.reporting(label):
                if self._extends and self._extend_logged(model, existing):
                    outcome = EXTENDED
            self._report.count("logged model", outcome)
            return
        source = self._runs.get(model.source_run_id or "", model.source_run_id)
        own = model.model_id.removeprefix("m-")
        keeps_id = self._files is not None and is_name(own) and own != model.model_id
        tags = {} if keeps_id else {RESTORED_FROM: model.model_id}
        fixed: AbstractContextManager[None] = nullcontext()
        if keeps_id:
            fixed = mlflow_private.fixed_file_store_id(own)
        with self._session.reporting(label), fixed:
            created = self._client.create_logged_model(
                experiment_id,
                model.name or None,
                source,
                {**model.tags, **tags},
                model.params,
                model.model_type,
            )
            self.ids[model.model_id] = created.model_id
            self._report.ids[label] = created.model_id
            self._report.count("logged model", RESTORED)
            for path, file in artifacts.items():
                self._client.log_model_artifact(created.model_id, str(file), parent_of(path))
                self._report.files["copied"] += 1
            if number := len(model.metrics):
                reason = f"its {number} metric points can only be restored into a database"
                self._report.add_loss(label, reason)
            if model.status in ("READY", "FAILED"):
                self._client.finalize_logged_model(created.model_id, model.status)
            elif model.status not in (None, "PENDING"):
                self._report.add_loss(label, f"unknown status {model.status!r}: it is PENDING")
            if model.lifecycle == "deleted":
                self._client.delete_logged_model(created.model_id)

    def _extend_logged(self, model: LoggedModel, existing: Any) -> bool:
        """Write the tags and the status that a model of the target lacks; return whether it did."""
        tags = {
            key: value
            for key, value in model.tags.items()
            if key not in existing.tags or was(model.tags, key, existing.tags[key])
        }
        if tags:
            self._client.set_logged_model_tags(existing.model_id, tags)
        ends = str(existing.status) == "PENDING" and model.status in ("READY", "FAILED")
        if ends:
            self._client.finalize_logged_model(existing.model_id, model.status)
        return bool(tags) or ends

    def _find(self, experiment_id: str, model_id: str) -> Any:
        if self._files is not None or self._extends:
            try:
                return self._client.get_logged_model(model_id)
            except MlflowException:
                pass  # it is not there, or has a new id
        if "'" in model_id:  # MLflow's filters cannot quote it
            return None
        query = f"tags.`{RESTORED_FROM}` = '{model_id}'"
        models = self._client.search_logged_models([experiment_id], query)
        return models[0] if models else None

    # -- the registry ------------------------------------------------------------------

    def put_registered(self, model: RegisteredModel) -> None:
        """Write a registered model with its versions, unless the target has one of its name."""
        label = f"registered model {model.name}"
        tags = {**model.tags, RESTORED_FROM: model.name}
        with self._session.reporting(label):
            existing = self._find_registered(model.name)
            if existing is not None:
                if self._same_ids or dict(existing.tags).get(RESTORED_FROM) == model.name:
                    changed = self._extends and self._extend_registered(model, existing)
                    self._report.count("registered model", EXTENDED if changed else UNCHANGED)
                else:
                    reason = "the target has another model with this name"
                    self._report.refuse("registered model", label, reason)
                return
            self._client.create_registered_model(model.name, tags, model.description)
            self._report.count("registered model", RESTORED)
            for number in range(1, max(map(int, model.versions), default=0) + 1):
                self._put_version(model, model.versions.get(number), number)
            for alias, version in model.aliases.items():
                with self._session.reporting(f"{label}, alias {alias}"):
                    self._client.set_registered_model_alias(model.name, alias, str(version))

    def _extend_registered(self, model: RegisteredModel, existing: Any) -> bool:
        """Write the versions, tags and aliases that a model of the target lacks."""
        label = f"registered model {model.name}"
        found = self._client.search_model_versions(f"name = '{model.name}'")
        last = max((int(version.version) for version in found), default=0)
        new = range(last + 1, max(map(int, model.versions), default=0) + 1)
        for number in new:
            self._put_version(model, model.versions.get(number), number)
        tags = {
            key: value
            for key, value in model.tags.items()
            if key not in existing.tags or was(model.tags, key, existing.tags[key])
        }
        for key, value in tags.items():
            with self._session.reporting(f"{label}, {key}"):
                self._client.set_registered_model_tag(model.name, key, value)
        stored = {alias: str(number) for alias, number in dict(existing.aliases).items()}
        earlier = {alias: stored.get(alias) for alias in model.aliases}
        moved = [
            alias
            for alias, number in model.aliases.items()
            if earlier[alias] is None
            or (earlier[alias] != str(number) and was(model.aliases, alias, int(stored[alias])))
        ]
        for alias in moved:
            with self._session.reporting(f"{label}, alias {alias}"):
                self._client.set_registered_model_alias(
                    model.name, alias, str(model.aliases[alias])
                )
        return bool(new or tags or moved)

    def _find_registered(self, name: str) -> Any:
        try:
            return self._client.get_registered_model(name)
        except MlflowException:  # it does not exist
            return None

    def _put_version(
        self, model: RegisteredModel, version: ModelVersion | None, number: int
    ) -> None:
        """Write a version; create and delete one in place of a version that was deleted.

        The store numbers versions itself, so that none can be left out.
        """
        label = f"registered model {model.name}, version {number}"
        fields: Mapping[str, Any] = version.fields if version is not None else {}
        source = str(fields.get("source") or "unknown")
        scheme, _, original = source.partition("models:/")
        if not scheme and original in self.ids:
            source = f"models:/{self.ids[original]}"
        with self._session.reporting(label):
            created = self._client.create_model_version(
                model.name,
                source,
                self._runs.get(str(fields.get("run_id")), fields.get("run_id")),
                version.tags if version is not None else None,
                fields.get("run_link"),
                fields.get("description"),
                0,
            )
            if version is None or version.stage == DELETED:
                self._client.delete_model_version(model.name, created.version)
            elif version.stage:
                self._client.transition_model_version_stage(
                    model.name, created.version, version.stage
                )
