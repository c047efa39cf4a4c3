"""The content of a rank's document in yProv4ML's own terms: contexts, params, metrics, files."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from yprov_mlflow.prov.sources.yprov4ml.prov_records import Element, Fields, Records, local

# Attributes of the run's activity in version 2, where all others are params.
_RUN_FIELDS = frozenset(
    "level provenance_path artifact_uri experiment_dir experiment_name run_id python_version"
    " global_rank local_rank node_rank job_id runtime_type user_id type startedAtTime endedAtTime"
    " execution_start_time execution_end_time".split()
)
_RUN_TYPES = frozenset({"LearningStage", "Experiment"})
_MODEL_TYPES = frozenset({"Model", "ModelVersion"})
_PARAM_TYPES = frozenset({"HyperParameter", "Parameter"})
_NO_SOURCES = frozenset({"", "None"})
_CONTEXT_PREFIX = "Context."  # of the enumeration that versions before 3 had
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|inf|nan)(?![\w.]|\()")
_TYPE = re.compile(r"float\d+|int\d+")
_PATHS = ("identifier", "path", "artifact_path")
_ORIGINAL = "original_"


@dataclass
class Context:
    """A context: its start as written, and the id of the context around it."""

    start: str | None = None
    parent: str | None = None


@dataclass
class Metric:
    """A metric series: its file as the document names it, or its points (version 1)."""

    name: str
    context: str
    source: str | None
    path: str | None = None
    points: tuple[list[int], list[float], list[int]] | None = None


@dataclass
class File:
    """A file that was logged."""

    label: str
    path: str
    context: str
    is_input: bool
    is_model: bool
    is_dataset: bool
    fields: Fields
    time: str | None = None


@dataclass
class RankContent:
    """The content of one rank's document; contexts are named by text, "" for the run itself."""

    fields: dict[str, str] = field(default_factory=dict)
    user: str | None = None
    contexts: dict[str, Context] = field(default_factory=dict)
    params: list[tuple[str, str, str]] = field(default_factory=list)  # name, context, value
    metrics: list[Metric] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    derived: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read(records: Records) -> RankContent:
    """Return the content of a document of any version."""
    return _Reader(records).content


def context_name(name: str) -> str:
    """Return the name of a context as its user knows it."""
    return name.removeprefix(_CONTEXT_PREFIX)


def source_name(source: str | None) -> str | None:
    """Return the source of a metric, None for the text that stands for no source."""
    return None if source is None or source in _NO_SOURCES else source


