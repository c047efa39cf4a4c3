"""``yprov-mlflow list``, or ``runs``: runs as a table, filtered, and the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from yprov_mlflow.prov.cli import console, graph_options

_MINUTE = len("2026-01-31T12:00")
_LENGTHS = {"run_id": 8, "start": _MINUTE, "end": _MINUTE, "commit": 8}
_WHOLE = {*_LENGTHS, "status"}


@click.command(
    "list", epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, such as an unknown column."
)
@click.argument("places", metavar="[SOURCE]...", nargs=-1)
@click.option("--where", default="", metavar="FILTER", help="Only runs that meet conditions.")
@click.option("--columns", default="", metavar="A,B", help="More columns.")
@click.option("--sort", default="", metavar="COLUMN", help="Sort; -COLUMN sorts descending.")
@click.option("--experiment", default="", metavar="NAME", help="Only runs of this experiment.")
@click.option("--since", default="", metavar="DATE", help="Only runs that started since then.")
@click.option(
    "--after-commit", default="", metavar="COMMIT", help="Only code committed after COMMIT."
)
@click.option(
    "--pareto", default="", metavar="A,B", help="Only runs that no other run betters in A and B."
)
@click.option("-n", "--limit", type=click.IntRange(1), help="Only the first so many.")
@graph_options.format_option("table", "csv", "json")
@graph_options.source_option
def runs(
    places: tuple[str, ...],
    *,
    where: str,
    columns: str,
    sort: str,
    experiment: str,
    since: str,
    after_commit: str,
    pareto: str,
    limit: int | None,
    form: str,
    sources: tuple[str, ...],
) -> None:
    """List runs with their energy, time and other columns, the newest first.

    Without SOURCE they are those of the index, in which runs that were captured here are without
    another command. SOURCE is a store as `convert` reads it, a folder of documents, a document, a
    run (see `show`) or a folder of journals. `list` and `runs` are one command.

    A column is a metric (its last value; also min(KEY), max(KEY), first(KEY)), params.KEY,
    tags.KEY, energy (kWh of the run itself), energy_node (kWh of the node meanwhile), emissions
    (g), duration (s), name, run_id, experiment, status, user, model, start, end or commit. A FILTER
    is like MLflow's: conditions joined by `and`. For --pareto smaller is better, and larger after
    `max:`. The table fits the terminal and shortens cells; CSV and JSON have them whole.

    \b
    Examples:
      yprov-mlflow list -n 10
      yprov-mlflow list sqlite:///mlflow.db --columns loss,params.lr --csv
      yprov-mlflow runs --where "metrics.loss < 0.3 and params.lr = 0.1" --sort energy
      yprov-mlflow runs --pareto loss,energy
      yprov-mlflow runs --pareto max:accuracy,energy --format csv
    """
    from yprov_mlflow.prov.graph.run_table import UNITS, Question
    from yprov_mlflow.prov.graph.run_table import runs as table_of_runs

    more = [column.strip() for column in columns.split(",") if column.strip()]
    question = Question(where, more, sort, experiment, since, after_commit, pareto)
    table = table_of_runs(graph_options.graph_to_ask((*places, *sources)), question)
    if limit is not None:
        table.rows = table.rows[:limit]
    if form == "json":
        console.print_json(table.to_dict())
    elif form == "csv":
        click.echo(table.to_csv(), nl=False)
    else:
        cut = {column for column in table.columns if column not in _WHOLE}
        heads = [f"{c} ({UNITS[c]})" if c in UNITS else c for c in table.columns]
        graph_options.print_rows(heads, [_shortened(row) for row in table.rows], cut=cut)
    if table.left_out:
        console.note(f"{table.left_out} runs have no number to compare.")


def _shortened(row: Mapping[str, Any]) -> list[Any]:
    """Return the cells of a row for a terminal: first digits of ids and numbers, and minutes."""
    cells: list[Any] = []
    for column, value in row.items():
        # Measured figures have no more than four digits that mean something.
        if isinstance(value, float):
            cells.append(float(f"{value:.4g}"))
        elif column in _LENGTHS and value is not None:
            cells.append(str(value)[: _LENGTHS[column]].replace("T", " "))
        else:
            cells.append(value)
    return cells
