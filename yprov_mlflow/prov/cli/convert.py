"""``yprov-mlflow convert``: convert stores of old runs, and documents, to PROV documents."""

from __future__ import annotations

import datetime
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yprov_mlflow.prov.cli import console
from yprov_mlflow.prov.errors import DeliveryError, UsageError
from yprov_mlflow.prov.formats.metric_files import SERIES
from yprov_mlflow.prov.layout import STORE_FOLDER
from yprov_mlflow.prov.redaction import redact

if TYPE_CHECKING:
    from yprov_mlflow.prov.convert import ConversionReport, Preview, Request
    from yprov_mlflow.prov.convert.executors import Executor
    from yprov_mlflow.prov.sources.source import Problem

_INTERRUPTED = 130
_RUN_ID = re.compile(r"[0-9a-f]{32}").fullmatch
_STATUSES = ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")
# Seconds between two lines of progress in a log file.
_PROGRESS_S = 60.0


@click.command(
    epilog="Exit codes: 0 everything is converted, 1 failed, 2 wrong usage, 3 some things could "
    "not be converted; they are listed, 4 everything is converted but artifacts that are out of "
    "reach (see --artifacts), 130 interrupted."
)
@click.argument("source")
@click.option(
    "-o",
    "--out",
    required=True,
    metavar="DIR",
    callback=console.not_empty,
    help="Folder or URL for the documents.",
)
@click.option(
    "--to",
    "formats",
    multiple=True,
    default=("prov-json",),
    show_default=True,
    type=console.FormatChoice(),
    help="Format of the documents, or the extension of its files; repeatable.",
)
@click.option("--experiment", "experiments", multiple=True, metavar="NAME|ID", help="Repeatable.")
@click.option("--run", "runs", multiple=True, metavar="ID", help="Only this run; repeatable.")
@click.option("--since", metavar="DATE", help="Only runs started since then (ISO 8601, UTC).")
@click.option("--status", "statuses", multiple=True, type=click.Choice(_STATUSES))
@click.option(
    "--layout",
    type=click.Choice(["per-run", "per-experiment", "single"]),
    default="per-run",
    show_default=True,
    help="One document per run, per experiment, or for everything.",
)
@click.option(
    "--points",
    type=click.Choice(["auto", "all", "none"]),
    default="auto",
    show_default=True,
    help="Metric points as PROV records: if few (auto), always, or never (statistics only). "
    "Documents of captured runs keep theirs.",
)
@click.option(
    "--series",
    type=click.Choice(list(SERIES)),
    default="parquet",
    show_default=True,
    help="File format of metric points that are not PROV records. Documents of captured runs "
    "keep their file.",
)
@click.option(
    "--profile",
    type=click.Choice(["yprov4ml"]),
    help="Also write each run as yProv4ML does, for its readers: DIR is then a folder of yProv4ML "
    "runs, each with its full document in the folder provenance.",
)
@click.option(
    "--artifacts",
    metavar="ROOT",
    type=click.Path(exists=True, file_okay=False),
    help="Current location of the artifacts, if they were moved.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    help="Number of processes.  [default: number of CPUs]",
)
@click.option(
    "--about",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="TOML file with a table [tool.yprov-mlflow.about], whose authors, license and so on the "
    "documents state.",
)
@click.option("--dask", metavar="ADDRESS", help="Convert on the Dask cluster of this scheduler.")
@console.tracking_uri_option
@click.option("--dry-run", is_flag=True, help="Show what would be converted, and write nothing.")
@console.report_option("counts and problems as JSON")
@console.json_option
def convert(
    source: str,
    out: str,
    *,
    tracking_uri: str | None,
    since: str | None,
    about: str | None,
    workers: int,
    dask: str | None,
    dry_run: bool,
    report_file: Path | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Convert the runs of an MLflow store, or documents, to W3C PROV.

    SOURCE is an `mlruns` folder of any MLflow version, a database (sqlite:///mlflow.db,
    postgresql://…, mysql://…, also of an older schema that MLflow would first upgrade), or a
    tracking server (http://…). It is only read. The conversion is complete: it includes deleted
    runs, registered models, logged models and traces, and lists everything that cannot be read,
    with its location and the reason. SOURCE and DIR may be URLs of object stores, such as
    s3://bucket/mlruns.

    SOURCE may also be a document, a folder of documents, or the id of a captured run, whose
    document is found as `show` finds it. Documents only get another format.

    An interrupted conversion continues if you repeat the command. A finished one converts only
    what changed.

    \b
    Examples:
      yprov-mlflow convert mlruns -o prov --dry-run
      yprov-mlflow convert mlruns -o prov
      yprov-mlflow convert sqlite:///mlflow.db -o prov --to prov-json --to turtle
      yprov-mlflow convert mlruns -o prov --to n-quads --layout single --workers 8
      yprov-mlflow convert http://localhost:5000 -o prov --experiment iris --since 2026-01-01
      yprov-mlflow convert provenance/prov.json -o ttl --to turtle
      yprov-mlflow convert mlruns -o prov --profile yprov4ml
      yprov-mlflow convert 5f0c9b2e6d3a4b0f8a7c1d2e3f405162 -o ttl --to turtle
    """
    # Imports in functions keep `--help` and other commands fast: these load MLflow and pyarrow.
    from yprov_mlflow.prov.convert import Request
    from yprov_mlflow.prov.convert.remote import RemoteOutput, is_remote
    from yprov_mlflow.prov.settings import load
    from yprov_mlflow.prov.translate import Options

    settings = load()
    remote = RemoteOutput(out, settings.directory, source) if is_remote(out) else None
    with console.text_output(as_json=as_json), _local(source, tracking_uri) as location:
        request = Request(
            source=location,
            out=remote.folder if remote is not None else _folder(out),
            since_ms=_milliseconds(since),
            uri=redact(source) if location != source else None,
            about=_about(about),
            address=None if remote is None else redact(out),
            options=Options(settings.max_samples, settings.hash_user, settings.base_uri),
            **chosen,
        )
        report: ConversionReport | Preview
        if dry_run:
            report = _preview(request, report_file)
        else:
            report = _convert(request, _executor(workers, dask), report_file)
    if remote is not None and not dry_run:
        count = remote.upload()
        with console.text_output(as_json=as_json):
            click.echo(f"{count} files uploaded to {redact(out)}")
    if as_json:
        console.print_json(report.to_json_object())
    if report.losses:
        sys.exit(console.NO_ARTIFACTS if report.lacks_only_artifacts else console.PARTLY)


@contextmanager
def _local(source: str, tracking_uri: str | None) -> Iterator[str]:
    """Yield a local location: that of a temporary copy of a run's document or of a remote source.

    Raises:
        UsageError: A file has the name of a run id, or a store is passed for no run id.
        DeliveryError: The run lacks a document.
    """
    from yprov_mlflow.prov.capture import run_names
    from yprov_mlflow.prov.convert.remote import local_source
    from yprov_mlflow.prov.sources.location import is_store_uri

    if is_store_uri(source) or (run_names.is_local(source) and not _RUN_ID(source)):
        if tracking_uri is not None:
            what = "--tracking-uri is for runs, and this is a store or document"
            raise UsageError(what, source, "Name the store itself as SOURCE, or a run")
        with local_source(source) as location:
            yield location
        return
    if os.path.lexists(source):
        what = "this is a file or folder here, and could be a run id"
        raise UsageError(what, source, f"Write ./{source} for the file, or change the folder")
    from yprov_mlflow.prov.capture.run_views import write_document

    with console.store_errors(tracking_uri):
        source = run_names.resolve(source, tracking_uri)
    with tempfile.TemporaryDirectory(prefix="yprov-mlflow-") as out:
        try:
            with console.store_errors(tracking_uri, source):
                path = write_document(source, Path(out), tracking_uri, with_points=True)
        except DeliveryError as error:
            cure = "Convert it from its store: yprov-mlflow convert STORE -o DIR --run ID"
            raise DeliveryError(error.what, error.where, cure) from error
        yield str(path)


def _convert(request: Request, executor: Executor, report_file: Path | None) -> ConversionReport:
    from yprov_mlflow.prov.convert import Conversion

    conversion = Conversion(request, executor)
    try:
        # Iterating converts; the report has the results.
        with _progress(conversion.report.runs) as advance:
            for result in conversion:
                if result.key != STORE_FOLDER:  # the unit of what belongs to no run
                    advance()
    except KeyboardInterrupt:
        click.echo("Interrupted. Repeat the command to continue.", err=True)
        sys.exit(_INTERRUPTED)
    finally:  # also after an interruption: the report lists what is converted already
        if report_file is not None:
            console.write_report(report_file, conversion.report.to_json_object())
    _print_report(conversion.report)
    return conversion.report


def _preview(request: Request, report_file: Path | None) -> Preview:
    from yprov_mlflow.prov.convert import Conversion, preview
    from yprov_mlflow.prov.convert.executors import InlineExecutor

    plan = preview(Conversion(request, InlineExecutor()))
    if report_file is not None:
        console.write_report(report_file, plan.to_json_object())
    click.echo(f"{'runs':>8} {'deleted':>8} {'to do':>8}  experiment")
    for share in plan.experiments:
        name = console.printable(f"{share.experiment_id} {share.name or ''}".rstrip())
        click.echo(f"{share.runs:>8} {share.deleted:>8} {share.runs - share.unchanged:>8}  {name}")
    to_do = plan.runs - plan.unchanged
    click.echo(
        f"{to_do} of {plan.runs} runs of {console.printable(plan.source)} would be converted"
    )
    if plan.unchanged:
        click.echo(
            f"{plan.unchanged} unchanged: {_contents(plan)} in {console.printable(plan.out)}"
        )
    console.print_first(map(_line, plan.problems))
    return plan


def _about(file: str | None) -> dict[str, Any]:
    """Return the facts of a file, which apply to all documents; tell those that look wrong."""
    from yprov_mlflow.prov import authorship

    if file is None:  # the project file is about the runs of the project, not about any store
        return {}
    facts = authorship.read(file)
    console.print_first(facts.get("problems", ()))
    return facts


def _folder(out: str) -> Path:
    path = Path(out).absolute()
    if path.exists() and not path.is_dir():
        raise click.BadParameter(f"{console.printable(out)!r} is a file.", param_hint="'--out'")
    return path


def _executor(workers: int, dask: str | None) -> Executor:
    from yprov_mlflow.prov.convert.executors import DaskExecutor, InlineExecutor, ProcessExecutor

    if dask is not None:
        return DaskExecutor(dask)
    return InlineExecutor() if workers == 1 else ProcessExecutor(workers)


def _milliseconds(since: str | None) -> int | None:
    if since is None:
        return None
    try:
        start = datetime.datetime.fromisoformat(since)
    except ValueError as error:
        examples = "2026-01-31 or 2026-01-31T12:00:00+01:00"
        hint = f"{console.printable(since)!r} is not a date such as {examples}."
        raise click.BadParameter(hint, param_hint="--since") from error
    # As local time, one command would select other runs on a machine in another time zone.
    if start.tzinfo is None:
        start = start.replace(tzinfo=datetime.UTC)
    return int(start.timestamp() * 1000)


# -- output ------------------------------------------------------------------------------


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar on a terminal, or else a line per minute; yield what advances it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    terminal = Console(stderr=True)
    if not terminal.is_terminal:
        yield _lines(total)
        return
    columns = (BarColumn(), MofNCompleteColumn(), "runs", TimeRemainingColumn())
    with Progress(*columns, console=terminal, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


def _lines(total: int) -> Callable[[], None]:
    done, due = 0, time.monotonic() + _PROGRESS_S

    def advance() -> None:
        nonlocal done, due
        done += 1
        if time.monotonic() >= due:
            console.note(f"{done} of {total} runs")
            due = time.monotonic() + _PROGRESS_S

    return advance


def _print_report(report: ConversionReport) -> None:
    click.echo(
        f"{report.converted} of {report.runs} runs converted"
        + (f", {report.unchanged} unchanged" if report.unchanged else "")
        + (f", {report.failed} failed" if report.failed else "")
        + f": {_contents(report)} in {report.seconds:.1f} s"
    )
    click.echo(f"The documents are in {report.out}")
    console.print_first(map(_line, report.problems))


def _line(problem: Problem) -> str:
    lost = f" (not converted: {problem.lost})" if problem.lost else ""
    return f"{problem.place}: {problem.reason}{lost}"


def _contents(result: ConversionReport | Preview) -> str:
    points = f" {result.points} points," if result.points else ""
    return f"{result.records} records,{points} {_size(result.bytes)}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
