"""Where the content of kept files is: in the state folder, beside the document, in the store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from yprov_mlflow.prov.layout import KEPT, KEPT_CODE
from yprov_mlflow.prov.rerun.plan import Content
from yprov_mlflow.prov.rerun.recipe import Recipe
from yprov_mlflow.prov.rerun.source_tree import is_safe

_MAX_BYTES = 64 * 1024 * 1024  # far more than is ever kept

Fetch = Callable[[str], Path]
"""Downloads an artifact of the run by its path, and returns where it is."""


def reader(recipe: Recipe, state: Path, document: Path | None, fetch: Fetch | None) -> Content:
    """Return a function that reads kept files, and accepts only their recorded content.

    Args:
        recipe: The recipe of the run.
        state: The state folder, which has the content if the run was logged here.
        document: The file of the document, if it is one.
        fetch: Access to the artifacts of the run, if it is in a store.
    """

    def read(path: str, sha256: str) -> bytes | None:
        """Return the content of a kept file, None if no place has it."""
        if (content := _content(state / KEPT / sha256, sha256)) is not None:
            return content
        if not is_safe(path):
            return None
        for folder in recipe.kept_in:
            if document is not None:
                beside = document.parent / KEPT_CODE / folder.rpartition("/")[2] / path
                if (content := _content(beside, sha256)) is not None:
                    return content
            if fetch is not None:
                try:
                    local = fetch(f"{folder}/{path}")
                except Exception:  # noqa: BLE001 - each kind of store has its own errors
                    continue
                if (content := _content(local, sha256)) is not None:
                    return content
        return None

    return read


def _content(file: Path, sha256: str) -> bytes | None:
    try:
        if not file.is_file() or file.stat().st_size > _MAX_BYTES:
            return None
        content = file.read_bytes()
    except OSError:
        return None
    return content if hashlib.sha256(content).hexdigest() == sha256 else None
