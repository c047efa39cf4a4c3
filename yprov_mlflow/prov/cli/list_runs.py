"""``yprov-mlflow runs``: many runs as a table, filtered, and the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from yprov_mlflow.prov.cli import console, graph_options


@click.command(epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, such as an unknown column.")
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
@graph_options.format_option("table", "csv", "json")
@graph_options.source_option
def runs(
    *,
    where: str,
    columns: str,
    sort: str,
    experiment: str,
    since: str,
    after_commit: str,
    pareto: str,
    form: str,
    sources: tuple[str, ...],
) -> None:
    """List runs with their loss, energy, emissions and time.

    A column is a metric (its last value; also min(KEY), max(KEY), first(KEY)), params.KEY,
    tags.KEY, energy (kWh of the run itself), energy_node (kWh of the node meanwhile), emissions
    (g), duration (s), name, run_id, experiment, status, user, start, end or commit. A FILTER is
    like MLflow's: conditions joined by `and`. For --pareto smaller is better, and larger after
    `max:`.

    \b
    Examples:
      yprov-mlflow runs --where "metrics.loss < 0.3 and params.lr = 0.1" --sort energy
      yprov-mlflow runs --pareto loss,energy
      yprov-mlflow runs --pareto max:accuracy,energy --format csv
    """
    from yprov_mlflow.prov.graph.run_table import UNITS, Question
    from yprov_mlflow.prov.graph.run_table import runs as table_of_runs

    more = [column.strip() for column in columns.split(",") if column.strip()]
    question = Question(where, more, sort, experiment, since, after_commit, pareto)
    table = table_of_runs(graph_options.graph_to_ask(sources), question)
    if form == "json":
        console.print_json(table.to_dict())
    elif form == "csv":
        click.echo(table.to_csv(), nl=False)
    else:
        heads = [f"{c} ({UNITS[c]})" if c in UNITS else c for c in table.columns]
        graph_options.print_rows(heads, [_shortened(row) for row in table.rows])
    if table.left_out:
        click.echo(f"{table.left_out} runs have no number to compare.", err=True)


def _shortened(row: Mapping[str, Any]) -> list[Any]:
    """Return the cells of a row for a terminal: the first digits of ids, times to the second."""
    lengths = {"run_id": 8, "start": 19, "end": 19, "commit": 8}
    return [str(v)[: lengths[c]] if c in lengths and v is not None else v for c, v in row.items()]
