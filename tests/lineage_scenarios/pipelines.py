"""Random pipelines through MLflow, and their true lineage by rules of their own.

A pipeline knows what each of its runs read and made. The truth is the closure of these steps. It
looks at no document and uses no code of the package.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path

import mlflow

Node = tuple[str, ...]

_MODELS = 8
_OF_EVERY_MODEL = {"MLmodel": "flavors: {}\n", "requirements.txt": "mlflow\n"}


READS = ("artifact", "folder", "file", "dataset", "version", "alias")


class Pipeline:
    """Some runs that read, write, log, register and load; everything they did is known."""

    def __init__(self, number: int, folder: Path, reads: Sequence[str] = READS) -> None:
        self.reads = reads
        self.random = random.Random(number)
        self.name = f"p{number}"
        self.folder = folder
        self.steps: set[tuple[Node, Node]] = set()  # (origin, product)
        self.runs: list[str] = []
        self.artifacts: list[tuple[str, str, str]] = []  # run, path, content
        self.versions: list[tuple[str, str, str]] = []  # name, version, model
        self.models: list[str] = []
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
            (self.folder / f"weights{number}.bin").write_bytes(f"{self.name} {number}".encode())
        for name, text in _OF_EVERY_MODEL.items():
            (self.folder / name).write_text(text)
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
            for _ in range(self.random.randint(0, 3)):
                self.read(run_id)
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
        import numpy

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
        if any(step == (("run", run_id), ("model", model)) for step in self.steps):
            return  # its own model
        mlflow.artifacts.download_artifacts(uri)
        self.steps.add((("version", name, version), ("run", run_id)))

    # -- making ------------------------------------------------------------------------

    def make(self, run_id: str) -> None:
        choice = self.random.choice(["artifact", "artifact", "copy", "model", "alias"])
        if choice == "artifact":
            self.log(run_id, self.content())
        elif choice == "copy":
            self.log(run_id, self.random.choice(self.outside).read_text(), reads=True)
        elif choice == "model":
            self.log_model(run_id)
        elif choice == "alias" and self.versions:
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
        client = mlflow.MlflowClient()
        for file in (f"weights{len(self.models) % _MODELS}.bin", *_OF_EVERY_MODEL):
            client.log_model_artifact(model.model_id, str(self.folder / file))
        mlflow.finalize_logged_model(model.model_id, "READY")
        self.steps.add((("run", run_id), ("model", model.model_id)))
        self.models.append(model.model_id)
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
    for number in numbers:
        inner = folder / f"p{number}"
        inner.mkdir()
        pipeline = Pipeline(number, inner, reads)
        pipeline.play()
        pipelines.append(pipeline)
    return pipelines
