"""``yprov-mlflow lineage``: the origins of a thing, or its products."""

from __future__ import annotations

from typing import Literal

import click

from yprov_mlflow.prov.cli import console, graph_options


@click.command(epilog="Exit codes: 0 done, 1 no such thing, or several, 2 wrong usage.")
@click.argument("thing", callback=console.not_empty)
@click.option(
    "--up",
    "direction",
    flag_value="up",
    default=True,
    help="Its origins: runs, data, code, people.",
)
@click.option(
    "--down", "direction", flag_value="down", help="Its products: all that was made with it."
)
@click.option("--depth", type=click.IntRange(min=0), metavar="N", help="Only N steps.")
@graph_options.format_option("tree", "table", "json", "dot", "mermaid")
@graph_options.source_option
def lineage(
    thing: str,
    *,
    direction: Literal["up", "down"],
    depth: int | None,
    form: str,
    sources: tuple[str, ...],
) -> None:
    """Follow a thing up to its origins, or down to its products.

    THING is a run (id, the beginning of it, name, `latest`, EXPERIMENT/NAME), a URI of MLflow
    (models:/NAME/1, models:/NAME@ALIAS, models:/m-ID, runs:/ID/PATH), a dataset (name or digest),
    a file (path or SHA-256; a file that exists here is found by its content) or a commit. Put the
    kind in front where a name fits several: dataset:clean.

    \b
    Examples:
      yprov-mlflow lineage models:/clf@champion --up
      yprov-mlflow lineage raw.csv --down
      yprov-mlflow lineage latest --format mermaid
    """
    from yprov_mlflow.prov.graph.lineage_report import of_thing

    report = of_thing(graph_options.graph_to_ask(sources), thing, direction, depth)
    if form == "json":
        console.print_json(report.to_dict())
    elif form == "table":
        rows = report.to_rows()
        graph_options.print_rows(list(rows[0])[:-1], [list(row.values())[:-1] for row in rows])
    else:
        text = {"tree": report.to_tree, "dot": report.to_dot, "mermaid": report.to_mermaid}[form]()
        for line in text.splitlines():
            click.echo(console.printable(line))
    if form == "tree" and not report.lineage.links:
        ends = "origins" if direction == "up" else "products"
        console.note(f"The documents asked state no {ends} of it.")
