"""``yprov-mlflow workflow``: one graph of workflows and the runs that their tasks started."""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yprov_mlflow.prov.cli import console
from yprov_mlflow.prov.errors import DocumentError, OutputError, UsageError

if TYPE_CHECKING:
    from yprov_mlflow.prov.model.document import Document


@click.command(
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 some documents could not be read; "
    "they are listed."
)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@console.tracking_uri_option
@click.option("-o", "--out", metavar="FILE", type=click.Path(path_type=Path), help="Write FILE.")
@click.option(
    "--to",
    "to",
    type=console.FormatChoice(),
    help="Format of the graph; by default that of FILE's extension, or else prov-json.",
)
@console.json_option
def workflow(
    sources: tuple[str, ...],
    *,
    tracking_uri: str | None,
    out: Path | None,
    to: str | None,
    as_json: bool,
) -> None:
    """Join runs with the workflows that started them.

    SOURCE is a run (see `show`), a document, a folder of documents, or a store as `convert` reads
    it. Documents of workflows, of our plugins or of yProv4WFs, are read like those of runs; those
    that runs name in YPROV_WORKFLOW_DOCUMENT are added.

    The graph has executions, tasks, runs, models, datasets and files. Files of equal SHA-256 meet:
    what one task wrote and another one, or a run, used. Without -o or --to it is printed as
    tables. Points, params and tags of the runs stay in their own documents.

    \b
    Examples:
      yprov-mlflow workflow mlruns provenance/workflow
      yprov-mlflow workflow sqlite:///mlflow.db prov.json -o graph.ttl
      yprov-mlflow workflow 5f0c9b2e6d3a4b0f8a7c1d2e3f405162 --to n-quads
    """
    from yprov_mlflow.prov.views import workflow_join, workflow_report

    problems: list[str] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="yprov-mlflow-")))
        documents = [
            document
            for number, source in enumerate(sources)
            for document in documents_of(source, tracking_uri, folder / str(number), problems)
        ]
    documents += _named(documents, problems)
    if not documents:
        raise UsageError("there are no documents", ", ".join(sources), "Name other sources")
    graph = workflow_join.join(documents)
    if out is not None or to is not None:
        _write(graph, out, to)
    else:
        report = workflow_report.from_document(graph)
        if as_json:
            console.print_json(report.to_dict())
        else:
            console.print_view(report.tables(), report.notes())
    console.print_first(problems)
    sys.exit(console.PARTLY if problems else 0)


def documents_of(
    source: str, tracking_uri: str | None, folder: Path, problems: list[str]
) -> Iterator[Document]:
    """Yield the documents of a run, file, folder or store.

    Args:
        source: A run id, a document, a folder of documents, or a store as `convert` reads it.
        tracking_uri: Store of the run.
        folder: Where documents of a store may be written.
        problems: Gets a line for each document or run that could not be read.
    """
    from yprov_mlflow.prov.capture import indexing, run_names
    from yprov_mlflow.prov.capture.run_views import load_documents
    from yprov_mlflow.prov.formats.file_formats import documents_below
    from yprov_mlflow.prov.sources.location import is_store_uri
    from yprov_mlflow.prov.uris import is_offline, offline_folder

    if is_offline(source):
        source = offline_folder(source)
    if Path(source).is_dir():
        if indexing.has_journals(Path(source)):
            yield from indexing.of_journals(Path(source), problems)
            return
        files = list(documents_below(Path(source)))
        if files and not (Path(source) / "meta.yaml").exists() and not _is_store(Path(source)):
            for file in files:
                try:
                    yield from load_documents(str(file))
                except DocumentError as error:
                    problems.append(str(error))
            return
    elif Path(source).is_file() and not _is_database(Path(source)):
        yield from load_documents(source)
        return
    elif not is_store_uri(source):
        with console.store_errors(tracking_uri, source):
            for name in run_names.expand(source, tracking_uri):
                yield from load_documents(name, tracking_uri)
        return
    yield from _converted(source, folder, problems)


def _is_store(folder: Path) -> bool:
    return any((child / "meta.yaml").is_file() for child in folder.iterdir())


def _is_database(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(16) == b"SQLite format 3\0"


def _converted(source: str, folder: Path, problems: list[str]) -> Iterator[Document]:
    """Yield the documents of a store, as captured or else as converted."""
    from yprov_mlflow.prov.convert import Conversion, Request
    from yprov_mlflow.prov.convert.executors import InlineExecutor
    from yprov_mlflow.prov.formats import open_documents
    from yprov_mlflow.prov.formats.file_formats import documents_below

    conversion = Conversion(Request(source=source, out=folder), InlineExecutor())
    for _ in conversion:
        pass
    problems += [f"{p.place}: {p.reason}" for p in conversion.report.problems if p.lost]
    for file in documents_below(folder):
        yield from open_documents(file)


def _named(documents: list[Document], problems: list[str]) -> list[Document]:
    """Return the documents of workflows that runs name, if they exist here."""
    from yprov_mlflow.prov.capture.run_views import load_documents
    from yprov_mlflow.prov.views.document_reader import text

    paths = {
        text(record.get("mlf:workflowDocument"))
        for document in documents
        for record in document.records.get("activity", {}).values()
    }
    named: list[Document] = []
    for path in sorted(path for path in paths if path):
        if not os.path.isfile(path):
            problems.append(f"{path}: a run names this document of its workflow, but it is missing")
            continue
        try:
            named += load_documents(path)
        except DocumentError as error:
            problems.append(str(error))
    return named


def _write(graph: Document, out: Path | None, to: str | None) -> None:
    from yprov_mlflow.prov.formats.file_formats import FORMATS, SUFFIXES

    by_suffix = SUFFIXES.get(out.suffix.lower()) if out is not None else None
    form = FORMATS[to] if to is not None else by_suffix or FORMATS["prov-json"]
    stream = io.BytesIO()
    form.dump([graph], stream, single=True)
    if out is None:
        click.echo(stream.getvalue(), nl=False)
        return
    try:
        out.write_bytes(stream.getvalue())
    except OSError as error:
        raise OutputError.unwritable(str(out), error) from error
