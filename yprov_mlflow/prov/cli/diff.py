"""``yprov-mlflow diff`` and ``why``: two runs compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from yprov_mlflow.prov.cli import console, graph_options

if TYPE_CHECKING:
    from yprov_mlflow.prov.graph.run_comparison import Comparison, Difference

_ABSENT = "-"


@click.command(epilog="Exit codes: 0 done, 1 no such run, or several, 2 wrong usage.")
@click.argument("left", metavar="RUN")
@click.argument("right", metavar="RUN")
@graph_options.format_option("table", "json")
@graph_options.source_option
def diff(left: str, right: str, *, form: str, sources: tuple[str, ...]) -> None:
    """Compare two runs: data, code, params, environment, hardware, metrics, energy.

    Data are compared by content, code by commit and the digest of its changes. For RUN see
    `lineage`.

    \b
    Examples:
      yprov-mlflow diff 5f0c9b2e latest
      yprov-mlflow diff first second --format json
    """
    from yprov_mlflow.prov.graph.run_comparison import compare

    comparison = compare(graph_options.graph_to_ask(sources), left, right)
    if form == "json":
        console.print_json(comparison.to_dict())
        return
    _print(comparison, comparison.differences)
    equal = {part: len(names) for part, names in comparison.equal.items() if names}
    counts = ", ".join(f"{part} {count}" for part, count in equal.items()) or "nothing"
    click.echo(f"Equal: {counts}.")


@click.command(epilog="Exit codes: 0 done, 1 no such run, or several, 2 wrong usage.")
@click.argument("left", metavar="RUN")
@click.argument("right", metavar="RUN")
@graph_options.format_option("table", "json")
@graph_options.source_option
def why(left: str, right: str, *, form: str, sources: tuple[str, ...]) -> None:
    """List why two runs may have other results, the likeliest reason first.

    Differences in data come first, then code, params, environment and hardware. A document shows
    what differed; which of it changed the result only an experiment can show.

    \b
    Examples:
      yprov-mlflow why good-run bad-run
    """
    from yprov_mlflow.prov.graph.run_comparison import EFFECTS, compare

    comparison = compare(graph_options.graph_to_ask(sources), left, right)
    effects = [d for d in comparison.differences if d.part in EFFECTS]
    if form == "json":
        reasons = [d._asdict() for d in comparison.likely_reasons]
        console.print_json({"effects": [d._asdict() for d in effects], "likely_reasons": reasons})
        return
    _print(comparison, effects)
    _print(comparison, comparison.likely_reasons, "Likely reasons, the likeliest first")
    if not comparison.likely_reasons:
        click.echo("Nothing that was recorded differs: chance (seeds, threads), or unseen data.")


def _print(
    comparison: Comparison, differences: tuple[Difference, ...] | list[Difference], title: str = ""
) -> None:
    names = [f"{run.label} {str(run.details.get('run_id', ''))[:8]}" for run in comparison.runs]
    rows = [(d.part, d.name, d.left or _ABSENT, d.right or _ABSENT) for d in differences]
    if rows:
        graph_options.print_rows(("part", "name", *names), rows, title)
