from __future__ import annotations

import pytest
from support.builders.pipeline_documents import pipeline

from yprov_mlflow.prov.graph.stores import LocalGraph


@pytest.fixture(scope="session")
def pipeline_graph() -> LocalGraph:
    return LocalGraph.in_memory(pipeline())
