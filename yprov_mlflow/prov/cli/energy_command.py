"""``yprov-mlflow energy``: the energy and emissions of a run."""

from __future__ import annotations

import sys

import click

from yprov_mlflow.prov.cli.console import (
    PARTLY,
    load_document,
    print_json,
    print_view,
    tracking_uri_option,
)


@click.command(
    epilog="Exit codes: 0 done, 1 the run or document does not exist, 2 wrong usage, 3 nothing "
    "was measured."
)
@click.argument("run", metavar="RUN|FILE")
@tracking_uri_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every quantity.")
def energy(run: str, tracking_uri: str | None, as_json: bool) -> None:
    """Report the energy and emissions of a run, by device, context and epoch.

    Every number has its method (measured or estimated) and its scope (device, process, job or
    node). Quantities that could not be measured are listed with the reason and a remedy. For
    RUN and FILE see `show`.

    \b
    Examples:
      yprov-mlflow energy 5f0c9b2e6d3a4b0f8a7c1d2e3f405162
      yprov-mlflow energy provenance/prov.json --json | jq .total.energy_kwh
    """
    from yprov_mlflow.prov.views.energy import from_document

    report = from_document(load_document(run, tracking_uri))
    if as_json:
        print_json(report.to_dict())
    else:
        print_view(report.tables(), report.notes())
    sys.exit(0 if report.measured else PARTLY)
