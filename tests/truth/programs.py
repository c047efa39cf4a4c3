"""Random programs over MLflow's write surface, each with the truth about what it wrote.

A step of a program calls MLflow, and notes beside the call what is true from then on: a fact, as a
key and a value. The rules are in this module alone, and do not use the code under test.
"""

from __future__ import annotations

import hashlib
import math
import random
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

Key = tuple[Any, ...]
STORE = "store"
"""The owner of facts that belong to no run."""
SESSION = "session"
"""Where a point was logged that is in no context."""

_METRICS = ("loss", "acc", "a/b", "f1 score")
_CONTEXTS = ("training", "training", "validation", "test", "Train", None)
_VALUES = (0.0, 1.5, -2.25, math.nan, math.inf, -math.inf, 1e-300)
_TEXTS = ("1", "x y", "True", "é", "0.10")
_OF_REGISTERED = ("registered", "registered tag", "version", "version tag", "alias", "stage")
"""Kinds of facts about a registered model."""
_FILES = ("f.txt", "d/g.json", "d/h.txt")


class Facts:
    """What is true of one owner, a run or the store: each fact has a key and a value."""

    def __init__(self) -> None:
        self.values: dict[Key, Any] = {}
        self.order: list[tuple[str, str]] = []
        self.names: dict[str, list[str]] = {}

    def say(self, *key: Any, value: Any) -> None:
        """Add a fact, or change its value."""
        self.values[key] = value

    def forget(self, *prefix: Any) -> None:
        """Remove all facts whose keys begin with a prefix."""
        for key in [key for key in self.values if key[: len(prefix)] == prefix]:
            del self.values[key]

    def keys(self, *prefix: Any) -> list[Key]:
        """Return the keys that begin with a prefix, in the order of their facts."""
        return [key for key in self.values if key[: len(prefix)] == prefix]

    def point(self, metric: str, step: int, timestamp: int, value: float, within: str) -> None:
        """Add a measurement, made within a context or else within the session."""
        self.say("point", metric, step, timestamp, value=(repr(value), frozenset(), within))

    def link_point(self, metric: str, step: int, timestamp: int, model: str) -> None:
        """Note that a measurement is of a model, too."""
        value, models, within = self.values["point", metric, step, timestamp]
        self.say("point", metric, step, timestamp, value=(value, models | {model}, within))

    def total(self) -> dict[Key, Any]:
        """Return all facts, with those that follow from others.

        The first name of a content stands for the content.
        """
        total = dict(self.values)
        for _, metric, _, _ in self.keys("point"):
            total["count", metric] = total.get(("count", metric), 0) + 1
        for key in self.keys("dataset"):
            total[key] = min(self.names[self.values[key]])
        for model, content in trained_on(self.order):
            total["trained on", model, min(self.names[content])] = True
        return total


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


class Truth:
    """What is true of all runs of some programs, and of their store.

    ``seeds`` has the program of each run, trace and name.
    """

    def __init__(self) -> None:
        self.owners: dict[str, Facts] = {STORE: Facts()}
        self.seeds: dict[str, int] = {}

    def owner(self, run_id: str) -> Facts:
        """Return the facts of a run, or of the store."""
        return self.owners.setdefault(run_id, Facts())

    @property
    def store(self) -> Facts:
        """The facts outside runs."""
        return self.owners[STORE]


