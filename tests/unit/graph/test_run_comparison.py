from __future__ import annotations

import pytest
from support.builders.pipeline_documents import NEW, OLD

from yprov_mlflow.prov.errors import ThingError
from yprov_mlflow.prov.graph.run_comparison import compare
from yprov_mlflow.prov.graph.stores import LocalGraph


def test_differences_are_ordered_by_likely_importance(pipeline_graph: LocalGraph) -> None:
    comparison = compare(pipeline_graph, "E/first", "second")
    assert [tuple(d) for d in comparison.likely_reasons] == [
        ("code", "gitCommit", OLD, NEW),
        ("code", "gitDirty", "false", "true"),
        ("params", "lr", "0.1", "0.05"),
        ("environment", "numpy", "1.26.4", "2.0.0"),
    ]
    effects = [d for d in comparison.differences if d not in comparison.likely_reasons]
    assert next((d.part, d.name) for d in effects) == ("metrics", "loss")
    assert comparison.equal["data"] == ["dataset clean"]
    assert "pip" in comparison.equal["environment"]
    assert comparison.equal["params"] == ["epochs"]


def test_a_run_equals_itself(pipeline_graph: LocalGraph) -> None:
    assert compare(pipeline_graph, "second", "second").differences == ()


def test_what_one_run_lacks_is_a_difference(pipeline_graph: LocalGraph) -> None:
    differences = compare(pipeline_graph, "prep", "second").differences
    assert ("params", "lr", None, "0.05") in differences


def test_an_ambiguous_run_is_refused(pipeline_graph: LocalGraph) -> None:
    with pytest.raises(ThingError, match="fits several"):
        compare(pipeline_graph, "first", "second")
