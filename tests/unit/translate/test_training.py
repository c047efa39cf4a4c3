"""What a model was trained on: only what the order of calls leaves no doubt of."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from support.builders.run_log import START_S, Log

from yprov_mlflow.prov.events import STORE_SESSION, InputsLogged, ModelLogged
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.translate import translate


def dataset(log: Log, name: str, context: str | None) -> None:
    tags = {} if context is None else {"mlflow.data.context": context}
    digest = f"{abs(hash(name)) % 16**8:08x}"
    log.add(InputsLogged, [{"name": name, "digest": digest, "schema": name, "tags": tags}])


def model(log: Log, name: str, *, ready: bool = True) -> None:
    log.add(ModelLogged, name, name, None, "PENDING", "1", None, START_S * 1000, {}, {})
    if ready:
        log.add(ModelLogged, name, None, None, "READY")


def trained_on(document: Document) -> set[tuple[str, str]]:
    entities = document.records["entity"]
    pairs = set()
    for derivation in document.records.get("wasDerivedFrom", {}).values():
        if derivation.get("prov:type") == {"$": "mlf:TrainedOn", "type": "xsd:QName"}:
            assert derivation["mlf:basis"]["$"] == "mlf:inferred"
            ends = (derivation["prov:generatedEntity"], derivation["prov:usedEntity"])
            pairs.add((entities[ends[0]]["schema:name"], entities[ends[1]]["schema:name"]))
    return pairs


CASES: dict[str, tuple[list[str], set[tuple[str, str]]]] = {
    "one dataset, two models": (["d train", "m A", "m B"], {("A", "train"), ("B", "train")}),
    "two datasets, one model": (["d x", "d y", "m A"], {("A", "x"), ("A", "y")}),
    "two datasets, two models": (["d x", "d y", "m A", "m B"], set()),
    "in turns": (["d cats", "m A", "d dogs", "m B"], {("A", "cats"), ("B", "dogs")}),
    "in turns, then doubt": (["d cats", "m A", "d dogs", "m B", "m C"], {("A", "cats")}),
    "the same again": (["d x", "m A", "d x", "m B"], {("A", "x"), ("B", "x")}),
    "after the model": (["m A", "d x"], set()),
    "while the model is pending": (["p A", "d x", "r A"], {("A", "x")}),
    "before and while it is pending": (["d x", "p A", "d y", "r A"], set()),
    "two models, one of them pending": (["d x", "d y", "p A", "m B", "d z", "r A"], set()),
    "never ready": (["d x", "p A"], {("A", "x")}),
}


@pytest.mark.parametrize(("calls", "expected"), CASES.values(), ids=CASES)
def test_models_are_trained_on_what_one_reading_says(
    calls: list[str], expected: set[tuple[str, str]]
) -> None:
    log = Log()
    for call in calls:
        kind, name = call.split()
        if kind == "d":
            dataset(log, name, "training")
        elif kind == "r":
            log.add(ModelLogged, name, None, None, "READY")
        else:
            model(log, name, ready=kind == "m")
    assert trained_on(log.document()) == expected


@pytest.mark.parametrize("context", ["validation", "test", "eval", "holdout", "trained", "", None])
def test_other_datasets_train_nothing(context: str | None) -> None:
    log = Log()
    dataset(log, "x", context)
    model(log, "A")
    assert trained_on(log.document()) == set()


def test_a_store_keeps_no_order_so_nothing_is_claimed() -> None:
    log = Log()
    dataset(log, "x", "training")
    model(log, "A")
    events: list[Any] = [
        dataclasses.replace(event, session=STORE_SESSION, time_ns=0) for event in log.events
    ]
    assert trained_on(translate(events)) == set()
