"""Artifacts: each version of a file an entity, each folder a collection."""

from __future__ import annotations

from collections.abc import Mapping

from yprov_mlflow.events import ArtifactsLogged
from yprov_mlflow.translate.history import Act
from yprov_mlflow.translate.identifiers import RUN, STORE, segment
from yprov_mlflow.translate.literals import Value, name, plain, text
from yprov_mlflow.translate.media_types import media_type
from yprov_mlflow.translate.models import declare_model
from yprov_mlflow.translate.translation import ArtifactState, Translation

_TYPES = ("mlf:Artifact", "schema:MediaObject")
_FOLDER_TYPES = ("mlf:ArtifactFolder", "prov:Collection")


def on_artifacts(translation: Translation, event: ArtifactsLogged) -> None:
    """Make the records of files that were written or removed."""
    act = translation.act(event, tuple(event.context_path))
    base, subject, root = _owner(translation, event.owner)
    for file in event.files:
        path = file.get("path") if isinstance(file, Mapping) else None
        if not isinstance(path, str):
            continue
        if event.deleted:
            _delete(translation, act, base, path)
        elif path:
            _write(translation, act, base, path, file, subject, root)


def _owner(
    translation: Translation, owner: tuple[str, str] | None
) -> tuple[str, str | None, str | None]:
    """Give the start of ids, the entity that has the files, and the URI of their root."""
    if owner is None:
        uri = translation.created.artifact_uri if translation.created is not None else None
        if translation.store_level:
            return f"{STORE}:", None, uri
        return f"{RUN}:", None, uri
    kind, given = owner
    if kind == "model":
        entity = declare_model(translation, given)
        return f"{entity}/", entity, None
    if kind == "trace":
        entity = f"{STORE}:trace/{segment(given)}"
        translation.builder.entity(entity, ["mlf:Trace"], text(given))
        return f"{entity}/", entity, None
    entity = f"{STORE}:{segment(kind)}/{segment(given)}"
    translation.builder.entity(entity, ["mlf:StoreObject"], text(given))
    return f"{entity}/", entity, None


def _write(
    translation: Translation,
    act: Act,
    base: str,
    path: str,
    file: Mapping[str, object],
    subject: str | None,
    root: str | None,
) -> None:
    builder = translation.builder
    first = f"{base}artifact/{segment(path)}"
    sha256, size = file.get("sha256"), file.get("size")
    known = translation.artifacts.get(first)
    if known is not None and known.entity is not None and sha256 is not None:
        if (known.sha256, known.size) == (sha256, size):
            return
    count = known.count + 1 if known is not None else 1
    entity = (first if count == 1 else f"{first}/{count}") + act.mark
    attributes: dict[str, Value | list[Value] | None] = {
        "mlf:path": text(path),
        "mlf:sha256": plain(sha256),
        "mlf:size": plain(size),
        "schema:encodingFormat": media_type(path),
        "schema:contentUrl": text(f"{root.rstrip('/')}/{path}") if root else None,
        "dcterms:isPartOf": name(subject) if subject is not None else None,
    }
    builder.entity(entity, _TYPES, text(path), attributes)
    builder.was_generated_by(entity, act.activity, act.time)
    if known is not None:
        if known.entity is not None:
            builder.was_invalidated_by(known.entity, act.activity, act.time)
        builder.was_revision_of(entity, known.last)
    translation.artifacts[first] = ArtifactState(entity, count, entity, sha256, size)
    _add_to_folders(translation, base, path, entity, subject)


def _add_to_folders(
    translation: Translation, base: str, path: str, entity: str, subject: str | None
) -> None:
    builder = translation.builder
    part_of = {"dcterms:isPartOf": name(subject)} if subject is not None else {}
    member = entity
    while "/" in path:
        path = path.rpartition("/")[0]
        folder = folder_id(base, path)
        known = folder in builder.records["entity"]
        builder.entity(
            folder, _FOLDER_TYPES, text(f"{path}/"), {"mlf:path": text(path), **part_of}
        )
        builder.had_member(folder, member)
        if known:
            return
        member = folder


def folder_id(base: str, path: str) -> str:
    """Give the id of a folder of artifacts."""
    return f"{base}folder/{segment(path)}"


def _delete(translation: Translation, act: Act, base: str, path: str) -> None:
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
