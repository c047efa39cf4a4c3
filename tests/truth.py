"""The truth oracle: random programs, what is true of them by plain rules, what documents say.

Run as ``python tests/truth.py --programs 1000 --seed 0 --store sqlite``. Each program calls MLflow
in a random order. While it runs, the oracle notes what is true, from the rules in this file alone,
and then compares this with the live document, the converted one, and the one converted again after
restoring. A difference is a statement that is missing, false, or made twice.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KEYS = ("loss", "acc", "a/b", "f1 score")
CONTEXTS = ("training", "validation", "test", "Train", None)
VALUES = (0.0, 1.5, -2.25, float("nan"), float("inf"), 1e-300)
STEPS_OF_A_PROGRAM = 14
SPANS_S = 10  # spans of the last runs are delivered within this time
_LARGEST = repr(sys.float_info.max)


@dataclasses.dataclass
class RunTruth:
    """What is true of a run: the state of its store, and what happened."""

    name: str
    parent: str | None
    status: str = "RUNNING"
    params: dict[str, str] = dataclasses.field(default_factory=dict)
    tags: dict[str, str] = dataclasses.field(default_factory=dict)
    points: list[tuple[str, int, str]] = dataclasses.field(default_factory=list)
    linked: set[tuple[str, int, str]] = dataclasses.field(default_factory=set)
    datasets: dict[tuple[str, str | None], None] = dataclasses.field(default_factory=dict)
    order: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    models: dict[str, str] = dataclasses.field(default_factory=dict)
    files: dict[str, str] = dataclasses.field(default_factory=dict)
    spans: Counter[str] = dataclasses.field(default_factory=Counter)


def trained_on(order: list[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return pairs of model and dataset, by the rule of docs/mapping.md.

    Split the calls into groups: training datasets, then models. A model is of the datasets of
    its group if the group is the first and has one dataset, or if the group has one model.
    """
    groups: list[tuple[list[str], list[str]]] = []
    for kind, name in order:
        if kind == "model" and groups:
            groups[-1][1].append(name)
        elif kind == "dataset" and not (groups and name in groups[-1][0]):
            if not groups or groups[-1][1]:
                groups.append(([], []))
            groups[-1][0].append(name)
    return {
        (model, dataset)
        for number, (datasets, models) in enumerate(groups)
        if (number == 0 and len(datasets) == 1) or len(models) == 1
        for model in models
        for dataset in datasets
    }


