"""The model registry of a tree: registered models, versions, stages, aliases."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.sources.file_store.meta import (
    META,
    kept_of,
    read_meta,
    text_of,
    uri_of,
    whole_of,
)
from yprov_mlflow.prov.sources.file_store.root import MODELS
from yprov_mlflow.prov.sources.file_store.tree_files import STRAY, Files, is_free
from yprov_mlflow.prov.sources.file_store.values import read_values, tags_of

Call = tuple[str, dict[str, str], dict[str, Any]]
"""Method, subjects and arguments of a call."""

_VERSION = re.compile(r"version-(.+)\Z")
_DELETED = "Deleted_Internal"
_OF_MODELS = frozenset(
    "name description tags aliases creation_timestamp last_updated_timestamp latest_versions"
    " latest_version".split()
)
_OF_VERSIONS = frozenset(
    "name version source run_id run_link description tags aliases user_id creation_timestamp"
    " last_updated_timestamp status status_message storage_location model_id"
    " current_stage".split()
)


def registry_calls(files: Files) -> Iterator[Call]:
    """Give the calls that would have made the registry."""
    taken: set[str] = set()
    for entry in files.folders(os.path.join(files.root, MODELS)):
        yield from _model_calls(files, entry, taken)


def _model_calls(files: Files, entry: os.DirEntry[str], taken: set[str]) -> Iterator[Call]:
    strays, folders = files.scan(entry.path)
    described = any(stray.name == META for stray in strays)
    versions = sorted(_versions(files, folders))
    if not described and not versions:
        files.report(entry.path, "is no registered model: it has no meta.yaml", "the folder")
        return
    for stray in strays:
        if stray.name != META:
            files.report(stray.path, STRAY, "the file")
    path = os.path.join(entry.path, META)
    meta: dict[str, Json] = {}
    if described:
        meta = read_meta(files, path)
    else:
        files.report(entry.path, "has no meta.yaml", "the model's description and times")
    name = files.key(entry)
    told = text_of(meta, "name")
    if told is not None and told != name:
        free = is_free(told, os.path.dirname(entry.path), taken)
        reason = (
            f"says it is {told!r}, in a folder called {name}; taken as {told if free else name}"
        )
        files.report(path, reason, "")
        name = told if free else name
    taken.add(name)
    arguments = {
        "name": name,
        "description": kept_of(meta, "description"),
        "tags": {**tags_of(meta), **read_values(files, os.path.join(entry.path, "tags"))},
        "creation_timestamp": whole_of(meta, "creation_timestamp"),
        "last_updated_timestamp": whole_of(meta, "last_updated_timestamp"),
        **_others(meta, _OF_MODELS),
    }
    yield "create_registered_model", {"model": name}, arguments
    for _, number, folder in versions:
        yield from _version_calls(files, name, number, folder)
    for alias, version in sorted(_aliases(files, entry.path, meta).items()):
        given = {"name": name, "alias": alias, "version": version}
        subjects = {"model": name, "alias": alias, "version": version}
        yield "set_registered_model_alias", subjects, given


def _versions(
    files: Files, folders: list[os.DirEntry[str]]
) -> Iterator[tuple[tuple[int, str], str, str]]:
    """Give the folders of versions with what sorts them: by number."""
    for folder in folders:
        if found := _VERSION.match(folder.name):
            number = int(found[1]) if found[1].isascii() and found[1].isdigit() else -1
            yield (number, found[1]), found[1], folder.path
        elif folder.name not in ("tags", "aliases"):
            files.report(folder.path, "is no version of the model", "the folder")


def _version_calls(files: Files, name: str, number: str, folder: str) -> Iterator[Call]:
    meta: dict[str, Json] = {}
    parts = files.parts(folder, META, {"tags"})
    if META in parts:
        meta = read_meta(files, parts[META])
    else:
        files.report(folder, "has no meta.yaml", "the version's source, run, stage and times")
    version = text_of(meta, "version") or number
    subjects = {"model": name, "version": version}
    arguments = {
        "name": name,
        "version": version,
        "source": uri_of(meta, "source"),
        "run_id": kept_of(meta, "run_id"),
        "run_link": kept_of(meta, "run_link"),
        "description": kept_of(meta, "description"),
        "tags": {**tags_of(meta), **read_values(files, os.path.join(folder, "tags"))},
        "user_id": kept_of(meta, "user_id"),
        "creation_timestamp": whole_of(meta, "creation_timestamp"),
        "last_updated_timestamp": whole_of(meta, "last_updated_timestamp"),
        "status": text_of(meta, "status"),
        "status_message": kept_of(meta, "status_message"),
        "storage_location": uri_of(meta, "storage_location"),
        "model_id": text_of(meta, "model_id"),
        **_others(meta, _OF_VERSIONS),
    }
    yield "create_model_version", subjects, arguments
    stage = text_of(meta, "current_stage")
    named = {"name": name, "version": version}
    if stage == _DELETED:
        yield "delete_model_version", subjects, named
    elif stage not in (None, "None"):
        moved = {**named, "stage": stage, "archive_existing_versions": False}
        yield "transition_model_version_stage", subjects, moved


def _others(meta: dict[str, Json], known: frozenset[str]) -> dict[str, Json]:
    return {key: value for key, value in meta.items() if key not in known and value}


def _aliases(files: Files, folder: str, meta: dict[str, Json]) -> dict[str, str]:
    """Give the aliases: each a file; also in ``meta.yaml``, for where the files are lost."""
    path = os.path.join(folder, "aliases")
    if files.has_folder(path):
        return {alias: version.strip() for alias, version in read_values(files, path).items()}
    told = meta.get("aliases")
    return {str(key): str(value) for key, value in told.items()} if isinstance(told, dict) else {}
