"""Documents of captured runs: found among the artifacts, completed from the store."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from yprov_mlflow.prov.convert import output
from yprov_mlflow.prov.convert.request import Request, Unit
from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.formats.metric_files import digest, read_points
from yprov_mlflow.prov.layout import PROV_JSON, PROVENANCE
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.sources.source import Problem, RunRef, Source
from yprov_mlflow.prov.translate import completion, events_of, is_described, side_files

_LOST = "what only capture saw: times of calls, contexts, processes, hardware"


def completed(
    source: Source,
    unit: Unit,
    request: Request,
    stored: Document,
    scratch: Path,
    *,
    is_whole: bool,
) -> tuple[Document, tuple[Problem, ...]]:
    """Return the captured document of a run, completed from the store, and problems.

    Without a captured document it is the stored one. The metric file of the captured document
    is copied to the scratch folder and replaces that of the stored one. ``is_whole`` says that
    nothing is missing from the stored document: files that it lacks are then gone.
    """
    folder = source.artifact_folder(unit.ref) if unit.ref is not None else None
    path = Path(folder, PROVENANCE, PROV_JSON) if folder else None
    if unit.ref is None or path is None or not path.is_file() or path.is_symlink():
        return stored, ()
    if request.options.hash_user or request.options.base_uri:
        reason = "a captured document is not used with hashed names or other identifiers"
        return stored, (Problem(str(path), reason, _LOST),)
    try:
        own = prov_json.loads(path.read_bytes())
        if not _is_of(own, unit.ref):
            raise DocumentError("is of another run", str(path), "")
        points = _metric_file(own, path.parent)
        keys = completion.metrics_with_more(own, stored)
        more: list[completion.Point] = []
        if keys:
            batches = read_points(points) if points is not None else None
            stored_events = source.events(unit.ref)
            more = [*completion.missing_points(events_of(own, batches), stored_events, keys)]
            source.problems()  # they were reported when the run was read first
        document = completion.complete(own, stored, more, all_files=is_whole)
    except (DocumentError, OSError, KeyError, ValueError) as error:
        return stored, (Problem(str(path), f"cannot be used: {error}", _LOST),)
    copy_points(document, path.parent, unit, request, scratch)
    return document, ignored_options(document, str(path), request)


def ignored_options(document: Document, location: str, request: Request) -> tuple[Problem, ...]:
    """Return a problem, without a loss, for each option that is for stores only."""
    reasons = []
    # Its points have contexts, ranks and times that only their document or its file has.
    in_file = bool(side_files(document))
    if request.points == ("all" if in_file else "none"):
        kind = "a metric file" if in_file else "records"
        reasons.append(f"the document keeps its points in {kind}: --points is for stores")
    if request.options.hash_user or request.options.base_uri:
        reasons.append(
            "the document keeps its names and identifiers: those settings are for stores"
        )
    if request.about and is_described(document):
        reasons.append("the document states its own title, license or authors, and keeps them")
    return tuple(Problem(location, reason, "") for reason in reasons)


def copy_points(
    document: Document, folder: Path, unit: Unit, request: Request, scratch: Path
) -> None:
    """Have the metric file of a document in the scratch folder, and no other one.

    Raises:
        DocumentError: The document names a file outside its folder.
        OutputError: The file cannot be copied.
    """
    source = _metric_file(document, folder)
    with output.output_errors(request.out):
        for old in scratch.iterdir():
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        if source is not None:
            copy = shutil.copytree if source.is_dir() else shutil.copyfile
            copy(source, scratch / source.name)
    for identifier, record in document.records.get("entity", {}).items():
        if source is not None and identifier.startswith("run:points/"):
            record["mlf:path"] = output.side_file_path(unit, request.layout, source.name)


def _metric_file(document: Document, folder: Path) -> Path | None:
    """Return the metric file of a document, None if its points are records.

    Raises:
        DocumentError: The file is outside the folder, or not the one that is described.
        OSError: The file cannot be read.
    """
    for name, sha256 in side_files(document):
        file = folder / name
        if not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(folder)):
            raise DocumentError("names a metric file outside its folder", str(file), "")
        if digest(file)[0] != sha256:
            raise DocumentError("describes another metric file", str(file), "")
        return file
    return None


def _is_of(document: Document, ref: RunRef) -> bool:
    run = document.records.get("activity", {}).get("run:run", {})
    return run.get("mlf:runId") == ref.run_id
