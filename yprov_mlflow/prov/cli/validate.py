"""``yprov-mlflow validate``: whether documents are valid PROV with possible times."""

from __future__ import annotations

import dataclasses
import gc
import glob
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yprov_mlflow.prov.cli import console, graph_options
from yprov_mlflow.prov.cli.console import printable
from yprov_mlflow.prov.errors import UsageError

if TYPE_CHECKING:
    from rich.text import Text

    from yprov_mlflow.prov.validate.documents import FileReport

_INVALID = 1
_STDIN = "-"
_MOST_SHOWN = 50
_STYLES = {"error": "bold red", "warning": "yellow"}


@click.command(
    epilog="Exit codes: 0 all documents are valid (there may be warnings), 1 there are errors, "
    "2 wrong usage, or no document."
)
@click.argument("names", metavar="FILE|RUN...", nargs=-1, required=True)
@console.tracking_uri_option
@graph_options.format_option("table", "json")
def validate(names: tuple[str, ...], tracking_uri: str | None, form: str) -> None:
    """Check the syntax of documents, W3C's PROV-CONSTRAINTS, and the order of times.

    FILE is PROV-JSON, PROV-JSONLD, PROV-N, PROV-XML or RDF (Turtle, TriG, N-Quads, JSON-LD), a
    folder that contains such files at any depth, a pattern of paths, or - for standard input. Each
    bundle or named graph is checked on its own. For RUN see `show`. JSON lists all findings, at
    most 10 000 of each file.

    Errors are violations of PROV, and times that contradict PROV's order of events, such as an
    entity generated after its activity ended, or used before it was generated. Warnings are
    allowed by PROV but hardly ever intended. Each finding names its rule by W3C's number.

    \b
    Examples:
      yprov-mlflow validate provenance/prov.json
      yprov-mlflow validate prov/ --format json | jq '.files[] | select(.valid | not)'
      curl -s https://example.org/run.provn | yprov-mlflow validate -
    """
    # Validation makes millions of small objects without cycles, which the collector would
    # traverse again and again.
    gc.set_threshold(100_000, 50, 100)
    valid = documents = 0
    for report in _reports(names, tracking_uri):
        if form == "json":
            # Printed one by one, so that only one report is in memory.
            content = {"valid": report.valid, **dataclasses.asdict(report)}
            separator = "," if documents else '{"files": ['
            click.echo(f"{separator}\n{json.dumps(content)}", nl=False)
        else:
            _print_report(report)
        documents += 1
        valid += report.valid
    if form == "json":
        start = "" if documents else '{"files": ['
        click.echo(f'{start}\n], "documents": {documents}, "valid": {valid}}}')
    elif documents > 1:
        click.echo(f"{valid} of {documents} documents are valid.")
    if not documents:
        raise click.UsageError("The folders contain no documents.")
    sys.exit(0 if valid == documents else _INVALID)


def _reports(names: Sequence[str], tracking_uri: str | None) -> Iterator[FileReport]:
    from yprov_mlflow.prov.validate import documents

    now = datetime.now(UTC)
    for name in names:
        if name == _STDIN:
            yield documents.check_bytes("standard input", sys.stdin.buffer.read(), now)
            continue
        with _paths(name, tracking_uri) as (paths, is_run):
            for file in documents.find(paths):
                report = documents.check(file, now)
                yield dataclasses.replace(report, file=name) if is_run else report


@contextmanager
def _paths(name: str, tracking_uri: str | None) -> Iterator[tuple[list[Path], bool]]:
    """Yield paths of files, of matches of a pattern or of a run's document, and if it is a run."""
    path = Path(name)
    if path.exists():
        yield [path], False
        return
    from yprov_mlflow.prov.capture import run_names
    from yprov_mlflow.prov.capture.run_views import write_document

    if run_names.is_local(name) and not glob.has_magic(name):
        raise UsageError("no such file or folder", name, "Check the path")
    with tempfile.TemporaryDirectory(prefix="yprov-mlflow-") as folder:
        with console.store_errors(tracking_uri, name):
            paths = [Path(run) for run in run_names.expand(name, tracking_uri)]
            is_run = not run_names.is_local(str(paths[0]))
            if is_run:
                paths = [write_document(str(paths[0]), Path(folder), tracking_uri)]
        yield paths, is_run


def _print_report(report: FileReport) -> None:
    """Print the first findings of a file, errors before warnings, and a line that sums it up."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if report.findings:
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(ratio=1, overflow="fold", min_width=16)
        table.add_column(ratio=3, overflow="fold")
        for finding in sorted(report.findings, key=lambda f: f.severity)[:_MOST_SHOWN]:
            bundle = f" in {finding.bundle}" if finding.bundle else ""
            record = f"{finding.record}{bundle}: " if finding.record or bundle else ""
            table.add_row(
                Text(finding.severity, style=_STYLES[finding.severity]),
                Text(printable(finding.rule)),
                Text(printable(f"{record}{finding.message}")),
            )
        console.print(table)
    hidden = report.errors + report.warnings - _MOST_SHOWN
    if hidden > 0:
        console.print(Text(f"… and {hidden} more (--format json lists them)", style="dim"))
    console.print(_result(report), soft_wrap=True)


def _result(report: FileReport) -> Text:
    from rich.text import Text

    verdict = "valid" if report.valid else _count(report.errors, "error")
    warnings = f", {_count(report.warnings, 'warning')}" if report.warnings else ""
    bundles = f" in {_count(report.bundles, 'bundle')}" if report.bundles else ""
    text = f"{verdict}{warnings}, {_count(report.records, 'record')}{bundles}"
    style = "green" if report.valid else _STYLES["error"]
    return Text.assemble(f"{printable(report.file)}: ", (text, style))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
