"""``yprov-mlflow show``: what a document says, to be read."""

from __future__ import annotations

import click


@click.command()
@click.argument("run", metavar="RUN|FILE")
@click.option(
    "--tracking-uri",
    metavar="URI",
    help="The store that has the run; else MLFLOW_TRACKING_URI or MLflow's default.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON, hashes in full.")
def show(run: str, tracking_uri: str | None, as_json: bool) -> None:
    """Show what the provenance of a run says.

    RUN is MLflow's run id: the document comes from its journal on this machine, else from
    its artifacts. FILE is a prov.json from anywhere.

    \b
    Examples:
      yprov-mlflow show 5f0c9b2e6d3a4b0f8a7c1d2e3f405162
      yprov-mlflow show 5f0c9b2e6d3a4b0f8a7c1d2e3f405162 --tracking-uri sqlite:///mlflow.db
      yprov-mlflow show provenance/prov.json --json | jq .metrics
    """
    from yprov_mlflow.prov.cli import document_lookup, summary_tables
    from yprov_mlflow.prov.views import summary

    found = summary.summarise(document_lookup.find(run, tracking_uri))
    if as_json:
        click.echo(summary.dumps(found))
    else:
        summary_tables.show(found)
