"""The model registry of a file store: registered models, versions, stages, aliases."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.sources.file_store import decoding
from yprov_mlflow.prov.sources.file_store.experiments import MODELS
from yprov_mlflow.prov.sources.file_store.meta import META, Meta
from yprov_mlflow.prov.sources.file_store.store_files import StoreFiles
from yprov_mlflow.prov.sources.state_events import EventFactory
from yprov_mlflow.prov.state import ModelVersion, RegisteredModel, VersionNumber

_VERSION = re.compile(r"version-(.+)\Z")
_KNOWN_OF_MODELS = frozenset(
    "name description tags aliases creation_timestamp last_updated_timestamp latest_versions"
    " latest_version".split()
)
_KNOWN_OF_VERSIONS = frozenset(
    "name version source run_id run_link description tags aliases user_id creation_timestamp"
    " last_updated_timestamp status status_message storage_location model_id"
    " current_stage".split()
)


def registry_events(files: StoreFiles, events: EventFactory) -> Iterator[Event]:
    """Yield the events of all registered models, each with its versions and aliases."""
    used: set[str] = set()
    for entry in files.folders(os.path.join(files.root, MODELS)):
        yield from _model_events(files, events, entry, used)


def _model_events(
    files: StoreFiles, events: EventFactory, entry: os.DirEntry[str], used: set[str]
) -> Iterator[Event]:
    strays, folders = files.scan(entry.path)
    described = any(stray.name == META for stray in strays)
    versions = sorted(_version_folders(files, folders))
    if not described and not versions:
        reason = "is not a registered model: it has no meta.yaml"
        files.report(entry.path, reason, decoding.THE_FOLDER)
        return
    for stray in strays:
        if stray.name != META:
            files.report(stray.path, decoding.UNKNOWN_FILE, decoding.THE_FILE)
    path = os.path.join(entry.path, META)
    if not described:
        files.report(entry.path, decoding.NO_META, "the model's description and times")
    meta = files.meta(path) if described else Meta()
    folder_name = files.name_of(entry)
    name = files.resolve_name(path, meta.text("name"), entry.path, folder_name, used)
    used.add(name)
    model = RegisteredModel(
        name,
        meta.text_or_empty("description"),
        meta.whole("creation_timestamp"),
        meta.whole("last_updated_timestamp"),
        {**meta.tags(), **files.values(os.path.join(entry.path, "tags"))},
        fields=meta.others(_KNOWN_OF_MODELS),
    )
    yield events.registered_model(model)
    for _, number, folder in versions:
        yield from events.model_version(name, _version(files, number, folder))
    model.aliases = _aliases(files, entry.path, meta)
    yield from events.aliases(model)


def _version_folders(
    files: StoreFiles, folders: list[os.DirEntry[str]]
) -> Iterator[tuple[tuple[int, str], str, str]]:
    """Yield sort key, version number and path of each version's folder."""
    for folder in folders:
        if match := _VERSION.match(folder.name):
            text = match[1]
            # By number: version 10 comes after version 9. Others come first, by name.
            number = int(text) if text.isascii() and text.isdigit() else -1
            yield (number, text), text, folder.path
        elif folder.name not in ("tags", "aliases"):
            files.report(folder.path, "is not a version of the model", decoding.THE_FOLDER)


def _version(files: StoreFiles, number: str, folder: str) -> ModelVersion:
    meta = Meta()
    parts = files.parts(folder, META, {"tags"})
    if META in parts:
        meta = files.meta(parts[META])
    else:
        files.report(folder, decoding.NO_META, "the version's source, run, stage and times")
    texts = ("run_id", "run_link", "description", "user_id", "status_message")
    fields = {
        **{name: meta.text_or_empty(name) for name in texts},
        "source": meta.uri("source"),
        "storage_location": meta.uri("storage_location"),
        "status": meta.text("status"),
        "model_id": meta.text("model_id"),
        "creation_time": meta.whole("creation_timestamp"),
        "last_updated_time": meta.whole("last_updated_timestamp"),
        **meta.others(_KNOWN_OF_VERSIONS),
    }
    tags = {**meta.tags(), **files.values(os.path.join(folder, "tags"))}
    version = meta.text("version") or number
    return ModelVersion(version, meta.text("current_stage"), fields, tags)


def _aliases(files: StoreFiles, folder: str, meta: Meta) -> dict[str, VersionNumber]:
    """Return the aliases: a file each, with those in ``meta.yaml`` as fallback."""
    path = os.path.join(folder, "aliases")
    if files.has_folder(path):
        return {alias: version.strip() for alias, version in files.values(path).items()}
    aliases = meta.get("aliases")
    if not isinstance(aliases, dict):
        return {}
    return {str(alias): str(version) for alias, version in aliases.items()}
