"""Files of the output: written to a scratch folder, then moved into position as a whole.

In the layout ``per-run``, the folder of a run is moved as one. In the other layouts, each unit
leaves a part (its document in PROV-JSON) and its side file; at the end the parts are assembled
into one document per experiment, or a single one.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from yprov_mlflow.prov.convert.request import Request, Unit
from yprov_mlflow.prov.errors import OutputError
from yprov_mlflow.prov.formats import FORMATS, prov_json
from yprov_mlflow.prov.layout import (
    CONVERSION,
    DOCUMENT_STEM,
    METRICS_STEM,
    PARTS,
    PROVENANCE,
    SCRATCH,
    SEAL,
    SEAL_DIGESTS,
)
from yprov_mlflow.prov.model.document import Document

PART = "prov-json"
"""Format of parts."""

_OWN_FILES = re.compile(
    rf"{DOCUMENT_STEM}\.|{METRICS_STEM}\.|\.|({re.escape(SEAL)}|{re.escape(SEAL_DIGESTS)})\Z"
)
"""Starts of filenames that a conversion writes into a run's folder, and hidden files."""

_PROFILE_FILES = re.compile(rf"{DOCUMENT_STEM}_|{METRICS_STEM}_|artifacts_|{PROVENANCE}\Z")
"""The same for a folder with a profile, whose full document is in a folder of its own."""


def file_name(name: str) -> str:
    """Return the filename of a document in a format."""
    return f"{DOCUMENT_STEM}{FORMATS[name].suffix}"


@contextmanager
def scratch_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder on the file system of the output; remove it if it is still there."""
    with output_errors(out):
        # Not tempfile: its folders have mode 0700, and this one may become part of the output.
        folder = out / CONVERSION / SCRATCH / uuid.uuid4().hex
        folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def output_errors(out: Path) -> Iterator[None]:
    """Turn ``OSError`` into ``OutputError``, to distinguish failed writes from failed reads."""
    try:
        yield
    except OSError as error:
        raise OutputError.unwritable(str(out), error) from error


def side_file_path(unit: Unit, layout: str, name: str) -> str:
    """Return the path of a unit's side file, relative to the document that refers to it."""
    if layout == "per-run":
        return name
    folder = PurePosixPath(unit.folder)
    file = folder.name + PurePosixPath(name).suffix
    parent = PurePosixPath(METRICS_STEM, folder.parent) if layout == "single" else METRICS_STEM
    return str(PurePosixPath(parent, file))


def document_folder(unit: Unit, layout: str) -> str:
    """Return the folder of the document that contains a unit, relative to the output."""
    return {"per-run": unit.folder, "single": "."}.get(layout, unit.folder.partition("/")[0])


def publish(scratch: Path, unit: Unit, request: Request) -> dict[str, int]:
    """Move the files of a unit into position; return their sizes by path in the output."""
    if request.layout == "per-run":
        sizes = _sizes(scratch, unit.folder)
        _check_replaceable(request.out / unit.folder)
        _replace(scratch, request.out / unit.folder)
        return sizes
    folder = document_folder(unit, request.layout)
    sizes = {}
    for new in sorted(scratch.iterdir()):
        if new.name == file_name(PART):
            path = _part(unit)
        else:
            path = f"{folder}/{side_file_path(unit, request.layout, new.name)}"
        sizes |= _sizes(new, path)
        _replace(new, request.out / path)
    return sizes


def make_room(scratch: Path) -> Path:
    """Move the document and its metric file into a folder of their own; return that folder."""
    inner = scratch / PROVENANCE
    files = sorted(scratch.iterdir())
    inner.mkdir()
    for file in files:
        file.rename(inner / file.name)
    return inner


def address(unit: Unit, request: Request) -> str:
    """Return the path or URI that the folder of a unit will have."""
    base = request.address if request.address is not None else str(request.out.absolute())
    return f"{base.rstrip('/')}/{unit.folder}"


def _part(unit: Unit) -> str:
    return f"{CONVERSION}/{PARTS}/{unit.folder}/{file_name(PART)}"


def _check_replaceable(folder: Path) -> None:
    """Refuse to replace a folder with files that no conversion wrote: they would be lost."""
    if folder.is_dir():
        names = sorted(os.listdir(folder))
        # Without the full document, it may be the only copy of a run of another program.
        own = _PROFILE_FILES if PROVENANCE in names else _OWN_FILES
        foreign = [name for name in names if not own.match(name)]
        if foreign:
            raise OutputError.foreign(str(folder), foreign[0])


def _replace(new: Path, target: Path) -> None:
    # Within one file system, a rename is atomic: readers never see an incomplete document.
    target.parent.mkdir(parents=True, exist_ok=True)
    if new.is_dir() and target.is_dir():
        # A rename cannot replace a folder that is not empty.
        old = new.with_name(f"{new.name}.old")
        target.rename(old)
        new.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        new.replace(target)


def _sizes(new: Path, path: str) -> dict[str, int]:
    """Return the size of a file, or of the files in a folder, as if it were at ``path``."""
    if not new.is_dir():
        return {path: new.stat().st_size}
    sizes: dict[str, int] = {}
    for child in sorted(new.iterdir()):
        sizes |= _sizes(child, f"{path}/{child.name}")
    return sizes


def assemble(units: Sequence[Unit], name: str, request: Request) -> dict[str, int]:
    """Write one document from the parts of several units; return its size by its path."""
    relative = PurePosixPath(document_folder(units[0], request.layout), file_name(name))
    target = request.out / relative
    with output_errors(request.out), scratch_folder(request.out) as folder:
        new = folder / target.name
        with new.open("wb") as file:
            FORMATS[name].dump(_parts(units, request), file, single=False)
        _replace(new, target)
        return {str(relative): target.stat().st_size}


def _parts(units: Iterable[Unit], request: Request) -> Iterator[Document]:
    for unit in units:
        path = request.out / _part(unit)
        if path.exists():
            yield prov_json.loads(path.read_bytes())
