"""The graph that a question is put to: documents that it names, or else the index."""

from __future__ import annotations

from collections.abc import Iterable

from yprov_mlflow.prov.errors import GraphError
from yprov_mlflow.prov.graph.stores import Graph, LocalGraph
from yprov_mlflow.prov.model.document import Document


def graph_of(documents: Iterable[Document] | None = None) -> Graph:
    """Return documents as a graph, by default those of the index.

    Raises:
        GraphError: The index does not exist, or cannot be read.
    """
    if documents is not None:
        return LocalGraph.in_memory(documents)
    raise GraphError("there is no index", None, "Name documents to ask instead")
