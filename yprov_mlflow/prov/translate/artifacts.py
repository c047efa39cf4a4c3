"""Artifacts: each version of a file is an entity, each folder a collection."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from yprov_mlflow.prov.events import ArtifactsLogged
from yprov_mlflow.prov.model.identifiers import RUN, STORE, segment
from yprov_mlflow.prov.model.literals import Value, name, plain, text
from yprov_mlflow.prov.translate.history import ActivityRef
from yprov_mlflow.prov.translate.models import declare_model
from yprov_mlflow.prov.translate.translation import ArtifactState, Translation

ARTIFACT_TYPES = ("mlf:Artifact", "schema:MediaObject")
_SHA256 = re.compile("[0-9a-f]{64}")
FOLDER_TYPES = ("mlf:ArtifactFolder", "prov:Collection")

# Not the module `mimetypes`: its answers depend on the machine and the version of Python, and
# the same events must give the same document everywhere.
_MEDIA_TYPES = dict(
    pair.split("=")
    for pair in """
    avi=video/x-msvideo bin=application/octet-stream bmp=image/bmp bz2=application/x-bzip2
    cfg=text/plain css=text/css csv=text/csv gif=image/gif gz=application/gzip
    h5=application/x-hdf5 hdf5=application/x-hdf5 htm=text/html html=text/html
    ipynb=application/x-ipynb+json jpeg=image/jpeg jpg=image/jpeg js=text/javascript
    json=application/json jsonl=application/jsonl jsonld=application/ld+json log=text/plain
    md=text/markdown mlmodel=application/yaml mov=video/quicktime mp3=audio/mpeg mp4=video/mp4
    nc=application/netcdf nq=application/n-quads nt=application/n-triples onnx=application/onnx
    parquet=application/vnd.apache.parquet patch=text/x-diff pdf=application/pdf png=image/png
    provn=text/provenance-notation py=text/x-python r=text/x-r rst=text/x-rst sh=application/x-sh
    sql=application/sql sqlite=application/vnd.sqlite3 svg=image/svg+xml tar=application/x-tar
    tif=image/tiff tiff=image/tiff toml=application/toml trig=application/trig
    tsv=text/tab-separated-values ttl=text/turtle txt=text/plain wav=audio/wav webp=image/webp
    xlsx=application/vnd.openxmlformats-officedocument.spreadsheetml.sheet xml=application/xml
    yaml=application/yaml yml=application/yaml zip=application/zip zst=application/zstd
    """.split()
)


def media_type(path: str) -> str | None:
    """Return the media type of a file by its name, None if unknown."""
    return _MEDIA_TYPES.get(re.split("[/.]", path)[-1].lower())


class Root(NamedTuple):
    """The root of artifact paths: prefix of ids, entity that owns the files, URI."""

    base: str
    owner: str | None = None
    uri: str | None = None


def on_artifacts(translation: Translation, event: ArtifactsLogged) -> None:
    """Add files that were written, or end those that were deleted."""
    ref = translation.activity_ref(event, tuple(event.context_path))
    root = _root(translation, event.owner)
    if root.owner is not None and root.owner not in translation.builder.generations:
        translation.builder.was_influenced_by(root.owner, ref.activity)
    for file in event.files:
        path = file.get("path") if isinstance(file, Mapping) else None
        if not isinstance(path, str):
            continue
        if event.deleted:
            _delete(translation, ref, root.base, path)
        elif path:
            _write(translation, ref, root, path, file)


def _root(translation: Translation, owner: tuple[str, str] | None) -> Root:
    if owner is None:
        uri = translation.created.artifact_uri if translation.created is not None else None
        return Root(f"{STORE if translation.store_level else RUN}:", None, uri)
    kind, owner_id = owner
    if kind == "model":
        entity = declare_model(translation, owner_id)
    else:
        entity = f"{STORE}:{segment(kind)}/{segment(owner_id)}"
        types = ["mlf:Trace" if kind == "trace" else "mlf:StoreObject"]
        translation.builder.entity(entity, types, text(owner_id))
    return Root(f"{entity}/", entity)


def _write(
    translation: Translation, ref: ActivityRef, root: Root, path: str, file: Mapping[str, object]
) -> None:
    builder = translation.builder
    first = f"{root.base}artifact/{segment(path)}"
    sha256, size = file.get("sha256"), file.get("size")
    state = translation.artifacts.get(first)
    count = 1
    if state is not None:
        # Logging the same file again changes nothing; without a hash it counts as changed.
        same = sha256 is not None and (state.sha256, state.size) == (sha256, size)
        if same and state.current is not None:
            return
        count = state.count + 1
    entity = (first if count == 1 else f"{first}/{count}") + ref.rank_suffix
    attributes: dict[str, Value | list[Value] | None] = {
        "mlf:path": text(path),
        "mlf:sha256": plain(sha256),
        "mlf:size": plain(size),
        "schema:encodingFormat": media_type(path),
        "schema:contentUrl": text(f"{root.uri.rstrip('/')}/{path}") if root.uri else None,
        "dcterms:isPartOf": name(root.owner) if root.owner is not None else None,
    }
    builder.entity(entity, ARTIFACT_TYPES, text(path), attributes)
    builder.was_generated_by(entity, ref.activity, ref.time)
    content = add_content(translation, sha256)
    if content is not None:
        builder.specialization_of(entity, content)
    if state is not None:
        if state.current is not None:
            builder.was_invalidated_by(state.current, ref.activity, ref.time)
        builder.was_revision_of(entity, state.latest)
    translation.artifacts[first] = ArtifactState(entity, count, entity, sha256, size)
    add_to_folders(translation, root, path, entity)


def add_content(translation: Translation, sha256: object) -> str | None:
    """Add the content of files and return its id; None if its hash is not known.

    Equal content is one node over paths, versions and runs.
    """
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        return None
    label = f"sha256 {sha256[:12]}"
    return translation.builder.entity(f"sha256:{sha256}", ["mlf:Content"], label)


def add_to_folders(translation: Translation, root: Root, path: str, entity: str) -> None:
    """Add a file to its folder, and that to the folder around it."""
    builder = translation.builder
    part_of = name(root.owner) if root.owner is not None else None
    member = entity
    while "/" in path:
        path = path.rpartition("/")[0]
        folder = folder_id(root.base, path)
        exists = folder in builder.records["entity"]
        attributes = {"mlf:path": text(path), "dcterms:isPartOf": part_of}
        builder.entity(folder, FOLDER_TYPES, text(f"{path}/"), attributes)
        builder.had_member(folder, member)
        if exists:  # so do the folders around it
            return
        member = folder


def folder_id(base: str, path: str) -> str:
    """Return the id of a folder of artifacts."""
    return f"{base}folder/{segment(path)}"


def _delete(translation: Translation, ref: ActivityRef, base: str, path: str) -> None:
    """End a file, or all files in a folder; an empty path ends all files."""
    builder = translation.builder
    start = f"{base}artifact/"
    exact, inside = start + segment(path), start + segment(f"{path}/")
    states = [
        state
        for first, state in translation.artifacts.items()
        if first == exact or first.startswith(inside if path else start)
    ]
    for state in states:
        if state.current is not None:
            builder.was_invalidated_by(state.current, ref.activity, ref.time)
            state.current = None
    if not states and path:  # written before the capture
        builder.entity(exact, ARTIFACT_TYPES, text(path), {"mlf:path": text(path)})
        builder.was_invalidated_by(exact, ref.activity, ref.time)
        translation.artifacts[exact] = ArtifactState(None, 1, exact)
