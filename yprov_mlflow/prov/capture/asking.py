"""``mlflow.prov.lineage``, ``runs``, ``diff`` and ``query``: questions to many documents."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Union

from yprov_mlflow.prov.capture import code_reader
from yprov_mlflow.prov.capture.indexing import graph_of
from yprov_mlflow.prov.capture.run_views import load_documents
from yprov_mlflow.prov.capture.switch import LOGGER
from yprov_mlflow.prov.formats.file_formats import documents_below
from yprov_mlflow.prov.graph import lineage_report, questions, run_comparison, run_table
from yprov_mlflow.prov.graph.lineage_report import LineageReport
from yprov_mlflow.prov.graph.run_comparison import Comparison
from yprov_mlflow.prov.graph.run_table import Question, RunTable
from yprov_mlflow.prov.graph.stores import Graph
from yprov_mlflow.prov.graph.walk import Direction
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.report import pages
from yprov_mlflow.prov.report.lineage_picture import picture_of
from yprov_mlflow.prov.views.view import mermaid_block, visible

Documents = Union[str, "os.PathLike[str]", Document]
"""A document, its file, or a folder with documents."""


class ShownLineage(LineageReport):
    """Lineage that a notebook shows as a picture."""

    def _repr_html_(self) -> str:
        return pages.picture_html(picture_of(self), f"Lineage of {visible(self.match.name, 80)}")

    def _repr_markdown_(self) -> str:
        return mermaid_block(self.to_mermaid())


def lineage(
    thing: str,
    direction: Direction = "up",
    depth: int | None = None,
    *,
    documents: Documents | Sequence[Documents] | None = None,
) -> LineageReport:
    """Return the origins of a thing (``"up"``), or its products (``"down"``).

    ``to_tree()``, ``to_dict()``, ``to_dot()``, ``to_mermaid()``, ``to_pandas()`` and
    ``to_rdflib()`` write the result; a notebook shows it as a picture.

    Args:
        thing: A run by id, beginning of the id, name, ``latest`` or ``EXPERIMENT/NAME``; a URI of
            MLflow such as ``models:/NAME@ALIAS`` or ``runs:/ID/PATH``; a dataset; a file by
            path, content or SHA-256; a commit.
        direction: ``"up"`` or ``"down"``.
        depth: Number of steps; by default all.
        documents: Documents to ask instead of the index.

    Raises:
        ThingError: Nothing has this name, or several things.
        GraphError: The index cannot be read.
    """
    report = lineage_report.of_thing(_graph(documents), thing, direction, depth)
    return ShownLineage(report.match, report.lineage)


def runs(
    where: str = "",
    *,
    columns: Iterable[str] = (),
    sort: str = "",
    experiment: str = "",
    since: str = "",
    after_commit: str = "",
    pareto: str = "",
    documents: Documents | Sequence[Documents] | None = None,
) -> RunTable:
    """Return runs as a table, filtered and sorted, or the Pareto front of some columns.

    Args:
        where: A filter, such as ``"metrics.loss < 0.3 and params.lr = 0.1 and energy < 0.2"``.
        columns: Further columns, such as ``["min(loss)", "params.lr", "emissions"]``.
        sort: A column; a minus sign in front of it sorts descending.
        experiment: Name of an experiment.
        since: The earliest start, as ISO 8601.
        after_commit: Only runs of code that was committed after this commit.
        pareto: Columns separated by commas, such as ``"loss,energy"``; larger is better after
            ``max:``. Only runs are kept that no other run equals or betters in all of them.
        documents: Documents to ask instead of the index.

    Raises:
        UsageError: The filter, a column or a date is not valid.
        ThingError: The commit is not in the index.
        GraphError: The index cannot be read.
    """
    question = Question(where, list(columns), sort, experiment, since, after_commit, pareto)
    return run_table.runs(_graph(documents), question)


def diff(
    left: str,
    right: str,
    *,
    documents: Documents | Sequence[Documents] | None = None,
) -> Comparison:
    """Return the differences between two runs, and their equal parts.

    ``code_changes`` has the lines of code that differ, as far as the collector ``code`` kept it.

    Args:
        left: A run, named as in ``lineage``.
        right: The other run.
        documents: Documents to ask instead of the index.

    Raises:
        ThingError: No run has this name, or several.
        GraphError: The index cannot be read.
    """
    return run_comparison.compare(_graph(documents), left, right, code_reader.read)


def query(
    sparql: str,
    *,
    documents: Documents | Sequence[Documents] | None = None,
    **parameters: str,
) -> questions.Answer:
    """Return the answer to a SPARQL query, or to the shipped question ``@NAME``.

    ``rows`` has Python values; ``to_pandas()`` and ``to_rdflib()`` convert them.

    Args:
        sparql: A query; the prefixes of our documents need no declaration.
        documents: Documents to ask instead of the index.
        parameters: The parameters of a shipped question.

    Raises:
        QueryError: The query is not valid.
        UsageError: The question does not exist, or has other parameters.
        GraphError: The index cannot be read.
    """
    return questions.ask(_graph(documents), sparql, parameters)


def _graph(documents: Documents | Sequence[Documents] | None) -> Graph:
    if documents is None:
        return graph_of(None, LOGGER.warning)
    if isinstance(documents, (str, os.PathLike, Document)):
        documents = [documents]
    return graph_of([d for source in documents for d in _documents_in(source)], LOGGER.warning)


def _documents_in(source: str | os.PathLike[str] | Document) -> list[Document]:
    """Return a document, or the documents of a file or folder."""
    if not isinstance(source, Document) and Path(source).is_dir():
        files = documents_below(Path(source))
        return [document for file in files for document in load_documents(str(file))]
    return load_documents(source)
