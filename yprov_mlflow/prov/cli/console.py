"""What commands share: text that is safe to print, errors of stores, options, reports."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from yprov_mlflow.prov.errors import OutputError, RunNotFoundError, StoreError, YprovMlflowError
from yprov_mlflow.prov.ids import redact

_SHOWN = 20
"""Most problems or notes that are printed; the report has all."""


def printable(text: str) -> str:
    """Replace what would steer the terminal: names of runs and keys are anybody's text."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def show_some(lines: Iterable[str]) -> None:
    """Print the first lines as errors are, and how many more there are in the report."""
    lines = list(lines)
    for line in lines[:_SHOWN]:
        click.echo(printable(line), err=True)
    if len(lines) > _SHOWN:
        click.echo(f"and {len(lines) - _SHOWN} more; --report FILE has all", err=True)


@contextmanager
def when_store_fails(uri: str | None, run_id: str | None = None) -> Iterator[None]:
    """Turn what MLflow, a database or the network raises into an error that says the cure.

    Raises:
        RunNotFoundError: The store does not know ``run_id``.
        StoreError: Anything else.
    """
    try:
        yield
    except YprovMlflowError:
        raise
    except Exception as error:  # each backend has its own; the user needs one
        where = redact(uri) if uri else "the tracking store"
        if run_id is not None and getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
            raise RunNotFoundError.of(printable(run_id), where) from error
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise StoreError.failed(where, printable(reason)) from error


def not_empty(_: click.Context, __: click.Parameter, value: str) -> str:
    """Refuse an empty text, such as of a variable that a script did not set.

    Raises:
        BadParameter: It is empty.
    """
    if not value.strip():
        raise click.BadParameter("it is empty.")
    return value


class ReportFile(click.Path):
    """A file for a report; that it cannot be written is said before the work, not after."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, writable=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Give the path, if a file can be there."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not (path.exists() or os.access(path.parent, os.W_OK)):
            self.fail(f"{printable(str(path.parent))!r} is no folder to write in.", param, ctx)
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
