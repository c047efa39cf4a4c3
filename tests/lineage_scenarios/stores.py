"""The documents of captured runs as a graph."""

from __future__ import annotations

from collections.abc import Iterable

from yprov_mlflow.prov.capture.run_views import load_documents
from yprov_mlflow.prov.graph.stores import LocalGraph


def graph_of_runs(runs: Iterable[str]) -> LocalGraph:
    """Return a graph of the documents of runs in the current store."""
    return LocalGraph.in_memory(d for run in runs for d in load_documents(run))
