"""The artifacts of a run, opened from a client or from inside ``mlflow server``."""

from __future__ import annotations

import hashlib
import inspect
import posixpath
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

from yprov_mlflow.prov.capture import mlflow_private
from yprov_mlflow.prov.capture import session as process
from yprov_mlflow.prov.layout import (
    METRICS_PARQUET,
    OWN_ARTIFACT,
    PROV_JSON,
    PROVENANCE,
    temporary_folder,
)


def _root(store: Any, uri: str) -> str:
    """Return where the artifacts of a run are: a file store moves those of deleted experiments.

    A file at their old place would bar the experiment from being restored.
    """
    trash, folder = getattr(store, "trash_folder", None), getattr(store, "root_directory", None)
    if trash is None or folder is None or not is_local_uri(uri):
        return uri
    path = Path(local_file_uri_to_path(uri))
    if path.is_relative_to(folder) and not path.parent.exists():
        moved = Path(trash) / path.relative_to(folder)
        return moved.as_uri() if moved.parent.exists() else uri
    return uri


def artifacts_of(capture: process.CaptureSession, run_id: str, tracking_uri: str) -> RunArtifacts:
    """Return the artifacts of a run, in the store that this process logged it to if it did.

    ``tracking_uri`` lacks the password.
    """
    state = capture.recorder.get(run_id)
    store = state.store if state is not None else None
    store = store or mlflow_private.open_store(tracking_uri)
    return RunArtifacts(store, store.get_run(run_id))


class RunArtifacts:
    """A run, its tracking store and its artifact repository."""

    def __init__(self, store: Any, run: Any) -> None:
        self.store = store
        self.run = run

    @cached_property
    def _repository(self) -> tuple[Any, str]:
        """The repository and, inside a server, the folder of the run in it."""
        root = _root(self.store, self.run.info.artifact_uri)
        if root.startswith("mlflow-artifacts:") and process.get().server:
            return mlflow_private.server_artifact_repository(root)
        # The parameter exists from MLflow 3.1 on.
        if "tracking_uri" in inspect.signature(get_artifact_repository).parameters:
            uri = mlflow_private.store_uri(self.store)
            return get_artifact_repository(root, tracking_uri=uri), ""
        return get_artifact_repository(root), ""

    def files(self, limit: int) -> list[dict[str, Any]]:
        """Return the user's artifacts as ``ArtifactsLogged`` has them, about ``limit`` at most."""
        repository, prefix = self._repository
        files: list[dict[str, Any]] = []
        folders = [prefix.rstrip("/") or None]
        while folders and len(files) < limit:
            for info in repository.list_artifacts(folders.pop()):
                path = info.path.removeprefix(prefix)
                if info.is_dir:
                    folders.append(info.path)
                elif not OWN_ARTIFACT.match(path):
                    files.append({"path": path, "size": info.file_size, "sha256": None})
        return sorted(files, key=lambda file: str(file["path"]))

    def local_root(self) -> Path | None:
        """Return the local folder of the artifacts; None if they are elsewhere."""
        root = _root(self.store, self.run.info.artifact_uri)
        return Path(local_file_uri_to_path(root)) if is_local_uri(root) else None

    def paths(self) -> list[str]:
        """Return the paths of all artifacts, sorted, with those that capture writes itself."""
        repository, prefix = self._repository
        paths: list[str] = []
        folders = [prefix.rstrip("/") or None]
        while folders:
            for info in repository.list_artifacts(folders.pop()):
                (folders if info.is_dir else paths).append(info.path)
        return sorted(path.removeprefix(prefix) for path in paths)

    def download(self, path: str, out: str) -> Path:
        """Download an artifact into the local folder ``out``."""
        repository, prefix = self._repository
        return Path(repository.download_artifacts(f"{prefix}{path}", out))

    def fetch(self, name: str, out: str) -> Path:
        """Download a file of the run's ``provenance`` folder into the local folder ``out``."""
        repository, prefix = self._repository
        return Path(repository.download_artifacts(f"{prefix}{PROVENANCE}/{name}", out))

    def put(self, files: Sequence[Path]) -> None:
        """Upload local files, in their order, into the run's ``provenance`` folder."""
        repository, prefix = self._repository
        for path in files:
            repository.log_artifact(str(path), f"{prefix}{PROVENANCE}")

    def put_folder(self, folder: Path, name: str) -> None:
        """Upload the content of a local folder as a folder in ``provenance``."""
        repository, prefix = self._repository
        repository.log_artifacts(str(folder), f"{prefix}{PROVENANCE}/{name}")

    def keep_earlier(self) -> None:
        """Keep the document of another machine, whose journals are not here.

        It has contexts, hashes and history, which no store has. The new document, made from the
        store, takes its name; the earlier one gets a name with its digest.
        """
        repository, prefix = self._repository
        infos = repository.list_artifacts(f"{prefix}{PROVENANCE}")
        existing = {posixpath.basename(info.path) for info in infos}
        if PROV_JSON not in existing:
            return
        with temporary_folder() as out:
            names = (METRICS_PARQUET, PROV_JSON)
            paths = [self.fetch(name, str(out)) for name in names if name in existing]
            token = hashlib.sha256(paths[-1].read_bytes()).hexdigest()[:12]
            for path in paths:
                kept = path.rename(path.with_name(f"{path.stem}-{token}{path.suffix}"))
                if kept.name not in existing:
                    self.put([kept])
