"""Find the artifact files of documents, and copy them to the target's artifact root."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from yprov_mlflow.prov.events import TERMINAL
from yprov_mlflow.prov.layout import PROVENANCE
from yprov_mlflow.prov.redaction import redact
from yprov_mlflow.prov.restore.restore_report import ARTIFACTS, DATA, RestoreReport
from yprov_mlflow.prov.sources.file_store.store_files import is_name
from yprov_mlflow.prov.state import LoggedModel, Run, Trace
from yprov_mlflow.prov.uris import SCHEME

TRACE_LOCATION = "mlflow.artifactLocation"
"""Tag of a trace with the location of its files, which depends on the store."""

_ARTIFACTS = "artifacts"
_ABSENT = "does not exist"


class _Candidate(NamedTuple):
    """A folder that may contain artifacts.

    Neither the folder may leave ``top`` by a link, nor a file the folder. ``proven`` files must
    have the digest that the document gives: the user did not name the folder.
    """

    folder: Path
    top: Path
    proven: bool = False


class ArtifactFiles:
    """Looks for artifacts beside the document and below folders of the user, and nowhere else.

    A document from elsewhere could name any file of this machine: the artifact URI in it counts
    only within these folders.

    Args:
        root: Folder that the user gave for artifacts.
        inputs: Folders of documents that the user gave.
        report: Counts and losses.
        recorded: Look at the recorded place as well, for files that have the recorded digest.

    ``written`` are files for the next run by their paths: its document, which no event names.
    """

    def __init__(
        self,
        root: Path | None,
        inputs: Sequence[Path],
        report: RestoreReport,
        *,
        recorded: bool = False,
    ) -> None:
        self._root = root
        self._inputs = inputs
        self.report = report
        self._recorded = recorded
        self.written: Mapping[str, Path] = {}
        self._left = 0
        self._left_at = ""

    def find(
        self, record: Run | LoggedModel | Trace, label: str, document: Path | None
    ) -> dict[str, Path]:
        """Return the files that exist and are the same that were logged, by their logged paths.

        Args:
            record: The run, model or trace.
            label: Its name in the report.
            document: Document that lists the files; None if journals do.
        """
        uri, owner, folders = _original_places(record)
        if not is_name(owner):  # the files would leave the target's folder as well
            if record.artifacts:
                self.report.add_loss(label, "its id is not the name of a folder: no artifacts")
            return {}
        candidates = dict.fromkeys(self._candidates(document, uri, folders))
        existing = [c for c in candidates if c.folder.is_dir() and _is_inside(c.folder, c.top)]
        if not existing and record.artifacts:
            self._left += len(record.artifacts)
            self._left_at = self._left_at or redact(uri or "")
        files: dict[str, Path] = {}
        for path, expected in record.artifacts.items() if existing else ():
            if not stays_inside(path):
                self.report.add_loss(label, f"the path of an artifact leaves its folder: {path!r}")
            elif isinstance(match := _match(existing, path, expected), Path):
                files[path] = match
            elif not (self._recorded and isinstance(record, Run) and _goes_on(record)):
                self.report.files["missing"] += 1
                kind = ARTIFACTS if match == _ABSENT else DATA
                self.report.add_loss(label, f"artifact {path}: {match}", kind)
        if self._root is not None:
            self.report.files["looked for"] += len(record.artifacts)
            root = os.path.abspath(self._root)
            absolute = [Path(os.path.abspath(file)) for file in files.values()]
            below_root = [file for file in absolute if file.is_relative_to(root)]
            self.report.files["found in --artifacts"] += len(below_root)
        if isinstance(record, Run):
            files.update(self.written)
        return files

    def _candidates(
        self, document: Path | None, uri: str | None, folders: Sequence[Sequence[str]]
    ) -> Iterator[_Candidate]:
        if document is not None and document.parent.name == PROVENANCE:
            above = document.parent.parent
            yield _Candidate(above, above, not any(_is_inside(above, top) for top in self._inputs))
        if document is not None:
            yield _Candidate(document.parent / _ARTIFACTS, document.parent)
        local = local_path(uri)
        for top in (self._root, *self._inputs):
            if top is None:
                continue
            for names in folders:
                # Ids come from documents: they must not lead out of the folder.
                if all(map(is_name, names)):
                    yield _Candidate(top.joinpath(*names, _ARTIFACTS), top)
                    yield _Candidate(top.joinpath(".trash", *names, _ARTIFACTS), top)
            if local is not None and local.is_relative_to(os.path.abspath(top)):
                yield _Candidate(local, top)
        if self._recorded and local is not None:
            yield _Candidate(local, local, proven=True)

    def finish(self, *, keeps_locations: bool) -> None:
        """Report artifacts that were not looked for, and a folder that contains none of them.

        Args:
            keeps_locations: Whether the target's records still name the original artifacts.
        """
        if self._left and self._root is None:
            where = f" at {self._left_at}" if self._left_at else ""
            reason = f"{self._left} files{where} and the like were not copied: give --artifacts"
            if keeps_locations:
                self.report.add_change("artifacts", f"{reason}, or leave them where they are")
            else:
                self.report.add_loss("artifacts", reason, ARTIFACTS)
        wanted = self.report.files["looked for"]
        if wanted and not self.report.files["found in --artifacts"]:
            reason = (
                f"contains none of {wanted} artifacts: give the folder that contains"
                " EXPERIMENT/RUN/artifacts, such as mlruns or mlartifacts"
            )
            self.report.add_loss(str(self._root), reason, ARTIFACTS)

    def copy(self, files: Mapping[str, Path], uri: str, label: str) -> None:
        """Copy files to an artifact root; files that are there already are not written again."""
        local = local_path(uri)
        for path, file in files.items():
            try:
                if local is None:
                    _upload(file, uri, path)
                else:
                    target = local / path
                    if target.exists() and target.samefile(file):
                        continue
                    # A repeated restoration must not touch files that are in use.
                    if target.is_file() and sha256_of(target) == sha256_of(file):
                        continue
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, target)
                    if sha256_of(target) != sha256_of(file):
                        raise OSError("the copy differs from the file")
                self.report.files["copied"] += 1
                self.report.files["bytes"] += file.stat().st_size
            except OSError as error:
                self.report.add_loss(label, f"artifact {path}: {error.strerror or error}")


def _goes_on(run: Run) -> bool:
    """Return whether a run may overwrite its artifacts while they are looked for."""
    return run.status not in TERMINAL


def _original_places(
    record: Run | LoggedModel | Trace,
) -> tuple[str | None, str, Sequence[Sequence[str]]]:
    """Return the original artifact URI, the owner's id, and folders below an ``mlruns``."""
    experiment_id = str(record.experiment_id)
    if isinstance(record, Run):
        # The user may also give the folder of one experiment.
        run_id = record.run_id
        return record.artifact_uri, run_id, [(experiment_id, run_id), (run_id,)]
    if isinstance(record, LoggedModel):
        model_id = record.model_id
        return record.artifact_location, model_id, [(experiment_id, "models", model_id)]
    uri, trace_id = record.tags.get(TRACE_LOCATION), record.trace_id
    return uri, trace_id, [(experiment_id, "traces", trace_id)]


