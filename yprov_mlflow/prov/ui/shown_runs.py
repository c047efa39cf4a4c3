"""The runs that the view shows: a graph of documents, and the document of each run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from yprov_mlflow.prov.capture.indexing import graph_of
from yprov_mlflow.prov.capture.run_views import load_documents, write_document
from yprov_mlflow.prov.formats.file_formats import documents_below
from yprov_mlflow.prov.formats.metric_files import read_points
from yprov_mlflow.prov.graph import lineage_report, questions, run_comparison, run_table
from yprov_mlflow.prov.graph.lineage_report import LineageReport
from yprov_mlflow.prov.graph.stores import Graph
from yprov_mlflow.prov.graph.walk import Direction
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.report import run_report
from yprov_mlflow.prov.report.run_report import RunReport
from yprov_mlflow.prov.translate import side_files
from yprov_mlflow.prov.views import summary
from yprov_mlflow.prov.views.document_reader import DocumentReader, text
from yprov_mlflow.prov.views.summary_report import Summary

_MOST_TABLES = 16


class Catalog:
    """Runs of the index, or of documents in folders.

    Args:
        graph: The graph of all documents.
        files: The document of each run, by the id of the run; others are asked from their stores.
        tracking_uri: The store of the runs; by default the one that their journals name.
    """

    def __init__(
        self, graph: Graph, files: Mapping[str, Path], tracking_uri: str | None = None
    ) -> None:
        self.graph = graph
        self._files = files
        self._tracking_uri = tracking_uri
        self._tables: dict[str, run_table.RunTable] = {}

    # -- one run -----------------------------------------------------------------------

    def report(self, run_id: str) -> RunReport:
        """Return the report of a run, with its later products.

        Raises:
            YprovMlflowError: The run does not exist, or its document cannot be read.
        """
        with tempfile.TemporaryDirectory(prefix="yprov-mlflow-") as folder:
            path = self._path(run_id, Path(folder))
            (document,) = load_documents(str(path))
            files = [path.parent / Path(name).name for name, _ in side_files(document)]
            points = (batch for file in files if file.is_file() for batch in read_points(file))
            return run_report.of_document(document, points, products=self._products(run_id))

    def document(self, run_id: str) -> bytes:
        """Return the document of a run, in the format of its file."""
        with tempfile.TemporaryDirectory(prefix="yprov-mlflow-") as folder:
            return self._path(run_id, Path(folder)).read_bytes()

    def summary(self, run_id: str) -> Summary:
        """Return the summary of a run."""
        with tempfile.TemporaryDirectory(prefix="yprov-mlflow-") as folder:
            (document,) = load_documents(str(self._path(run_id, Path(folder))))
            return summary.from_document(document)

    def _path(self, run_id: str, folder: Path) -> Path:
        if run_id in self._files:
            return self._files[run_id]
        return write_document(run_id, folder, self._tracking_uri, with_points=True)

    def _products(self, run_id: str) -> str:
        """Return the products of a run as a tree, empty without any."""
        lineage = self.lineage(f"run:{run_id}", "down")
        return lineage.to_tree() if lineage.lineage.links else ""

    # -- many runs ---------------------------------------------------------------------

    def lineage(self, thing: str, direction: Direction) -> LineageReport:
        """Return the lineage of a thing by its name."""
        return lineage_report.of_thing(self.graph, thing, direction)

    def runs(self, question: run_table.Question) -> run_table.RunTable:
        """Return the runs that a question asks for."""
        # All pages of a table need all of its runs; the graph stays as it is while it is shown.
        key = repr(question)
        table = self._tables.get(key)
        if table is None:
            if len(self._tables) >= _MOST_TABLES:
                self._tables.clear()
            table = self._tables[key] = run_table.runs(self.graph, question)
        return table

    def compare(self, left: str, right: str) -> run_comparison.Comparison:
        """Return two runs compared."""
        return run_comparison.compare(self.graph, left, right)

    def ask(self, sparql: str) -> questions.Answer:
        """Return the answer to a question in SPARQL, or to ``@NAME``, a shipped one."""
        return questions.ask(self.graph, sparql)


def of_index(on_problem: Callable[[str], object], tracking_uri: str | None = None) -> Catalog:
    """Return the runs of the index.

    Raises:
        GraphError: The index does not exist, or cannot be read.
    """
    return Catalog(graph_of(None, on_problem), {}, tracking_uri)


def of_documents(paths: Sequence[Path], on_problem: Callable[[str], object]) -> Catalog:
    """Return the runs of documents, and of all documents in folders."""
    files = [
        file for path in paths for file in (documents_below(path) if path.is_dir() else [path])
    ]
    by_run: dict[str, Path] = {}
    documents: list[Document] = []
    for file in files:
        several = load_documents(str(file))
        documents += several
        run = DocumentReader(several[0]).section("activity").get("run:run")
        if len(several) == 1 and run is not None and (run_id := text(run.get("mlf:runId"))):
            by_run[run_id] = file
    return Catalog(graph_of(documents, on_problem), by_run)
