"""``yprov-mlflow show``: what a document says, to be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from yprov_mlflow.commands.terminal import printable, when_store_fails
from yprov_mlflow.errors import DocumentError


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
    from yprov_mlflow.commands import summary, tables

    found = summary.summarise(_document(run, tracking_uri))
    if as_json:
        click.echo(summary.dumps(found))
    else:
        tables.show(found)


def _document(run: str, tracking_uri: str | None) -> dict[str, Any]:
    path = Path(run)
    if path.is_file() or path.suffix == ".json" or len(path.parts) > 1:
        try:
            content = path.read_bytes()
        except OSError as error:
            reason = error.strerror or str(error)
            raise DocumentError.malformed(printable(run), reason) from error
    else:
        from yprov_mlflow.plugin import delivery

        with when_store_fails(tracking_uri, run):
            content = delivery.fetch_document(run, tracking_uri)
    return _read(content, run)


def _read(content: bytes, source: str) -> dict[str, Any]:
    """Read PROV-JSON, which is an object of sections, each an object of records."""
    import orjson

    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise DocumentError.malformed(printable(source), str(error)) from error
    if not isinstance(document, dict) or "prefix" not in document:
        raise DocumentError.malformed(printable(source), "it is no object with a prefix section")
    for section, records in document.items():
        if not isinstance(records, dict) or not all(
            isinstance(record, dict) or section == "prefix" for record in records.values()
        ):
            reason = f"its section {printable(section)!r} is no object of records"
            raise DocumentError.malformed(printable(source), reason)
    return document
