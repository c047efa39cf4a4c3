"""Files that were logged to a run of yProv4ML: artifacts, models and datasets."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from yprov_mlflow.prov import state
from yprov_mlflow.prov.model.literals import canonical
from yprov_mlflow.prov.sources.yprov4ml import local_times
from yprov_mlflow.prov.sources.yprov4ml.rank_content import File, RankContent, is_original
from yprov_mlflow.prov.sources.yprov4ml.run_folders import RunFolder, is_inside

_PURPOSE = "mlflow.data.context"
_DIGEST_LENGTH = 8  # of digests that MLflow computes
_KNOWN = frozenset(
    "label identifier path artifact_path artifact_uri role type context source fullLabel file_size"
    " generatedAtTime value name creation_epoch creation_timestamp last_modified_timestamp".split()
)


class LoggedFiles:
    """Reads files of a run.

    Args:
        folder: The folder of the run.
        make_id: Returns an id of 32 hexadecimal digits that is derived from text.
        report: Called with place, reason, loss and kind of each problem.
    """

    def __init__(
        self,
        folder: RunFolder,
        make_id: Callable[[str], str],
        report: Callable[[str, str, str, str], None],
    ) -> None:
        self._folder = folder
        self._make_id = make_id
        self._report = report
        folders = list(folder.artifacts.values())
        self.root = Path(folders[0] if len(folders) == 1 else folder.path).absolute()

    def artifacts(
        self, rank: int, content: RankContent
    ) -> Iterator[tuple[dict[str, Any], str, str | None]]:
        """Yield the artifacts of a rank, each with its context and its time as written.

        All files of the artifact folder are artifacts, also those that no document names.
        """
        folder = self._folder.artifacts.get(rank)
        logged = {self._folder.resolve(file.path): file for file in content.files if file.path}
        for file in content.files:
            is_copy = file.path and not is_original(file)
            if is_copy and self._folder.resolve(file.path) is None:
                reason = "is outside the run's folder, or missing"
                self._report(file.path, reason, f"the artifact {file.label!r}", "artifacts")
        for path in sorted(_files_below(folder)) if folder is not None else ():
            # A folder may have been logged as a whole.
            match = logged.get(path) or next(
                (f for p, f in logged.items() if p is not None and path.is_relative_to(p)), None
            )
            described = {"path": path.relative_to(self.root).as_posix(), **self._describe(path)}
            yield described, match.context if match else "", match.time if match else None

    def _describe(self, path: Path) -> dict[str, Any]:
        try:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
                return {"size": stream.tell(), "sha256": digest}
        except OSError as error:
            self._report(str(path), f"cannot be read: {error.strerror}", "its hash", "artifacts")
            return {"size": None, "sha256": None}

    def datasets(self, content: RankContent) -> Iterator[dict[str, Any]]:
        """Yield datasets, and files that were inputs, as inputs of the run."""
        originals = {file.label: file for file in content.files if is_original(file)}
        for file in content.files:
            is_input = file.is_input and not file.is_model and not is_original(file)
            if not file.is_dataset and (not is_input or file.label == "requirements.txt"):
                continue
            profile = _statistics(file)
            original = originals.get(f"Original_{file.label}") or originals.get(
                f"original_{file.label}"
            )
            source = {"uri": original.path if original is not None else file.path}
            path = self._folder.resolve(file.path) if file.path else None
            if path is not None and path.is_file():
                digest = self._describe(path)["sha256"] or ""
            else:  # as MLflow does for data that it cannot read: of the description
                digest = hashlib.sha256(canonical([source, profile]).encode()).hexdigest()
            yield {
                "name": file.label,
                "digest": digest[:_DIGEST_LENGTH],
                "source_type": "local" if file.path else "code",
                "source": canonical(source if file.path else {}),
                "schema": None,
                "profile": canonical(profile) if profile else None,
                "tags": {_PURPOSE: file.context.lower()} if file.context else {},
            }

    def models(
        self, rank: int, content: RankContent, run: state.Run
    ) -> Iterator[state.LoggedModel]:
        """Yield the models of a rank."""
        for file in content.files:
            path = self._folder.resolve(file.path) if file.path else None
            if not file.is_model or is_original(file) or path is None:
                continue
            zone = local_times.zone(content.fields.get("time_zone")) or local_times.UTC
            time_ms = local_times.nanoseconds(file.time, zone) // 1_000_000 or run.start_time_ms
            inside = path.relative_to(self._folder.path).as_posix()
            yield state.LoggedModel(
                f"m-{self._make_id(f'{run.run_id} {inside}')}",
                run.experiment_id,
                Path(file.label).stem if file.label.endswith(path.suffix) else file.label,
                status="READY",
                artifact_location=path.absolute().as_uri(),
                source_run_id=run.run_id,
                creation_time_ms=time_ms,
                last_updated_ms=time_ms,
                params=_statistics(file),
            )


def _statistics(file: File) -> dict[str, str]:
    """Return the attributes that yProv4ML adds to datasets and models, without their label."""
    stem = Path(file.label).stem
    return {
        name.removeprefix(f"{file.label}_").removeprefix(f"{stem}_").removeprefix("stat_"): value
        for name, value in file.fields.items()
        if name not in _KNOWN
    }


def _files_below(folder: Path) -> Iterator[Path]:
    for path, _, names in os.walk(folder):
        for name in names:
            file = Path(path, name)
            if is_inside(file, folder):
                yield file
