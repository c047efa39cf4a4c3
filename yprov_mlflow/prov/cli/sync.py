"""``yprov-mlflow sync``: bring runs from their journals into an MLflow store."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yprov_mlflow.prov import settings
from yprov_mlflow.prov.cli import console
from yprov_mlflow.prov.cli.restore import print_restored

if TYPE_CHECKING:
    from yprov_mlflow.prov.restore import RestoreReport
    from yprov_mlflow.prov.restore.synchronization import Synchronization

# A pass may take a fifth of a processor: training uses the same machine.
_REST = 4


@click.command(
    epilog="Exit codes: 0 the store has everything, 1 nothing, or no journals or store, 2 wrong "
    "usage, 3 some things were left out or are in conflict; they are listed, 4 only artifact files "
    "are out of reach."
)
@click.argument(
    "paths",
    metavar="[DIR]...",
    nargs=-1,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option(
    "--to",
    metavar="URI",
    callback=lambda _, __, value: value if value is None else console.not_empty(_, __, value),
    help="Tracking URI of the target; by default the store that the journals name.",
)
@click.option("--run", "run_ids", multiple=True, metavar="ID", help="Only this run; repeatable.")
@click.option("--follow", is_flag=True, help="Go on until interrupted: runs may still be logging.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How often --follow looks for news, at most.",
)
@click.option(
    "--artifacts",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with the artifacts, such as mlruns, if they are not where they were logged.",
)
@click.option(
    "--artifact-root",
    metavar="URI",
    help="Artifact location for a new database; by default MLflow's, ./mlruns.",
)
@click.option(
    "--overwrite", is_flag=True, help="Replace records of which the target has something else."
)
@console.report_option("counts, changes, losses and new ids as JSON")
@console.json_option
def sync(
    report_file: Path | None,
    paths: tuple[Path, ...],
    follow: bool,
    interval: float,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Bring runs from their journals into a store, such as offline runs, and calls it has missed.

    DIR is a folder of journals: the DIR of yprov:DIR, or the state folder of ordinary runs, which
    is the default. Journals have every call, so the target gets runs with their ids, times and
    nesting: a database, a folder, and a server that runs with `--app-name yprov` and has the same
    YPROV_MLFLOW_SYNC_TOKEN as this command. Other servers assign new ids; the tag
    `yprov.restored_from` has the original ones. Artifacts are copied from DIR or from where they
    were logged, if they are still the same.

    Repeated, the command changes nothing, and it may be interrupted anywhere. A run of the
    target is extended if it is an earlier state of the one in the journals; a run of the same id
    with other content is reported and left as it is. Secrets, which journals never contain, are
    "(withheld)" in the target.

    \b
    Examples:
      yprov-mlflow sync /shared/runs --to sqlite:///mlflow.db
      yprov-mlflow sync /shared/runs --to http://localhost:5000 --follow
      yprov-mlflow sync --run 5f0c9b2e6d3a4b0f8a7c1d2e3f405162
    """
    from yprov_mlflow.prov.restore.synchronization import Synchronization, SyncRequest

    request = SyncRequest(paths or (settings.load().directory,), **chosen)
    with (
        console.store_errors(request.to, option="--to"),
        console.text_output(as_json=as_json),
        Synchronization(request) as work,
    ):
        reports = _follow(work, interval) if follow else _once(work)
    content = {"targets": [report.to_json() for report in reports]}
    if report_file is not None:
        console.write_report(report_file, content)
    if as_json:
        console.print_json(content)
    sys.exit(_exit_code(reports))


def _once(work: Synchronization) -> Sequence[RestoreReport]:
    reports = work.run(_show_progress if sys.stderr.isatty() else lambda done, total: None)
    _print(reports)
    return reports


def _show_progress(done: int, total: int) -> None:
    end = "\n" if done == total else ""
    click.echo(f"\r{done} of {total} runs and stores{end}", err=True, nl=False)


def _follow(work: Synchronization, interval: float) -> Sequence[RestoreReport]:
    """Make passes until SIGINT or SIGTERM; print a pass that changed or lost something."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    reports: Sequence[RestoreReport] = []
    printed = None
    while True:
        # The last pass is made after the signal: it has what came before.
        is_last = stopped.is_set()
        start = time.monotonic()
        if work.has_changed() or any(not report.complete for report in reports):
            reports = work.run()
            lines = [(r.changed, [note.reason for note in r.losses]) for r in reports]
            if lines != printed and any(r.changed or r.losses for r in reports):
                _print(reports)
            printed = lines
        if is_last:
            return reports
        stopped.wait(max(interval, _REST * (time.monotonic() - start)))


def _print(reports: Sequence[RestoreReport]) -> None:
    for report in reports:
        click.echo(f"To {console.printable(report.target)}")
        print_restored(report)


def _exit_code(reports: Sequence[RestoreReport]) -> int:
    if all(report.complete for report in reports):
        return 0
    if all(report.lacks_only_artifacts for report in reports):
        return console.NO_ARTIFACTS
    return console.PARTLY if any(report.total for report in reports) else console.FAILED
