"""Options of the commands that ask many documents together."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yprov_mlflow.prov.cli import console
from yprov_mlflow.prov.errors import UsageError

if TYPE_CHECKING:
    from yprov_mlflow.prov.graph.stores import Graph


_SHORT = "yprov_mlflow.form"


def source_option(command: Callable[..., None]) -> Callable[..., None]:
    """Add the option ``--from``, passed as ``sources``."""
    return click.option(
        "--from",
        "sources",
        metavar="SOURCE",
        multiple=True,
        help="Ask these documents, folders of documents or stores instead of the index.",
    )(command)


def format_option(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the options ``--format``, passed as ``form``, ``--json`` and, if possible, ``--csv``.

    The first name is the default.
    """

    def choose(ctx: click.Context, _: click.Parameter, value: str) -> str:
        return str(ctx.meta.get(_SHORT, value))

    def remember(ctx: click.Context, option: click.Parameter, value: bool) -> None:
        if value:
            ctx.meta[_SHORT] = option.name

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        """Add the options to a command."""
        choice = click.Choice(list(names))
        for name in ("json", "csv"):
            if name in names:
                command = click.option(
                    f"--{name}",
                    is_flag=True,
                    # Before --format, whose callback looks for it.
                    is_eager=True,
                    expose_value=False,
                    callback=remember,
                    help=f"The same as --format {name}.",
                )(command)
        return click.option(
            "--format",
            "form",
            type=choice,
            default=names[0],
            show_default=True,
            callback=choose,
            help="Form of output.",
        )(command)

    return decorate


def graph_to_ask(sources: Sequence[str]) -> Graph:
    """Return the graph of the sources, without any that of the index."""
    from yprov_mlflow.prov.capture.indexing import graph_of
    from yprov_mlflow.prov.cli.workflow import documents_of

    problems: list[str] = []
    if not sources:
        graph = graph_of(None, problems.append)
        console.print_first(problems)
        return graph
    with tempfile.TemporaryDirectory(prefix="yprov-mlflow-") as folder:
        documents = [
            document
            for number, source in enumerate(sources)
            for document in documents_of(source, None, Path(folder) / str(number), problems)
        ]
    console.print_first(problems)
    if not documents:
        raise UsageError("there are no documents", ", ".join(sources), "Name other sources")
    return graph_of(documents, problems.append)


def print_rows(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    title: str = "",
    *,
    cut: Collection[str] = (),
) -> None:
    """Print a table, or say that it is empty."""
    from yprov_mlflow.prov.views.view import Note, Table

    notes = [] if rows else [Note("nothing matches", "detail")]
    console.print_view([Table(title, list(columns), list(rows))], notes, cut=cut)
