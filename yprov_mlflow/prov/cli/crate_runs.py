"""The runs of a crate: their documents and artifact files, from a store or from documents."""

from __future__ import annotations

import glob
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click

from yprov_mlflow.prov import settings
from yprov_mlflow.prov.cli import console
from yprov_mlflow.prov.errors import (
    TRACKING_OPTIONS,
    AmbiguousRunError,
    DeliveryError,
    DocumentError,
    RunNotFoundError,
    StoreError,
    UsageError,
    first_line,
)
from yprov_mlflow.prov.formats import open_documents
from yprov_mlflow.prov.formats.file_formats import documents_below
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.redaction import redact
from yprov_mlflow.prov.share.run_crate import CrateRun
from yprov_mlflow.prov.translate import Options, described, events_of


class Documents(NamedTuple):
    """Documents of runs with their paths, and other documents, such as those of workflows."""

    runs: list[tuple[Path, Document]]
    others: list[Document]


about_option = click.option(
    "--about",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="TOML file with the table [tool.yprov-mlflow.about] for documents that state no authors "
    "and no license; by default the project file.",
)
"""The option of commands that share documents."""


def about_facts(file: str | None) -> Mapping[str, Any]:
    """Return the table about the work, and print what looks wrong in it."""
    facts = settings.load(about=file).about
    console.print_first(facts.get("problems", ()))
    return facts


@contextmanager
def documents_of(
    source: str, tracking_uri: str | None, facts: Mapping[str, Any]
) -> Iterator[Documents]:
    """Yield the documents of runs, described by the facts if they lack that, and all others.

    Args:
        source: A document, a folder of documents, a run id, or the name or id of an experiment.
        tracking_uri: The store of the run or experiment; MLflow's default if None.
        facts: Facts of ``authorship.read``.

    Raises:
        DocumentError: The file or folder lacks a document of a run.
        RunNotFoundError: The store has neither such a run nor such an experiment with runs.
    """
    with tempfile.TemporaryDirectory(prefix="yprov-mlflow-") as scratch:
        pairs = [*_read(source, tracking_uri, Path(scratch))]
        runs = [pair for pair in pairs if _is_of_run(pair[1])]
        if not runs and is_local(source):
            cure = "Name the prov.json of a run, or a folder that `yprov-mlflow convert` wrote"
            raise DocumentError("no document of a run found", source, cure)
        if not runs:
            what = f"neither a run nor an experiment with runs is called {source!r}"
            cure = f"Check the name, and set the store with {TRACKING_OPTIONS}"
            raise RunNotFoundError(what, redact(tracking_uri or "") or None, cure)
        others = [document for _, document in pairs if not _is_of_run(document)]
        yield Documents([(path, described(document, facts)) for path, document in runs], others)


def _is_of_run(document: Document) -> bool:
    return "run:run" in document.records.get("activity", {})


def is_local(source: str) -> bool:
    """Return whether a source is a file or folder, rather than something of a store."""
    from yprov_mlflow.prov.capture import run_names

    return run_names.is_local(source) or glob.has_magic(source)


def _read(source: str, tracking_uri: str | None, scratch: Path) -> Iterator[tuple[Path, Document]]:
    from yprov_mlflow.prov.capture import run_names

    if is_local(source):
        paths = [Path(path) for path in run_names.expand(source)]
    else:
        paths = [*_of_store(source, tracking_uri, scratch)]
    for each in paths:
        try:
            for document in open_documents(each):
                yield each, document
        except OSError as error:
            raise DocumentError.unopened(str(each), error) from error


def _of_store(source: str, tracking_uri: str | None, scratch: Path) -> Iterator[Path]:
    """Yield paths of documents of a run, or of an experiment, that are written to ``scratch``."""
    from yprov_mlflow.prov.capture import run_names
    from yprov_mlflow.prov.capture.run_views import write_document

    try:
        with console.store_errors(tracking_uri):
            run_id = run_names.resolve(source, tracking_uri)
    except (RunNotFoundError, AmbiguousRunError) as error:
        paths = list(_converted(tracking_uri, scratch, experiments=(source,)))
        # An experiment may have the name that several runs have.
        if not paths and isinstance(error, AmbiguousRunError):
            raise
        yield from paths
        return
    source = run_id
    try:
        with console.store_errors(tracking_uri, source):
            yield write_document(source, scratch, tracking_uri, with_points=True)
    except DeliveryError:  # it was not captured: the store still has most of it
        yield from _converted(tracking_uri, scratch, runs=(source,))


def _converted(tracking_uri: str | None, scratch: Path, **chosen: Any) -> Iterator[Path]:
    from yprov_mlflow.prov.capture import diagnosis
    from yprov_mlflow.prov.convert import Conversion, Request
    from yprov_mlflow.prov.convert.executors import InlineExecutor

    loaded = settings.load()
    options = Options(loaded.max_samples, loaded.hash_user, loaded.base_uri)
    uri = tracking_uri or diagnosis.tracking().inner
    try:
        conversion = Conversion(Request(uri, scratch, options=options, **chosen), InlineExecutor())
    except UsageError:  # its cure names options of `convert`
        return
    failed = [result for result in conversion if result.state == "failed"]
    if failed:
        reasons = "; ".join(problem.reason for result in failed for problem in result.problems)
        raise StoreError.unreadable(uri, reasons)
    yield from documents_below(scratch)


def crate_runs(
    pairs: list[tuple[Path, Document]],
    source: str,
    tracking_uri: str | None,
    artifacts: str | None,
    *,
    with_files: bool,
) -> list[CrateRun]:
    """Return runs with the artifact files that are the ones that were logged.

    Files of a run of a store are taken from where the store has them; those of a document
    only from beside it, or from below ``artifacts``: it could name any file of this machine.
    """
    # These load MLflow's file formats; --help does not need them.
    from yprov_mlflow.prov.restore.artifact_files import ArtifactFiles
    from yprov_mlflow.prov.restore.replay import StateBuilder
    from yprov_mlflow.prov.restore.restore_report import RestoreReport

    runs = []
    for path, document in pairs:
        builder, files = StateBuilder(), {}
        run = builder.feed(events_of(document)) if with_files else None
        models = builder.finish().models.values()
        tops = [Path(source)] if Path(source).is_dir() else []
        if run is not None and not is_local(source):
            tops += _store_folders([run.artifact_uri, *(m.artifact_location for m in models)])
            if run.artifacts and not tops:
                _download(run.run_id, path.parent / "artifacts", tracking_uri)
        finder = ArtifactFiles(Path(artifacts) if artifacts else None, tops, RestoreReport(""))
        for record, owner in ((run, None), *((model, model.model_id) for model in models)):
            if record is not None:
                located = finder.find(record, str(owner), path)
                files.update({(owner, name): file for name, file in located.items()})
        runs.append(CrateRun(document, path.parent, files))
    return runs


def _store_folders(uris: list[str | None]) -> list[Path]:
    from yprov_mlflow.prov.restore.artifact_files import local_path

    return [folder for folder in map(local_path, uris) if folder is not None]


def _download(run_id: str, folder: Path, tracking_uri: str | None) -> None:
    from yprov_mlflow.prov.capture.run_views import download_artifacts

    try:
        with console.store_errors(tracking_uri, run_id):
            download_artifacts(run_id, folder, tracking_uri)
    except StoreError as error:  # the crate names the files that it lacks
        console.note(f"The artifacts cannot be downloaded: {first_line(error)}")
