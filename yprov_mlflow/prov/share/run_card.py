"""The workflow-provenance card (v6) of a run, or of the runs of a workflow.

The template is shared by the groups of yProv and Flowcept. Each statement comes from the views of
a document and names its record; required fields that nothing states are blank, with the cure.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.model.identifiers import segment
from yprov_mlflow.prov.share.card_model import (
    Card,
    Item,
    Section,
    Statement,
    distinct,
    single,
)
from yprov_mlflow.prov.views import energy as energy_view
from yprov_mlflow.prov.views import summary as summary_view
from yprov_mlflow.prov.views.document_reader import mapping, seconds_between
from yprov_mlflow.prov.views.energy_report import EnergyReport, energy_text
from yprov_mlflow.prov.views.summary_report import Artifact, Dataset, Summary
from yprov_mlflow.prov.views.view import View

_TIME = "ISO 8601, UTC"
_STATUS = {"FINISHED": "Completed", "FAILED": "Failed", "KILLED": "Killed", "RUNNING": "Running"}
_ABOUT = "in [tool.yprov-mlflow.about] of the project file"
_COLLECT = "capture the run with the collector"
_NO_END = "the run has no end: run `yprov-mlflow recover`, or wait for it"
_GPU = ("nvidia", "amd")
_UNITS = {"BYTE": "bytes", "PERCENT": "%", "SEC": "s", "NUM": "", "DEG_C": "°C"}
_FRAMEWORKS = frozenset(
    "catboost dask flax jax keras lightgbm lightning mlflow mlflow-skinny numpy pandas polars"
    " pytorch-lightning ray scikit-learn scipy spacy statsmodels tensorflow torch transformers"
    " xarray xgboost yprov-mlflow".split()
)


class _Run(NamedTuple):
    """The views of a run, and the IRIs of its records."""

    summary: Summary
    energy: EnergyReport
    iri: Callable[[str], str]

    @property
    def label(self) -> str:
        return str(self.summary.run.name or self.summary.run.id)

    def item(self, text: object, view: View | str) -> Item:
        identifier = view.record_id if isinstance(view, View) else view
        return Item(str(text), (self.iri(identifier),) if identifier else ())


def from_documents(documents: Sequence[Document]) -> Card:
    """Return the card of a run, or of the runs of a workflow, from at least one document."""
    runs = sorted(map(_run, documents), key=lambda run: str(run.summary.run.start or ""))
    tasks = [task for run in runs for task in run.summary.workflow_tasks]
    names = [task.workflow for task in tasks if task.workflow]
    title = next((r.summary.about.title for r in runs if r.summary.about), None)
    title = title or next(iter(names), None) or runs[0].summary.run.experiment or runs[0].label
    activities = [*_activities(runs)]
    return Card(
        title,
        (
            Section("1.", "Workflow", (*_workflow(runs, title),)),
            Section("2.", "Summary", (*_summary(runs),)),
            Section("3.", "Infrastructure", (*_infrastructure(runs),)),
            Section("4.", "Workflow overview", ()),
            Section("4.1", "Run summary", (*_run_summary(runs, len(activities)),)),
            Section("4.2", "Workflow structure", (*_structure(runs, activities),)),
            Section("4.3", "Resource usage", (*_resources(runs),)),
            Section("4.4", "Observations", (Statement("observations", (*_observations(runs),)),)),
            *activities,
            *_artifact_sections(runs),
        ),
    )


def _run(document: Document) -> _Run:
    def iri(identifier: str) -> str:
        prefix, _, local = identifier.partition(":")
        return f"{document.prefixes.get(prefix, f'{prefix}:')}{local}"

    return _Run(summary_view.from_document(document), energy_view.from_document(document), iri)


# -- 1 to 3 ------------------------------------------------------------------------------


def _workflow(runs: Sequence[_Run], title: str) -> Iterator[Statement]:
    about = next((run for run in runs if run.summary.about is not None), None)
    record = runs[0].iri("run:run") if about is None else about.iri("run:record")
    text = about.summary.about.description if about and about.summary.about else None
    yield Statement("name", single(title, record), required=True)
    cure = f"set description {_ABOUT}"
    yield Statement("description", single(text, record), required=True, cure=cure)


def _summary(runs: Sequence[_Run]) -> Iterator[Statement]:
    start, end = _extent(runs)
    yield Statement("execution_id", _executions(runs), required=True)
    yield Statement("version", ())
    yield from _times(start, end)
    statuses = [r.item(_status(r), "run:run") for r in runs if r.summary.run.status]
    cure = "the document has no status: convert the run from its store"
    yield Statement("status", distinct(statuses), required=True, cure=cure)
    hosts = [run.item(host.name, host) for run in runs for host in run.summary.hosts]
    yield Statement("location", distinct(hosts))
    users = [run.item(run.summary.run.user, "run:run") for run in runs if run.summary.run.user]
    yield Statement("user", distinct(users))
    codes = [(run, code) for run in runs for code in run.summary.code]
    places = [r.item(c.remote or c.entry_point, c) for r, c in codes if c.remote or c.entry_point]
    cure = f"{_COLLECT} git, in a git repository"
    yield Statement("entrypoint.repository", distinct(places), required=True, cure=cure)
    branches = [run.item(code.branch, code) for run, code in codes if code.branch]
    yield Statement("entrypoint.branch", distinct(branches))
    commits = [run.item(code.commit[:8], code) for run, code in codes if code.commit]
    yield Statement("entrypoint.short_sha", distinct(commits))


def _executions(runs: Sequence[_Run]) -> tuple[Item, ...]:
    executions = [
        run.item(task.execution, "run:run")
        for run in runs
        for task in run.summary.workflow_tasks
        if task.execution and len(runs) > 1
    ]
    return distinct(executions or [run.item(run.summary.run.id, "run:run") for run in runs])


def _times(start: Item | None, end: Item | None) -> Iterator[Statement]:
    for field, moment, cure in (
        ("started_at", start, "convert the run from its store, which has its start"),
        ("ended_at", end, _NO_END),
    ):
        items = () if moment is None else (Item(f"{moment.text} ({_TIME})", moment.records),)
        yield Statement(field, items, required=True, cure=cure)
    seconds = seconds_between(start and start.text, end and end.text)
    text = None if seconds is None else f"{seconds:.3f} s"
    records = [*start.records, *end.records] if start and end else []
    yield Statement("duration", single(text, *dict.fromkeys(records)))


def _extent(runs: Sequence[_Run]) -> tuple[Item | None, Item | None]:
    """Return the first start and the last end; no end while a run lacks one."""
    starts = [run.item(run.summary.run.start, "run:run") for run in runs if run.summary.run.start]
    ends = [run.item(run.summary.run.end, "run:run") for run in runs if run.summary.run.end]
    return min(starts, default=None), max(ends) if len(ends) == len(runs) else None


def _infrastructure(runs: Sequence[_Run]) -> Iterator[Statement]:
    hosts = [(run, host) for run in runs for host in run.summary.hosts]
    systems = [run.item(host.os, host) for run, host in hosts if host.os]
    yield Statement("host_os", distinct(systems))
    hardware = [r.item(text, host) for r, host in hosts if (text := _hardware(host))]
    hardware += [
        run.item(f"{device.id}: {device.name}", device)
        for run in runs
        for device in run.summary.devices
        if device.name not in (None, device.id)
    ]
    cure = f"{_COLLECT} host"
    yield Statement("compute_hardware", distinct(hardware), required=True, cure=cure)
    environments = [(run, env) for run in runs for env in run.summary.environments]
    runtimes = [
        run.item(f"{env.implementation or 'Python'} {env.python}, {env.platform}", env)
        for run, env in environments
    ]
    yield Statement("runtime_environment", distinct(runtimes))
    engines = [
        run.item(task.engine, "run:run")
        for run in runs
        for task in run.summary.workflow_tasks
        if task.engine
    ]
    yield Statement("resource_manager", distinct(engines))
    software = [
        run.item(f"{name} {version}", env)
        for run, env in environments
        for name, version in env.packages.items()
        if name in _FRAMEWORKS
    ]
    cure = f"{_COLLECT} environment"
    yield Statement("primary_software", distinct(software), required=True, cure=cure)
    snapshots = [
        run.item(f"{len(env.packages)} packages with versions", env) for run, env in environments
    ]
    yield Statement("environment_snapshot", distinct(snapshots))


def _hardware(host: Any) -> str:
    cores = f"{host.cpu_count} logical cores" if host.cpu_count else None
    memory = f"{host.memory_bytes / 1e9:.4g} GB memory" if host.memory_bytes else None
    return ", ".join(text for text in (host.cpu, host.machine, cores, memory) if text)


# -- 4 -----------------------------------------------------------------------------------


def _run_summary(runs: Sequence[_Run], activities: int) -> Iterator[Statement]:
    records = [run.iri("run:run") for run in runs]
    yield Statement("total_activities", single(activities, *records), required=True)
    yield Statement("status_counts", single(_status_counts(runs), *records), required=True)
    yield Statement("arguments", (*_arguments(runs),))
    datasets = [run.item(_dataset_text(d), d) for run in runs for d in run.summary.datasets]
    yield Statement("significant inputs", distinct(datasets))
    yield Statement("significant outputs", distinct([*_models(runs)]))


def _status_counts(runs: Sequence[_Run]) -> str:
    counts = Counter(_status(run) for run in runs)
    return ", ".join(f"{status}: {count}" for status, count in counts.items())


def _status(run: _Run) -> str:
    status = str(run.summary.run.status)
    return _STATUS.get(status, status)


def _arguments(runs: Sequence[_Run]) -> Iterator[Item]:
    """Yield the params: of several runs those that have one value, and the range of others."""
    for key in dict.fromkeys(key for run in runs for key in run.summary.params):
        owners = [run for run in runs if key in run.summary.params]
        values = [run.summary.params[key] for run in owners]
        records = tuple(run.iri(f"run:param/{segment(key)}") for run in owners)
        yield Item(f"{key}: {_spread(values)}", records)


def _spread(values: Sequence[Any]) -> str:
    """Return one value, the spread of numbers, or the distinct texts."""
    texts = list(dict.fromkeys(map(str, values)))
    if len(texts) == 1:
        return texts[0]
    numbers = [number for number in map(_number, values) if number is not None]
    if len(numbers) < len(values):
        return ", ".join(texts)
    middle = statistics.median(numbers)
    return f"min {min(numbers):g}, median {middle:g}, max {max(numbers):g} ({len(values)} runs)"


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _dataset_text(dataset: Dataset) -> str:
    parts = (dataset.name, dataset.source_type, *dataset.contexts)
    return ", ".join(str(part) for part in parts if part)


def _models(runs: Sequence[_Run]) -> Iterator[Item]:
    for run in runs:
        for model in run.summary.models:
            yield run.item(f"model {model.name or ''} {model.id}".replace("  ", " "), model)


def _structure(runs: Sequence[_Run], activities: Sequence[Section]) -> Iterator[Statement]:
    steps = [
        Item(f"{number}. {section.name}", section.statements[0].items[0].records)
        for number, section in enumerate(activities, 1)
    ]
    if len(runs) == 1:
        contexts = runs[0].summary.contexts
        steps = [runs[0].item(f"run {runs[0].label}", "run:run")] + [
            runs[0].item(f"{c.name}" + (f", {c.epochs} epochs" if c.epochs else ""), c)
            for c in contexts
        ]
    yield Statement("structure", tuple(steps))


def _resources(runs: Sequence[_Run]) -> Iterator[Statement]:
    usage: dict[str, list[Item]] = {key: [] for key in ("cpu", "memory", "gpu", "disk", "network")}
    for run in runs:
        for device in run.energy.devices:
            for name, quantity in device.quantities.items():
                word = name.partition("_")[0]
                kind = "gpu" if device.collector in _GPU else word
                if kind not in usage and device.collector == "cpu":
                    kind = "cpu"
                if kind in usage and quantity.value is not None:
                    owner = device.device or quantity.scope
                    unit = _UNITS.get(str(quantity.unit), quantity.unit)
                    amount = f"{quantity.value:.6g} {unit}".rstrip()
                    label = f"{run.label}: " if len(runs) > 1 else ""
                    text = f"{label}{name} ({owner}): {amount}, {quantity.method}"
                    usage[kind].append(run.item(text, quantity))
    for field, items in usage.items():
        yield Statement(field, tuple(items))


def _observations(runs: Sequence[_Run]) -> Iterator[Item]:
    for run in runs:
        label = f"{run.label}: " if len(runs) > 1 else ""
        for code in run.summary.code:
            if code.dirty:
                yield run.item(f"{label}the code had uncommitted changes", code)
        for context in run.summary.contexts:
            if context.failed:
                yield run.item(f"{label}the context {context.name} failed", context)
        for metric in run.summary.metrics:
            if isinstance(metric.last, float) and not math.isfinite(metric.last):
                yield run.item(f"{label}the last value of {metric.key} is {metric.last}", metric)
        if run.summary.energy is not None:
            text = f"{label}energy of the hardware: {energy_text(run.summary.energy)}"
            yield run.item(text, "run:energy/total")


# -- 5 and 6 -----------------------------------------------------------------------------


def _activities(runs: Sequence[_Run]) -> Iterator[Section]:
    """Yield a section for each stage: runs with the same task or name, or a run's contexts."""
    groups: dict[str, list[_Run]] = {}
    for run in runs:
        task = next((t.task for t in run.summary.workflow_tasks if t.task), None)
        groups.setdefault(task or run.label, []).append(run)
    for name, members in groups.items():
        yield Section("5.", "Activities", (*_activity(name, members),), name)
    if len(runs) == 1:
        for context in runs[0].summary.contexts:
            start, end = (
                None if time is None else runs[0].item(time, context)
                for time in (context.start, context.end)
            )
            status = "error: 1" if context.failed else "success: 1"
            statements = (
                Statement("name", (runs[0].item(context.name, context),), required=True),
                Statement("task_count", (runs[0].item(1, context),), required=True),
                *_times(start, end),
                Statement("status", (runs[0].item(status, context),), required=True),
            )
            name = f"{runs[0].label}: {context.name}"
            yield Section("5.", "Activities", statements, name)


