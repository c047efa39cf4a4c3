"""``yprov-mlflow convert``: a store of old runs becomes PROV documents."""

from __future__ import annotations

import datetime
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from yprov_mlflow.prov.cli.console import ReportFile, not_empty, printable, show_some, write_report
from yprov_mlflow.prov.formats import FORMATS
from yprov_mlflow.prov.formats.metric_files import SERIES
from yprov_mlflow.prov.ids import redact

if TYPE_CHECKING:
    from rich.progress import Progress

    from yprov_mlflow.prov.convert import ConversionReport, Preview, Request
    from yprov_mlflow.prov.convert.workers import Executor
    from yprov_mlflow.prov.sources.source import Problem

PARTLY, INTERRUPTED = 3, 130
_STATUSES = ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")
_QUIET_S = 60.0
"""Between two lines where no terminal shows a bar."""


@click.command(
    epilog="Exit codes: 0 all is converted, 1 failed, 2 wrong usage, 3 something could not be "
    "converted and is named, 130 interrupted."
)
@click.argument("source")
@click.option(
    "-o",
    "--out",
    required=True,
    metavar="DIR",
    callback=not_empty,
    help="Gets the documents; or a URL.",
)
@click.option(
    "--to",
    "formats",
    multiple=True,
    default=("prov-json",),
    show_default=True,
    type=click.Choice(list(FORMATS)),
    help="Format of the documents; repeatable.",
)
@click.option("--experiment", "experiments", multiple=True, metavar="NAME|ID", help="Repeatable.")
@click.option("--run", "runs", multiple=True, metavar="ID", help="Only this run; repeatable.")
@click.option("--since", metavar="DATE", help="Only runs started then or later (ISO 8601, UTC).")
@click.option("--status", "statuses", multiple=True, type=click.Choice(_STATUSES))
@click.option(
    "--layout",
    type=click.Choice(["per-run", "per-experiment", "single"]),
    default="per-run",
    show_default=True,
    help="A document for each run, each experiment, or for all.",
)
@click.option(
    "--points",
    type=click.Choice(["auto", "all", "none"]),
    default="auto",
    show_default=True,
    help="Metric points as records: while they are few, always, or never (figures only).",
)
@click.option(
    "--series",
    type=click.Choice(list(SERIES)),
    default="parquet",
    show_default=True,
    help="Kind of file that has the points where they are not records.",
)
@click.option(
    "--artifacts",
    metavar="ROOT",
    type=click.Path(exists=True, file_okay=False),
    help="Where the artifacts are now, if elsewhere.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    help="Processes that convert.  [default: number of CPUs]",
)
@click.option("--dask", metavar="ADDRESS", help="Convert on the Dask cluster of this scheduler.")
@click.option("--dry-run", is_flag=True, help="Show what there is to do, and write nothing.")
@click.option(
    "--report",
    "report_file",
    metavar="FILE",
    type=ReportFile(),
    help="Write figures and problems as JSON.",
)
def convert(
    source: str,
    out: str,
    *,
    since: str | None,
    workers: int,
    dask: str | None,
    dry_run: bool,
    report_file: Path | None,
    **chosen: Any,
) -> None:
    """Convert the runs of an MLflow store to W3C PROV.

    SOURCE is a folder `mlruns` of any age, a database (sqlite:///mlflow.db, postgresql://…,
    mysql://…, also one that this MLflow would first upgrade), or a tracking server (http://…).
    It is only read. Nothing of it is left out: deleted runs, registered models, logged models
    and traces come along, and what cannot be read is named with its place and the reason.
    SOURCE and DIR may be URLs of object stores, such as s3://bucket/mlruns.

    Stopped in between, the same command goes on where it was; repeated, it does what changed.

    \b
    Examples:
      yprov-mlflow convert mlruns -o prov --dry-run
      yprov-mlflow convert mlruns -o prov
      yprov-mlflow convert sqlite:///mlflow.db -o prov --to prov-json --to turtle
      yprov-mlflow convert mlruns -o prov --to n-quads --layout single --workers 8
      yprov-mlflow convert http://localhost:5000 -o prov --experiment iris --since 2026-01-01
    """
    from yprov_mlflow.prov.convert import Request
    from yprov_mlflow.prov.convert.remote import RemoteOutput, is_remote, local_source
    from yprov_mlflow.prov.settings import load
    from yprov_mlflow.prov.translate import Options

    settings = load()
    remote = RemoteOutput(out, settings.directory / "staging", source) if is_remote(out) else None
    with local_source(source) as place:
        request = Request(
            source=place,
            out=remote.folder if remote is not None else _folder(out),
            since_ms=_milliseconds(since),
            uri=redact(source) if place != source else None,
            options=Options(settings.max_samples, settings.hash_user, settings.base_uri),
            **chosen,
        )
        if dry_run:
            report: ConversionReport | Preview = _preview(request, report_file)
        else:
            report = _convert(request, _workers(workers, dask), report_file)
    if remote is not None and not dry_run:
        count = remote.upload()
        click.echo(f"{count} files uploaded to {redact(out)}")
    if report.losses:
        sys.exit(PARTLY)


