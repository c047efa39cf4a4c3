"""Usages of objects that are read through MLflow.

The run uses the objects of others. Its own objects are used by the session or context that read
them, so a run never becomes its own input.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from yprov_mlflow.prov.events import ObjectRead
from yprov_mlflow.prov.model.document import Attributes
from yprov_mlflow.prov.model.identifiers import RUN, STORE, digest, segment, version_by_content
from yprov_mlflow.prov.model.literals import name, optional_text, text
from yprov_mlflow.prov.translate.artifacts import (
    ARTIFACT_TYPES,
    FOLDER_TYPES,
    Root,
    add_content,
    add_to_folders,
    folder_id,
)
from yprov_mlflow.prov.translate.models import declare_model, declare_version
from yprov_mlflow.prov.translate.translation import Translation

ROLES = frozenset({"loaded", "downloaded", "evaluated", "read"})
"""Ways in which a program reads, each a role of its usage."""

_TYPES = {"trace": "mlf:Trace", "dataset": "mlf:EvaluationDataset"}


class _Object(NamedTuple):
    """An entity that was read; whether this run made it, and whether it exists so far."""

    entity: str
    is_own: bool
    exists: bool = True


def on_read(translation: Translation, event: ObjectRead) -> None:
    """Add the usages of one read."""
    for item in _objects(translation, event):
        if item.exists:
            _use(translation, event, item)
        else:
            translation.unmade.append((event, item.entity))


def add_unmade(translation: Translation) -> None:
    """Add the usages of objects that later events made, by another clock or without a time."""
    for event, entity in translation.unmade:
        state = translation.artifacts.get(entity)
        item = _Object(state.latest if state is not None else entity, True)
        _use(translation, event, item, timed=False)


def _use(translation: Translation, event: ObjectRead, item: _Object, *, timed: bool = True) -> None:
    ref = translation.activity_ref(event, tuple(event.context_path))
    activity, time = (ref.activity, ref.time) if item.is_own else translation.run_usage(ref)
    role = event.role if event.role in ROLES else "read"
    attributes: Attributes = {
        "mlf:requested": optional_text(event.uri),
        "mlf:requestedAlias": optional_text(event.alias),
        "mlf:requestedPath": text(event.path) if event.path else None,
    }
    extra = digest([role, event.uri, event.alias, event.path])[:16]
    translation.builder.used(
        activity, item.entity, time if timed else None, f"mlf:{role}", extra, attributes
    )


def _objects(translation: Translation, event: ObjectRead) -> Iterator[_Object]:
    """Yield the objects of an event; only objects that the run makes later do not exist."""
    subject, generations = event.subject, translation.builder.generations
    if "version" in subject:
        version = declare_version(translation, subject)
        yield _Object(version, version in generations)
    elif "logged-model" in subject:
        model = declare_model(translation, subject["logged-model"])
        is_own = model in translation.models_to_create
        if event.path:
            yield from _files(translation, event, Root(f"{model}/", model), is_own=is_own)
        else:
            yield _Object(model, is_own, not is_own or model in translation.models_created)
    elif "run" in subject:
        base = translation.namespaces.in_run(subject["run"], "")
        yield from _files(translation, event, Root(base), is_own=base == f"{RUN}:")
    elif kind := next((kind for kind in _TYPES if kind in subject), None):
        entity = f"{STORE}:{kind}/{segment(subject[kind])}"
        exists = entity in translation.builder.records["entity"]
        label = None if exists else text(subject[kind])
        translation.builder.entity(entity, [_TYPES[kind]], label)
        yield _Object(entity, entity in generations)
    else:
        contents = (add_content(translation, file.get("sha256")) for file in event.files)
        yield from (_Object(content, False) for content in contents if content is not None)


def _files(
    translation: Translation, event: ObjectRead, root: Root, *, is_own: bool
) -> Iterator[_Object]:
    """Yield the file or folder that was read; of a whole root, all that lies in it."""
    start = f"{event.path}/" if event.path else ""
    paths: dict[str, object] = {}
    for file in event.files:
        path = file.get("path")
        if isinstance(path, str) and path and (path == event.path or path.startswith(start)):
            paths[path] = file.get("sha256")
    if list(paths) == [event.path]:
        yield _file(translation, root, event.path, paths[event.path], is_own=is_own)
        return
    tops = {start + path.removeprefix(start).split("/")[0] for path in paths}
    if not is_own:
        for path, sha256 in paths.items():
            member = _file(translation, root, path, sha256, is_own=False)
            add_to_folders(translation, root, path, member.entity)
    for path in [event.path] if event.path else sorted(tops):
        if path in paths:
            yield _file(translation, root, path, paths[path], is_own=is_own)
            continue
        folder = folder_id(root.base, path)
        part_of = name(root.owner) if root.owner is not None else None
        attributes: Attributes = {"mlf:path": text(path), "dcterms:isPartOf": part_of}
        translation.builder.entity(folder, FOLDER_TYPES, text(f"{path}/"), attributes)
        yield _Object(folder, is_own)


def _file(
    translation: Translation, root: Root, path: str, sha256: object, *, is_own: bool
) -> _Object:
    """Add a file, unless the document has it already."""
    entity = f"{root.base}artifact/{segment(path)}"
    state = translation.artifacts.get(entity)
    if state is not None:
        return _Object(state.current or state.latest, is_own)
    content = None if is_own else add_content(translation, sha256)
    if content is not None:
        # The other run may have overwritten the file; only its document counts the versions.
        entity = version_by_content(entity, content.removeprefix("sha256:"))
    part_of = name(root.owner) if root.owner is not None else None
    attributes: Attributes = {"mlf:path": text(path), "dcterms:isPartOf": part_of}
    translation.builder.entity(entity, ARTIFACT_TYPES, text(path), attributes)
    if content is not None:
        translation.builder.specialization_of(entity, content)
    return _Object(entity, is_own, not is_own)
