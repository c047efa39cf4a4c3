"""The graph that a question is put to: documents that it names, or else the index.

The index is brought up to date first: with documents that processes left for it, and with those
of stores (registry, experiments) whose journals are newer.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from yprov_mlflow.prov import settings
from yprov_mlflow.prov.errors import YprovMlflowError
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.formats.file_formats import documents_below
from yprov_mlflow.prov.graph.index_folder import IndexFolder, Update
from yprov_mlflow.prov.graph.index_server import IndexServer
from yprov_mlflow.prov.graph.stores import Graph, LocalGraph
from yprov_mlflow.prov.ids import store_of
from yprov_mlflow.prov.journal import JournalDirectory
from yprov_mlflow.prov.layout import SERVER, STORES
from yprov_mlflow.prov.model.document import Document


def graph_of(documents: Iterable[Document] | None, on_problem: Callable[[str], object]) -> Graph:
    """Return documents as a graph, by default those of the index.

    Args:
        documents: The documents, None for the index.
        on_problem: Is called with a sentence for each document that the index lacks.

    Raises:
        GraphError: The index does not exist, or cannot be read.
    """
    if documents is not None:
        return LocalGraph.in_memory(documents)
    for problem in update().problems:
        on_problem(problem)
    return index().graph()


def index() -> IndexFolder | IndexServer:
    """Return the index of the settings: a folder or a server."""
    config = settings.load()
    folder = IndexFolder(config.index_folder)
    return IndexServer(config.index_server, folder) if config.index_server else folder


def update() -> Update:
    """Add what waits for the index.

    Raises:
        GraphError: The index is damaged, or its folder cannot be written.
    """
    problems = list(_update_stores())
    result = index().drain()
    return result._replace(problems=(*problems, *result.problems))


def _update_stores() -> Iterator[str]:
    """Write the documents of stores that have changed, which leaves them for the index."""
    directory = settings.load().directory
    stores = {
        folder.run_id
        for root in (directory, directory / SERVER)
        for folder in JournalDirectory.all(root)
        if store_of(folder.run_id) and not folder.is_current()
    }
    if stores:
        from yprov_mlflow.prov.capture import recovery  # it loads MLflow, for 2 s

        for outcome in recovery.recover(run_ids=sorted(stores)):
            if outcome.state == "failed":
                yield f"{outcome.run_id}: its document cannot be written: {outcome.reason}"


def of_journals(directory: Path, problems: list[str]) -> Iterator[Document]:
    """Yield the documents of runs and stores with journals in a folder, from these alone.

    Args:
        directory: A state folder, or the folder of an offline store.
        problems: Gets a line for each document that cannot be had.
    """
    from yprov_mlflow.prov.capture import run_document  # it loads MLflow, for 2 s

    loaded = settings.load()
    for folder in JournalDirectory.all(directory):
        with tempfile.TemporaryDirectory(prefix="yprov-") as out:
            try:
                written = run_document.write_document(folder, Path(out), loaded)
                yield prov_json.loads(written.files[-1].read_bytes())
            except (YprovMlflowError, OSError) as error:
                problems.append(f"{folder.run_id}: {error}")


def has_journals(directory: Path) -> bool:
    """Return whether a folder has journals of runs."""
    return next(iter(JournalDirectory.all(directory)), None) is not None


def journaled(problems: list[str]) -> Iterator[Document]:
    """Yield the documents of all runs and stores that have journals here.

    Args:
        problems: Gets a line for each document that cannot be had.
    """
    from yprov_mlflow.prov.capture import recovery, run_views  # they load MLflow, for 2 s

    directory = settings.load().directory
    problems += _update_stores()
    for file in documents_below(directory / STORES):
        yield from run_views.load_documents(str(file))
    runs = {f.run_id for f in JournalDirectory.all(directory) if not store_of(f.run_id)}
    for run_id in sorted(runs):
        with tempfile.TemporaryDirectory(prefix="yprov-") as out:
            try:
                file = recovery.fetch_document(run_id, Path(out))
                document = prov_json.loads(file.read_bytes())
            except (YprovMlflowError, OSError) as error:
                problems.append(f"{run_id}: {error}")
                continue
        yield document