class Program:
    """A random program.

    Args:
        mlflow: The module that the program calls, ``mlflow`` or the drop-in.
        seed: Number of the program; equal numbers make equal programs.
        truth: Where the program notes what is true.
        synchronous: Whether a trace is in the store as soon as it has ended.
        store: The kind of the store.
    """

    def __init__(
        self, mlflow: Any, seed: int, truth: Truth, synchronous: bool, store: str = "sqlite"
    ) -> None:
        self.mlflow, self.seed, self.truth = mlflow, seed, truth
        self.client = mlflow.MlflowClient()
        self.random = random.Random(seed)
        self.synchronous = synchronous
        self.store = store
        self.registered: list[str] = []
        self.prompts: list[str] = []
        self.runs: list[str] = []
        self.traces: list[tuple[Facts, str]] = []
        self.open_spans: list[tuple[Facts, str, Any]] = []
        self._label = str(seed)
        self._count = 0
        # Distinct times, as stores merge equal points. Five seconds are the program's own.
        self._clock = 1_700_000_000_000 + seed * 5000

    def beside(self) -> Program:
        """Return a program that runs beside this one, in another thread."""
        other = Program(self.mlflow, self.seed, self.truth, self.synchronous, self.store)
        other.random = random.Random(self.seed + 0.5)
        other._label, other._clock = f"{self.seed}b", self._clock + 2500
        return other

    # -- the course of a program ---------------------------------------------------------

    def execute(self) -> None:
        """Run the program; every run and trace of it ends."""
        self._some(OUTSIDE, 0, 2)
        other = None
        if self.random.random() < 0.1:
            other = self.beside()
            thread = threading.Thread(target=other.run)
            thread.start()
        self.run()
        if other is not None:
            thread.join()
            self.runs += other.runs
            self.traces += other.traces
            self.open_spans += other.open_spans
        self._some(OUTSIDE, 0, 1)
        if self.random.random() < 0.4:  # another run, which may read what the first one wrote
            self.run()
        while self.open_spans:
            self._end_span()

    def run(self, parent: str | None = None) -> None:
        """Run one run, and perhaps one nested in it."""
        name = self.name("run")
        with self.mlflow.start_run(run_name=name, nested=parent is not None) as run:
            run_id = run.info.run_id
            facts = self.truth.owner(run_id)
            self.truth.seeds[run_id] = self.seed
            self.runs.append(run_id)
            facts.say("name", value=name)
            facts.say("parent", value=parent)
            facts.say("lifecycle", value="active")
            for key, value in run.data.tags.items():
                facts.say("tag", key, value=value)
            self._some(INSIDE, 2, 9, run_id, facts)
            self._some(READS, 0, 2, run_id, facts)
            if parent is None and self.random.random() < 0.2:
                self.run(run_id)
                self._some(INSIDE, 0, 3, run_id, facts)
            status = self.random.choice((*["FINISHED"] * 6, "FAILED", "KILLED"))
            if status != "FINISHED":
                self.mlflow.end_run(status)
        facts.say("status", value=status)

    def afterwards(self) -> None:
        """Change runs that have ended and traces that are in the store."""
        for run_id in self.runs:
            facts = self.truth.owners[run_id]
            while facts.values["lifecycle",] == "active" and self.random.random() < 0.2:
                self._some(AFTER, 1, 1, run_id, facts)
        for _ in range(self.random.choice((0, 0, 1, 2, 4))):
            self._some_trace()

    def _some(self, steps: Any, least: int, most: int, *arguments: Any) -> None:
        for _ in range(self.random.randint(least, most)):
            self.random.choice(steps)(self, *arguments)

    def name(self, kind: str, separator: str = " ") -> str:
        """Return a name that no other program uses."""
        self._count += 1
        name = f"{kind}{separator}{self._label}.{self._count}"
        self.truth.seeds[name] = self.seed
        return name

    def time_ms(self) -> int:
        """Return a timestamp that no other point has."""
        self._clock += 1
        return self._clock

    # -- params and tags -----------------------------------------------------------------

    def param(self, run_id: str, facts: Facts) -> None:
        key, value = self.name("p"), self.random.choice(_TEXTS)
        self.client.log_param(run_id, key, value)
        facts.say("param", key, value=value)

    def param_again(self, run_id: str, facts: Facts) -> None:
        for key in facts.keys("param")[:1]:
            self.client.log_param(run_id, key[1], facts.values[key])

    def batch_of_params_and_tags(self, run_id: str, facts: Facts) -> None:
        params = {self.name("p"): self.random.choice(_TEXTS) for _ in range(2)}
        tags = {key: self.name("v") for key in "ab"}
        self.mlflow.log_params(params, run_id=run_id)
        self.mlflow.set_tags(tags)
        for kind, items in (("param", params), ("tag", tags)):
            for key, value in items.items():
                facts.say(kind, key, value=value)

    def tag(self, run_id: str, facts: Facts) -> None:
        key, value = self.random.choice("abc"), self.name("v")
        self.client.set_tag(run_id, key, value)
        facts.say("tag", key, value=value)

    def delete_tag(self, run_id: str, facts: Facts) -> None:
        for key in "ab":
            if ("tag", key) in facts.values:
                self.client.delete_tag(run_id, key)
                facts.forget("tag", key)

    def rename(self, run_id: str, facts: Facts) -> None:
        name = self.name("renamed")
        self.client.update_run(run_id, name=name)
        facts.say("name", value=name)
        facts.say("tag", "mlflow.runName", value=name)

    # -- metrics -------------------------------------------------------------------------

    def _point(self) -> tuple[str, float, int, int]:
        choose = self.random.choice
        return choose(_METRICS), choose(_VALUES), self.time_ms(), self.random.randint(0, 3)

    def metric(self, run_id: str, facts: Facts, within: str = SESSION, **options: Any) -> None:
        key, value, timestamp, step = self._point()
        call = self.client.log_metric(run_id, key, value, timestamp=timestamp, step=step, **options)
        if options:
            call.wait()
        facts.point(key, step, timestamp, value, within)

    def batch(self, run_id: str, facts: Facts) -> None:
        points = [self._point() for _ in range(self.random.randint(1, 4))]
        metrics = [self.mlflow.entities.Metric(*point) for point in points]
        self.client.log_batch(run_id, metrics)
        for key, value, timestamp, step in points:
            facts.point(key, step, timestamp, value, SESSION)

    def in_context(self, run_id: str, facts: Facts) -> None:
        if not hasattr(self.mlflow, "prov"):  # MLflow without the drop-in
            self.metric(run_id, facts)
            return
        name = self.random.choice(("training", "test"))
        with self.mlflow.prov.context(name):
            self.metric(run_id, facts, name)

    def in_thread(self, run_id: str, facts: Facts) -> None:
        thread = threading.Thread(target=self.metric, args=(run_id, facts))
        thread.start()
        thread.join()

    def asynchronous(self, run_id: str, facts: Facts) -> None:
        # MLflow's queue costs a run a second at its end.
        if self.seed % 20 == 0:
            self.metric(run_id, facts, synchronous=False)

    # -- datasets and models -------------------------------------------------------------

    def dataset(self, run_id: str, facts: Facts) -> None:
        import numpy

        name, context = self.name("data"), self.random.choice(_CONTEXTS)
        # Sometimes the content of an earlier dataset.
        content = self.random.choice((self._count, self._count, 1))
        data = self.mlflow.data.from_numpy(numpy.array([self.seed, content]), name=name)
        self.mlflow.log_input(data, context=context)
        facts.say("dataset", name, context, value=str(content))
        facts.names.setdefault(str(content), []).append(name)
        if str(context).lower() in ("train", "training"):
            facts.order.append(("dataset", str(content)))

    def model(self, run_id: str, facts: Facts) -> None:
        name = self.name("model", "-").replace(".", "-")
        model = self.mlflow.initialize_logged_model(name=name, params={"a": "1"}, tags={"t": "1"})
        status = self.random.choice(("READY", "READY", "FAILED"))
        self.mlflow.finalize_logged_model(model.model_id, status)
        facts.say("model", model.model_id, value=(name, status))
        facts.say("model param", model.model_id, "a", value="1")
        facts.say("model tag", model.model_id, "t", value="1")
        facts.order.append(("model", model.model_id))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "weights.txt")
            path.write_text(name)
            self.client.log_model_artifact(model.model_id, str(path))

    def delete_model(self, run_id: str, facts: Facts) -> None:
        for key in facts.keys("model")[:1]:
            name, status = facts.values[key]
            if status != "DELETED":
                self.client.delete_logged_model(key[1])
                facts.say(*key, value=(name, "DELETED"))

    def train(self, run_id: str, facts: Facts) -> None:
        """Log datasets and then models, as a training script does."""
        for _ in range(self.random.randint(1, 2)):
            self.dataset(run_id, facts)
        for _ in range(self.random.randint(1, 2)):
            self.model(run_id, facts)

    def tag_model(self, run_id: str, facts: Facts) -> None:
        for _, model_id in facts.keys("model")[-1:]:
            key, value = self.random.choice("tu"), self.name("v")
            self.client.set_logged_model_tags(model_id, {key: value})
            facts.say("model tag", model_id, key, value=value)

    def delete_tag_of_model(self, run_id: str, facts: Facts) -> None:
        for _, model_id, key in facts.keys("model tag")[-1:]:
            self.client.delete_logged_model_tag(model_id, key)
            facts.forget("model tag", model_id, key)

    def point_of_model(self, run_id: str, facts: Facts) -> None:
        for _, model_id in facts.keys("model")[-1:]:
            key, value, timestamp, step = self._point()
            self.client.log_metric(run_id, key, value, timestamp, step, model_id=model_id)
            facts.point(key, step, timestamp, value, SESSION)
            facts.link_point(key, step, timestamp, model_id)

    def repeat_for_model(self, run_id: str, facts: Facts) -> None:
        """Log points again for a model, as log_model does."""
        models, points = facts.keys("model"), facts.keys("point")
        if not models or not points:
            return
        _, model_id = self.random.choice(models)
        metric = self.random.choice(points)[1]
        repeated = [
            self.mlflow.entities.Metric(
                m.key, m.value, m.timestamp, m.step, model_id=model_id, run_id=run_id
            )
            for m in self.client.get_metric_history(run_id, metric)
            # Databases return another value for infinity and NaN.
            if math.isfinite(m.value) and abs(m.value) < 1e300 and not self._is_special(facts, m)
        ]
        if repeated:
            self.client.log_batch(run_id, metrics=repeated)
        for point in repeated:
            facts.link_point(metric, point.step, point.timestamp, model_id)

    def _is_special(self, facts: Facts, point: Any) -> bool:
        value, *_ = facts.values["point", point.key, point.step, point.timestamp]
        return not math.isfinite(float(value))

    # -- artifacts -----------------------------------------------------------------------

    def artifact(self, run_id: str, facts: Facts) -> None:
        path, text = self.random.choice(_FILES), self.name("text")
        self.client.log_text(run_id, text, path)
        facts.say("file", path, value=hashlib.sha256(text.encode()).hexdigest())

    def remove_artifact(self, run_id: str, facts: Facts) -> None:
        for _, path in facts.keys("file")[:1]:
            uri = self.client.get_run(run_id).info.artifact_uri
            registry = self.mlflow.store.artifact.artifact_repository_registry
            registry.get_artifact_repository(uri).delete_artifacts(path)
            facts.forget("file", path)

    # -- reads ---------------------------------------------------------------------------

    def read_file(self, run_id: str, facts: Facts) -> None:
        """Download a file of another run."""
        for other in [other for other in self.runs if other != run_id]:
            for _, path in self.truth.owners[other].keys("file")[-1:]:
                self.mlflow.artifacts.download_artifacts(run_id=other, artifact_path=path)
                sha256 = self.truth.owners[other].values["file", path]
                facts.say("read", other, path, sha256, value=True)

    def read_version(self, run_id: str, facts: Facts) -> None:
        """Download a version of a registered model, by its number or an alias."""
        store = self.truth.store
        for name in self.registered:
            for _, _, number in [k for k in store.keys("version", name) if store.values[k]][:1]:
                aliases = [k[2] for k in store.keys("alias", name) if store.values[k] == number]
                alias = self.random.choice([*aliases, None])
                uri = f"models:/{name}@{alias}" if alias else f"models:/{name}/{number}"
                self.mlflow.artifacts.download_artifacts(uri)
                facts.say("read version", name, number, alias, value=True)

    def read_prompt(self, run_id: str, facts: Facts) -> None:
        for name in self.prompts[:1]:
            for key in self.truth.store.keys("alias", name):
                number = self.truth.store.values[key]
                self.mlflow.genai.load_prompt(f"prompts:/{name}@{key[2]}")
                facts.say("read version", name, number, key[2], value=True)

    # -- traces --------------------------------------------------------------------------

    def _note_trace(self, span: Any) -> Facts:
        """Note a trace, of the run that MLflow names in its metadata."""
        manager = self.mlflow.tracing.trace_manager.InMemoryTraceManager.get_instance()
        with manager.get_trace(span.trace_id) as trace:
            run_id = trace.info.trace_metadata.get("mlflow.sourceRun", STORE)
        facts = self.truth.owner(run_id)
        self.truth.seeds[span.trace_id] = self.seed
        facts.say("trace", span.trace_id, value=True)
        facts.say("span", span.trace_id, span.name, value=None)
        return facts

    def trace(self, *_: Any) -> None:
        name = self.name("span")
        with self.mlflow.start_span(name) as root:
            facts = self._note_trace(root)
            if self.random.random() < 0.3:
                value = self.name("v")
                self.mlflow.update_current_trace(tags={"live": value})
                facts.say("trace tag", root.trace_id, "live", value=value)
            with self.mlflow.start_span(f"{name} child"):
                facts.say("span", root.trace_id, f"{name} child", value=name)
        self.traces.append((facts, root.trace_id))

    def begin_span(self, *_: Any) -> None:
        """Begin a trace that stays open, or a child of one; other traces come in between."""
        if not self.open_spans or self.random.random() < 0.5:
            span = self.mlflow.start_span_no_context(self.name("root"))
            self.open_spans.append((self._note_trace(span), span.name, span))
            return
        owner, parent_name, parent = self.random.choice(self.open_spans)
        child = self.mlflow.start_span_no_context(self.name("part"), parent_span=parent)
        owner.say("span", child.trace_id, child.name, value=parent_name)
        child.end()

    def end_span(self, *_: Any) -> None:
        if self.open_spans:
            self._end_span()

    def _end_span(self) -> None:
        facts, _, span = self.open_spans.pop(self.random.randrange(len(self.open_spans)))
        span.end()
        self.traces.append((facts, span.trace_id))

    def assess(self, *_: Any) -> None:
        facts, trace_id = self.random.choice(self.traces)
        name, value = self.name("judged"), self.random.choice((True, 0.5, "good", 3))
        kind = self.random.choice(("Feedback", "Expectation"))
        log = self.mlflow.log_feedback if kind == "Feedback" else self.mlflow.log_expectation
        made = log(trace_id=trace_id, name=name, value=value)
        facts.say("assessment", trace_id, name, made.assessment_id, value=(kind, value))

    def _any_part(self, kind: str) -> list[tuple[Facts, Key]]:
        """Return an assessment or a tag of a trace of this program, if there is any."""
        parts = [(facts, key) for facts, trace in self.traces for key in facts.keys(kind, trace)]
        return self.random.sample(parts, min(1, len(parts)))

    def assess_again(self, *_: Any) -> None:
        for facts, key in self._any_part("assessment"):
            kind, value = facts.values[key][0], self.name("changed")
            changed = getattr(self.mlflow.entities, kind)(name=key[2], value=value)
            self.mlflow.update_assessment(trace_id=key[1], assessment_id=key[3], assessment=changed)
            facts.values[key] = (kind, value)

    def delete_assessment(self, *_: Any) -> None:
        for facts, key in self._any_part("assessment"):
            self.mlflow.delete_assessment(trace_id=key[1], assessment_id=key[3])
            facts.forget(*key)

    def tag_trace(self, *_: Any) -> None:
        facts, trace_id = self.random.choice(self.traces)
        key, value = self.random.choice("xy"), self.name("v")
        self.mlflow.set_trace_tag(trace_id, key, value)
        facts.say("trace tag", trace_id, key, value=value)

    def delete_tag_of_trace(self, *_: Any) -> None:
        for facts, key in self._any_part("trace tag"):
            self.mlflow.delete_trace_tag(key[1], key[2])
            facts.forget(*key)

    def delete_trace(self, *_: Any) -> None:
        if self.random.random() < 0.7:
            return
        linked = {key[1] for facts in self.truth.owners.values() for key in facts.keys("linked")}
        if not (traces := [trace for trace in self.traces if trace[1] not in linked]):
            return
        facts, trace_id = self.random.choice(traces)
        self.traces.remove((facts, trace_id))
        experiment_id = self.client.get_trace(trace_id).info.experiment_id
        self.client.delete_traces(experiment_id, trace_ids=[trace_id])
        for kind in ("trace", "span", "assessment", "trace tag"):
            facts.forget(kind, trace_id)

    def link_trace(self, run_id: str, facts: Facts) -> None:
        """Link a trace of another run, or of none, to a run that has ended."""
        if self.store == "file":  # in which MLflow keeps no links
            return
        for owner, trace_id in self.traces[:1]:
            if owner is not facts and ("linked", trace_id) not in facts.values:
                self.client.link_traces_to_run([trace_id], run_id)
                facts.say("linked", trace_id, value=True)

    def assess_in_run(self, *_: Any) -> None:
        if self.synchronous:
            self._some_trace()

    def _some_trace(self) -> None:
        if self.traces:
            self.random.choice(ASSESS)(self)

    # -- experiments and registry --------------------------------------------------------

    def experiment(self) -> None:
        store, name = self.truth.store, self.name("experiment")
        experiment_id = self.client.create_experiment(name, tags={"t": "1"})
        if self.random.random() < 0.4:
            former, name = name, self.name("experiment")
            self.client.rename_experiment(experiment_id, name)
            store.say("former name", name, value=former)
        store.say("experiment", name, value=True)
        store.say("experiment tag", name, "t", value="1")
        if self.random.random() < 0.5:
            self.client.set_experiment_tag(experiment_id, "t", "2")
            store.say("experiment tag", name, "t", value="2")
        if self.random.random() < 0.5:
            self.client.delete_experiment(experiment_id)
            if self.random.random() < 0.5:
                self.client.restore_experiment(experiment_id)
            else:
                store.forget("experiment", name)
                store.forget("experiment tag", name)
                store.forget("former name", name)

    def registered_model(self) -> None:
        name = self.name("registered")
        self._register(name, self.random.choice(("", "A model.")))
        for _ in range(self.random.randint(0, 6)):
            self.random.choice(REGISTRY)(self, name)
        # MLflow's folders fail to rename models whose versions have tags.
        if self.random.random() < 0.2 and self.store != "file":
            name = self._rename_registered(name)
            for _ in range(self.random.randint(0, 3)):
                self.random.choice(REGISTRY)(self, name)
        if self.random.random() < 0.2:
            self.client.delete_registered_model(name)
            for kind in _OF_REGISTERED:
                self.truth.store.forget(kind, name)
            if self.random.random() < 0.5:
                return
            self._register(name, "")  # another model of this name
            self.version(name)
        self.registered.append(name)

    def _register(self, name: str, description: str) -> None:
        store = self.truth.store
        self.client.create_registered_model(name, tags={"k": "1"}, description=description or None)
        store.say("registered", name, value=description)
        store.say("registered tag", name, "k", value="1")

    def _rename_registered(self, name: str) -> str:
        new, store = self.name("registered"), self.truth.store
        self.client.rename_registered_model(name, new)
        for kind in _OF_REGISTERED:
            for key in store.keys(kind, name):
                store.say(kind, new, *key[2:], value=store.values.pop(key))
        return new

    def registry_in_run(self, run_id: str, facts: Facts) -> None:
        """Change a registered model that was made outside of the run."""
        for name in self.registered[-1:]:
            self.random.choice(REGISTRY)(self, name)

    def version(self, name: str) -> None:
        """Register a version: of a logged model, of a run's artifact, or of anything else."""
        run_id = self.random.choice([*self.runs, None])
        models = self.truth.owners[run_id].keys("model") if run_id else []
        model_id = models[0][1] if models else None
        source = "s3://bucket/model"
        if run_id:
            source = f"models:/{model_id}" if model_id else f"runs:/{run_id}/model"
        tags = {"w": "1"}
        version = self.client.create_model_version(
            name, source, run_id=run_id, model_id=model_id, tags=tags
        )
        number = str(version.version)
        self.truth.store.say("version", name, number, value=model_id)
        for key, value in tags.items():
            self.truth.store.say("version tag", name, number, key, value=value)

    def tag_registered(self, name: str) -> None:
        key, value = self.random.choice("kl"), self.name("v")
        self.client.set_registered_model_tag(name, key, value)
        self.truth.store.say("registered tag", name, key, value=value)

    def delete_tag_of_registered(self, name: str) -> None:
        for key in self.truth.store.keys("registered tag", name)[:1]:
            self.client.delete_registered_model_tag(name, key[2])
            self.truth.store.forget(*key)

    def describe(self, name: str) -> None:
        text = self.name("description")
        self.client.update_registered_model(name, text)
        self.truth.store.say("registered", name, value=text)

    def tag_version(self, name: str) -> None:
        for _, _, number in self.truth.store.keys("version", name)[-1:]:
            key, value = self.random.choice("wz"), self.name("v")
            self.client.set_model_version_tag(name, number, key, value)
            self.truth.store.say("version tag", name, number, key, value=value)

    def delete_tag_of_version(self, name: str) -> None:
        for key in self.truth.store.keys("version tag", name)[-1:]:
            self.client.delete_model_version_tag(name, key[2], key[3])
            self.truth.store.forget(*key)

    def stage(self, name: str) -> None:
        store = self.truth.store
        versions = store.keys("version", name)
        for _, _, number in self.random.sample(versions, min(1, len(versions))):
            stage = self.random.choice(("Staging", "Production"))
            archive = self.random.random() < 0.6
            with warnings.catch_warnings(action="ignore"):
                self.client.transition_model_version_stage(name, number, stage, archive)
            for key in versions if archive else ():
                if store.values.get(("stage", *key[1:])) == stage:
                    store.say("stage", *key[1:], value="Archived")
            store.say("stage", name, number, value=stage)

    def alias(self, name: str) -> None:
        for _, _, number in self.truth.store.keys("version", name)[-1:]:
            alias = self.random.choice(("champion", "other"))
            self.client.set_registered_model_alias(name, alias, number)
            self.truth.store.say("alias", name, alias, value=number)

    def delete_alias(self, name: str) -> None:
        for key in self.truth.store.keys("alias", name)[:1]:
            self.client.delete_registered_model_alias(name, key[2])
            self.truth.store.forget(*key)

    def delete_version(self, name: str) -> None:
        """Delete a version; MLflow deletes its aliases, too."""
        store = self.truth.store
        for _, _, number in store.keys("version", name)[:1]:
            self.client.delete_model_version(name, number)
            store.forget("version", name, number)
            store.forget("version tag", name, number)
            store.forget("stage", name, number)
            for key in store.keys("alias", name):
                if store.values[key] == number:
                    store.forget(*key)

    def prompt(self) -> None:
        """Register a prompt, which MLflow keeps as a registered model with its text as a tag."""
        store, name = self.truth.store, self.name("prompt", "-")
        store.say("registered", name, value="")
        for _ in range(self.random.randint(1, 2)):
            template = f"{self.name('Say')} {{{{x}}}}"
            made = self.mlflow.genai.register_prompt(name, template, tags={"w": "1"})
            version = str(made.version)
            store.say("registered tag", name, "w", value="1")
            store.say("version", name, version, value=None)
            store.say("version tag", name, version, "w", value="1")
            store.say("version tag", name, version, "mlflow.prompt.text", value=template)
        if self.random.random() < 0.5:
            self.mlflow.genai.set_prompt_alias(name, "production", made.version)
            store.say("alias", name, "production", value=version)
        self.prompts.append(name)

    def evaluation_dataset(self) -> None:
        """Create an evaluation dataset, and add records to it in several calls."""
        if self.store == "file":  # in which MLflow keeps none
            return
        datasets, store = self.mlflow.genai.datasets, self.truth.store
        name, inputs = self.name("eval"), set()
        made = datasets.create_dataset(name=name, tags={"t": "1"})
        for _ in range(self.random.randint(0, 2)):
            values = [self.name("input"), *list(inputs)[:1]]
            made.merge_records([{"inputs": {"x": value}} for value in values])
            inputs.update(values)
        if self.random.random() < 0.3:
            datasets.delete_dataset(dataset_id=made.dataset_id)
        else:
            store.say("evaluation dataset", name, value=frozenset(inputs))

    # -- after a run ---------------------------------------------------------------------

    def fail(self, run_id: str, facts: Facts) -> None:
        status = self.random.choice(("FAILED", "KILLED"))
        self.client.set_terminated(run_id, status)
        facts.say("status", value=status)

    def delete_run(self, run_id: str, facts: Facts) -> None:
        self.client.delete_run(run_id)
        facts.say("lifecycle", value="deleted")

    def restore_run(self, run_id: str, facts: Facts) -> None:
        self.client.delete_run(run_id)
        self.client.restore_run(run_id)


