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

    Data are compared by content, code by commit and by the lines that the collector `code` kept
    of it. For RUN see `lineage`.

    \b
    Examples:
      yprov-mlflow diff 5f0c9b2e latest
      yprov-mlflow diff first second --format json
    """
    comparison = _compare(left, right, sources)
    if form == "json":
        console.print_json(comparison.to_dict())
        return
    _print(comparison, comparison.differences)
    _print_code(comparison)
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
    from yprov_mlflow.prov.graph.run_comparison import EFFECTS

    comparison = _compare(left, right, sources)
    effects = [d for d in comparison.differences if d.part in EFFECTS]
    if form == "json":
        reasons = [d._asdict() for d in comparison.likely_reasons]
        changes = [change._asdict() for change in comparison.code_changes]
        answer = {"effects": [d._asdict() for d in effects], "likely_reasons": reasons}
        console.print_json({**answer, "code_changes": changes})
        return
    _print(comparison, effects)
    _print(comparison, comparison.likely_reasons, "Likely reasons, the likeliest first")
    _print_code(comparison)
    if not comparison.likely_reasons:
        click.echo("Nothing that was recorded differs: chance (seeds, threads), or unseen data.")


def _compare(left: str, right: str, sources: tuple[str, ...]) -> Comparison:
    from yprov_mlflow.prov.capture import code_reader
    from yprov_mlflow.prov.graph.run_comparison import compare

    return compare(graph_options.graph_to_ask(sources), left, right, code_reader.read)


def _print_code(comparison: Comparison) -> None:
    """Print the lines of code that differ, as far as they are kept."""
    for change in comparison.code_changes:
        click.echo(f"code: {console.printable(change.path)}")
        for line in "\n".join(change.hunks).split("\n") if change.hunks else ():
            click.echo(f"  {console.printable(line.expandtabs(4))}")
        if change.note:
            click.echo(f"  ({change.note})")


def _print(
    comparison: Comparison, differences: tuple[Difference, ...] | list[Difference], title: str = ""
) -> None:
    names = [f"{run.label} {str(run.details.get('run_id', ''))[:8]}" for run in comparison.runs]
    rows = [(d.part, d.name, d.left or _ABSENT, d.right or _ABSENT) for d in differences]
    if rows:
        graph_options.print_rows(("part", "name", *names), rows, title)