def _is_inside(path: Path, folder: Path) -> bool:
    """Return whether a path stays in a folder when links are followed."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _match(candidates: Sequence[_Candidate], path: str, expected: Mapping[str, Any]) -> Path | str:
    """Return the file that was logged at a path, or the reason why it is missing."""
    problem = _ABSENT
    for folder, _, proven in candidates:
        file = folder / path
        if not _is_inside(file, folder):
            problem = "is a link that leads out of its folder"
        elif file.is_file() and not (proven and expected.get("sha256") is None):
            if _is_same(file, expected):
                return file
            problem = "has changed"
    return problem


def stays_inside(path: str) -> bool:
    """Return whether a relative path stays below the folder that it starts from."""
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts and "\x00" not in path


def _is_same(file: Path, expected: Mapping[str, Any]) -> bool:
    # Cheap first: most files that differ also differ in size.
    if expected.get("size") is not None and file.stat().st_size != expected["size"]:
        return False
    return expected.get("sha256") is None or sha256_of(file) == expected["sha256"]


def sha256_of(file: Path) -> str:
    """Return the digest of a file's content."""
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


def is_anywhere(uri: str | None) -> bool:
    """Return whether every machine finds the artifacts at a URI, such as ``s3://…``."""
    scheme = urlsplit(uri or "").scheme
    return scheme not in ("", "file", "mlflow-artifacts", SCHEME)


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
