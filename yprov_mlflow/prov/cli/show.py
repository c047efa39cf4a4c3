"""``yprov-mlflow show``: a summary of the document of a run."""

from __future__ import annotations

import click

from yprov_mlflow.prov.cli.console import (
    load_document,
    print_json,
    print_view,
    tracking_uri_option,
)


@click.command()
@click.argument("run", metavar="RUN|FILE")
@tracking_uri_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with complete hashes.")
def show(run: str, tracking_uri: str | None, as_json: bool) -> None:
    """Summarize the provenance document of a run.

    RUN is MLflow's run id: the document comes from the journal on this machine, or else from
    the run's artifacts. FILE is a prov.json from anywhere.

    \b
    Examples:
      yprov-mlflow show 5f0c9b2e6d3a4b0f8a7c1d2e3f405162
      yprov-mlflow show 5f0c9b2e6d3a4b0f8a7c1d2e3f405162 --tracking-uri sqlite:///mlflow.db
      yprov-mlflow show provenance/prov.json --json | jq .metrics
    """
    from yprov_mlflow.prov.views.summary import from_document

    summary = from_document(load_document(run, tracking_uri))
    if as_json:
        print_json(summary.to_dict())
    else:
        print_view(summary.tables(), summary.notes())