def _activity(name: str, runs: Sequence[_Run]) -> Iterator[Statement]:
    records = [run.iri("run:run") for run in runs]
    yield Statement("name", single(name, *records), required=True)
    yield Statement("task_count", single(len(runs), *records), required=True)
    yield from _times(*_extent(runs))
    yield Statement("status", single(_status_counts(runs), *records), required=True)
    hosts = [run.item(host.name, host) for run in runs for host in run.summary.hosts]
    yield Statement("hosts", distinct(hosts))
    datasets = [run.item(_dataset_text(d), d) for run in runs for d in run.summary.datasets]
    yield Statement("inputs", (*_arguments(runs), *distinct(datasets)))
    files = sum(len(run.summary.artifacts) for run in runs)
    counted = single(f"{files} files, see section 6", *records) if files else ()
    yield Statement("outputs", (*_metric_items(runs), *_models(runs), *counted))


def _metric_items(runs: Sequence[_Run]) -> Iterator[Item]:
    values: dict[str, list[tuple[_Run, Any]]] = {}
    for run in runs:
        for metric in run.summary.metrics:
            values.setdefault("/".join((*metric.context, metric.key)), []).append((run, metric))
    for name, pairs in values.items():
        records = tuple(run.iri(str(metric.record_id)) for run, metric in pairs)
        yield Item(f"{name}: {_spread([metric.last for _, metric in pairs])}", records)


