"""``yprov-mlflow card``: the workflow-provenance card of a run or of the runs of a workflow."""

from __future__ import annotations

from pathlib import Path

import click

from yprov_mlflow.prov.cli import console
from yprov_mlflow.prov.cli.crate_runs import about_facts, about_option, documents_of
from yprov_mlflow.prov.errors import OutputError


@click.command()
@click.argument("source", metavar="RUN|EXPERIMENT|DOCUMENT|FOLDER")
@console.json_option
@click.option("-o", "--out", metavar="FILE", help="Write to a file instead of standard output.")
@about_option
@console.tracking_uri_option
def card(
    source: str, as_json: bool, out: str | None, *, about: str | None, tracking_uri: str | None
) -> None:
    """Print the workflow-provenance card of a run, or of the runs of a workflow.

    The card follows version 6 of the template that the groups of yProv and Flowcept share: six
    sections with required and optional fields. Each value links to its record in the document. A
    required field that nothing states says so, and how to fill it; optional ones are ~.

    SOURCE is a run (see `show`), the name or id of an experiment, a document in any format, or a
    folder with the documents of a workflow's runs.

    \b
    Examples:
      yprov-mlflow card 5f0c9b2e6d3a4b0f8a7c1d2e3f405162 > card.md
      yprov-mlflow card provenance/prov.json --json | jq .sections
    """
    from yprov_mlflow.prov.share.run_card import from_documents

    facts = about_facts(about)
    with documents_of(source, tracking_uri, facts) as documents:
        made = from_documents([document for _, document in documents.runs])
    if out is not None and as_json:
        console.write_report(Path(out), made.to_dict())
    elif out is not None:
        try:
            Path(out).write_text(made.to_markdown(), "utf-8")
        except OSError as error:
            raise OutputError.unwritable(out, error) from error
    elif as_json:
        console.print_json(made.to_dict())
    else:
        click.echo(made.to_markdown(), nl=False)
    console.print_first(f"{field}: {cure}" for field, cure in made.blanks)
