"""``yprov-mlflow show`` and ``energy``: views of the document of a run."""

from __future__ import annotations

import sys

import click

from yprov_mlflow.prov.cli.console import (
    PARTLY,
    print_json,
    print_view,
    store_errors,
    tracking_uri_option,
)
from yprov_mlflow.prov.views.view import View


@click.command()
@click.argument("run", metavar="RUN|FILE")
@tracking_uri_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with complete hashes.")
def show(run: str, tracking_uri: str | None, as_json: bool) -> None:
    """Summarize the provenance document of a run or store.

    The summary has params, tags, metrics, datasets, models with training data and registered
    versions, prompts, traces, files, related runs, energy and hardware. RUN is MLflow's run id:
    the document comes from the journal on this machine, or else from the run's artifacts. FILE
    is a document from anywhere, in any format; of several in a file, each is shown (as a list
    in JSON).

    \b
    Examples:
      yprov-mlflow show 5f0c9b2e6d3a4b0f8a7c1d2e3f405162
      yprov-mlflow show 5f0c9b2e6d3a4b0f8a7c1d2e3f405162 --tracking-uri sqlite:///mlflow.db
      yprov-mlflow show provenance/prov.json --json | jq .metrics
    """
    from yprov_mlflow.prov.capture.run_views import load_documents
    from yprov_mlflow.prov.views.summary import from_document

    with store_errors(tracking_uri, run):
        documents = load_documents(run, tracking_uri)
    if as_json and len(documents) > 1:
        print_json([from_document(document).to_dict() for document in documents])
        return
    for document in documents:
        _print(from_document(document), as_json)


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
    from yprov_mlflow.prov.capture.run_views import load_document
    from yprov_mlflow.prov.views.energy import from_document

    with store_errors(tracking_uri, run):
        document = load_document(run, tracking_uri)
    report = from_document(document)
    _print(report, as_json)
    sys.exit(0 if report.measured else PARTLY)


def _print(view: View, as_json: bool) -> None:
    if as_json:
        print_json(view.to_dict())
    else:
        print_view(view.tables(), view.notes())
