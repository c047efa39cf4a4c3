"""``yprov-mlflow index``: the graph of all documents that questions are put to."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yprov_mlflow.prov.cli import console

if TYPE_CHECKING:
    from yprov_mlflow.prov.graph.index_folder import Update
    from yprov_mlflow.prov.model.document import Document


@click.command(
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 some documents could not be read; "
    "they are listed."
)
@click.argument("sources", metavar="[SOURCE]...", nargs=-1)
@console.tracking_uri_option
@click.option(
    "--rebuild",
    is_flag=True,
    help="Remove the index first. Without SOURCE, add all runs that have journals here.",
)
@click.option("--remove", is_flag=True, help="Remove the documents of SOURCE from the index.")
@click.option("--status", is_flag=True, help="Only print what the index has.")
@console.json_option
def index(
    sources: tuple[str, ...],
    *,
    tracking_uri: str | None,
    rebuild: bool,
    remove: bool,
    status: bool,
    as_json: bool,
) -> None:
    """Add documents to the index that `lineage`, `runs`, `diff` and `query` ask.

    SOURCE is a run (see `show`), a document, a folder of documents, or a store as `convert` reads
    it. Runs that were captured on this machine are in the index without this command: the next
    question adds them.

    A document replaces the one of the same run or store. Documents that have not changed are left
    as they are, so an interrupted command is continued by calling it again.

    \b
    Examples:
      yprov-mlflow index prov
      yprov-mlflow index mlruns sqlite:///mlflow.db
      yprov-mlflow index --rebuild
    """
    from yprov_mlflow.prov.capture import indexing

    target, problems, counts = indexing.index(), list[str](), dict[str, int]()
    if rebuild:
        target.clear()
    if not status:
        problems += indexing.update().problems
        with tempfile.TemporaryDirectory(prefix="yprov-mlflow-") as scratch:
            documents = _documents(sources, tracking_uri, Path(scratch), problems)
            if remove:
                from yprov_mlflow.prov.formats.bundles import name_of

                count = target.remove(name_of(document).iri for document in documents)
                counts = {"removed": count}
            else:
                if rebuild and not sources:
                    documents = indexing.journaled(problems)
                result = target.add(documents, _print_progress)
                problems += result.problems
                counts = {"added": result.added, "unchanged": result.unchanged}
    size = len(target.digests())
    if as_json:
        content = {**counts, "documents": size, "place": target.place, "problems": problems}
        console.print_json(content)
    else:
        if counts:
            changes = ", ".join(f"{count} {state}" for state, count in counts.items())
            click.echo(f"Documents: {changes}.")
        click.echo(f"{size} documents in {target.place}")
    console.print_first(problems)
    sys.exit(console.PARTLY if problems else 0)


def _documents(
    sources: Sequence[str], tracking_uri: str | None, scratch: Path, problems: list[str]
) -> Iterator[Document]:
    from yprov_mlflow.prov.cli.workflow import documents_of

    for number, source in enumerate(sources):
        yield from documents_of(source, tracking_uri, scratch / str(number), problems)


def _print_progress(update: Update) -> None:
    if sys.stderr.isatty():
        console.note(f"{update.added} documents, {update.records} records")