def _artifact_sections(runs: Sequence[_Run]) -> Iterator[Section]:
    title = "Significant workflow artifacts"
    yield Section("6.", title, ())
    seen: set[str] = set()
    for run in runs:
        for dataset in run.summary.datasets:
            if (key := str(dataset.digest or dataset.name)) not in seen:
                seen.add(key)
                fields = {"identifier": dataset.name or key, "reference": _reference(dataset)}
                details = {"description": _dataset_text(dataset), "digest": dataset.digest}
                yield _artifact("6.1", "Input artifacts", run, dataset, fields, details)
    for run in runs:
        for model in run.summary.models:
            fields = {"identifier": model.name or model.id, "reference": f"models:/{model.id}"}
            yield _artifact("6.2", "Output artifacts", run, model, fields, {"type": model.type})
        for artifact in run.summary.artifacts:
            owner = artifact.model and f"models:/{artifact.model}"
            place = f"{owner or f'runs:/{run.summary.run.id}'}/{artifact.path}"
            fields = {"identifier": artifact.path, "reference": place}
            details = {"description": artifact.type, "sha256": artifact.sha256}
            yield _artifact("6.2", "Output artifacts", run, artifact, fields, details)


def _artifact(
    number: str,
    title: str,
    run: _Run,
    view: View,
    fields: Mapping[str, Any],
    details: Mapping[str, Any],
) -> Section:
    record = run.iri(str(view.record_id))
    required = [
        Statement(field, single(value, record), required=True, cure="log it with a source")
        for field, value in fields.items()
    ]
    size = view.size if isinstance(view, Artifact) else None
    others = {key: value for key, value in details.items() if key != "description"}
    metadata = "; ".join(f"{key}: {value}" for key, value in others.items() if value)
    optional = (
        Statement("description", single(details.get("description"), record)),
        Statement("size", single(None if size is None else f"{size} bytes", record)),
        Statement("additional metadata", single(metadata, record)),
    )
    return Section(number, title, (*required, *optional), str(fields["identifier"]))


def _reference(dataset: Dataset) -> str | None:
    source = mapping(dataset.source)
    texts: Iterable[Any] = (source.get(key) for key in ("uri", "url", "path"))
    return next((str(text) for text in texts if text), None) or dataset.digest
