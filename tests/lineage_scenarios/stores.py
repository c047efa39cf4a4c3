"""The documents of captured runs as a graph."""

from __future__ import annotations

import time
from collections.abc import Sequence

from yprov_mlflow.prov.capture.run_views import load_documents
from yprov_mlflow.prov.graph.stores import LocalGraph
from yprov_mlflow.prov.model.document import Document

_LONGEST_WAIT_S = 30.0


def graph_of_runs(runs: Sequence[str]) -> LocalGraph:
    """Return a graph of the documents of runs in the current store."""
    latest = time.monotonic() + _LONGEST_WAIT_S
    documents = [document for run in runs for document in load_documents(run)]
    # Files are hashed aside; on a busy machine, some are not yet when their run ends.
    while any(map(_lacks_a_hash, documents)) and time.monotonic() < latest:
        time.sleep(0.5)
        documents = [document for run in runs for document in load_documents(run)]
    return LocalGraph.in_memory(documents)


def _lacks_a_hash(document: Document) -> bool:
    return any(
        "mlf:File" in str(record.get("prov:type")) and "mlf:sha256" not in record
        for record in document.records.get("entity", {}).values()
    )
