"""``yprov-mlflow recover``: write documents from the journals on this machine."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from yprov_mlflow.prov.cli.console import FAILED, PARTLY, printable, store_errors

if TYPE_CHECKING:
    from yprov_mlflow.prov.capture.recovery import Outcome


@click.command(
    epilog="Exit codes: 0 every run has its document, 1 no document could be written, "
    "3 some documents could not be written."
)
@click.option("--run", "run_ids", multiple=True, metavar="ID", help="Only this run; repeatable.")
@click.option(
    "--tracking-uri",
    metavar="URI",
    help="Store of the runs; by default the store that each journal names.",
)
@click.option("--again", is_flag=True, help="Rewrite documents that are up to date, too.")
@click.option(
    "--prune",
    "prune_days",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="Then remove the journals of runs that ended, and were not written to for so long; "
    "their documents remain.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcomes as JSON.")
def recover(
    run_ids: tuple[str, ...],
    tracking_uri: str | None,
    again: bool,
    prune_days: float | None,
    as_json: bool,
) -> None:
    """Write the documents of runs that were killed, or whose store was down when they ended.

    Every captured call is in a journal on this machine before MLflow's call returns. This
    command reads the journals that are newer than their document, adds data from the store
    that they lack, and uploads provenance/prov.json to the run's artifacts.

    Documents that a sink (YPROV_MLFLOW_SINKS) has not got are sent to it.

    Experiments, the model registry, and traces outside runs get a document, too:
    stores/<uuid of the store>/prov.json in the journal folder.

    \b
    Examples:
      yprov-mlflow recover
      yprov-mlflow recover --run 5f0c9b2e6d3a4b0f8a7c1d2e3f405162
      yprov-mlflow recover --tracking-uri http://localhost:5000 --json
      yprov-mlflow recover --prune 30
    """
    from yprov_mlflow.prov.capture import recovery

    # Printed one by one: with many runs and a slow store this takes minutes.
    outcomes: list[Outcome] = []
    with store_errors(tracking_uri):
        for outcome in recovery.recover(tracking_uri, run_ids, again=again, prune_days=prune_days):
            outcomes.append(outcome)
            if not as_json:
                click.echo(_line(outcome))
    if as_json:
        click.echo(json.dumps([outcome._asdict() for outcome in outcomes], indent=2))
    elif not outcomes:
        click.echo("No journals: there is nothing to recover.")
    failed = sum(outcome.state == "failed" for outcome in outcomes)
    sys.exit(0 if not failed else FAILED if failed == len(outcomes) else PARTLY)


def _line(outcome: Outcome) -> str:
    detail = {
        "written": f"{outcome.events} events to {outcome.where}",
        "sent": f"its document to {outcome.where}",
        "current": "is up to date",
        "pruned": "its document is among the artifacts of the run",
    }.get(outcome.state, outcome.reason)
    if outcome.state != "failed" and outcome.reason:
        detail += f" ({outcome.reason})"
    return f"{outcome.state:8} {printable(outcome.run_id)}  {printable(detail)}"
