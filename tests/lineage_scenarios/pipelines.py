"""Random pipelines through MLflow, and their true lineage by rules of their own.

A pipeline knows what each of its runs read and made. The truth is the closure of these steps. It
looks at no document and uses no code of the package.
"""

from __future__ import annotations

import hashlib
import pickle
import random
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy
import pandas
from sklearn.linear_model import LinearRegression

Node = tuple[str, ...]

_MODELS = 8
_TICK_S = 0.02  # a file that changes in the tick of the clock before it is read has no hash
_EVALUATE = {"log_model_explainability": False}


READS = ("artifact", "folder", "file", "dataset", "version", "alias", "model", "evaluation")


class Pipeline:
    """Some runs that read, write, log, register and load; everything they did is known."""

    def __init__(
        self, number: int, folder: Path, template: Path, reads: Sequence[str] = READS
    ) -> None:
        self.reads = reads
        self.template = template
        self.random = random.Random(number)
        self.name = f"p{number}"
        self.folder = folder
        self.steps: set[tuple[Node, Node]] = set()  # (origin, product)
        self.runs: list[str] = []
        self.artifacts: list[tuple[str, str, str]] = []  # run, path, content
        self.versions: list[tuple[str, str, str]] = []  # name, version, model
        self.models: list[str] = []
        self.owners: dict[str, str] = {}  # model -> run
        self.aliases: dict[tuple[str, str], str] = {}
        self.writers: dict[str, list[Node]] = {}  # content -> nodes that were its origin
        self.origins: dict[Node, list[Node]] = {}  # the same by the name of the content
        self.outside: list[Path] = []
        self.inner: dict[str, set[str]] = {}  # run -> contents that it read

    def content(self) -> str:
        """Return a new content, or one that was logged before."""
        if self.artifacts and self.random.random() < 0.25:
            return self.random.choice(self.artifacts)[2]
        return f"{self.name} {self.random.random()}\n"

    def play(self) -> None:
        for path in range(self.random.randint(1, 3)):
            file = self.folder / f"raw{path}.txt"
            # Two names of one content, now and then.
            file.write_text(f"{self.name} raw {self.random.randint(0, 1)}\n")
            self.outside.append(file)
        for number in range(_MODELS):
            model = LinearRegression().fit([[0.0], [1.0]], [0.0, self.random.random()])
            shutil.copytree(self.template, self.folder / f"model{number}")
            (self.folder / f"model{number}" / "model.pkl").write_bytes(pickle.dumps(model))
        for position in range(self.random.randint(2, 6)):
            self.run(position)
            self.copy_outside()

    def copy_outside(self) -> None:
        """Copy an artifact to where later runs find it, by no call of MLflow and in no run."""
        if self.artifacts and self.random.random() < 0.4:
            file = self.folder / f"copy{len(self.outside)}.txt"
            file.write_text(self.random.choice(self.artifacts)[2])
            self.outside.append(file)

    def run(self, position: int) -> None:
        with mlflow.start_run(run_name=f"{self.name}-{position}") as run:
            run_id = run.info.run_id
            self.runs.append(run_id)
            self.inner[run_id] = set()
            time.sleep(_TICK_S)
            for _ in range(self.random.randint(0, 3)):
                self.read(run_id)
                if self.random.random() < 0.2:
                    self.move_alias()
            for _ in range(self.random.randint(0, 3)):
                self.make(run_id)

    # -- reading -----------------------------------------------------------------------

    def read(self, run_id: str) -> None:
        choice = self.random.choice(self.reads)
        if choice in ("artifact", "folder") and self.artifacts:
            owner, path, content = self.random.choice(self.artifacts)
            if owner == run_id:
                return
            whole = choice == "folder"
            of_folder = [a for a in self.artifacts if a[0] == owner and a[1].startswith("data/")]
            if whole and not of_folder:
                return
            mlflow.artifacts.download_artifacts(f"runs:/{owner}/{'data' if whole else path}")
            for _, part, text in of_folder if whole else [(owner, path, content)]:
                self.steps.add((("artifact", owner, part), ("run", run_id)))
                self.inner[run_id].add(text)
        elif choice == "file":
            file = self.random.choice(self.outside)
            self.used_outside(run_id, file.read_text())
        elif choice == "dataset":
            self.read_dataset(run_id)
        elif choice in ("version", "alias") and self.versions:
            self.read_version(run_id, by_alias=choice == "alias")
        elif choice == "model" and self.models:
            self.load_model(run_id)
        elif choice == "evaluation" and self.versions and self.random.random() < 0.3:
            self.evaluate(run_id)

    def used_outside(self, run_id: str, content: str) -> None:
        """A file outside of MLflow: its origins are the runs that wrote this content before."""
        writers = self.writers.get(content, ())
        digest = hashlib.sha256(content.encode()).hexdigest()
        # What is written later is no origin of what was read now.
        node = ("content", digest, str(len(writers)))
        self.steps.add((node, ("run", run_id)))
        for writer in writers:
            self.steps.add((writer, node))
        self.inner[run_id].add(content)

    def read_dataset(self, run_id: str) -> None:
        number = self.random.randint(0, 2)
        seed = int(self.name[1:]) * 10 + number
        values = numpy.random.default_rng(seed).normal(size=8)
        name = f"{self.name}-data{number}"
        dataset = mlflow.data.from_numpy(values, name=name, source=f"s3://bucket/{name}")
        mlflow.log_input(dataset, context=self.random.choice(["test", "input"]))
        self.steps.add((("dataset", dataset.digest), ("run", run_id)))

    def read_version(self, run_id: str, *, by_alias: bool) -> None:
        name, version, model = self.random.choice(self.versions)
        uri = f"models:/{name}/{version}"
        if by_alias:
            if not self.aliases:
                return
            (name, alias), version = self.random.choice(sorted(self.aliases.items()))
            uri = f"models:/{name}@{alias}"
            model = next(m for n, v, m in self.versions if (n, v) == (name, version))
        if self.is_own(model, run_id):
            return
        get: Callable[[str], Any] = self.random.choice(
            (
                mlflow.artifacts.download_artifacts,
                mlflow.pyfunc.load_model,
                mlflow.sklearn.load_model,
            )
        )
        get(uri)
        self.steps.add((("version", name, version), ("run", run_id)))

    def is_own(self, model: str, run_id: str) -> bool:
        return (("run", run_id), ("model", model)) in self.steps

    def load_model(self, run_id: str) -> None:
        """Load a model by its own id, or by that of its run."""
        model = self.random.choice(self.models)
        if self.is_own(model, run_id):
            return
        uri = f"models:/{model}"
        of_run = [m for m in self.models if self.owners[m] == self.owners[model]]
        if len(of_run) == 1 and self.random.random() < 0.5:
            uri = f"runs:/{self.owners[model]}/{self.name}-model"
        self.random.choice((mlflow.pyfunc, mlflow.sklearn)).load_model(uri)
        self.steps.add((("model", model), ("run", run_id)))

    def evaluate(self, run_id: str) -> None:
        """Evaluate a version on a dataset, which uses both."""
        name, version, model = self.random.choice(self.versions)
        if self.is_own(model, run_id):
            return
        table = pandas.DataFrame({"x": numpy.arange(4.0) + self.random.random()})
        table["y"] = table["x"]
        data = mlflow.data.from_pandas(table, source="s3://bucket/test", targets="y")
        mlflow.models.evaluate(
            f"models:/{name}/{version}",
            data,
            model_type="regressor",
            evaluators=["default"],
            evaluator_config={"default": _EVALUATE},
        )
        self.steps.add((("version", name, version), ("run", run_id)))
        self.steps.add((("dataset", data.digest), ("run", run_id)))

    # -- making ------------------------------------------------------------------------

    def make(self, run_id: str) -> None:
        choice = self.random.choice(["artifact", "artifact", "copy", "model", "model", "alias"])
        if choice == "artifact":
            self.log(run_id, self.content())
        elif choice == "copy":
            self.log(run_id, self.random.choice(self.outside).read_text(), reads=True)
        elif choice == "model":
            self.log_model(run_id)
        elif choice == "alias":
            self.move_alias()

    def move_alias(self) -> None:
        if self.versions:
            name, version, _ = self.random.choice(self.versions)
            alias = self.random.choice(["champion", "challenger"])
            mlflow.MlflowClient().set_registered_model_alias(name, alias, version)
            self.aliases[name, alias] = version

    def log(self, run_id: str, content: str, *, reads: bool = False) -> None:
        if reads:
            self.used_outside(run_id, content)
        path = f"{self.random.choice(['', 'data/'])}f{len(self.artifacts)}.txt"
        mlflow.log_text(content, path)
        node = ("artifact", run_id, path)
        self.artifacts.append((run_id, path, content))
        self.steps.add((("run", run_id), node))
        if content not in self.inner[run_id]:
            self.writers.setdefault(content, []).append(node)
            digest = hashlib.sha256(content.encode()).hexdigest()
            self.origins.setdefault(("content", digest), []).append(node)

    def log_model(self, run_id: str) -> None:
        model = mlflow.initialize_logged_model(name=f"{self.name}-model", source_run_id=run_id)
        folder = self.folder / f"model{len(self.models) % _MODELS}"
        mlflow.MlflowClient().log_model_artifacts(model.model_id, str(folder))
        mlflow.finalize_logged_model(model.model_id, "READY")
        self.steps.add((("run", run_id), ("model", model.model_id)))
        self.models.append(model.model_id)
        self.owners[model.model_id] = run_id
        if self.random.random() < 0.7:
            name = f"{self.name}-registered{self.random.randint(0, 1)}"
            version = mlflow.register_model(f"models:/{model.model_id}", name)
            number = str(version.version)
            self.versions.append((name, number, model.model_id))
            self.steps.add((("model", model.model_id), ("version", name, number)))

    # -- truth -------------------------------------------------------------------------

    def nodes(self) -> set[Node]:
        """Return all things; readings of one content at different times are one."""
        nodes = {node for step in self.steps for node in step} | {("run", r) for r in self.runs}
        return set(map(_thing, nodes))

    def lineage(self, start: Node, direction: str) -> set[Node]:
        """Return all origins or all products of a thing."""
        steps = self.steps if direction == "down" else {(b, a) for a, b in self.steps}
        frontier = {node for step in steps for node in step if _thing(node) == start}
        frontier |= set(self.origins.get(start, ()))
        reached: set[Node] = set()
        while frontier:
            frontier = {b for a, b in steps if a in frontier} - reached
            reached |= frontier
        return set(map(_thing, reached))


def _thing(node: Node) -> Node:
    return node[:2] if node[0] == "content" else node


def play(numbers: range, folder: Path, reads: Sequence[str] = READS) -> list[Pipeline]:
    """Play pipelines in the current store."""
    pipelines = []
    template = folder / "template"
    model = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    packages = ["scikit-learn"]
    mlflow.sklearn.save_model(
        model, template, pip_requirements=packages, serialization_format="pickle"
    )
    for number in numbers:
        inner = folder / f"p{number}"
        inner.mkdir()
        pipeline = Pipeline(number, inner, template, reads)
        pipeline.play()
        pipelines.append(pipeline)
    return pipelines