def _convert(request: Request, workers: Executor, report_file: Path | None) -> ConversionReport:
    from yprov_mlflow.prov.convert import Conversion

    conversion = Conversion(request, workers)
    try:
        with _progress(len(conversion.units)) as progress:
            for _ in conversion:
                progress.advance()
    except KeyboardInterrupt:
        click.echo("Interrupted. The same command goes on where it stopped.", err=True)
        sys.exit(INTERRUPTED)
    finally:
        if report_file is not None:
            write_report(report_file, conversion.report.to_json_object())
    _summarise(conversion.report)
    return conversion.report


def _preview(request: Request, report_file: Path | None) -> Preview:
    from yprov_mlflow.prov.convert import Conversion, preview
    from yprov_mlflow.prov.convert.workers import InlineExecutor

    found = preview(Conversion(request, InlineExecutor()))
    if report_file is not None:
        write_report(report_file, found.to_json_object())
    click.echo(f"{'runs':>8} {'deleted':>8} {'to do':>8}  experiment")
    for share in found.experiments:
        to_do = share.runs - share.unchanged
        name = printable(f"{share.experiment_id} {share.name or ''}".rstrip())
        click.echo(f"{share.runs:>8} {share.deleted:>8} {to_do:>8}  {name}")
    to_do = found.runs - found.unchanged
    click.echo(f"{to_do} of {found.runs} runs of {printable(found.source)} would be converted")
    if found.unchanged:
        click.echo(
            f"{found.unchanged} unchanged: {found.records} records, {found.points} points, "
            f"{_size(found.bytes)} in {printable(found.out)}"
        )
    show_some(map(_described, found.problems))
    return found


def _folder(out: str) -> Path:
    path = Path(out).absolute()
    if path.exists() and not path.is_dir():
        raise click.BadParameter(f"{printable(out)!r} is a file.", param_hint="'--out'")
    return path


def _workers(count: int, dask: str | None) -> Executor:
    from yprov_mlflow.prov.convert.workers import DaskExecutor, InlineExecutor, ProcessExecutor

    if dask is not None:
        return DaskExecutor(dask)
    return InlineExecutor() if count == 1 else ProcessExecutor(count)


def _milliseconds(since: str | None) -> int | None:
    if since is None:
        return None
    try:
        moment = datetime.datetime.fromisoformat(since)
    except ValueError as error:
        hint = f"{printable(since)!r} is no date such as 2026-01-31 or 2026-01-31T12:00:00+01:00."
        raise click.BadParameter(hint, param_hint="--since") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return int(moment.timestamp() * 1000)


# -- what is shown -----------------------------------------------------------------------


class _Progress(Protocol):
    def advance(self) -> None:
        """Count one run more."""


@contextmanager
def _progress(total: int) -> Iterator[_Progress]:
    """Show a bar on a terminal, else a line a minute."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(total)
        return
    columns = (BarColumn(), MofNCompleteColumn(), "runs", TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        yield _Bar(bar, total)


class _Bar:
    def __init__(self, bar: Progress, total: int) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=total)

    def advance(self) -> None:
        """Lengthen the bar."""
        self._bar.advance(self._task)


class _Lines:
    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._next = time.monotonic() + _QUIET_S

    def advance(self) -> None:
        """Count, and say so where a minute has passed."""
        self._done += 1
        if time.monotonic() >= self._next:
            click.echo(f"{self._done} of {self._total} runs", err=True)
            self._next = time.monotonic() + _QUIET_S


def _summarise(report: ConversionReport) -> None:
    click.echo(
        f"{report.converted} of {report.runs} runs converted"
        + (f", {report.unchanged} unchanged" if report.unchanged else "")
        + (f", {report.failed} failed" if report.failed else "")
        + f": {report.records} records, {report.points} points, {_size(report.bytes)}"
        f" in {report.seconds:.1f} s"
    )
    click.echo(f"The documents are in {report.out}")
    show_some(map(_described, report.problems))


def _described(problem: Problem) -> str:
    lost = f" (not converted: {problem.lost})" if problem.lost else ""
    return f"{problem.place}: {problem.reason}{lost}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
