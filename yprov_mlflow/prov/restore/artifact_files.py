"""Artifacts: where they can be reached, and copies of them in the target's root."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from yprov_mlflow.prov.restore.restore_report import RestoreReport

Wanted = Mapping[str, Mapping[str, Any]]
"""Size and SHA-256 of files, as far as known, by path."""


class Files:
    """Looks for artifacts: beside the document, below ``root``, where they were."""

    def __init__(self, root: Path | None, report: RestoreReport) -> None:
        self._root = root
        self._report = report

    def folders(self, document: Path, uri: str | None, *places: Sequence[str]) -> Iterator[Path]:
        """Give the folders that a thing's artifacts may be in.

        ``places`` are paths below the root, as words: of which those with ``..`` are none.
        """
        if document.parent.name == "provenance":
            yield document.parent.parent
        yield document.parent / "artifacts"
        if self._root is not None:
            for words in places:
                if not any(word in ("", ".", "..") or "/" in word for word in words):
                    yield self._root.joinpath(*words)
                    yield self._root.joinpath(".trash", *words)
        local = local_path(uri)
        if local is not None:
            yield local

    def found(self, wanted: Wanted, folders: Iterator[Path], place: str) -> dict[str, Path]:
        """Give the files that are there, and are what was logged, by path."""
        there = [folder for folder in dict.fromkeys(folders) if folder.is_dir()]
        found: dict[str, Path] = {}
        for path, expected in wanted.items() if there else ():
            if not _is_plain(path):
                self._report.lose(place, f"an artifact's path leads out of its folder: {path!r}")
                continue
            changed = False
            for folder in there:
                file = folder / path
                if not file.is_file():
                    continue
                if _is_what(file, expected):
                    found[path] = file
                    break
                changed = True
            if path not in found:
                self._report.files["missing"] += 1
                self._report.lose(
                    place, f"artifact {path}: " + ("has changed" if changed else "is not there")
                )
        if self._root is not None:
            self._report.files["looked for"] += len(wanted)
            self._report.files["found in --artifacts"] += sum(
                map(self._is_below_root, found.values())
            )
        return found

    def _is_below_root(self, file: Path) -> bool:
        return self._root is not None and file.is_relative_to(self._root)

    def settle(self) -> None:
        """Say so where the folder that the user gave had none of what was looked for."""
        sought = self._report.files["looked for"]
        if sought and not self._report.files["found in --artifacts"]:
            reason = (
                f"has none of {sought} artifacts: give the folder that has EXPERIMENT/RUN/artifacts"
                " in it, such as mlruns or mlartifacts"
            )
            self._report.lose(str(self._root), reason)

    def copy(self, found: Mapping[str, Path], uri: str, place: str) -> None:
        """Copy files to an artifact root; what is there already is left alone."""
        local = local_path(uri)
        for path, file in found.items():
            try:
                if local is None:
                    _upload(file, uri, path)
                else:
                    target = local / path
                    if target.is_file() and _sha256(target) == _sha256(file):
                        continue
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, target)
                    if _sha256(target) != _sha256(file):
                        raise OSError("the copy differs from the file")
                self._report.files["copied"] += 1
                self._report.files["bytes"] += file.stat().st_size
            except OSError as error:
                self._report.lose(place, f"artifact {path}: {error.strerror or error}")


def _is_plain(path: str) -> bool:
    """Tell whether a path stays in its folder."""
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts and "\x00" not in path


def _is_what(file: Path, expected: Mapping[str, Any]) -> bool:
    if expected.get("size") is not None and file.stat().st_size != expected["size"]:
        return False
    return expected.get("sha256") is None or _sha256(file) == expected["sha256"]


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def local_path(uri: str | None) -> Path | None:
    """Give the folder that a URI or a path names on this machine, None if it names none."""
    if not uri:
        return None
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    if not parts.scheme and "://" not in uri:
        return Path(os.path.abspath(uri))
    return None


def _upload(file: Path, uri: str, path: str) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    folder = str(PurePosixPath(path).parent)
    try:
        repository = get_artifact_repository(uri)
        repository.log_artifact(str(file), None if folder == "." else folder)
    except MlflowException as error:
        raise OSError(str(error)) from error
