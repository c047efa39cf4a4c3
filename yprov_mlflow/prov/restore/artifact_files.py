"""Find the artifact files of documents, and copy them to the target's artifact root."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from yprov_mlflow.prov.layout import PROVENANCE
from yprov_mlflow.prov.restore.restore_report import RestoreReport
from yprov_mlflow.prov.state import LoggedModel, Run, Trace

TRACE_LOCATION = "mlflow.artifactLocation"
"""Tag of a trace with the location of its files, which depends on the store."""

_ARTIFACTS = "artifacts"


class ArtifactFiles:
    """Looks for artifacts beside the document, below the user's folder and at their URI."""

    def __init__(self, root: Path | None, report: RestoreReport) -> None:
        self._root = root
        self._report = report

    def find(
        self, record: Run | LoggedModel | Trace, label: str, document: Path
    ) -> dict[str, Path]:
        """Return the files that exist and are the same that were logged, by their logged paths.

        Args:
            record: The run, model or trace.
            label: Its name in the report.
            document: Document that lists the files.
        """
        candidates = dict.fromkeys(self._candidates(document, *_original_places(record)))
        existing = [folder for folder in candidates if folder.is_dir()]
        files: dict[str, Path] = {}
        for path, expected in record.artifacts.items() if existing else ():
            if not _stays_inside(path):
                self._report.add_loss(label, f"the path of an artifact leaves its folder: {path!r}")
                continue
            copies = [folder / path for folder in existing if (folder / path).is_file()]
            match = next((file for file in copies if _is_same(file, expected)), None)
            if match is not None:
                files[path] = match
                continue
            self._report.files["missing"] += 1
            problem = "has changed" if copies else "does not exist"
            self._report.add_loss(label, f"artifact {path}: {problem}")
        if self._root is not None:
            self._report.files["looked for"] += len(record.artifacts)
            below_root = [file for file in files.values() if file.is_relative_to(self._root)]
            self._report.files["found in --artifacts"] += len(below_root)
        return files

    def _candidates(
        self, document: Path, uri: str | None, folders: Sequence[Sequence[str]]
    ) -> Iterator[Path]:
        if document.parent.name == PROVENANCE:
            yield document.parent.parent
        yield document.parent / _ARTIFACTS
        if self._root is not None:
            for names in folders:
                # Ids come from documents: they must not lead out of the folder.
                if not any(name in ("", ".", "..") or "/" in name for name in names):
                    yield self._root.joinpath(*names, _ARTIFACTS)
                    yield self._root.joinpath(".trash", *names, _ARTIFACTS)
        local = local_path(uri)
        if local is not None:
            yield local

    def check_root(self) -> None:
        """Report a folder of the user that contains none of the artifacts."""
        wanted = self._report.files["looked for"]
        if wanted and not self._report.files["found in --artifacts"]:
            reason = (
                f"contains none of {wanted} artifacts: give the folder that contains"
                " EXPERIMENT/RUN/artifacts, such as mlruns or mlartifacts"
            )
            self._report.add_loss(str(self._root), reason)

    def copy(self, files: Mapping[str, Path], uri: str, label: str) -> None:
        """Copy files to an artifact root; files that are there already are not written again."""
        local = local_path(uri)
        for path, file in files.items():
            try:
                if local is None:
                    _upload(file, uri, path)
                else:
                    target = local / path
                    # A repeated restoration must not touch files that are in use.
                    if target.is_file() and _sha256(target) == _sha256(file):
                        continue
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, target)
                    if _sha256(target) != _sha256(file):
                        raise OSError("the copy differs from the file")
                self._report.files["copied"] += 1
                self._report.files["bytes"] += file.stat().st_size
            except OSError as error:
                self._report.add_loss(label, f"artifact {path}: {error.strerror or error}")


def _original_places(
    record: Run | LoggedModel | Trace,
) -> tuple[str | None, Sequence[Sequence[str]]]:
    """Return the artifact root in the original store, and folders below an ``mlruns``."""
    experiment_id = str(record.experiment_id)
    if isinstance(record, Run):
        # The user may also give the folder of one experiment.
        return record.artifact_uri, [(experiment_id, record.run_id), (record.run_id,)]
    if isinstance(record, LoggedModel):
        return record.artifact_location, [(experiment_id, "models", record.model_id)]
    return record.tags.get(TRACE_LOCATION), [(experiment_id, "traces", record.trace_id)]


def _stays_inside(path: str) -> bool:
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts and "\x00" not in path


def _is_same(file: Path, expected: Mapping[str, Any]) -> bool:
    # Cheap first: most files that differ also differ in size.
    if expected.get("size") is not None and file.stat().st_size != expected["size"]:
        return False
    return expected.get("sha256") is None or _sha256(file) == expected["sha256"]


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def local_path(uri: str | None) -> Path | None:
    """Return the local folder of a URI or path, or None if it is on another machine."""
    if not uri:
        return None
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    if not parts.scheme and "://" not in uri:
        return Path(os.path.abspath(uri))
    return None


def parent_of(path: str) -> str | None:
    """Return the folder of an artifact's path, or None at the artifact root."""
    return path.rpartition("/")[0] or None


def _upload(file: Path, uri: str, path: str) -> None:
    # Copies to local folders need none of MLflow's clients for object stores.
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    try:
        get_artifact_repository(uri).log_artifact(str(file), parent_of(path))
    except MlflowException as error:
        raise OSError(str(error)) from error
