"""``yprov-mlflow convert-mlruns``: convert all stores below a folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from yprov_mlflow.prov.cli import console
from yprov_mlflow.prov.errors import StoreError, UsageError, YprovMlflowError

_INTERRUPTED = 130
_STORES, _EXPERIMENTS = _LISTS = "stores experiments".split()


@click.command(
    "convert-mlruns",
    epilog="Exit codes: 0 everything is converted, 1 nothing is, 2 wrong usage, 3 something could "
    "not be converted and is listed, 130 interrupted.",
)
@click.argument(
    "folder", metavar="FOLDER", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option(
    "-o", "--out", metavar="DIR", type=click.Path(path_type=Path), help="Convert to this folder."
)
@click.option(
    "--list",
    "listed",
    type=click.Choice(_LISTS),
    help="Print only paths of stores, or lines of path, tab, experiment id.",
)
@click.option(
    "--to",
    "formats",
    multiple=True,
    default=("prov-json",),
    show_default=True,
    type=console.FormatChoice(),
    help="Format of the documents; repeatable.",
)
@click.option(
    "--layout", type=click.Choice(["per-run", "per-experiment", "single"]), default="per-run"
)
@click.option("--points", type=click.Choice(["auto", "all", "none"]), default="auto")
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    help="Number of processes.  [default: number of CPUs]",
)
@console.report_option("one report as JSON")
@console.json_option
def convert_mlruns(
    folder: Path,
    *,
    out: Path | None,
    listed: str | None,
    workers: int,
    report_file: Path | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Convert all MLflow stores below a folder: `mlruns` folders and SQLite databases.

    Without -o it lists them with their numbers of runs. Each store is converted to DIR and its path
    below FOLDER, as `convert` does it, and there is one report. An interrupted conversion continues
    if you repeat the command.

    \b
    Examples:
      yprov-mlflow convert-mlruns /data/projects
      yprov-mlflow convert-mlruns /data/projects -o prov --report all.json
      yprov-mlflow convert-mlruns /data/projects --list stores > stores.txt
    """
    from yprov_mlflow.prov.convert import many_stores

    stores = list(many_stores.find(folder, out))
    if not stores:
        raise StoreError("contains no MLflow store", str(folder), "Name a folder above the stores")
    if listed == _STORES:
        click.echo("\n".join(map(str, stores)))
        return
    if listed == _EXPERIMENTS or out is None:
        sys.exit(_list(stores, by_experiment=listed == _EXPERIMENTS))
    reports: list[dict[str, Any]] = []
    try:
        with console.text_output(as_json=as_json):
            code = _convert(stores, folder, out, workers, chosen, reports)
    except KeyboardInterrupt:
        click.echo("Interrupted. Repeat the command to continue.", err=True)
        code = _INTERRUPTED
    finally:
        if report_file is not None:
            console.write_report(report_file, many_stores.summary(reports))
    if as_json:
        console.print_json(many_stores.summary(reports))
    sys.exit(code)


def _list(stores: Sequence[Path], *, by_experiment: bool) -> int:
    """Print the counts or experiments of each store; return the exit code."""
    from yprov_mlflow.prov.convert import many_stores

    code = 0
    if not by_experiment:
        click.echo(f"{'runs':>8} {'deleted':>8} {'experiments':>12}  store")
    for store in stores:
        try:
            experiments, deleted, problems = many_stores.contents(store)
        except YprovMlflowError as error:
            click.echo(console.printable(str(error)), err=True)
            code = console.PARTLY
            continue
        if by_experiment:
            for experiment_id in experiments:
                click.echo(f"{store}\t{experiment_id}")
        else:
            count = experiments.total()
            click.echo(f"{count:>8} {deleted:>8} {len(experiments):>12}  {store}")
        for problem in problems:
            console.note(console.printable(f"{problem.place}: {problem.reason}"))
    return code


def _convert(
    stores: Sequence[Path],
    folder: Path,
    out: Path,
    workers: int,
    chosen: dict[str, Any],
    reports: list[dict[str, Any]],
) -> int:
    """Convert all stores; a store that fails does not stop the others. Return the exit code."""
    from yprov_mlflow.prov.convert import Request, many_stores

    lossless = True
    for store in stores:
        below = store.relative_to(folder)
        target = (out / (below if below.parts else store.resolve().name)).absolute()
        request = Request(source=str(store), out=target, **chosen)
        try:
            report = many_stores.convert(request, workers)
        except UsageError:  # the options do not go together for any store
            raise
        except YprovMlflowError as error:
            click.echo(console.printable(str(error)), err=True)
            reports.append({"source": str(store), "error": str(error)})
            lossless = False
            continue
        done = report.converted + report.unchanged
        click.echo(f"{done:>8} of {report.runs} runs  {console.printable(str(target))}")
        lost = (f"{p.place}: {p.reason} ({p.lost})" for p in report.losses)
        console.print_first(lost)
        lossless = lossless and not report.losses
        reports.append(report.to_json_object())
    if all("error" in report for report in reports):
        return console.FAILED
    return 0 if lossless else console.PARTLY