Step = Callable[..., None]
_P = Program
INSIDE: tuple[Step, ...] = (
    *(_P.param, _P.param_again, _P.batch_of_params_and_tags, _P.tag, _P.tag, _P.delete_tag),
    *(_P.rename, _P.metric, _P.batch, _P.batch, _P.in_context, _P.in_thread, _P.asynchronous),
    *(_P.dataset, _P.dataset, _P.model, _P.train, _P.train, _P.train, _P.tag_model),
    *(_P.delete_tag_of_model, _P.point_of_model, _P.repeat_for_model, _P.repeat_for_model),
    *(_P.artifact, _P.artifact, _P.remove_artifact, _P.trace, _P.begin_span, _P.begin_span),
    *(_P.end_span, _P.assess_in_run, _P.registry_in_run, _P.registry_in_run),
)
"""Steps of a run that is active."""
READS: tuple[Step, ...] = (_P.read_file, _P.read_file, _P.read_version, _P.read_prompt)
"""Steps in which an active run reads what others wrote."""
OUTSIDE: tuple[Step, ...] = (
    *(_P.trace, _P.begin_span, _P.experiment, _P.registered_model, _P.registered_model),
    *(_P.prompt, _P.evaluation_dataset),
)
"""Steps while no run is active."""
REGISTRY: tuple[Step, ...] = (
    *(_P.version, _P.version, _P.tag_registered, _P.delete_tag_of_registered, _P.describe),
    *(_P.tag_version, _P.delete_tag_of_version, _P.alias, _P.alias, _P.delete_alias),
    *(_P.delete_version, _P.stage, _P.stage, _P.stage),
)
"""Steps with a registered model."""
AFTER: tuple[Step, ...] = (
    *(_P.tag, _P.delete_tag, _P.metric, _P.artifact, _P.remove_artifact, _P.rename, _P.fail),
    *(_P.delete_run, _P.restore_run, _P.delete_model, _P.link_trace),
)
"""Steps with a run that has ended."""
ASSESS: tuple[Step, ...] = (
    *(_P.assess, _P.assess, _P.assess_again, _P.assess_again, _P.delete_assessment),
    *(_P.tag_trace, _P.tag_trace, _P.delete_tag_of_trace, _P.delete_trace),
)
"""Steps with a trace that is in the store."""
