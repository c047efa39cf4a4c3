"""``yprov-mlflow recover``: write documents from the journals on this machine, and close runs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from yprov_mlflow.prov.cli.console import (
    FAILED,
    LEFT_OPEN,
    PARTLY,
    json_option,
    printable,
    store_errors,
)

if TYPE_CHECKING:
    from yprov_mlflow.prov.capture.recovery import Outcome, Plan

# A server that is away must not cost minutes for each request.
_LIMITS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}


@click.command(
    epilog="Exit codes: 0 every run has its document, 1 no document could be written, "
    "3 some documents could not be written, 5 runs of dead processes were left open: "
    "--yes closes them."
)
@click.option(
    "--run", "run_ids", multiple=True, metavar="RUN", help="Only this run (see `show`); repeatable."
)
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
@click.option("--yes", is_flag=True, help="Do not ask, and close runs whose processes have died.")
@json_option
def recover(
    run_ids: tuple[str, ...],
    tracking_uri: str | None,
    again: bool,
    prune_days: float | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Write the documents of runs that were killed, or whose store was down when they ended.

    Every captured call is in a journal on this machine before MLflow's call returns. This
    command reads the journals that are newer than their document, adds data from the store
    that they lack, and uploads provenance/prov.json to the run's artifacts.

    A run whose process has died is closed in its store and in its document: as KILLED if it is
    known what ended the process, else as FAILED, at the time when it was last seen. A run is
    left alone if a process that may hold it may still be alive.

    On a terminal, the command shows what it will do and asks. Elsewhere it closes runs only
    with --yes.

    Documents that a sink (YPROV_MLFLOW_SINKS) has not got are sent to it.

    Experiments, the model registry, and traces outside runs get a document, too:
    stores/<uuid of the store>/prov.json in the journal folder.

    \b
    Examples:
      yprov-mlflow recover
      yprov-mlflow recover --run 5f0c9b2e6d3a4b0f8a7c1d2e3f405162
      yprov-mlflow recover --tracking-uri http://localhost:5000 --yes --json
      yprov-mlflow recover --prune 30
    """
    from yprov_mlflow.prov.capture import recovery, run_names

    for variable, value in _LIMITS.items():
        os.environ.setdefault(variable, value)
    outcomes: list[Outcome] = []
    with store_errors(tracking_uri):
        run_ids = tuple(run_names.resolve(run, tracking_uri) for run in run_ids)
        if not (yes or as_json) and sys.stdin.isatty() and sys.stdout.isatty():
            _ask(list(recovery.plan(tracking_uri, run_ids, again=again)))
            yes = True
        options: dict[str, Any] = {"again": again, "prune_days": prune_days, "close": yes}
        # Printed one by one: with many runs and a slow store this takes minutes.
        for outcome in recovery.recover(tracking_uri, run_ids, **options):
            outcomes.append(outcome)
            if not as_json:
                for line in _lines(outcome):
                    click.echo(line)
    if as_json:
        click.echo(json.dumps([outcome._asdict() for outcome in outcomes], indent=2))
    elif not outcomes:
        click.echo("No journals: there is nothing to recover.")
    sys.exit(_exit_code(outcomes))


def _exit_code(outcomes: Sequence[Outcome]) -> int:
    failed = sum(outcome.state == "failed" for outcome in outcomes)
    if failed:
        return FAILED if failed == len(outcomes) else PARTLY
    return LEFT_OPEN if any(_is_left_open(outcome.end) for outcome in outcomes) else 0


def _is_left_open(end: Mapping[str, Any] | None) -> bool:
    """Return whether a run could be closed, and was not."""
    return end is not None and bool(end["status"]) and not end.get("closed")


def _ask(plans: Sequence[Plan]) -> None:
    """Show what will be done, and end the command unless the user agrees."""
    for run_id, document, end in plans:
        if document:
            click.echo(f"{document:8} {printable(run_id)}  its document")
        if end is not None:
            click.echo(_end_line(run_id, end, "close"))
    count = sum(bool(plan.document) for plan in plans)
    closing = sum(_is_left_open(plan.end) for plan in plans)
    if not count and not closing:
        return
    if not click.confirm(f"Write or send {count} documents, and close {closing} runs?"):
        click.echo("Nothing was done.")
        sys.exit(LEFT_OPEN if closing else 0)


def _lines(outcome: Outcome) -> list[str]:
    detail = {
        "written": f"{outcome.events} events to {outcome.where}",
        "sent": f"its document to {outcome.where}",
        "current": "is up to date",
        "pruned": "its document is among the artifacts of the run",
    }.get(outcome.state, outcome.reason)
    if outcome.state != "failed" and outcome.reason:
        detail += f" ({outcome.reason})"
    lines = [f"{outcome.state:8} {printable(outcome.run_id)}  {printable(detail)}"]
    if outcome.end is not None:
        word = "closed" if outcome.end.get("closed") else "dead"
        lines.append(_end_line(outcome.run_id, outcome.end, word))
    return lines


def _end_line(run_id: str, end: Mapping[str, Any], word: str) -> str:
    """Return a line about a run without an end."""
    if not end["status"]:
        return f"{'left':8} {printable(run_id)}  {printable(end['why'])}"
    seen = datetime.fromtimestamp(end["last_seen_ms"] / 1000, UTC).isoformat(" ", "seconds")
    detail = f"{end['status']}: {end['reason']} (rule {end['rule']}), last seen {seen}"
    if word == "dead":
        detail += "; --yes closes it"
    return f"{word:8} {printable(run_id)}  {printable(detail)}"
