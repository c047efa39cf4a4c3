"""``yprov-mlflow doctor``: what can be captured here, and what cannot and why."""

from __future__ import annotations

import sys

import click

FAILED = 1


@click.command(epilog="Exit codes: 0 runs can be captured, 1 they cannot.")
@click.option("--tracking-uri", metavar="URI", help="A tracking URI to look at.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(tracking_uri: str | None, as_json: bool) -> None:
    """Say what is installed and set, which URI comes to what, and what cannot be captured.

    Run it where the training runs: same environment, same folder, same variables. It opens
    no store, and leaves nothing behind: a nameless file tells whether the journal folder,
    or the nearest one above it that exists, can be written. Every collector is asked, chosen
    or not, whether it works here.

    \b
    Examples:
      yprov-mlflow doctor
      MLFLOW_TRACKING_URI=yprov+sqlite:///mlflow.db yprov-mlflow doctor
      yprov-mlflow doctor --tracking-uri yprov+http://localhost:5000 --json
    """
    from yprov_mlflow.prov.cli import doctor_checks
    from yprov_mlflow.prov.views import summary

    found = doctor_checks.examine(tracking_uri)
    if as_json:
        click.echo(summary.dumps(found))
    else:
        _print(found)
    sys.exit(FAILED if found["problems"] else 0)


def _print(found: dict[str, object]) -> None:
    from yprov_mlflow.prov.cli import summary_tables

    summary_tables.show_findings(found)
