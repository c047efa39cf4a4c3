"""Data files that a run read and wrote."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from yprov_mlflow.prov.model.identifiers import RUN
from yprov_mlflow.prov.translate.file_records import READ, ROLES, WRITTEN
from yprov_mlflow.prov.translate.inverse.document_index import (
    DocumentIndex,
    attribute,
    instant_ns,
    names,
)

_SECTIONS = {READ: "used", WRITTEN: "wasGeneratedBy"}


def fields(index: DocumentIndex) -> tuple[list[dict[str, Any]], int | None]:
    """Return the fields of ``FilesAccessed``: files, and their number if there were more."""
    files = sorted(_files(index), key=lambda file: (file["mode"], file["path"]))
    most = attribute(index.run, "mlf:mostFiles") if index.run is not None else None
    return files, most


def _files(index: DocumentIndex) -> Iterator[dict[str, Any]]:
    members: dict[str, list[str]] = defaultdict(list)
    for record in index.relations("hadMember"):
        member = str(record.get("prov:entity")).removeprefix("sha256:")
        members[str(record.get("prov:collection"))].append(member)
    for mode, section in _SECTIONS.items():
        for relation in index.relations(section):
            identifier = str(relation.get("prov:entity"))
            starts = (f"{RUN}:file/{mode}/", f"{RUN}:files/{mode}/")
            if ROLES[mode] not in names(relation, "prov:role") or not identifier.startswith(starts):
                continue
            record = index.entities.get(identifier, {})
            sha256 = attribute(record, "mlf:sha256")
            file = {
                "path": attribute(record, "mlf:path"),
                "mode": mode,
                "time_ns": instant_ns(relation.get("prov:time")),
                "size": attribute(record, "mlf:size"),
                "sha256": sha256,
                "not_hashed": attribute(record, "mlf:notHashed"),
                "count": attribute(record, "mlf:fileCount"),
                "members": members.get(f"sha256:{sha256}"),
            }
            yield {key: value for key, value in file.items() if value is not None}
