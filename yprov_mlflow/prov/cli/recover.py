"""``yprov-mlflow recover``: documents for runs whose end nobody saw, and for no run at all."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from yprov_mlflow.prov.cli.console import printable, when_store_fails

if TYPE_CHECKING:
    from yprov_mlflow.prov.capture.delivery import Outcome

FAILED, PARTLY = 1, 3


@click.command(
    epilog="Exit codes: 0 every run has its document, 1 none of them could be written, "
    "3 some could not."
)
@click.option("--run", "run_ids", multiple=True, metavar="ID", help="Only this run; repeatable.")
@click.option(
    "--tracking-uri",
    metavar="URI",
    help="The store that has the runs; else the one that each journal names.",
)
@click.option("--again", is_flag=True, help="Write current documents once more as well.")
@click.option("--json", "as_json", is_flag=True, help="Print outcomes as JSON.")
def recover(run_ids: tuple[str, ...], tracking_uri: str | None, again: bool, as_json: bool) -> None:
    """Write the documents of runs that were killed, or whose store was away at their end.

    Every captured call is in a journal on this machine before MLflow's call returns. This
    reads the journals that no document has yet, fills in from the store what they lack, and
    puts provenance/prov.json among the run's artifacts.

    What belongs to no run (experiments, the model registry, traces outside runs) gets a
    document, too: stores/<uuid of the store>/prov.json in the journal folder.

    \b
    Examples:
      yprov-mlflow recover
      yprov-mlflow recover --run 5f0c9b2e6d3a4b0f8a7c1d2e3f405162
      yprov-mlflow recover --tracking-uri http://localhost:5000 --json
    """
    from yprov_mlflow.prov.capture import delivery

    outcomes: list[Outcome] = []
    with when_store_fails(tracking_uri):
        for outcome in delivery.recover(tracking_uri, run_ids, again=again):
            outcomes.append(outcome)
            if not as_json:
                click.echo(_line(outcome))
    if as_json:
        click.echo(json.dumps([outcome._asdict() for outcome in outcomes], indent=2))
    elif not outcomes:
        click.echo("No journals: there is nothing to recover.")
    sys.exit(_exit_code(outcomes))


def _line(outcome: Outcome) -> str:
    detail = {
        "written": f"{outcome.events} events to {outcome.where}",
        "current": "has its document",
    }.get(outcome.state, outcome.reason)
    if outcome.state == "written" and outcome.reason:
        detail += f" (damaged journal: {outcome.reason})"
    return f"{outcome.state:8} {printable(outcome.run_id)}  {printable(detail)}"


def _exit_code(outcomes: Sequence[Outcome]) -> int:
    failed = sum(outcome.state == "failed" for outcome in outcomes)
    if not failed:
        return 0
    return FAILED if failed == len(outcomes) else PARTLY
