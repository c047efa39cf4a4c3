"""Where a tree begins: the folder that was named, or ``mlruns`` in it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from yprov_mlflow.prov.errors import StoreError

TRASH = ".trash"
MODELS = "models"
_MLRUNS = "mlruns"
_META = "meta.yaml"
_OF_A_RUN = re.compile(rb"^run_(?:uu)?id:", re.MULTILINE)
_OF_AN_EXPERIMENT = re.compile(rb"^(?:experiment_id|artifact_location):", re.MULTILINE)
_RUN = re.compile(r"[0-9a-f]{32}\Z")
_DATABASES = (".db", ".sqlite", ".sqlite3")
_MOST_LOOKED_AT = 2_000
_DEEPEST = 4


def find_root(location: str) -> str:
    """Give the absolute path of the tree's root folder.

    Raises:
        StoreError: There are neither experiments nor an ``mlruns`` folder.
    """
    path = os.path.abspath(location)
    inner = os.path.join(path, _MLRUNS)
    if os.path.basename(path) == _MLRUNS and not os.path.isdir(inner):
        return path
    if not os.path.isfile(os.path.join(path, _META)) and _holds_experiments(path):
        return path
    if os.path.isdir(inner):
        return inner
    if os.path.basename(path) == _MLRUNS:
        return path
    raise StoreError("there are no MLflow experiments here, nor an mlruns folder", *_cure(path))


def _cure(path: str) -> tuple[str, str]:
    if os.path.isfile(os.path.join(path, _META)):
        return path, "This is one experiment or run: give the mlruns folder that it is in"
    found = [os.path.relpath(one, path) for one in _below(path)]
    if found:
        more = " (and others)" if len(found) > 5 else ""
        return path, f"Give one of the folders below it: {', '.join(found[:5])}{more}"
    databases = [name for name in _names(path) if name.endswith(_DATABASES)]
    if databases:
        return path, f"Give the database in it: {', '.join(databases[:5])}"
    return path, "Give the folder mlruns, or one that contains it"


def _below(top: str) -> Iterator[str]:
    """Give folders called ``mlruns`` that are not far below; the search is bounded."""
    looked_at = 0
    waiting = [(top, 0)]
    while waiting and looked_at < _MOST_LOOKED_AT:
        path, depth = waiting.pop(0)
        for name in _folders(path):
            looked_at += 1
            if name == _MLRUNS:
                yield os.path.join(path, name)
            elif depth < _DEEPEST and not name.startswith("."):
                waiting.append((os.path.join(path, name), depth + 1))


def _holds_experiments(path: str) -> bool:
    """Tell whether a folder looks like the root of a tree."""
    for name in _folders(path):
        inner = os.path.join(path, name)
        if name == TRASH or _is_experiment(os.path.join(inner, _META)):
            return True
        if name == MODELS and _has_versions(inner):
            return True
        if any(_RUN.match(one) and _is_run(os.path.join(inner, one)) for one in _folders(inner)):
            return True
    return False


def _is_experiment(meta: str) -> bool:
    try:
        with open(meta, "rb") as file:
            start = file.read(65536)
    except OSError:
        return False
    return bool(_OF_AN_EXPERIMENT.search(start)) and not _OF_A_RUN.search(start)


def _has_versions(path: str) -> bool:
    return any(
        os.path.isfile(os.path.join(path, name, _META))
        or os.path.isdir(os.path.join(path, name, "version-1"))
        for name in _folders(path)
    )


def _is_run(path: str) -> bool:
    found = set(_folders(path))
    return os.path.isfile(os.path.join(path, _META)) or bool(
        found & {"metrics", "params", "artifacts"}
    )


def _names(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def _folders(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:
        return []
