"""Restoration: read documents, replay them, write the result to a target."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from yprov_mlflow.prov.errors import DocumentError, MissingExtraError, first_line
from yprov_mlflow.prov.events import Event, MetricsLogged
from yprov_mlflow.prov.formats import open_documents
from yprov_mlflow.prov.formats.file_formats import documents_below
from yprov_mlflow.prov.formats.metric_files import digest, read_points
from yprov_mlflow.prov.layout import STORE_FOLDER, STORES
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.redaction import WITHHELD, redact
from yprov_mlflow.prov.restore.artifact_files import ArtifactFiles
from yprov_mlflow.prov.restore.experiments import DATASET_COLUMNS
from yprov_mlflow.prov.restore.registry import VERSION_FIELDS
from yprov_mlflow.prov.restore.replay import StateBuilder
from yprov_mlflow.prov.restore.restore_report import MALFORMED, RestoreReport
from yprov_mlflow.prov.restore.target_options import TargetOptions
from yprov_mlflow.prov.restore.targets import open_target
from yprov_mlflow.prov.state import Run, StoreState
from yprov_mlflow.prov.translate import (
    PointBatch,
    events_of,
    malformed_record,
    point_count,
    side_files,
)

_CURE = "Give the output of `yprov-mlflow convert`, or the prov.json of a run"


@dataclasses.dataclass(frozen=True)
class RestoreRequest:
    """What to restore, and where to.

    Args:
        paths: Documents, or folders that contain documents.
        to: Tracking URI of the target.
        artifacts: Folder in which artifacts are looked for, such as an ``mlruns``.
        overwrite: Replace records that differ in the target.
        artifact_root: Artifact root of a database that is created; MLflow's default if None.
    """

    paths: tuple[Path, ...]
    to: str
    artifacts: Path | None = None
    overwrite: bool = False
    artifact_root: str | None = None


def restore(request: RestoreRequest) -> RestoreReport:
    """Restore documents into a store.

    Raises:
        DocumentError: A path does not exist, or contains no document.
        MissingExtraError: The target is a database, and SQLAlchemy is not installed.
        StoreError: The target cannot be opened.
    """
    report = RestoreReport(redact(request.to))
    sources = _documents(request.paths, report)
    # Read a document before the target is opened, which creates MLflow's tables in a new file.
    first = next(sources, None)
    if first is None and not report.losses:
        raise DocumentError("no document found", ", ".join(map(str, request.paths)), _CURE)
    inputs = [path for path in request.paths if path.is_dir()]
    files = ArtifactFiles(request.artifacts, inputs, report)
    options = TargetOptions(request.overwrite, request.artifact_root)
    target = open_target(request.to, files, options)
    builder = StateBuilder()
    last = request.paths[0]
    try:
        for last, document in itertools.chain([first] if first is not None else [], sources):
            run = _replay(last, document, builder, report)
            if run is not None and is_restorable(run, report):
                with report.guard(f"{last}, run {run.run_id}"):
                    target.put_run(run, last)
        state = builder.finish()
        target.finish(state, last)
        report_fields(state, report)
        files.finish(keeps_locations=target.keeps_locations)
    finally:
        target.close()
    return report


def report_fields(state: StoreState, report: RestoreReport) -> None:
    """Report fields of other MLflow versions, which no target writes."""
    for label, fields in _extra_fields(state):
        if fields:
            report.add_loss(label, f"not restored: {', '.join(sorted(fields))}")


def _extra_fields(state: StoreState) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield the label and the extra fields of each record that belongs to no single run."""
    for experiment in state.experiments.values():
        yield f"experiment {experiment.experiment_id}", experiment.fields
    for logged in state.models.values():
        yield f"logged model {logged.model_id}", logged.fields
    for model in state.registered_models.values():
        label = f"registered model {model.name}"
        yield label, model.fields
        for version in model.versions.values():
            yield f"{label}, version {version.version}", version.fields.keys() - VERSION_FIELDS
    for trace in state.traces.values():
        yield f"trace {trace.trace_id}", trace.fields
    for dataset in state.evaluation_datasets.values():
        fields = dataset.row.keys() - DATASET_COLUMNS
        yield f"evaluation dataset {dataset.dataset_id}", fields


