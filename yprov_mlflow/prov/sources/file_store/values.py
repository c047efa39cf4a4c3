"""Params and tags: a file is a value, its path below the folder the key."""

from __future__ import annotations

from collections.abc import Mapping

from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.sources.file_store.tree_files import Files


def tags_of(meta: Mapping[str, Json]) -> dict[str, str]:
    """Give tags that are in a description itself, as MLflow had them at first."""
    found = meta.get("tags")
    if isinstance(found, dict):
        return {str(key): str(value) for key, value in found.items()}
    given = found if isinstance(found, list) else ()
    return {
        str(tag["key"]): str(tag.get("value") or "")
        for tag in given
        if isinstance(tag, dict) and tag.get("key")
    }


def read_values(files: Files, folder: str) -> dict[str, str]:
    """Give the values in a folder by key; none where there is no such folder."""
    if not files.has_folder(folder):
        return {}
    found = {}
    text = files.text
    for node in files.walk(folder):
        value = text(node.path)
        if value is not None:
            found[node.name] = value
    return found