class Program:
    """A random program over MLflow's write surface, and the truth about it."""

    def __init__(self, mlflow: Any, seed: int) -> None:
        self.mlflow = mlflow
        self.client = mlflow.MlflowClient()
        self.random = random.Random(seed)
        self.runs: dict[str, RunTruth] = {}
        self._count = 0
        self._clock = 1_700_000_000_000 + seed * 1000

    def execute(self) -> None:
        """Run the program; every run of it ends."""
        self.mlflow.set_experiment(f"truth-{self.random.randrange(10**12)}")
        for _ in range(self.random.randint(1, 3)):
            self._run(None)
        self.mlflow.flush_async_logging()
        self.mlflow.flush_trace_async_logging()

    def _run(self, parent: str | None) -> None:
        name = self._name("run")
        with self.mlflow.start_run(run_name=name, nested=parent is not None) as run:
            run_id = run.info.run_id
            truth = self.runs[run_id] = RunTruth(name, parent)
            truth.tags.update(run.data.tags)
            for _ in range(self.random.randint(3, STEPS_OF_A_PROGRAM)):
                step = self.random.choice(STEPS)
                step(self, run_id, truth)
            if parent is None and self.random.random() < 0.3:
                self._run(run_id)
        truth.status = "FINISHED"
        if self.random.random() < 0.1:
            self.client.set_terminated(run_id, "FAILED")
            truth.status = "FAILED"

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind} {self._count}"

    def _time(self) -> int:
        self._clock += 1  # distinct times: stores merge equal points
        return self._clock

    # -- steps -------------------------------------------------------------------------

    def param(self, run_id: str, truth: RunTruth) -> None:
        key, value = self._name("p"), self.random.choice(("1", "x y", "True", "", "é"))
        self.mlflow.log_param(key, value)
        truth.params[key] = value

    def param_again(self, run_id: str, truth: RunTruth) -> None:
        for key, value in list(truth.params.items())[:1]:
            self.mlflow.log_param(key, value)

    def tag(self, run_id: str, truth: RunTruth) -> None:
        key, value = self.random.choice("abc"), self._name("v")
        self.mlflow.set_tag(key, value)
        truth.tags[key] = value

    def delete_tag(self, run_id: str, truth: RunTruth) -> None:
        for key in ("a", "b"):
            if key in truth.tags:
                self.mlflow.delete_tag(key)
                del truth.tags[key]

    def metric(self, run_id: str, truth: RunTruth) -> None:
        key, value, step = self._point()
        self.client.log_metric(run_id, key, value, timestamp=self._time(), step=step)
        truth.points.append((key, step, repr(value)))

    def batch(self, run_id: str, truth: RunTruth) -> None:
        points = [self._point() for _ in range(self.random.randint(1, 4))]
        metrics = [self.mlflow.entities.Metric(k, v, self._time(), s) for k, v, s in points]
        self.client.log_batch(run_id, metrics)
        truth.points += [(key, step, repr(value)) for key, value, step in points]

    def in_context(self, run_id: str, truth: RunTruth) -> None:
        with self.mlflow.prov.context(self.random.choice(("training", "test"))):
            self.metric(run_id, truth)

    def in_thread(self, run_id: str, truth: RunTruth) -> None:
        thread = threading.Thread(target=self.metric, args=(run_id, truth))
        thread.start()
        thread.join()

    def asynchronous(self, run_id: str, truth: RunTruth) -> None:
        key, value, step = self._point()
        timestamp = self._time()
        future = self.client.log_metric(
            run_id, key, value, timestamp=timestamp, step=step, synchronous=False
        )
        future.wait()
        truth.points.append((key, step, repr(value)))

    def dataset(self, run_id: str, truth: RunTruth) -> None:
        import numpy

        name, context = self._name("data"), self.random.choice(CONTEXTS)
        data = self.mlflow.data.from_numpy(numpy.arange(3) + self._count, name=name)
        self.mlflow.log_input(data, context=context)
        truth.datasets[name, context] = None
        if str(context).lower() in ("train", "training"):
            truth.order.append(("dataset", name))

    def model(self, run_id: str, truth: RunTruth) -> None:
        name = self._name("model").replace(" ", "-")
        model = self.mlflow.initialize_logged_model(name=name)
        self.mlflow.finalize_logged_model(model.model_id, "READY")
        truth.models[model.model_id] = name
        truth.order.append(("model", name))

    def repeat_for_model(self, run_id: str, truth: RunTruth) -> None:
        """Log points again for a model, as log_model does."""
        if not truth.models or not truth.points:
            return
        model_id = self.random.choice(list(truth.models))
        key = self.random.choice(truth.points)[0]
        history = self.client.get_metric_history(run_id, key)
        repeated = [
            self.mlflow.entities.Metric(
                m.key, m.value, m.timestamp, m.step, model_id=model_id, run_id=run_id
            )
            for m in history
            if m.value == m.value and abs(m.value) < 1e300
        ]
        if repeated:
            self.client.log_batch(run_id, metrics=repeated)
            truth.linked |= {(m.key, m.step, repr(m.value)) for m in repeated}

    def artifact(self, run_id: str, truth: RunTruth) -> None:
        path, text = self.random.choice(("f.txt", "d/g.json")), self._name("text")
        self.mlflow.log_text(text, path)
        truth.files[path] = hashlib.sha256(text.encode()).hexdigest()

    def trace(self, run_id: str, truth: RunTruth) -> None:
        name = self._name("span")
        with self.mlflow.start_span(name), self.mlflow.start_span(f"{name} child"):
            pass
        truth.spans.update([name, f"{name} child"])

    def _point(self) -> tuple[str, float, int]:
        choose = self.random.choice
        return choose(KEYS), choose(VALUES), self.random.randint(0, 3)