class _Reader:
    def __init__(self, records: Records) -> None:
        self._records = records
        self.content = RankContent()
        self._run = self._find_run()
        self._add_contexts()
        self._generators = {
            entity: activity
            for section in ("wasGeneratedBy", "used")
            for entity, activity in records.relations(section, "entity", "activity")
        }
        for element in records.elements("entity"):
            self._add_entity(element)
        agents = [element.identifier for element in records.elements("agent")]
        self.content.user = agents[0] if agents else self.content.fields.get("user_id")
        self.content.derived = dict(
            records.relations("wasDerivedFrom", "generatedEntity", "usedEntity")
        )

    def _find_run(self) -> str:
        """Return the id of the run's activity, and read its attributes."""
        elements = list(self._records.elements("activity"))
        for element in elements:
            if "experiment_name" in element.fields:
                self._add_run_fields(element.fields)
                return element.identifier
        for element in self._records.elements("entity"):
            if element.fields.get("type") in _RUN_TYPES:  # version 1
                self.content.fields.update(element.fields)
        associated = self._records.relations("wasAssociatedWith", "activity", "agent")
        run = next((activity for activity, _ in associated), None)
        return run or next((e.identifier for e in elements), "")

    def _add_run_fields(self, fields: Fields) -> None:
        is_version_2 = "level" in fields
        for name, value in fields.items():
            if not is_version_2 or name in _RUN_FIELDS:
                self.content.fields[name] = value
            else:
                self.content.params.append((name, "", value))

    def _add_contexts(self) -> None:
        parents = dict(self._records.relations("wasInformedBy", "informed", "informant"))
        for element in self._records.elements("activity"):
            name = element.identifier
            # Sources of metrics are activities "<source>//<context>".
            if name == self._run or "//" in name or self._is_epoch(element):
                continue
            parent = parents.get(name)
            around = None if parent in (None, self._run, name) else context_name(str(parent))
            context = Context(element.fields.get("startedAtTime"), around)
            self.content.contexts[context_name(name)] = context
            if "level" in element.fields:
                self.content.params += [
                    (key, context_name(name), value)
                    for key, value in element.fields.items()
                    if key not in _RUN_FIELDS
                ]

    @staticmethod
    def _is_epoch(element: Element) -> bool:
        kind = element.fields.get("type", "")
        return kind.endswith("Execution") or element.identifier == "Models"

    def _context_of(self, element: Element) -> str:
        context = element.fields.get("context") or self._generators.get(element.identifier, "")
        context = context_name(local(context).rpartition("//")[2])
        return context if context in self.content.contexts or "context" in element.fields else ""

    # -- entities ------------------------------------------------------------------------

    def _add_entity(self, element: Element) -> None:
        fields = element.fields
        kind = local(fields.get("type", ""))
        label = fields.get("label") or fields.get("name") or element.identifier
        path = next((fields[name] for name in _PATHS if name in fields), None)
        if kind in _PARAM_TYPES:
            value = fields.get("value", fields.get("parameter_value"))
            if value is None:
                self.content.problems.append(f"the param {label!r} lacks a value")
            else:
                self.content.params.append((label, self._own_context(element), value))
        elif kind == "Metric" or (path and "source" in fields and "context" in fields):
            self._add_metric(element, label, path)
        elif kind == "Dataset" or path:
            self._add_file(element, kind, label, path or "")

    def _own_context(self, element: Element) -> str:
        context = self._context_of(element)
        return "" if context == context_name(self._run) else context

    def _add_metric(self, element: Element, label: str, path: str | None) -> None:
        fields = element.fields
        metric = Metric(label, self._own_context(element), source_name(fields.get("source")), path)
        if path is None:
            metric.points = _inline(fields)
            if metric.points is None:
                self.content.problems.append(f"the metric {label!r} has no file and no points")
                return
        self.content.metrics.append(metric)

    def _add_file(self, element: Element, kind: str, label: str, path: str) -> None:
        fields = element.fields
        file = File(
            label,
            path,
            self._own_context(element),
            fields.get("role") == "input",
            kind in _MODEL_TYPES or "total_params" in fields,
            kind == "Dataset",
            fields,
            fields.get("generatedAtTime") or fields.get("creation_timestamp"),
        )
        same = next((f for f in self.content.files if f.path == path and path), None)
        if same is None:
            self.content.files.append(file)
        else:  # version 1 describes a file twice
            same.is_model |= file.is_model
            same.fields = {**same.fields, **fields}


def is_original(file: File) -> bool:
    """Return whether a file is the original of a copy in the run's folder."""
    return file.label.lower().startswith(_ORIGINAL)


def _inline(fields: Fields) -> tuple[list[int], list[float], list[int]] | None:
    """Return the points that version 1 writes as texts of Python lists."""
    names = ("metric_epoch_list", "metric_value_list", "metric_timestamp_list")
    if not all(name in fields for name in names):
        return None
    epochs, values, times = (_numbers(fields[name]) for name in names)
    count = min(len(epochs), len(values), len(times))
    return [int(n) for n in epochs[:count]], values[:count], [int(n) for n in times[:count]]


def _numbers(text: str) -> list[float]:
    # A list may hold np.float64(0.5) and tensor(0.5): only the numbers in it count.
    return [float(match) for match in _NUMBER.findall(_TYPE.sub("", text))]
