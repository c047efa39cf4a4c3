"""``yprov-mlflow validate``: whether documents are PROV, and whether they can be true."""

from __future__ import annotations

import dataclasses
import gc
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from yprov_mlflow.prov.validate.file_reports import FileReport

INVALID = 1
_STDIN = "-"


@click.command(
    epilog="Exit codes: 0 all documents are valid (there may be warnings), 1 there are errors, "
    "2 wrong usage, also if there is no document."
)
@click.argument(
    "paths",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, allow_dash=True, path_type=Path),
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="What is printed; json has all findings, of each file the first 10 000.",
)
def validate(paths: tuple[Path, ...], form: str) -> None:
    """Judge documents: form, W3C's PROV-CONSTRAINTS, and whether times can be.

    FILE is PROV-JSON, PROV-N, PROV-XML or RDF (Turtle, TriG, N-Quads, JSON-LD), a folder with
    such files at any depth, or - for standard input. Each bundle or graph is judged by itself.

    Errors are what no reading of PROV allows, and times that contradict the order that PROV
    gives events: generated after the activity ended, used before it was generated. Warnings
    are what PROV allows and hardly anybody means. Each names its rule by W3C's number.

    \b
    Examples:
      yprov-mlflow validate provenance/prov.json
      yprov-mlflow validate prov/ --format json | jq '.files[] | select(.valid | not)'
      curl -s https://example.org/run.provn | yprov-mlflow validate -
    """
    # Millions of small objects and no circles: the collector would only look at them again.
    gc.set_threshold(100_000, 50, 100)
    valid = seen = 0
    printer = _Json() if form == "json" else _Table()
    for report in _reports(paths):
        seen += 1
        valid += report.valid
        printer.show(report)
    printer.close(seen, valid)
    if not seen:
        raise click.UsageError("There is no document in what was given.")
    sys.exit(0 if valid == seen else INVALID)


def _reports(paths: Sequence[Path]) -> Iterator[FileReport]:
    from yprov_mlflow.prov.validate import file_reports

    now = datetime.now(UTC)
    for path in paths:
        if str(path) == _STDIN:
            yield file_reports.check_bytes("standard input", sys.stdin.buffer.read(), now)
        else:
            for found in file_reports.find([path]):
                yield file_reports.check(found, now)


class _Table:
    """Prints findings for people, file by file."""

    def show(self, report: FileReport) -> None:
        """Print the findings of a file."""
        from yprov_mlflow.prov.cli import verdicts

        verdicts.show(report)

    def close(self, seen: int, valid: int) -> None:
        """Sum up, if there were several files."""
        if seen > 1:
            click.echo(f"{valid} of {seen} documents are valid.")


class _Json:
    """Prints one JSON object, whose reports come as they are ready."""

    def __init__(self) -> None:
        self._before = '{"files": ['

    def show(self, report: FileReport) -> None:
        """Print the report of a file."""
        click.echo(self._before + "\n" + json.dumps(_plain(report)), nl=False)
        self._before = ","

    def close(self, seen: int, valid: int) -> None:
        """End the object."""
        start = "" if seen else self._before
        click.echo(f'{start}\n], "documents": {seen}, "valid": {valid}}}')


def _plain(report: FileReport) -> dict[str, Any]:
    return {"valid": report.valid, **dataclasses.asdict(report)}
