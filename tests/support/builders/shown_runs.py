"""Documents of a study as people look at them: curves, epochs, a registry, one failure."""

from __future__ import annotations

import math
from pathlib import Path

from support.builders.pipeline_documents import pipeline
from yprov_mlflow.prov.events import (
    ContextEntered,
    ContextLeft,
    Event,
    FactsCollected,
    InputsLogged,
    MetricsLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
    SessionStarted,
    TagsSet,
)
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.translate import Options, translate

START_S = 1_767_322_800
STORE = {"uuid": "9d0c7c1e-aaaa-4bbb-8ccc-ddddeeeeffff", "uri": "sqlite:///mlflow.db"}
DATASET = {
    "name": "CIFAR-10, the first half",
    "digest": "d1f0a3b2",
    "source_type": "local",
    "source": '{"uri": "data/cifar.parquet"}',
    "schema": "{}",
}
EPOCHS, STEPS = 5, 60


def study(number: int, name: str, *, status: str = "FINISHED") -> list[Event]:
    """Return the events of a training with epochs; ``number`` shapes its curves."""
    events: list[Event] = []
    run_id = f"{number:032x}"
    second = START_S + 1000 * number

    def add(kind: type[Event], *fields: object) -> None:
        nonlocal second
        second += 1
        events.append(kind(run_id, "a" * 16, len(events), second * 10**9, *fields))

    add(SessionStarted, {"pid": 1, "host": "node01", "user": "alice"})
    add(RunCreated, "1", "study of rates", name, "alice", second * 1000, "file:///a", {}, STORE)
    git = {"commit": "1" * 40, "commit_time": START_S - 1000, "dirty": True}
    add(FactsCollected, "git", git | {"entry_point": "train.py"})
    packages = {f"package-{each}": "1.0" for each in range(30)}
    add(
        FactsCollected, "environment", {"python": "3.11", "platform": "Linux", "packages": packages}
    )
    add(ParamsLogged, {"lr": str(0.1 / number), "batch": "64", "optimizer": "adam", "name": name})
    add(TagsSet, {"stage": "trial", "note": "words " * 40})
    add(InputsLogged, [DATASET])
    for epoch in range(EPOCHS):
        for phase, key, scale in (("training", "loss", 1.0), ("validation", "loss", 1.3)):
            path = (phase, epoch)
            add(ContextEntered, path)
            for step in range(0, STEPS, 1 if phase == "training" else 10):
                x = epoch * STEPS + step
                loss = scale * math.exp(-x / 90 / number) + 0.02 * math.sin(x)
                value = math.nan if x == 70 else loss
                at = second * 1000
                add(MetricsLogged, [key, "accuracy"], [value, 1 - loss], [at] * 2, [x] * 2, [path])
            add(ContextLeft, path)
    add(RunUpdated, status, second * 1000, None)
    return events


def write_runs(
    folder: Path, names: tuple[str, ...] = ("fast fox", "slow snail", "steady ox")
) -> None:
    """Write the documents of a study, of a run that failed, and of a pipeline with a registry."""
    documents = [
        translate(study(number, name), Options(max_samples=5000))
        for number, name in enumerate(names, 1)
    ]
    failed = study(len(names) + 1, "stopped " * 12, status="FAILED")
    documents += [translate(failed, Options(max_samples=5000)), *pipeline()]
    for number, document in enumerate(documents):
        path = folder / f"{number:02}" / "prov.json"
        path.parent.mkdir(parents=True)
        path.write_bytes(prov_json.dumps(document))
