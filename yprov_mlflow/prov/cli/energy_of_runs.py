"""``yprov-mlflow energy``: the energy of a run, or the sums of many."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from yprov_mlflow.prov import settings
from yprov_mlflow.prov.cli import console, graph_options

if TYPE_CHECKING:
    from yprov_mlflow.prov.graph.stores import Graph
    from yprov_mlflow.prov.model.document import Document
    from yprov_mlflow.prov.views.assumed_costs import Assumptions

_GROUPS = ("day", "model", "user", "experiment", "run")


@click.command(
    epilog="Exit codes: 0 done, 1 the run or document does not exist, 2 wrong usage, 3 nothing "
    "was measured."
)
@click.argument("runs", metavar="[RUN|DOCUMENT]...", nargs=-1)
@click.option("--experiment", default="", metavar="NAME", help="All runs of this experiment.")
@click.option("--since", default="", metavar="DATE", help="All runs that started since then.")
@click.option("--by", type=click.Choice(_GROUPS), help="Sum by this.  [default: day]")
@console.tracking_uri_option
@click.option("--csv", "as_csv", is_flag=True, help="Print sums as CSV.")
@console.json_option
@graph_options.source_option
def energy(
    runs: tuple[str, ...],
    *,
    experiment: str,
    since: str,
    by: str | None,
    tracking_uri: str | None,
    as_csv: bool,
    as_json: bool,
    sources: tuple[str, ...],
) -> None:
    """Report the energy and emissions of a run, or sum those of many runs.

    For one run, by device, context and epoch: every number has its method (measured or estimated)
    and its scope (device, process, job or node); quantities that could not be measured are listed
    with the reason and a remedy. For RUN and DOCUMENT see `show`.

    With several runs, --experiment, --since, --by, --csv or --from, sums of the runs' own shares;
    without a RUN they are those of the index. Shares of whole nodes are not summed, because runs
    at the same time share them.

    YPROV_MLFLOW_PUE and YPROV_MLFLOW_ENERGY_PRICE add the energy of the computing center and its
    price: always apart, and marked as your assumption.

    \b
    Examples:
      yprov-mlflow energy latest
      yprov-mlflow energy --experiment iris --by user
      YPROV_MLFLOW_ENERGY_PRICE="0.30 EUR" yprov-mlflow energy --since 2026-01-01 --csv
      yprov-mlflow energy provenance/prov.json --json | jq .total.energy_kwh
    """
    from yprov_mlflow.prov.graph.energy_sums import COLUMNS, EnergySums
    from yprov_mlflow.prov.graph.run_table import Question
    from yprov_mlflow.prov.graph.run_table import runs as table_of_runs

    # Sums are only right for several runs: one run has a report, which says more.
    documents = _documents(runs, tracking_uri)
    is_one = len(documents) == 1 and not (experiment or since or by or as_csv or sources)
    if is_one:
        sys.exit(_report(documents[0], as_json))
    graph = _graph(documents, sources)
    table = table_of_runs(graph, Question(columns=COLUMNS, experiment=experiment, since=since))
    sums = EnergySums(table, by or ("run" if runs else "day"), _assumptions())
    if as_json:
        console.print_json(sums.to_dict())
    elif as_csv:
        click.echo(sums.to_csv(), nl=False)
    else:
        console.print_view(sums.tables(), sums.notes())
    sys.exit(0 if sums.total.measured else console.PARTLY)


def _documents(runs: tuple[str, ...], tracking_uri: str | None) -> list[Document]:
    """Return the documents of the runs that are named."""
    if not runs:
        return []
    from yprov_mlflow.prov.capture import run_names
    from yprov_mlflow.prov.capture.run_views import load_documents

    with console.store_errors(tracking_uri, runs[0]):
        names = [name for run in runs for name in run_names.expand(run, tracking_uri)]
        return [document for name in names for document in load_documents(name, tracking_uri)]


def _graph(documents: list[Document], sources: tuple[str, ...]) -> Graph:
    from yprov_mlflow.prov.capture.indexing import graph_of

    if not documents:
        return graph_options.graph_to_ask(sources)
    return graph_of(documents, lambda _: None)


def _assumptions() -> Assumptions:
    from yprov_mlflow.prov.views.assumed_costs import Assumptions

    loaded = settings.load()
    return Assumptions(loaded.pue, *(loaded.energy_price or (None, None)))


def _report(document: Document, as_json: bool) -> int:
    """Print the report of one run; return the exit code."""
    from yprov_mlflow.prov.views.energy import from_document

    report, assumed = from_document(document), _assumptions()
    if as_json:
        extra = {}
        if assumed:
            total = None if report.total is None else report.total.energy_kwh
            extra = {"assumed": assumed.to_dict(total)}
        console.print_json({**report.to_dict(), **extra})
    else:
        amounts = [("hardware", report.total), ("own share of the run", report.own)]
        energies = [(name, part.energy_kwh) for name, part in amounts if part is not None]
        tables = [assumed.table("energy of", [*energies])] if assumed and energies else []
        console.print_view([*report.tables(), *tables], report.notes())
    return 0 if report.measured else console.PARTLY
