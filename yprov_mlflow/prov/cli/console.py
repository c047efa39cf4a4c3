"""Output, options and error handling that several commands share."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

import click

from yprov_mlflow.prov import errors
from yprov_mlflow.prov.cli.text_table import table_lines
from yprov_mlflow.prov.formats.file_formats import FORMATS, format_name
from yprov_mlflow.prov.redaction import redact
from yprov_mlflow.prov.views.view import Note, Table, cell_text

FAILED, PARTLY, NO_ARTIFACTS, LEFT_OPEN = 1, 3, 4, 5
"""Exit codes; 2 is click's own for wrong usage. The third means that all data are there, and only
artifact files are out of reach; the last one that runs of dead processes were left open."""

QUIET = "yprov_mlflow.quiet"
"""Key in the context of click: whether notes are silenced."""

_READER_GONE = 141  # as a shell reports the end by SIGPIPE

_MOST_LINES = 20
_STYLES: Mapping[str, Any] = {"warning": {"fg": "yellow"}, "hint": {}, "detail": {"dim": True}}


def printable(text: str) -> str:
    """Replace control characters: names and keys are user input and could steer the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def print_json(content: object) -> None:
    """Print a JSON value with indentation."""
    click.echo(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))


def print_view(
    tables: Iterable[Table], notes: Iterable[Note], *, cut: Collection[str] = ()
) -> None:
    """Print the tables that have rows, without their empty columns, then the notes.

    Args:
        tables: The tables.
        notes: Lines to print below them.
        cut: Columns whose cells may be shortened, so that each row is one line of the terminal.
    """
    width = shutil.get_terminal_size().columns
    for table in tables:
        title, columns, rows = table.filled()
        if not rows:
            continue
        if title:
            click.secho(printable(title), bold=True)
        cells = [[printable(cell_text(cell)) for cell in row] for row in rows]
        # Numbers are easier to compare if their digits are below each other.
        right = [
            bool(columns) and all(map(_is_number, column)) for column in zip(*rows, strict=True)
        ]
        for line in table_lines(
            [printable(column) for column in columns], cells, right, width, cut=cut
        ):
            click.echo(line)
        click.echo()
    for text, level in () if is_quiet() else notes:
        click.secho(printable(text), **_STYLES[level])


def _is_number(cell: object) -> bool:
    return cell is None or (isinstance(cell, (int, float)) and not isinstance(cell, bool))


def note(text: str) -> None:
    """Print a line that is not a result to standard error, unless ``-q`` silences it."""
    if not is_quiet():
        click.echo(text, err=True)


def is_quiet() -> bool:
    """Return whether the option ``-q`` silences notes."""
    ctx = click.get_current_context(silent=True)
    return ctx is not None and bool(ctx.meta.get(QUIET))


def print_first(lines: Iterable[str]) -> None:
    """Print the first lines to standard error, and the number of the others."""
    lines = list(lines)
    for line in lines[:_MOST_LINES]:
        note(printable(line))
    if len(lines) > _MOST_LINES:
        note(f"and {len(lines) - _MOST_LINES} more; --report FILE lists all")


@contextmanager
def text_output(*, as_json: bool) -> Iterator[None]:
    """Print the text of a command to standard error meanwhile, if its result will be JSON."""
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        yield


@contextmanager
def store_errors(
    uri: str | None, run_id: str | None = None, option: str = errors.TRACKING_OPTIONS
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
    if run_id is not None:
        # With MLflow's own number of retries, it takes minutes to notice that a server is down.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    try:
        yield
    except errors.YprovMlflowError:
        raise
    except Exception as error:  # every kind of store has its own errors
        where = redact(uri) if uri else "the tracking store"
        if run_id is not None and getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
            raise errors.RunNotFoundError.of(run_id, where) from error
        raise errors.StoreError.failed(where, errors.first_line(error), option) from error


# -- standard output ---------------------------------------------------------------------


class _OutputFailed(BaseException):
    """Standard output cannot be written; not an error of what wrote to it."""


class _Output:
    """Standard output, with errors that nothing between it and ``checked_output`` handles."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with _failures():
            return int(self._stream.write(text))

    def flush(self) -> None:
        with _failures():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _OutputFailed from error


@contextmanager
def checked_output() -> Iterator[None]:
    """End the process where standard output fails: silently if its reader has gone."""
    if sys.stdout is None:  # closed before the start
        yield
        return
    output: Any = _Output(sys.stdout)
    try:
        with redirect_stdout(output):
            try:
                yield
            finally:
                output.flush()
    except _OutputFailed as failure:
        # What is still in the buffer would fail again while the interpreter exits.
        discard = os.open(os.devnull, os.O_WRONLY)
        os.dup2(discard, output.fileno())
        if isinstance(failure.__cause__, BrokenPipeError):
            sys.exit(_READER_GONE)
        reason = getattr(failure.__cause__, "strerror", None) or failure.__cause__
        click.echo(f"Error: standard output cannot be written: {reason}", err=True)
        sys.exit(FAILED)


# -- options -----------------------------------------------------------------------------


class FormatChoice(click.Choice[str]):
    """Any usual name of a format, such as turtle, ttl, json-ld, jsonld, provn or nt."""

    def __init__(self) -> None:
        super().__init__(list(FORMATS), case_sensitive=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name of the format."""
        return super().convert(format_name(str(value)), param, ctx)


def not_empty(_: click.Context, __: click.Parameter, value: str) -> str:
    """Refuse an empty value, such as that of an unset variable in a script."""
    if not value.strip():
        raise click.BadParameter("it is empty.")
    return value


tracking_uri_option = click.option(
    "--tracking-uri",
    metavar="URI",
    help="Store of the run; by default MLFLOW_TRACKING_URI or MLflow's default.",
)
"""The option of commands that take a run id."""


json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
"""The option of every command with a result that programs can use."""


def report_option(content: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the option ``--report`` for a file with ``content``, passed as ``report_file``."""
    file = click.Path(dir_okay=False, writable=True, path_type=Path)
    names = ("--report", "report_file")
    return click.option(
        *names, metavar="FILE", type=file, callback=_in_writable_folder, help=f"Write {content}."
    )


def _in_writable_folder(_: click.Context, __: click.Parameter, path: Path | None) -> Path | None:
    # click only checks files that exist. A conversion takes hours; its report must not fail then.
    if path is not None and not (path.exists() or os.access(path.parent, os.W_OK)):
        raise click.BadParameter(f"{printable(str(path.parent))!r} is not a writable folder.")
    return path


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write a report as JSON.

    Raises:
        OutputError: The file cannot be written.
    """
    try:
        path.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise errors.OutputError.unwritable(str(path), error) from error
