"""The document that a yProv service gets: the whole one, or its profile for yProv4ML."""

from __future__ import annotations

import tempfile
from pathlib import Path

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.formats.metric_files import read_points
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.model.literals import plain
from yprov_mlflow.prov.model.relations import KINDS
from yprov_mlflow.prov.profiles import PROFILES
from yprov_mlflow.prov.translate.inverse import side_files
from yprov_mlflow.prov.views import related
from yprov_mlflow.prov.views.document_reader import DocumentReader

WHOLE = "none"
"""The choice of the whole document."""


def content(document: Document, folder: Path, profile: str) -> tuple[bytes, list[str]]:
    """Return a document in PROV-JSON, and texts about its parts that the service will not have.

    Args:
        document: The document.
        folder: Its folder, which may have its metric files.
        profile: A name from ``profiles.PROFILES``, or ``WHOLE``.

    Raises:
        DocumentError: The profile needs a document of a run.
    """
    if profile == WHOLE:
        return prov_json.dumps(document), []
    chosen = PROFILES[profile]
    files = [folder / name for name, _ in side_files(document)]
    omitted = [f"points of {file.name}, which is missing" for file in files if not file.is_file()]
    batches = (batch for file in files if file.is_file() for batch in read_points(file))
    with tempfile.TemporaryDirectory(prefix="yprov-") as target:
        # Metric files stay here: the services keep documents only.
        omitted += chosen.write(document, batches, Path(target), ".", chosen.kinds[0])
        written = sorted(Path(target).glob("*.json"))
        if not written:
            cure = "Push the whole document with --profile none"
            raise DocumentError("this is not the document of a run", None, cure)
        return written[0].read_bytes(), omitted


def dropped(document: Document) -> int:
    """Return how many relations the yProv service drops: those without their second end."""
    return sum(
        KINDS[section].formals[1] not in record
        for section, records in document.records.items()
        if section in KINDS and len(KINDS[section].formals) > 1
        for record in records.values()
    )


def search_fields(document: Document) -> dict[str, str | list[str]]:
    """Return what yProvFind searches by: title, description, keywords and authors, if stated."""
    about = related.about(DocumentReader(document))
    if about is None:
        return {}
    fields: dict[str, str | list[str] | None] = {
        "title": about.title,
        "description": about.description,
        "keywords": list(about.keywords),
        "author": ", ".join(author.name for author in about.authors if author.name),
    }
    return {key: value for key, value in fields.items() if value}


def run_of(document: Document) -> str | None:
    """Return MLflow's id of the run that a document describes, None if it describes none."""
    record = document.records.get("activity", {}).get("run:run", {})
    run_id = record.get("mlf:runId")
    return str(plain(run_id)) if run_id is not None else None
