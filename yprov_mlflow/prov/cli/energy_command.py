"""``yprov-mlflow energy``: what a run cost."""

from __future__ import annotations

import sys

import click

UNMEASURED = 3


@click.command(
    epilog="Exit codes: 0 done, 1 there is no such run or document, 2 wrong usage, 3 nothing "
    "was measured."
)
@click.argument("run", metavar="RUN|FILE")
@click.option(
    "--tracking-uri",
    metavar="URI",
    help="The store that has the run; else MLFLOW_TRACKING_URI or MLflow's default.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the bill as JSON, every quantity.")
def energy(run: str, tracking_uri: str | None, as_json: bool) -> None:
    """Show the energy bill of a run, by device, context and epoch.

    Every number comes with its method (measured or estimated) and scope (the device, process,
    job or node that it is of). What could not be measured is named, with the reason and the
    cure. RUN and FILE are as `show` takes them.

    \b
    Examples:
      yprov-mlflow energy 5f0c9b2e6d3a4b0f8a7c1d2e3f405162
      yprov-mlflow energy provenance/prov.json --json | jq .total.energy_kwh
    """
    from yprov_mlflow.prov.cli import document_lookup, energy_tables
    from yprov_mlflow.prov.views import energy as bill
    from yprov_mlflow.prov.views import summary

    found = bill.draw_up(document_lookup.find(run, tracking_uri))
    if as_json:
        click.echo(summary.dumps(found))
    else:
        energy_tables.show(found)
    sys.exit(0 if found["measured"] else UNMEASURED)
