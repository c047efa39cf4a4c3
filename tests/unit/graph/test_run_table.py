from __future__ import annotations

import pytest
from support.builders.pipeline_documents import NEW, OLD

from yprov_mlflow.prov.errors import ThingError, UsageError
from yprov_mlflow.prov.graph.run_filter import conditions
from yprov_mlflow.prov.graph.run_table import Question, runs
from yprov_mlflow.prov.graph.stores import LocalGraph


def names(graph: LocalGraph, **question: object) -> list[object]:
    return [row["name"] for row in runs(graph, Question(**question)).rows]  # type: ignore[arg-type] # of a test


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("metrics.loss < 0.3", ["second"]),
        ("loss <= 0.3 and params.lr = 0.10", ["first"]),
        ("params.lr = '0.05' AND energy > 0.00005", ["second"]),
        ("max(loss) > 0.55", ["second"]),
        ("status = 'FAILED'", ["first"]),
        ("name LIKE 'pre%'", ["prep"]),
        ("name ILIKE 'PRE%' and status != 'FAILED'", ["prep"]),
        ("user = bob and experiment = E", ["second"]),
        ("energy_node >= 0.00027", ["first"]),
    ],
)
def test_filters_like_those_of_mlflow(
    pipeline_graph: LocalGraph, where: str, expected: list[str]
) -> None:
    assert names(pipeline_graph, where=where) == expected


def test_values_are_those_of_the_documents(pipeline_graph: LocalGraph) -> None:
    question = Question(
        where="loss < 1", columns=["min(loss)", "commit", "energy_node"], sort="loss"
    )
    table = runs(pipeline_graph, question)
    row = table.rows[0]
    assert (row["name"], row["loss"], row["min(loss)"], row["commit"]) == ("second", 0.2, 0.2, NEW)
    assert row["energy"] == pytest.approx(300 / 3.6e6)
    assert row["energy_node"] == pytest.approx(900 / 3.6e6)
    assert table.to_csv().splitlines()[0].startswith("name,run_id,experiment,status,start")
    assert list(table.to_pandas()["name"]) == ["second", "first"]


def test_runs_of_code_after_a_commit(pipeline_graph: LocalGraph) -> None:
    assert names(pipeline_graph, after_commit=OLD[:8]) == ["second"]
    with pytest.raises(ThingError, match="commit"):
        runs(pipeline_graph, Question(after_commit="abcdef12"))


def test_experiment_since_and_order(pipeline_graph: LocalGraph) -> None:
    assert names(pipeline_graph, experiment="F") == ["first"]
    assert names(pipeline_graph, since="2026-01-02T03:09") == ["first", "evaluation"]
    assert names(pipeline_graph, where="loss < 1", sort="-loss") == ["first", "second"]


def test_the_pareto_front_keeps_the_best_trade_offs(pipeline_graph: LocalGraph) -> None:
    table = runs(pipeline_graph, Question(pareto="loss,energy"))
    assert [row["name"] for row in table.rows] == ["second", "first"]
    assert table.left_out == 3
    assert names(pipeline_graph, pareto="loss,energy_node") == ["second"]
    assert names(pipeline_graph, pareto="max:loss,energy") == ["first"]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("loss <", "character 1"),
        ("loss < 1 or x = 2", "OR is not possible"),
        ("loss < 1 x = 2", "expected AND"),
        ("loss", "expected NAME"),
        ("nothing < 1", "no run has 'nothing'"),
        ("params.nothing = 1", "no run has 'params.nothing'"),
    ],
)
def test_a_bad_filter_says_where_and_what_to_write(
    pipeline_graph: LocalGraph, where: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        runs(pipeline_graph, Question(where=where))


def test_a_bad_date_says_how_to_write_it(pipeline_graph: LocalGraph) -> None:
    with pytest.raises(UsageError, match="2026-01-31"):
        runs(pipeline_graph, Question(since="yesterday"))


def test_keys_with_spaces_are_quoted() -> None:
    condition = conditions("metrics.`val loss` < 1")[0]
    assert condition.column == "metrics.val loss"


def test_an_empty_graph_has_no_runs() -> None:
    assert (
        len(runs(LocalGraph.in_memory([]), Question(where="loss < 1", pareto="loss,energy"))) == 0
    )
