"""Files of the output: written aside, then put in place whole.

In the layout ``per-run`` the folder of a run is put in place as one. In the others, each run
leaves a part behind, and its side file beside where the document will be; parts become the
document of an experiment, or of all, at the end.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from yprov_mlflow.prov.convert.request import Request
from yprov_mlflow.prov.convert.units import Unit
from yprov_mlflow.prov.errors import OutputError
from yprov_mlflow.prov.formats import FORMATS, prov_json
from yprov_mlflow.prov.translate import Document

FOLDER = ".yprov-convert"
"""Folder in the output for all that is not output."""

SCRATCH = "scratch"
"""Folder in it for what is not whole yet."""

PART = "prov-json"
"""Format of parts."""

_SIDE_FILES = "metrics"
_WRITTEN = re.compile(r"prov\.|metrics\.|\.")
"""Starts of names that a run's folder can have: documents, points, and what is hidden."""


def file_name(name: str) -> str:
    """Give the file name of a document in a format."""
    return f"prov{FORMATS[name].suffix}"


@contextmanager
def scratch(out: Path) -> Iterator[Path]:
    """Give an empty folder on the same file system as the output; gone at the end."""
    with writing(out):
        # Not by tempfile, whose folders nobody else may read: this one becomes output.
        folder = out / FOLDER / SCRATCH / uuid.uuid4().hex
        folder.mkdir()
    try:
        yield folder
    finally:
        if folder.exists():  # nobody put it in place
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Tell failures to write from failures to read.

    Raises:
        OutputError: The output could not be written.
    """
    try:
        yield
    except OSError as error:
        raise OutputError.unwritable(str(out), error) from error


def side_place(unit: Unit, layout: str, name: str) -> str:
    """Give the path of a run's side file, relative to the document that names it."""
    if layout == "per-run":
        return name
    found = PurePosixPath(_SIDE_FILES, unit.folder).with_name(
        PurePosixPath(unit.folder).name + PurePosixPath(name).suffix
    )
    if layout == "single":
        return str(found)
    return str(PurePosixPath(_SIDE_FILES, found.name))


def group(unit: Unit, layout: str) -> str:
    """Give the folder of the document that a unit is in, relative to the output."""
    return {"per-run": unit.folder, "single": "."}.get(layout, unit.folder.partition("/")[0])


def publish(folder: Path, unit: Unit, request: Request) -> dict[str, int]:
    """Put the files of a unit in place; gives their sizes by path relative to the output."""
    if request.layout == "per-run":
        sizes = _sizes(folder, unit.folder)
        _keep_others(request.out / unit.folder)
        _replace_folder(folder, request.out / unit.folder)
        return sizes
    home = group(unit, request.layout)
    sizes = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name == file_name(PART):
            place = f"{FOLDER}/parts/{unit.folder}/{entry.name}"
        else:
            place = f"{home}/{side_place(unit, request.layout, entry.name)}"
        sizes.update(_sizes(entry.path, place) if entry.is_dir() else {place: entry.stat().st_size})
        (request.out / place).parent.mkdir(parents=True, exist_ok=True)
        _replace(Path(entry.path), request.out / place)
    return sizes


def _keep_others(place: Path) -> None:
    """Refuse to replace a folder that has what no conversion wrote: it would be gone."""
    if place.is_dir():
        others = [name for name in sorted(os.listdir(place)) if not _WRITTEN.match(name)]
        if others:
            raise OutputError.foreign(str(place), others[0])


def _replace(new: Path, place: Path) -> None:
    if new.is_dir():
        _replace_folder(new, place)
    else:
        new.replace(place)


def _replace_folder(new: Path, place: Path) -> None:
    if not place.parent.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_dir():
        old = new.with_name(f"{new.name}.old")
        place.rename(old)
        new.rename(place)
        shutil.rmtree(old, ignore_errors=True)
    else:
        new.rename(place)


def _sizes(folder: str | Path, place: str) -> dict[str, int]:
    """Give the sizes of the files of a folder by the paths that they will have."""
    found: dict[str, int] = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = f"{place}/{entry.name}"
        found.update(_sizes(entry.path, path) if entry.is_dir() else {path: entry.stat().st_size})
    return found


def assemble(units: Iterable[Unit], name: str, request: Request) -> dict[str, int]:
    """Make one document of the parts of units; gives its size by its path."""
    units = list(units)
    relative = PurePosixPath(group(units[0], request.layout), file_name(name))
    place = request.out / relative
    with writing(request.out), scratch(request.out) as folder:
        new = folder / place.name
        with new.open("wb") as file:
            FORMATS[name].dump(_parts(units, request), file, single=False)
        place.parent.mkdir(parents=True, exist_ok=True)
        new.replace(place)
        return {str(relative): place.stat().st_size}


def _parts(units: Iterable[Unit], request: Request) -> Iterator[Document]:
    for unit in units:
        path = request.out / FOLDER / "parts" / unit.folder / file_name(PART)
        if path.exists():
            yield prov_json.loads(path.read_bytes())
