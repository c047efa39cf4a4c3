"""Output, options and error handling that several commands share."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yprov_mlflow.prov.errors import (
    TRACKING_OPTIONS,
    OutputError,
    RunNotFoundError,
    StoreError,
    YprovMlflowError,
    first_line,
)
from yprov_mlflow.prov.redaction import redact

if TYPE_CHECKING:
    from yprov_mlflow.prov.model.document import Document
    from yprov_mlflow.prov.views.view import Note, Table

FAILED, PARTLY = 1, 3
"""Exit codes; 2 is click's own for wrong usage."""

_MOST_LINES = 20
_STYLES = {"warning": "yellow", "hint": "", "detail": "dim"}


# -- text and tables ---------------------------------------------------------------------


def printable(text: str) -> str:
    """Replace control characters: names and keys are user input and could steer the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def print_json(content: object) -> None:
    """Print a JSON value with indentation."""
    click.echo(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))


def print_view(tables: Iterable[Table], notes: Iterable[Note]) -> None:
    """Print the tables that have rows, then the notes."""
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    from yprov_mlflow.prov.views.view import cell_text

    console = Console()
    for title, columns, rows in tables:
        if not rows:
            continue
        table = RichTable(
            title=title,
            title_justify="left",
            title_style="bold",
            show_header=bool(columns),
            box=None,
            pad_edge=False,
        )
        for column in columns or ("", ""):
            table.add_column(column, overflow="fold")
        for row in rows:
            # As Text, or rich would interpret square brackets in the cells as markup.
            table.add_row(*(Text(printable(cell_text(cell))) for cell in row))
        console.print(table)
        console.print()
    for text, level in notes:
        console.print(Text(printable(text), style=_STYLES[level]), soft_wrap=True)


def print_first(lines: Iterable[str]) -> None:
    """Print the first lines to standard error, and the number of the others."""
    lines = list(lines)
    for line in lines[:_MOST_LINES]:
        click.echo(printable(line), err=True)
    if len(lines) > _MOST_LINES:
        click.echo(f"and {len(lines) - _MOST_LINES} more; --report FILE lists all", err=True)


# -- documents and stores ----------------------------------------------------------------

tracking_uri_option = click.option(
    "--tracking-uri",
    metavar="URI",
    help="Store of the run; by default MLFLOW_TRACKING_URI or MLflow's default.",
)


def load_document(run: str, tracking_uri: str | None) -> Document | dict[str, Any]:
    """Return the document of a run id or a file; errors of the store become ours."""
    from yprov_mlflow.prov.capture import run_views

    with store_errors(tracking_uri, run):
        return run_views.load_document(run, tracking_uri)


@contextmanager
def store_errors(
    uri: str | None, run_id: str | None = None, option: str = TRACKING_OPTIONS
) -> Iterator[None]:
    """Turn errors of MLflow, a database or the network into one that names the remedy.

    Args:
        uri: The store's URI, if the command line names it.
        run_id: The run that the command reads.
        option: The option that sets the URI.

    Raises:
        RunNotFoundError: The store does not contain ``run_id``.
        StoreError: Any other error.
    """
    try:
        yield
    except YprovMlflowError:
        raise
    except Exception as error:  # every kind of store has its own errors
        where = redact(uri) if uri else "the tracking store"
        if run_id is not None and getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
            raise RunNotFoundError.of(run_id, where) from error
        raise StoreError.failed(where, first_line(error), option) from error


# -- options -----------------------------------------------------------------------------


def not_empty(_: click.Context, __: click.Parameter, value: str) -> str:
    """Refuse an empty value, such as that of an unset variable in a script."""
    if not value.strip():
        raise click.BadParameter("it is empty.")
    return value


class ReportFile(click.Path):
    """A file for a report; whether it can be written is checked before the work begins."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, writable=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path, unless its folder cannot be written."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not (path.exists() or os.access(path.parent, os.W_OK)):
            folder = printable(str(path.parent))
            self.fail(f"{folder!r} is not a writable folder.", param, ctx)
        return path


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write a report as JSON.

    Raises:
        OutputError: The file cannot be written.
    """
    try:
        path.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise OutputError.unwritable(str(path), error) from error
