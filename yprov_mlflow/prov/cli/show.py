"""``yprov-mlflow show``: the documents of runs and stores, summarized."""

from __future__ import annotations

import click

from yprov_mlflow.prov.cli import console


@click.command(epilog="Exit codes: 0 done, 1 no such run or document, 2 wrong usage.")
@click.argument("runs", metavar="RUN|DOCUMENT...", nargs=-1, required=True)
@console.tracking_uri_option
@console.json_option
def show(runs: tuple[str, ...], tracking_uri: str | None, as_json: bool) -> None:
    """Summarize the provenance documents of runs or stores.

    The summary has params, tags, metrics, datasets, models with training data and registered
    versions, prompts, traces, files, related runs, energy and hardware; JSON has complete hashes.

    RUN is MLflow's run id, the beginning of it (at least 4 digits), the name of a run,
    EXPERIMENT/NAME, `latest` or runs:/ID. The index and the journals on this machine are asked
    first, then the store; --tracking-uri asks only that store. The document of a run comes from
    its journal here, or else from its artifacts. DOCUMENT is a document from anywhere, in any
    format, a folder of documents or a pattern such as 'prov/*/*.ttl'. Several documents are shown
    one after another, and are a list in JSON.

    \b
    Examples:
      yprov-mlflow show latest
      yprov-mlflow show 5f0c9b2e iris/first-try
      yprov-mlflow show first-try --tracking-uri sqlite:///mlflow.db
      yprov-mlflow show provenance/prov.json --json | jq .metrics
    """
    from yprov_mlflow.prov.capture import run_names
    from yprov_mlflow.prov.capture.run_views import load_documents
    from yprov_mlflow.prov.views.summary import from_document

    with console.store_errors(tracking_uri, runs[0]):
        names = [name for run in runs for name in run_names.expand(run, tracking_uri)]
        documents = (d for name in names for d in load_documents(name, tracking_uri))
        summaries = [from_document(document) for document in documents]
    if as_json:
        content = [summary.to_dict() for summary in summaries]
        console.print_json(content if len(content) > 1 else content[0])
        return
    for summary in summaries:
        console.print_view(summary.tables(), summary.notes())
