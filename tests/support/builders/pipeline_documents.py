"""Documents of a pipeline whose answers are known: data, two trainings, registry, evaluation."""

from __future__ import annotations

from typing import Any

from support.builders.run_log import START_S, STORE, A
from yprov_mlflow.prov.events import (
    ArtifactsLogged,
    ContextEntered,
    ContextLeft,
    Event,
    FactsCollected,
    InputsLogged,
    MetricsLogged,
    ModelLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
    SessionStarted,
    StoreCalled,
)
from yprov_mlflow.prov.ids import store_id
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.translate import translate

PREP, FIRST, SECOND, EVALUATION, FAILED = (letter * 32 for letter in "abcde")
OLD, NEW = "0" * 40, "1" * 40
CLEAN = "9" * 64
RAW = "d" * 64
MODELS = {FIRST: "m-" + "1" * 32, SECOND: "m-" + "2" * 32}
CHAMPION_TIMES = {"1": START_S + 500, "2": START_S + 700}

_RAW = {"name": "raw", "digest": "aaaa1111", "schema": "{}", "source": '{"uri": "raw.csv"}'}
_CLEAN = {"name": "clean", "digest": "bbbb2222", "schema": "{}", "source": '{"uri": "x/clean.csv"}'}


class _Run:
    def __init__(self, run_id: str, name: str, start: int, user: str, experiment: str) -> None:
        self.run_id, self.second, self.events = run_id, START_S + start, []
        self.add(SessionStarted, {"pid": 1, "host": "node01", "user": user})
        number = {"E": "1", "F": "2"}[experiment]
        at = self.second * 1000
        self.add(RunCreated, number, experiment, name, user, at, "file:///a", {}, STORE)

    def add(self, cls: type[Event], *fields: Any) -> None:
        self.second += 1
        at = self.second * 10**9
        self.events.append(cls(self.run_id, A, len(self.events), at, *fields))

    def code(self, commit: str, *, dirty: bool = False) -> None:
        times = {OLD: START_S - 2000, NEW: START_S - 1000}
        facts = {"commit": commit, "commit_time": times[commit], "dirty": dirty}
        self.add(FactsCollected, "git", facts | {"entry_point": "train.py"})

    def environment(self, numpy: str) -> None:
        facts = {"python": "3.11", "platform": "Linux", "packages": {"numpy": numpy, "pip": "24"}}
        self.add(FactsCollected, "environment", facts)
        self.add(FactsCollected, "host", {"os": "Linux", "cpu_count": 8, "hostname": "node01"})

    def losses(self, *losses: float) -> None:
        for step, loss in enumerate(losses):
            self.add(MetricsLogged, ["loss"], [loss], [self.second * 1000], [step])

    def files(self, *files: tuple[str, str], owner: tuple[str, str] | None = None) -> None:
        rows = [{"path": path, "sha256": sha256, "size": 4} for path, sha256 in files]
        self.add(ArtifactsLogged, rows, owner)

    def document(
        self, status: str = "FINISHED", energy: tuple[float, float] | None = None
    ) -> Document:
        self.add(RunUpdated, status, self.second * 1000)
        document = translate(self.events)
        for name, number in zip(("own", "total"), energy or (), strict=False):
            types = ["mlf:Quantity", "mlf:AttributedEnergy" if name == "own" else "mlf:TotalEnergy"]
            document.records["entity"][f"run:energy/{name}"] = {
                "prov:type": [{"$": kind, "type": "xsd:QName"} for kind in types],
                "qudt:numericValue": {"$": str(number), "type": "xsd:double"},
            }
        return document


def use(document: Document, entity: str, time: str, **record: Any) -> None:
    """Add that the run of a document used an entity."""
    document.records["entity"].setdefault(entity, record)
    used = document.records.setdefault("used", {})
    used[f"run:use/{len(used)}"] = {
        "prov:activity": "run:run",
        "prov:entity": entity,
        "prov:time": time,
    }


def pipeline() -> list[Document]:
    """Return the documents of five runs and of their store."""
    prep = _Run(PREP, "prep", 0, "alice", "E")
    prep.code(OLD)
    prep.add(InputsLogged, [_RAW | {"tags": {"mlflow.data.context": "input"}}])
    prep.files(("data/clean.csv", CLEAN))
    trainings = []
    for run_id, name, user, start in (
        (FIRST, "first", "alice", 100),
        (SECOND, "second", "bob", 200),
    ):
        is_first = run_id == FIRST
        run = _Run(run_id, name, start, user, "E")
        run.code(OLD if is_first else NEW, dirty=not is_first)
        run.environment("1.26.4" if is_first else "2.0.0")
        run.add(ParamsLogged, {"lr": "0.1" if is_first else "0.05", "epochs": "3"})
        run.add(InputsLogged, [_CLEAN | {"tags": {"mlflow.data.context": "training"}}])
        run.add(ContextEntered, ("training",))
        run.add(ContextLeft, ("training",))
        run.losses(*((0.5, 0.3) if is_first else (0.6, 0.2)))
        model = MODELS[run_id]
        run.add(ModelLogged, model, "net", None, "READY", "1", "file:///m", 1)
        run.files(("MLmodel", "e" * 64), ("weights.bin", run_id * 2), owner=("model", model))
        version = "1" if is_first else "2"
        fields = {"name": "clf", "source": f"models:/{model}", "model_id": model}
        run.add(
            StoreCalled,
            "create_model_version",
            {"model": "clf", "version": version},
            fields,
            fields | {"version": version},
        )
        trainings.append(run.document(energy=(100.0, 1000.0) if is_first else (300.0, 900.0)))
    evaluation = _Run(EVALUATION, "evaluation", 600, "alice", "E")
    evaluated = evaluation.document(energy=(50.0, 60.0))
    version = {"prov:type": [{"$": "mlf:ModelVersion", "type": "xsd:QName"}]}
    use(evaluated, "store:model/clf/version/1", "2026-01-02T03:10:05+00:00", **version)
    # The same name in another experiment.
    failed = _Run(FAILED, "first", 800, "bob", "F").document("FAILED")
    return [prep.document(), *trainings, evaluated, failed, _store()]


def _store() -> Document:
    events: list[Event] = []
    run_id = store_id(STORE["uuid"])
    events.append(
        SessionStarted(run_id, A, 0, START_S * 10**9, {"pid": 9, "user": "alice", "store": STORE})
    )
    for version, second in CHAMPION_TIMES.items():
        fields = {"name": "clf", "alias": "champion", "version": version}
        subjects = {"model": "clf", "alias": "champion", "version": version}
        events.append(
            StoreCalled(
                run_id,
                A,
                len(events),
                second * 10**9,
                "set_registered_model_alias",
                subjects,
                fields,
            )
        )
    return translate(events)