STEPS = (
    *(Program.param, Program.param_again, Program.tag, Program.tag, Program.delete_tag),
    *(Program.metric, Program.metric, Program.batch, Program.in_context, Program.in_thread),
    *(Program.asynchronous, Program.dataset, Program.dataset, Program.dataset, Program.model),
    *(Program.model, Program.repeat_for_model, Program.artifact, Program.artifact, Program.trace),
)


# -- what a document says --------------------------------------------------------------------


class Statements:
    """What a document in PROV-JSON says of a run, read without this package."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.entities = document.get("entity", {})
        self.activities = document.get("activity", {})
        self.document = document
        self.run = self.activities["run:run"]
        ended = document.get("wasInvalidatedBy", {}).values()
        self.ended = {record["prov:entity"] for record in ended}

    def of_type(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for section in (self.entities, self.activities):
            for identifier, record in section.items():
                if kind in _plain_list(record.get("prov:type")):
                    yield identifier, record

    def params(self) -> list[tuple[str, str]]:
        rows = self.of_type("mlf:Param")
        return sorted((r["schema:name"], r["mlf:text"]) for i, r in rows if i.startswith("run:"))

    def tags(self) -> list[tuple[str, str]]:
        rows = self.of_type("mlf:Tag")
        current = [r for i, r in rows if i not in self.ended and i.startswith("run:")]
        return sorted((r["schema:name"], str(_plain(r["prov:value"]))) for r in current)

    def points(self) -> list[tuple[str, int, str]]:
        return sorted(
            (r["schema:name"], int(_plain(r["mlf:step"])), repr(_number(r["prov:value"])))
            for _, r in self.of_type("mlf:MetricSample")
        )

    def linked(self) -> set[tuple[str, int, str]]:
        return {
            (r["schema:name"], int(_plain(r["mlf:step"])), repr(_number(r["prov:value"])))
            for _, r in self.of_type("mlf:MetricSample")
            if "mlf:model" in r
        }

    def counts(self) -> dict[str, int]:
        return {
            r["schema:name"]: int(_plain(r["mlf:count"]))
            for i, r in self.of_type("mlf:MetricSeries")
            if i.startswith("run:metric/@run/") and "@r" not in i.rpartition("/")[2]
        }

    def datasets(self) -> list[tuple[str, str | None]]:
        usages = self.document.get("used", {}).values()
        return sorted(
            (
                (u["mlf:datasetName"], u.get("mlf:datasetContext"))
                for u in usages
                if "mlf:datasetName" in u
            ),
            key=str,
        )

    def models(self) -> list[str]:
        made = {g["prov:entity"] for g in self.document.get("wasGeneratedBy", {}).values()}
        rows = self.of_type("mlf:LoggedModel")
        return sorted(r["schema:name"] for i, r in rows if i in made)

    def trained_on(self) -> set[tuple[str, str]]:
        names = {i: r.get("schema:name") for i, r in self.entities.items()}
        return {
            (names[d["prov:generatedEntity"]], names[d["prov:usedEntity"]])
            for d in self.document.get("wasDerivedFrom", {}).values()
            if "mlf:TrainedOn" in _plain_list(d.get("prov:type"))
        }

    def files(self) -> list[tuple[str, str]]:
        rows = self.of_type("mlf:Artifact")
        own = [r for i, r in rows if i.startswith("run:artifact/") and i not in self.ended]
        return sorted((r["mlf:path"], r["mlf:sha256"]) for r in own)

    def spans(self) -> Counter[str]:
        return Counter(r["prov:label"] for _, r in self.of_type("mlf:Span"))


def _plain(value: Any) -> Any:
    return value["$"] if isinstance(value, dict) else value


def _plain_list(value: Any) -> list[Any]:
    return [_plain(item) for item in (value if isinstance(value, list) else [value])]


def _number(value: Any) -> float:
    return float(str(_plain(value)).replace("INF", "inf"))


def differences(
    truth: RunTruth, document: dict[str, Any], live: bool, from_sql: bool
) -> Iterator[str]:
    """Yield what a document says wrongly of a run, or does not say.

    Only a live document may say what models were trained on: a store keeps no order. MLflow's
    databases keep infinity as the largest float, and that is what conversion can know.
    """
    points = truth.points
    if from_sql:
        points = [(key, step, value.replace("inf", _LARGEST)) for key, step, value in points]
    said = Statements(document)
    claims = trained_on(truth.order)
    pairs: list[tuple[str, Any, Any]] = [
        ("name", truth.name, said.run.get("prov:label")),
        ("status", f"mlf:{truth.status}", _plain(said.run.get("mlf:status"))),
        ("params", sorted(truth.params.items()), said.params()),
        ("tags", sorted(truth.tags.items()), said.tags()),
        ("points", sorted(points), said.points()),
        ("counts", dict(Counter(key for key, _, _ in truth.points)), said.counts()),
        ("linked", truth.linked, said.linked()),
        ("datasets", sorted(truth.datasets, key=str), said.datasets()),
        ("models", sorted(truth.models.values()), said.models()),
        ("trained on", claims if live else claims & said.trained_on(), said.trained_on()),
        ("files", sorted(truth.files.items()), said.files()),
        ("spans", truth.spans, said.spans()),
    ]
    for what, true, stated in pairs:
        if true != stated:
            yield f"{what}: true is {true!r}, the document says {stated!r}"


# -- main ------------------------------------------------------------------------------------


def check(programs: int, seed: int, store: str, folder: Path) -> list[str]:
    """Run programs and return all differences, each with the seed of its program."""
    os.environ.update(
        YPROV_MLFLOW_DIR=str(folder / "state"),
        YPROV_MLFLOW_COLLECTORS="none",
        MLFLOW_DISABLE_TELEMETRY="true",
        MLFLOW_ALLOW_FILE_STORE="true",
    )
    os.chdir(folder)
    import yprov_mlflow as mlflow

    in_sql = store == "sqlite"
    uri = f"sqlite:///{folder}/m.db" if in_sql else f"file://{folder}/mlruns"
    mlflow.set_tracking_uri(uri)
    found: list[str] = []
    truths: dict[str, tuple[int, RunTruth]] = {}
    for number in range(seed, seed + programs):
        program = Program(mlflow, number)
        program.execute()
        truths |= {run_id: (number, truth) for run_id, truth in program.runs.items()}
    time.sleep(SPANS_S)
    for run_id in truths:
        uri_of = mlflow.get_run(run_id).info.artifact_uri.removeprefix("file://")
        path = Path(uri_of, "provenance", "prov.json")
        (folder / "live").mkdir(exist_ok=True)
        # Converted documents must stand on the store alone.
        shutil.move(path, folder / "live" / f"{run_id}.json")
    restored = f"sqlite:///{folder}/restored.db"
    convert(uri, folder / "converted")
    restore(folder / "converted", restored, folder)
    convert(restored, folder / "again")
    roads = (("live", False), ("converted", in_sql), ("again", True))
    for road, from_sql in roads:
        for run_id, (number, truth) in truths.items():
            pattern = f"{run_id}.json" if road == "live" else f"*/{run_id}/prov.json"
            (path,) = (folder / road).glob(pattern)
            document = json.loads(path.read_text())
            found += [
                f"{number} {road}: {difference}"
                for difference in differences(truth, document, road == "live", from_sql)
            ]
    return found


def convert(uri: str, out: Path) -> None:
    """Convert a store in this process."""
    from yprov_mlflow.prov.convert import Conversion, Request
    from yprov_mlflow.prov.convert.executors import InlineExecutor

    list(Conversion(Request(source=uri, out=out), InlineExecutor()))


def restore(documents: Path, uri: str, folder: Path) -> None:
    """Restore documents into a database, with the artifacts of the store."""
    from yprov_mlflow.prov.restore import RestoreRequest
    from yprov_mlflow.prov.restore import restore as restore_documents

    root = str(folder / "restored")
    restore_documents(RestoreRequest((documents,), uri, folder / "mlruns", artifact_root=root))


def main() -> int:
    """Run the oracle from the command line; exit with 1 if a document is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", choices=("sqlite", "file"), default="sqlite")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        found = check(arguments.programs, arguments.seed, arguments.store, Path(folder))
    for difference in found:
        print(difference)
    print(f"{arguments.programs} programs on {arguments.store}: {len(found)} differences")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
