"""Documents of files and folders, each with its points, those of stores first."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from yprov_mlflow.prov.errors import DocumentError, MissingExtraError
from yprov_mlflow.prov.formats import FORMATS, open_documents
from yprov_mlflow.prov.formats.metric_files import digest, read_points
from yprov_mlflow.prov.restore.restore_report import RestoreReport
from yprov_mlflow.prov.translate import Document, PointBatch, side_files

_STEM = "prov"
_ORDER = ("prov-json", "n-quads", "trig", "turtle", "json-ld", "prov-n", "prov-xml")
"""Formats from the one that is read fastest: a folder may have a document in several."""

_STORES = ("store", "stores")


class Found(NamedTuple):
    """A document, and where it was found."""

    document: Document
    path: Path


def documents(paths: Sequence[Path], report: RestoreReport) -> Iterator[Found]:
    """Give all documents; what is none is reported and passed by.

    Raises:
        DocumentError: A path that was given is not there.
    """
    for path in files(paths):
        try:
            for document in open_documents(path):
                yield Found(document, path)
        except (DocumentError, OSError) as error:
            report.lose(str(path), getattr(error, "what", None) or str(error))


def files(paths: Sequence[Path]) -> list[Path]:
    """Give the files that hold documents: those of stores first, as they tell the most."""
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            found.update(dict.fromkeys(_in_folder(path)))
        elif path.exists():
            found[path] = None
        else:
            raise DocumentError(
                "there is no such file or folder", str(path), "Give what `convert` wrote"
            )
    return sorted(found, key=lambda path: (not _of_store(path), str(path)))


def _of_store(path: Path) -> bool:
    return path.parent.name in _STORES or path.parent.parent.name in _STORES


def _in_folder(top: Path) -> Iterator[Path]:
    suffixes = [FORMATS[name].suffix for name in _ORDER]
    for folder, folders, names in os.walk(top):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        present = set(names)
        name = next((_STEM + s for s in suffixes if _STEM + s in present), None)
        if name is not None:
            yield Path(folder, name)


def points_of(found: Found, report: RestoreReport) -> Iterator[PointBatch]:
    """Give the points beside a document, if it has such; reports where they are not to be had."""
    for name, sha256 in side_files(found.document):
        path = found.path.parent / name
        if not _inside(path, found.path.parent):
            report.lose(str(found.path), f"names points outside of its folder: {name}")
            continue
        try:
            if digest(path)[0] != sha256:
                report.lose(str(path), "is not the file of points that the document names")
                continue
            yield from read_points(path)
        except (DocumentError, MissingExtraError, OSError) as error:
            reason = getattr(error, "what", None) or getattr(error, "strerror", None) or str(error)
            report.lose(str(path), f"the points cannot be read: {reason}")


def promised_points(document: Document) -> int:
    """Give how many metric points the run of a document has, wherever they are."""
    counts = (
        record.get("mlf:count")
        for identifier, record in document.records.get("entity", {}).items()
        if identifier.startswith("run:metric/")
    )
    return sum(int(count["$"]) for count in counts if isinstance(count, dict))


def _inside(path: Path, folder: Path) -> bool:
    return Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))
