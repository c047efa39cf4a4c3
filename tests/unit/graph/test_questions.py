from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from support.builders.energy_documents import run_of_a_node_and_a_process
from support.builders.pipeline_documents import (
    CLEAN,
    EVALUATION,
    FAILED,
    FIRST,
    MODELS,
    NEW,
    OLD,
    PREP,
    SECOND,
)

from yprov_mlflow.prov.errors import QueryError, ThingError, UsageError
from yprov_mlflow.prov.events import ContextEntered, ContextLeft
from yprov_mlflow.prov.graph.questions import all_shipped, ask, shipped
from yprov_mlflow.prov.graph.stores import LocalGraph
from yprov_mlflow.prov.translate import translate

MOST_LINES = 12

# For each question: its parameters, the columns to compare, and the rows of the pipeline.
ANSWERS: dict[str, tuple[list[str], list[str], list[tuple[Any, ...]]]] = {
    "alias-at": (
        ["clf", "champion", "2026-01-02T03:10:00Z"],
        ["version", "model_id", "run"],
        [(1, MODELS[FIRST], FIRST)],
    ),
    "alias-history": (["clf", "champion"], ["version"], [(1,), (2,)]),
    "bases-of-run": (
        ["evaluation"], ["model", "model_id", "made_by"], [("net", MODELS[FIRST], FIRST)]
    ),
    "equal-files": ([], ["runs", "example"], []),
    "loss-per-energy": (
        ["loss"], ["run", "value", "joules"], [(SECOND, 0.2, 300.0), (FIRST, 0.3, 100.0)]
    ),
    "models-of-dataset": (
        ["clean"],
        ["model_id", "version"],
        [(MODELS[FIRST], "clf 1"), (MODELS[SECOND], "clf 2")],
    ),
    "param-changes": (
        ["E/first", "second"], ["param", "first_value", "second_value"], [("lr", "0.1", "0.05")]
    ),
    "run-environment": (
        ["second"],
        ["person", "host", "python", "platform", "packages"],
        [("bob", "node01", "3.11", "Linux", "numpy==2.0.0\npip==24")],
    ),
    "runs-after-commit": ([OLD[:8], "loss", "0.5"], ["run", "value"], [(SECOND, 0.2)]),
    "runs-of-commit": ([NEW], ["run", "entry_point", "changed"], [(SECOND, "train.py", True)]),
    "runs-of-person": (["bob"], ["run"], [(FAILED,), (SECOND,)]),
    "runs-on-host": (
        ["node01"], ["run"], [(run,) for run in (FAILED, EVALUATION, SECOND, FIRST, PREP)]
    ),
    "runs-with-changed-code": ([], ["run", "commit"], [(SECOND, NEW)]),
    "runs-with-dataset": (
        ["bbbb2222"],
        ["run", "dataset_name", "context"],
        [(FIRST, "clean", "training"), (SECOND, "clean", "training")],
    ),
    "runs-with-package": (["numpy", "2.0.0"], ["run"], [(SECOND,)]),
    "unfinished-runs": ([], ["run"], [(FAILED,)]),
    "users-of-model": (["models:/clf/1"], ["run"], [(EVALUATION,)]),
    "versions-and-runs": ([], ["version", "run"], [("clf 1", FIRST), ("clf 2", SECOND)]),
    "writers-of-file": ([CLEAN], ["run", "path"], [(PREP, "data/clean.csv")]),
    "energy-by-epoch": (["E"], ["run", "epoch"], []),
}  # fmt: skip


def test_there_are_twenty_questions_and_each_has_an_answer_here() -> None:
    assert {question.name for question in all_shipped()} == set(ANSWERS)
    assert len(ANSWERS) == 20


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_a_shipped_question_is_short_explained_and_right(
    pipeline_graph: LocalGraph, name: str
) -> None:
    question = shipped(name)
    assert len(question.sparql.splitlines()) <= MOST_LINES
    assert question.title.endswith("?")
    assert question.explanation.endswith(".")
    arguments, columns, rows = ANSWERS[name]
    answer = ask(pipeline_graph, f"@{name}", arguments)
    positions = [answer.columns.index(column) for column in columns]
    assert [tuple(row[i] for i in positions) for row in answer.rows] == rows


def test_the_energy_of_epochs_is_that_of_the_run_itself() -> None:
    events = list(run_of_a_node_and_a_process())
    epoch = [
        dataclasses.replace(event, path=["training", 0])
        if isinstance(event, ContextEntered | ContextLeft)
        else event
        for event in events
    ]
    answer = ask(LocalGraph.in_memory([translate(epoch)]), "@energy-by-epoch", ["exp"])
    assert [row[-2:] for row in answer.rows] == [("cpu", 5.0)]


def test_parameters_may_be_named(pipeline_graph: LocalGraph) -> None:
    answer = ask(pipeline_graph, "@runs-of-person", {"person": "bob"})
    assert len(answer.rows) == 2


@pytest.mark.parametrize(
    ("query", "arguments", "message"),
    [
        ("@nothing", [], "query --list"),
        ("@runs-of-person", [], "Write: @runs-of-person PERSON"),
        ("@runs-of-person", ["a", "b"], "Write: @runs-of-person PERSON"),
        ("@runs-after-commit", [OLD[:8], "loss", "low"], "'low' is not a number"),
        ("ASK {}", ["x"], "only shipped questions"),
    ],
)
def test_a_wrong_question_says_what_to_write(
    pipeline_graph: LocalGraph, query: str, arguments: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        ask(pipeline_graph, query, arguments)


def test_a_parameter_that_names_nothing_gets_the_cure(pipeline_graph: LocalGraph) -> None:
    with pytest.raises(ThingError, match="dataset"):
        ask(pipeline_graph, "@runs-with-dataset", ["nothing"])


def test_text_cannot_leave_its_literal(pipeline_graph: LocalGraph) -> None:
    evil = '" . ?s ?p ?o . FILTER(?x = "\\'
    assert ask(pipeline_graph, "@runs-of-person", [evil]).rows == []


def test_an_answer_in_other_forms(pipeline_graph: LocalGraph) -> None:
    answer = ask(pipeline_graph, "SELECT ?n ?x { ?r a mlf:Run ; rdfs:label ?n } ORDER BY ?r")
    assert answer.rows[0] == ("prep", None)
    assert answer.to_csv().splitlines()[:2] == ["n,x", "prep,"]
    assert answer.to_dict()[0] == {"n": "prep", "x": None}
    assert answer.to_pandas().shape == (5, 2)
    assert str(answer.to_rdflib()[0][0]) == "prep"


def test_an_error_of_sparql_has_its_position(pipeline_graph: LocalGraph) -> None:
    with pytest.raises(QueryError, match="at 1:"):
        ask(pipeline_graph, "SELECT ?x { ?x a")
