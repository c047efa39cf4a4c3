"""Reads by the program of a run, back from the usages that state them."""

from __future__ import annotations

import re
import uuid
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from yprov_mlflow.prov.model.identifiers import RUN
from yprov_mlflow.prov.translate.inverse.document_index import (
    DocumentIndex,
    attribute,
    instant_ns,
    key,
    names,
)
from yprov_mlflow.prov.translate.usages import ROLES

_FILE = re.compile(
    r"([^:]+):(?:logged-model/([^/]+)/)?artifact/([^/@]+)"
    r"(?:/(?:\d+|[0-9a-f]{64}))?(?:@.*)?\Z"
)
_FOLDER = re.compile(r"([^:]+):(?:logged-model/([^/]+)/)?folder/([^/]+)\Z")
_VERSION = re.compile(r"store:model/([^/]+)/version/([^/]+)\Z")
_OBJECT = re.compile(r"store:(logged-model|trace|dataset)/([^/]+)\Z")
_MODEL = "store:logged-model/"

Reading = tuple[int, tuple[Any, ...]]
"""Time in ns, 0 if unknown, and the fields of ``ObjectRead``."""


def readings(index: DocumentIndex) -> list[Reading]:
    """Return the fields of ``ObjectRead`` for each usage by a reading, in order of time."""
    members: dict[str, list[str]] = defaultdict(list)
    for record in index.relations("hadMember"):
        members[str(record.get("prov:collection"))].append(str(record.get("prov:entity")))
    contents = {
        str(record.get("prov:specificEntity")): general.removeprefix("sha256:")
        for record in index.relations("specializationOf")
        if (general := str(record.get("prov:generalEntity"))).startswith("sha256:")
    }
    origins = {
        str(record.get("prov:generatedEntity")): key(origin.removeprefix(_MODEL))
        for record in index.relations("wasDerivedFrom")
        if (origin := str(record.get("prov:usedEntity"))).startswith(_MODEL)
    }
    reads: list[Reading] = []
    for usage in index.relations("used"):
        role = next((r.removeprefix("mlf:") for r in names(usage, "prov:role")), "")
        entity = str(usage.get("prov:entity"))
        subject = _subject(index, entity, origins) if role in ROLES else None
        if subject is None:
            continue
        paths = _files(entity, members)
        files = [{"path": path, "size": None, "sha256": contents.get(i)} for i, path in paths]
        if entity.startswith("sha256:"):
            files = [{"path": "", "size": None, "sha256": entity.removeprefix("sha256:")}]
        terms = ("mlf:requestedPath", "mlf:requested", "mlf:requestedAlias")
        path, uri, alias = (attribute(usage, term) for term in terms)
        fields = (role, subject, path or "", uri, alias, files)
        reads.append((instant_ns(usage.get("prov:time")), fields))
    return sorted(reads, key=lambda reading: reading[0])


def base_of(index: DocumentIndex, model: str) -> dict[str, str] | None:
    """Return the model that a logged model derives from, as the subject of a reading."""
    for record in index.relations("wasDerivedFrom"):
        if record.get("prov:generatedEntity") == model:
            origin = str(record.get("prov:usedEntity"))
            if _VERSION.match(origin) or origin.startswith(_MODEL):
                return _subject(index, origin, {})
    return None


def _subject(index: DocumentIndex, entity: str, origins: dict[str, str]) -> dict[str, str] | None:
    """Return the subject of a reading; None for an entity that no reading is of."""
    if entity.startswith("sha256:"):
        return {}
    if match := _VERSION.match(entity):
        is_prompt = "mlf:PromptVersion" in names(index.entities.get(entity, {}), "prov:type")
        kind = "prompt" if is_prompt else "model"
        subject = {kind: key(match[1]), "version": key(match[2])}
        return {**subject, "logged-model": origins[entity]} if entity in origins else subject
    if match := _OBJECT.match(entity):
        return {match[1]: key(match[2])}
    match = _FILE.match(entity) or _FOLDER.match(entity)
    if match is None:
        return None
    if match[2] is not None:
        return {"logged-model": key(match[2])}
    return {"run": index.run_id if match[1] == RUN else _run_of(index, match[1])}


def _run_of(index: DocumentIndex, prefix: str) -> str:
    uri = index.document.prefixes.get(prefix, "")
    return uuid.UUID(uri.rstrip("#")[-36:]).hex


def _files(entity: str, members: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    """Yield ids and paths of a file, or of all files in a folder."""
    if match := _FILE.match(entity):
        yield entity, key(match[3])
    elif _FOLDER.match(entity):
        for member in sorted(members[entity]):
            yield from _files(member, members)
