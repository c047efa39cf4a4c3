"""``yprov-mlflow restore``: documents become a store of MLflow's again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yprov_mlflow.prov.cli.console import (
    ReportFile,
    not_empty,
    show_some,
    when_store_fails,
    write_report,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yprov_mlflow.prov.restore import Note, RestoreReport

FAILED, PARTLY = 1, 3


@click.command(
    epilog="Exit codes: 0 all is restored, 1 nothing is, 2 wrong usage, 3 something was skipped "
    "or is there in part, and is named."
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
    "uri",
    required=True,
    metavar="URI",
    callback=not_empty,
    help="Tracking URI of the store.",
)
@click.option(
    "--artifacts",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where artifacts are, such as an mlruns folder; copies go to the store's own place.",
)
@click.option(
    "--artifact-root",
    metavar="URI",
    help="Where a database that is made anew keeps artifacts; else MLflow's default, ./mlruns.",
)
@click.option("--overwrite", is_flag=True, help="Replace what the store has already, otherwise.")
@click.option(
    "--report",
    "report_file",
    metavar="FILE",
    type=ReportFile(),
    help="Write figures, changes, losses and new ids as JSON.",
)
def restore(
    paths: tuple[Path, ...],
    uri: str,
    artifacts: Path | None,
    artifact_root: str | None,
    overwrite: bool,
    report_file: Path | None,
) -> None:
    """Restore runs from their W3C PROV documents into any MLflow store.

    PROV is what `convert` wrote, or a run's own provenance/prov.json: a file, or a folder of
    such, as PROV-JSON, PROV-N, PROV-XML or RDF. Points beside the documents are read with them.

    A database (sqlite:///…, postgresql://…, mysql://…) gets everything with its own ids, times
    and nesting: runs with all metric points in order, deleted ones too, experiments, logged
    models, the model registry, traces. MLflow makes the tables if there are none. Other stores
    (http://…, a folder) are filled through MLflow's client, which makes up new ids: the old
    ones are tags `yprov.restored_from`, and in the report.

    What the store has already is left alone if it is equal, so that the command can be
    repeated, and is not touched if it differs, unless --overwrite is given.

    \b
    Examples:
      yprov-mlflow restore prov --to sqlite:///new.db
      yprov-mlflow restore prov --to sqlite:///new.db --artifacts mlruns
      yprov-mlflow restore run1/prov.json run2/prov.nq --to http://localhost:5000
    """
    from yprov_mlflow.prov.restore import RestoreRequest
    from yprov_mlflow.prov.restore import restore as begin

    wish = RestoreRequest(paths, uri, artifacts, overwrite, artifact_root)
    with when_store_fails(uri):
        report = begin(wish)
    if report_file is not None:
        write_report(report_file, report.to_json())
    _summarise(report)
    sys.exit(_exit_code(report))


def _exit_code(report: RestoreReport) -> int:
    if report.complete:
        return 0
    return PARTLY if report.total else FAILED


def _summarise(report: RestoreReport) -> None:
    for kind, counts in sorted(report.things.items()):
        shown = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items()))
        click.echo(f"{kind:20} {shown}")
    collapsed = f", {report.collapsed} of them equal to another" if report.collapsed else ""
    click.echo(f"{'metric points':20} {report.points}{collapsed}")
    if report.files:
        shown = ", ".join(f"{number} {what}" for what, number in sorted(report.files.items()))
        click.echo(f"{'artifacts':20} {shown}")
    _show("Held otherwise", report.changes)
    _show("Not restored, or in part", report.losses)


def _show(title: str, notes: Sequence[Note]) -> None:
    if notes:
        click.echo(f"{title}:", err=True)
        show_some(f"  {note.place}: {note.reason}" for note in notes)
