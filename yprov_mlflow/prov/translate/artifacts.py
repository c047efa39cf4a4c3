"""Artifacts: each version of a file an entity, each folder a collection."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from yprov_mlflow.prov.events import ArtifactsLogged
from yprov_mlflow.prov.model.identifiers import RUN, STORE, segment
from yprov_mlflow.prov.model.literals import Value, name, plain, text
from yprov_mlflow.prov.translate.history import ActivityRef
from yprov_mlflow.prov.translate.media_types import media_type
from yprov_mlflow.prov.translate.models import declare_model
from yprov_mlflow.prov.translate.translation import ArtifactState, Translation

_TYPES = ("mlf:Artifact", "schema:MediaObject")
_FOLDER_TYPES = ("mlf:ArtifactFolder", "prov:Collection")


@dataclasses.dataclass(frozen=True)
class Root:
    """Where files hang: the start of their ids, whose they are, the URI of their root."""

    base: str
    subject: str | None = None
    uri: str | None = None


def on_artifacts(translation: Translation, event: ArtifactsLogged) -> None:
    """Make the records of files that were written or removed."""
    act = translation.act(event, tuple(event.context_path))
    root = _root(translation, event.owner)
    for file in event.files:
        path = file.get("path") if isinstance(file, Mapping) else None
        if not isinstance(path, str):
            continue
        if event.deleted:
            _delete(translation, act, root.base, path)
        elif path:
            _write(translation, act, root, path, file)


def _root(translation: Translation, owner: tuple[str, str] | None) -> Root:
    if owner is None:
        uri = translation.created.artifact_uri if translation.created is not None else None
        return Root(f"{STORE if translation.store_level else RUN}:", None, uri)
    kind, given = owner
    if kind == "model":
        entity = declare_model(translation, given)
    else:
        entity = f"{STORE}:{segment(kind)}/{segment(given)}"
        types = ["mlf:Trace" if kind == "trace" else "mlf:StoreObject"]
        translation.builder.entity(entity, types, text(given))
    return Root(f"{entity}/", entity)


def _write(
    translation: Translation, act: ActivityRef, root: Root, path: str, file: Mapping[str, object]
) -> None:
    builder = translation.builder
    first = f"{root.base}artifact/{segment(path)}"
    sha256, size = file.get("sha256"), file.get("size")
    known = translation.artifacts.get(first)
    if known is not None and known.holds(sha256, size):
        return
    count = known.count + 1 if known is not None else 1
    entity = (first if count == 1 else f"{first}/{count}") + act.mark
    attributes: dict[str, Value | list[Value] | None] = {
        "mlf:path": text(path),
        "mlf:sha256": plain(sha256),
        "mlf:size": plain(size),
        "schema:encodingFormat": media_type(path),
        "schema:contentUrl": text(f"{root.uri.rstrip('/')}/{path}") if root.uri else None,
        "dcterms:isPartOf": name(root.subject) if root.subject is not None else None,
    }
    builder.entity(entity, _TYPES, text(path), attributes)
    builder.was_generated_by(entity, act.activity, act.time)
    if known is not None:
        if known.entity is not None:
            builder.was_invalidated_by(known.entity, act.activity, act.time)
        builder.was_revision_of(entity, known.last)
    translation.artifacts[first] = ArtifactState(entity, count, entity, sha256, size)
    _add_to_folders(translation, root, path, entity)


def _add_to_folders(translation: Translation, root: Root, path: str, entity: str) -> None:
    builder = translation.builder
    part_of = {"dcterms:isPartOf": name(root.subject)} if root.subject is not None else {}
    member = entity
    while "/" in path:
        path = path.rpartition("/")[0]
        folder = folder_id(root.base, path)
        known = folder in builder.records["entity"]
        attributes = {"mlf:path": text(path), **part_of}
        builder.entity(folder, _FOLDER_TYPES, text(f"{path}/"), attributes)
        builder.had_member(folder, member)
        if known:
            return
        member = folder


def folder_id(base: str, path: str) -> str:
    """Give the id of a folder of artifacts."""
    return f"{base}folder/{segment(path)}"


def _delete(translation: Translation, act: ActivityRef, base: str, path: str) -> None:
    """End a file, or all files in a folder; the empty path is that of all files."""
    builder = translation.builder
    start = f"{base}artifact/"
    exact, inside = start + segment(path), start + segment(f"{path}/")
    found = [
        state
        for first, state in translation.artifacts.items()
        if first == exact or first.startswith(inside if path else start)
    ]
    for state in found:
        if state.entity is not None:
            builder.was_invalidated_by(state.entity, act.activity, act.time)
            state.entity = None
    if not found and path:
        builder.entity(exact, _TYPES, text(path), {"mlf:path": text(path)})
        builder.was_invalidated_by(exact, act.activity, act.time)
        translation.artifacts[exact] = ArtifactState(None, 1, exact)
