"""Where a run's artifacts are, seen from a client or from inside ``mlflow server``."""

from __future__ import annotations

import hashlib
import inspect
import posixpath
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from yprov_mlflow.prov.capture import session as process
from yprov_mlflow.prov.capture.artifacts import PROVENANCE
from yprov_mlflow.prov.capture.run_document import PROV_JSON
from yprov_mlflow.prov.formats.metric_files.parquet import NAME as METRICS
from yprov_mlflow.prov.ids import OF_CAPTURE


class RunArtifacts:
    """A run, the store that it came from, and the place of its artifacts."""

    def __init__(self, store: Any, run: Any) -> None:
        """Name the run by its MLflow object and its store; no repository is asked for yet."""
        self.store = store
        self.run = run

    @cached_property
    def _place(self) -> tuple[Any, str]:
        """The repository to write to and, in a server's, the way to the run's folder."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        root = self.run.info.artifact_uri
        if root.startswith("mlflow-artifacts:") and process.get().server:
            from mlflow.server import handlers

            prefix = handlers._get_proxied_run_artifact_destination_path(root) + "/"
            return handlers._get_artifact_repo_mlflow_artifacts(), prefix
        if "tracking_uri" in inspect.signature(get_artifact_repository).parameters:  # from 3.1
            uri = getattr(self.store, process.URI, None)
            return get_artifact_repository(root, tracking_uri=uri), ""
        return get_artifact_repository(root), ""

    def files(self, most: int) -> list[dict[str, Any]]:
        """List the artifacts that are not our own, as events hold them; about ``most`` at most."""
        repository, prefix = self._place
        found: list[dict[str, Any]] = []
        folders = [prefix.rstrip("/") or None]
        while folders and len(found) < most:
            for info in repository.list_artifacts(folders.pop()):
                path = info.path.removeprefix(prefix)
                if info.is_dir:
                    folders.append(info.path)
                elif not OF_CAPTURE.match(path):
                    found.append({"path": path, "size": info.file_size, "sha256": None})
        return sorted(found, key=lambda file: str(file["path"]))

    def fetch(self, name: str, out: str) -> Path:
        """Download one file of the run's ``provenance`` folder into the folder ``out``."""
        repository, prefix = self._place
        return Path(repository.download_artifacts(f"{prefix}{PROVENANCE}/{name}", out))

    def put(self, files: Sequence[Path]) -> None:
        """Upload the files, in their order, into the run's ``provenance`` folder."""
        repository, prefix = self._place
        for path in files:
            repository.log_artifact(str(path), f"{prefix}{PROVENANCE}")

    def keep_earlier(self) -> None:
        """Keep the document that another machine left, whose journals are not here.

        It knows what no store does: contexts, hashes, history. The new one, made from the store,
        gets its place; the earlier is kept beside it under a name of its content.
        """
        repository, prefix = self._place
        listed = repository.list_artifacts(f"{prefix}{PROVENANCE}")
        found = {posixpath.basename(info.path) for info in listed}
        if PROV_JSON not in found:
            return
        with tempfile.TemporaryDirectory(prefix="yprov-") as out:
            paths = [self.fetch(name, out) for name in (METRICS, PROV_JSON) if name in found]
            token = hashlib.sha256(paths[-1].read_bytes()).hexdigest()[:12]
            for path in paths:
                kept = path.rename(path.with_name(f"{path.stem}-{token}{path.suffix}"))
                if kept.name not in found:
                    self.put([kept])
