"""Documents of captured runs: found among the artifacts, completed from the store."""

from __future__ import annotations

import shutil
from pathlib import Path

from yprov_mlflow.prov.convert import output
from yprov_mlflow.prov.convert.request import Request, Unit
from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.formats.metric_files import read_points
from yprov_mlflow.prov.layout import PROV_JSON, PROVENANCE
from yprov_mlflow.prov.model.document import Document, Record
from yprov_mlflow.prov.sources.source import Problem, RunRef, Source
from yprov_mlflow.prov.translate import completion, events_of

_LOST = "what only capture saw: times of calls, contexts, processes, hardware"


def completed(
    source: Source, unit: Unit, request: Request, stored: Document, scratch: Path
) -> tuple[Document, tuple[Problem, ...]]:
    """Return the captured document of a run, completed from the store, and problems.

    Without a captured document it is the stored one. The metric file of the captured document
    is copied to the scratch folder and replaces that of the stored one.
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
        points = copy_points(own, path.parent, unit, request, scratch)
        if not _is_of(own, unit.ref):
            raise DocumentError("is of another run", str(path), "")
        keys = completion.metrics_with_more(own, stored)
        more: list[completion.Point] = []
        if keys:
            batches = read_points(points) if points is not None else None
            stored_events = source.events(unit.ref)
            more = [*completion.missing_points(events_of(own, batches), stored_events, keys)]
            source.problems()  # they were reported when the run was read first
        return completion.complete(own, stored, more), ()
    except (DocumentError, OSError, KeyError, ValueError) as error:
        return stored, (Problem(str(path), f"cannot be used: {error}", _LOST),)


def copy_points(
    document: Document, folder: Path, unit: Unit, request: Request, scratch: Path
) -> Path | None:
    """Copy the metric file of a document to the scratch folder, and return the copy.

    Raises:
        DocumentError: The document names a file outside its folder.
        OSError: The file is missing or cannot be read.
    """
    for old in scratch.iterdir():  # the metric file of the stored document
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    for record in _point_files(document):
        name = Path(str(record["mlf:path"])).name
        source, target = folder / str(record["mlf:path"]), scratch / name
        if source.is_symlink() or not source.resolve().is_relative_to(folder.resolve()):
            raise DocumentError("names a metric file outside its folder", str(source), "")
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
        record["mlf:path"] = output.side_file_path(unit, request.layout, name)
        return target
    return None


def _point_files(document: Document) -> list[Record]:
    entities = document.records.get("entity", {})
    return [record for i, record in entities.items() if i.startswith("run:points/")]


def _is_of(document: Document, ref: RunRef) -> bool:
    run = document.records.get("activity", {}).get("run:run", {})
    return run.get("mlf:runId") == ref.run_id
