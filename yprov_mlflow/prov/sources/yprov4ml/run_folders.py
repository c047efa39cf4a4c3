"""Folders of yProv4ML runs: how they are found, and which files of which rank they contain."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from yprov_mlflow.prov.formats.metric_files.yprov4ml_files import SUFFIXES
from yprov_mlflow.prov.layout import PROV_JSON, PROVENANCE

# prov_mnist_GR0_3.json; provgraph_mnist_GR0.json before version 2.
_DOCUMENT = re.compile(r"prov(?:graph)?_(?P<experiment>.+)_GR(?P<rank>\d+)(?:_\d+)?\.json\Z")
_FOLDER = re.compile(r"(?P<experiment>.+)_(?P<number>\d+)\Z")
_METRICS = re.compile(r"metrics_GR(?P<rank>\d+)\Z")
_ARTIFACTS = re.compile(r"artifacts(?:_GR(?P<rank>\d+))?\Z")
_OLD_METRICS = "tmp"  # of versions before 2, where the rank is in the name of the file
_RANK_OF_FILE = re.compile(r"_GR(\d+)\.\w+\Z")
_MAX_FOLDERS = 20_000
_MAX_DEPTH = 4


class RunFolder(NamedTuple):
    """The folder of a run.

    Args:
        path: The folder.
        experiment: Name of the experiment.
        number: Number of the run in the experiment.
        documents: The JSON file of each rank that has one.
        metrics: Metric files by rank.
        artifacts: Folder of the artifacts of each rank; that of all ranks before version 2 is
            rank 0's.
    """

    path: Path
    experiment: str
    number: int
    documents: dict[int, Path]
    metrics: dict[int, list[Path]]
    artifacts: dict[int, Path]

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.path.name

    @property
    def ranks(self) -> list[int]:
        """Ranks that left a file."""
        return sorted({*self.documents, *self.metrics, *self.artifacts})

    def resolve(self, path: str) -> Path | None:
        """Return the file in this folder that a document names, None if it is not there.

        Documents name files from the working directory of the run, so that only the part after
        the name of the folder is valid elsewhere. Links do not lead out of the folder.
        """
        parts = Path(path).parts
        starts = [index for index, part in enumerate(parts) if part == self.path.name]
        for start in reversed(starts):
            file = self.path.joinpath(*parts[start + 1 :])
            if is_inside(file, self.path) and file.exists():
                return file
        return None


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether a path, with links resolved, is below a folder."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def run_folder(path: Path) -> RunFolder | None:
    """Return a folder as that of a run of yProv4ML, None if it is not one.

    The profile of this package has the same files, and beside them the full document; it is not
    a run of yProv4ML.
    """
    documents: dict[int, Path] = {}
    metrics: dict[int, list[Path]] = {}
    artifacts: dict[int, Path] = {}
    experiment = None
    for entry in sorted(_entries(path), key=lambda entry: entry.name):
        inner = path / entry.name
        if entry.is_dir():
            if match := _METRICS.match(entry.name):
                metrics.setdefault(int(match["rank"]), []).extend(_metric_files(inner))
            elif entry.name == _OLD_METRICS:
                for file in _metric_files(inner):
                    number = _RANK_OF_FILE.search(file.name)
                    metrics.setdefault(int(number[1]) if number else 0, []).append(file)
            elif match := _ARTIFACTS.match(entry.name):
                artifacts[int(match["rank"] or 0)] = inner
        elif match := _DOCUMENT.match(entry.name):
            documents[int(match["rank"])] = inner
            experiment = match["experiment"]
    name = _FOLDER.match(path.name)
    is_ours = (path / PROVENANCE / PROV_JSON).is_file()
    # A folder tmp or artifacts alone may be anything.
    if is_ours or not (documents or (name and any(map(_has_rank, _entries(path))))):
        return None
    experiment = experiment or (name["experiment"] if name else path.name)
    number_of_run = int(name["number"]) if name else 0
    return RunFolder(path, experiment, number_of_run, documents, metrics, artifacts)


def _has_rank(entry: os.DirEntry[str]) -> bool:
    match = _METRICS.match(entry.name) or _ARTIFACTS.match(entry.name)
    return match is not None and match["rank"] is not None and entry.is_dir()


def find_runs(top: Path) -> Iterator[RunFolder]:
    """Yield the runs in a folder and not far below it, by path; the folder may be a run itself."""
    queue, count = [(top, 0)], 0
    while queue and count < _MAX_FOLDERS:
        path, depth = queue.pop(0)
        count += 1
        run = run_folder(path)
        if run is not None:
            yield run
        elif depth < _MAX_DEPTH:
            folders = (
                entry.name for entry in _entries(path) if entry.is_dir(follow_symlinks=False)
            )
            queue += [(path / name, depth + 1) for name in sorted(folders) if name[0] != "."]


def run_of_document(path: Path) -> RunFolder | None:
    """Return the run that a JSON file of yProv4ML describes, with this document only."""
    match = _DOCUMENT.match(path.name)
    run = run_folder(path.parent) if match else None
    return run and run._replace(documents={int(match["rank"]): path}) if match else None


def _entries(path: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as scan:
            return list(scan)
    except OSError:
        return []


def _metric_files(folder: Path) -> list[Path]:
    """Return metric files, also those in folders: a name with a slash makes folders."""
    files: list[Path] = []
    for entry in sorted(_entries(folder), key=lambda entry: entry.name):
        path = folder / entry.name
        if path.suffix in SUFFIXES.values():
            files.append(path)
        elif entry.is_dir(follow_symlinks=False):
            files += _metric_files(path)
    return files