def _replay(
    path: Path, document: Document, builder: StateBuilder, report: RestoreReport
) -> Run | None:
    """Return the run of a document; report metric points that are missing."""
    losses = len(report.losses)
    try:
        events = events_of(document, _points(path, document, report))
        run = builder.feed(note_withheld(str(path), events, report))
    except DocumentError as error:
        report.add_loss(str(path), error.what)
        return None
    except MALFORMED as error:
        record = malformed_record(document)
        place = f"{path}, {record}" if record is not None else str(path)
        report.add_loss(place, f"has a malformed value: {first_line(error)}")
        return None
    if run is not None and len(report.losses) == losses:
        missing = point_count(document) - sum(len(p.values) for p in run.points.values())
        if missing > 0:
            report.add_loss(str(path), f"{missing} of its metric points are missing")
    return run


def note_withheld(label: str, events: Iterator[Event], report: RestoreReport) -> Iterator[Event]:
    """Yield the events; report how often secrets were withheld from them."""
    count = 0
    for event in events:
        if not isinstance(event, MetricsLogged):
            count += repr(event).count(WITHHELD)
        yield event
    if count:
        reason = f"{count} secrets were withheld from it; the target has {WITHHELD} in their place"
        report.add_change(label, reason)


def is_restorable(run: Run, report: RestoreReport) -> bool:
    """Return whether a run is complete and still exists; report one that is not."""
    label = f"run {run.run_id}"
    if run.lifecycle == "purged":
        report.add_change(label, "it was deleted for good and is not restored")
        return False
    if not run.created:
        report.refuse("run", label, "its documents do not name its experiment")
    return run.created


# -- documents ---------------------------------------------------------------------------


def _documents(paths: Sequence[Path], report: RestoreReport) -> Iterator[tuple[Path, Document]]:
    """Yield all documents; report files that are not documents.

    Raises:
        DocumentError: A path does not exist.
    """
    for path in _files(paths, report):
        try:
            for document in open_documents(path):
                yield path, document
        except (DocumentError, OSError) as error:
            report.add_loss(str(path), _reason(error))


def _files(paths: Sequence[Path], report: RestoreReport) -> list[Path]:
    """Return the files that hold documents, those of stores first: they have the most detail."""
    files: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            for file in documents_below(path):
                if Path(os.path.realpath(file)).is_relative_to(os.path.realpath(path)):
                    files[file] = None
                else:
                    report.add_loss(str(file), "is a link that leads out of its folder")
        elif path.exists():
            files[path] = None
        else:
            raise DocumentError("no such file or folder", str(path), _CURE)
    # Events without a time are replayed in the order of the documents.
    stores = {STORE_FOLDER, STORES}
    return sorted(files, key=lambda path: (stores.isdisjoint(path.parts[-3:-1]), str(path)))


def _points(path: Path, document: Document, report: RestoreReport) -> Iterator[PointBatch]:
    """Yield the metric points in the files beside a document; report files that are unusable."""
    folder = path.parent
    for name, sha256 in side_files(document):
        file = folder / name
        # A document from elsewhere must not make us read other files of this machine.
        if not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(folder)):
            report.add_loss(str(path), f"names a file of metric points outside its folder: {name}")
            continue
        try:
            if digest(file)[0] != sha256:
                report.add_loss(str(file), "differs from the file that the document describes")
                continue
            yield from read_points(file)
        except (DocumentError, MissingExtraError, OSError) as error:
            report.add_loss(str(file), f"cannot read the metric points: {_reason(error)}")


def _reason(error: Exception) -> str:
    return getattr(error, "what", None) or getattr(error, "strerror", None) or str(error)
