"""``yprov-mlflow restore``: restore runs from their documents into an MLflow store."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yprov_mlflow.prov.cli import console

if TYPE_CHECKING:
    from yprov_mlflow.prov.restore import Note, RestoreReport


@click.command(
    epilog="Exit codes: 0 everything is restored, 1 nothing is, 2 wrong usage, 3 some things "
    "were skipped or restored in part; they are listed, 4 everything is restored but artifact "
    "files that are out of reach (see --artifacts)."
)
@click.argument(
    "paths",
    metavar="PROV...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, path_type=Path),
)
@click.option(
    "--to",
    required=True,
    metavar="URI",
    callback=console.not_empty,
    help="Tracking URI of the target store.",
)
@click.option(
    "--artifacts",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with the artifacts, such as mlruns; they are copied to the target store. "
    "Without it only files beside the documents are copied.",
)
@click.option(
    "--artifact-root",
    metavar="URI",
    help="Artifact location for a new database; by default MLflow's, ./mlruns.",
)
@click.option(
    "--overwrite", is_flag=True, help="Replace objects of which the target has another version."
)
@console.report_option("counts, changes, losses and new ids as JSON")
@console.json_option
def restore(report_file: Path | None, as_json: bool, **chosen: Any) -> None:
    """Restore runs from their W3C PROV documents into any MLflow store.

    PROV is the output of `convert`, or the provenance/prov.json of a run: a file, or a folder
    of files, in PROV-JSON, PROV-N, PROV-XML or RDF. Files of metric points beside a document
    are read with it.

    A database (sqlite:///…, postgresql://…, mysql://…) gets everything with its original ids,
    times and nesting: runs with all metric points in order, also deleted ones, experiments,
    logged models, the model registry, traces. MLflow creates missing tables. Other stores
    are filled through MLflow's client. A folder keeps the ids of runs and models; a server
    (http://…) assigns new ones: the tag `yprov.restored_from` and the report have the original.

    Objects that the store already has unchanged are skipped, so the command can be repeated.
    If the store has another version, it is kept, unless you pass --overwrite.

    \b
    Examples:
      yprov-mlflow restore prov --to sqlite:///new.db
      yprov-mlflow restore prov --to sqlite:///new.db --artifacts mlruns
      yprov-mlflow restore run1/prov.json run2/prov.nq --to http://localhost:5000
    """
    from yprov_mlflow.prov.restore import RestoreRequest
    from yprov_mlflow.prov.restore import restore as run

    request = RestoreRequest(**chosen)
    with console.store_errors(request.to, option="--to"):
        report = run(request)
    if report_file is not None:
        console.write_report(report_file, report.to_json())
    with console.text_output(as_json=as_json):
        print_restored(report)
    if as_json:
        console.print_json(report.to_json())
    if not report.complete:
        partly = console.NO_ARTIFACTS if report.lacks_only_artifacts else console.PARTLY
        sys.exit(partly if report.total else console.FAILED)


def print_restored(report: RestoreReport) -> None:
    """Print the counts, and the first changes and losses."""
    for kind, counts in sorted(report.counts.items()):
        click.echo(f"{kind:20} {_counts(counts)}")
    duplicates = f", of which {report.collapsed} are duplicates" if report.collapsed else ""
    click.echo(f"{'metric points':20} {report.points}{duplicates}")
    if report.files:
        click.echo(f"{'artifacts':20} {_counts(report.files)}")
    _print_notes("Restored with changes", report.changes)
    _print_notes("Not restored, or in part", report.losses)


def _counts(outcomes: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {outcome}" for outcome, number in sorted(outcomes.items()))


def _print_notes(title: str, notes: Sequence[Note]) -> None:
    if notes:
        console.note(f"{title}:")
        console.print_first(f"  {note.place}: {note.reason}" for note in notes)
