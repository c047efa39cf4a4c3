"""``yprov-mlflow journals``: list, prune and pack the journals on this machine."""

from __future__ import annotations

import sys
from datetime import datetime

import click

from yprov_mlflow.prov.cli.console import FAILED, json_option, print_json, print_view, printable
from yprov_mlflow.prov.errors import first_line
from yprov_mlflow.prov.redaction import redact
from yprov_mlflow.prov.views.view import Table

_days_option = click.option(
    "--days",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    metavar="N",
    help="Only runs that nothing was written to for so long.",
)


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def journals(ctx: click.Context, *, as_json: bool) -> None:
    """List the journals of runs on this machine, remove old ones, or pack finished ones.

    A run is open; or it has ended; or delivered: its document has everything in its journals; or
    sealed: `yprov-mlflow seal` covered its journals as they are.

    \b
    Examples:
      yprov-mlflow journals
      yprov-mlflow journals pack
      yprov-mlflow journals prune --days 30 --sealed --yes
    """
    # Without a subcommand, the group lists.
    if ctx.invoked_subcommand is not None:
        return
    # Imported here, as in the other commands: capture imports MLflow.
    from yprov_mlflow.prov.capture import housekeeping

    rows = list(housekeeping.journals())
    if as_json:
        print_json([row._asdict() for row in rows])
        return
    cells = [
        (
            row.run_id,
            row.state + (", server" if row.side == "server" else ""),
            row.sessions,
            f"{row.bytes / 1000:.1f} kB",
            datetime.fromtimestamp(row.last_write_s).isoformat(" ", "seconds"),
            "packed" if row.packed and not row.files else f"{row.files} files",
        )
        for row in rows
    ]
    columns = ("run", "state", "sessions", "size", "last write", "on disk")
    size, files = sum(row.bytes for row in rows), sum(row.files for row in rows)
    summary = f"{len(rows)} runs and stores, {size / 1e6:.1f} MB, {files} files and folders"
    print_view([Table("Journals", columns, cells)], [])
    click.echo(summary)


@journals.command()
@click.option("--sealed", is_flag=True, help="Only runs whose seal covers their journals.")
@_days_option
@click.option("--yes", is_flag=True, help="Remove them; without it, they are only listed.")
@json_option
def prune(*, sealed: bool, days: float, yes: bool, as_json: bool) -> None:
    """Remove the journals of runs that ended and have their document.

    The document stays among the artifacts. A run that is resumed later starts new journals.
    """
    from yprov_mlflow.prov.capture import housekeeping

    folders = list(housekeeping.prunable(days, sealed=sealed))
    size = sum(sum(folder.sizes().values()) for folder in folders)
    run_ids = [folder.run_id for folder in folders]
    failures: dict[str, str] = {}
    if yes:
        run_ids, errors = housekeeping.prune(folders)
        failures = {run_id: redact(first_line(error)) for run_id, error in errors.items()}
    if as_json:
        print_json({"removed": yes, "runs": run_ids, "bytes": size, "failures": failures})
        sys.exit(FAILED if failures else 0)
    for run_id in run_ids:
        click.echo(f"{'pruned' if yes else 'would prune'}  {printable(run_id)}")
    for run_id, reason in failures.items():
        click.echo(f"failed  {printable(run_id)}  {printable(reason)}")
    click.echo(f"{len(run_ids)} runs, {size / 1e6:.1f} MB")
    if run_ids and not yes:
        click.echo("Nothing was removed; add --yes to remove these journals.")
    sys.exit(FAILED if failures else 0)


@journals.command()
@_days_option
@json_option
def pack(*, days: float, as_json: bool) -> None:
    """Move the journals of finished runs into few compressed files.

    Every command reads packed journals as before, and a packed run can go on.
    """
    from yprov_mlflow.prov.capture import housekeeping

    before = housekeeping.file_count()
    count = housekeeping.pack(housekeeping.packable(days))
    after = housekeeping.file_count()
    if as_json:
        print_json({"runs": count, "files_before": before, "files_after": after})
    else:
        click.echo(f"packed {count} runs: {before} files and folders before, {after} now")
