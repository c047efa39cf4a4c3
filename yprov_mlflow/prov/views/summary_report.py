"""The summary of a document as typed values, and its tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from yprov_mlflow.prov.views.document_reader import seconds_between
from yprov_mlflow.prov.views.energy_report import TotalEnergy, energy_text
from yprov_mlflow.prov.views.view import Note, Run, Table, View, term

_HASH_LENGTH = 12
_MOST_TRACES = 5
_WHEN = ("start (UTC)", "seconds")
_SECOND = len("2026-01-31T12:00:00")


class RunDetails(Run):
    """The run itself, with its experiment, its user and the runs around and inside it.

    ``parent`` and ``children`` are ids of runs; ``children`` has those that the document names.
    """

    experiment: str | None
    user: str | None
    parent: str | None = term()
    children: tuple[str, ...]


class Organization(View):
    """An organization, such as the affiliation of an author."""

    name: str | None = term("schema:name")
    ror: str | None = term()


class Author(View):
    """A person who did the work; ``orcid`` and ``ror`` without the beginning of their URL.

    ``login`` is the user of the run who is this author, if the project file says so.
    """

    name: str | None = term("schema:name")
    orcid: str | None = term()
    affiliation: Organization | None = term()
    login: str | None = term()


class Project(View):
    """A project that the run belongs to."""

    name: str | None = term("schema:name")
    url: str | None = term("schema:url")
    funding: str | None = term("schema:funding")


class About(View):
    """Authors and subject of the work, as stated; ``license`` is a URL or text."""

    title: str | None = term("dcterms:title")
    description: str | None = term("dcterms:description")
    license: str | None = term("dcterms:license")
    keywords: tuple[str, ...]
    authors: tuple[Author, ...]
    publisher: Organization | None = term()
    project: Project | None = term()

    def tables(self) -> Iterator[Table]:
        """Yield the statements as rows."""
        rows = [
            ("title", self.title),
            ("description", self.description),
            ("keywords", _joined(self.keywords)),
            ("license", self.license),
            *(("author", _author_text(author)) for author in self.authors),
            ("publisher", self.publisher and self.publisher.name),
        ]
        if self.project is not None:
            project = self.project
            rows.append(("project", _joined((project.name, project.url, project.funding))))
        yield Table("About", (), [row for row in rows if row[1]])


class Store(View):
    """The store whose data outside runs the document describes; ``uri`` if the document has it."""

    id: str
    uri: str | None = term("mlf:uri")


class Experiment(View):
    """An experiment of a store; ``lifecycle`` is active or deleted."""

    id: str
    name: str | None = term("prov:label")
    lifecycle: str | None = term()


class Metric(View):
    """All points of a metric in one context, whose path is empty outside contexts."""

    context: tuple[str, ...]
    key: str
    count: int | None = term("mlf:count")
    first: float | None = term("mlf:first")
    last: float | None = term("mlf:last")
    min: float | None = term("mlf:min")
    max: float | None = term("mlf:max")


class Context(View):
    """A phase of the run, such as training, with the number of its epochs."""

    name: str | None = term("prov:label")
    start: str | None = term("prov:startTime")
    end: str | None = term("prov:endTime")
    failed: bool | None = term("mlf:failed")
    epochs: int


class Dataset(View):
    """A dataset that the run used, with the contexts it was logged for, such as training."""

    name: str | None = term("schema:name")
    digest: str | None = term("mlf:digest")
    source_type: str | None = term("mlf:sourceType")
    source: str | None = term("mlf:source")
    contexts: tuple[str, ...]


class TrainingData(View):
    """A dataset that a model was trained on; ``basis`` is inferred if MLflow does not say so."""

    name: str | None = term("prov:label")
    digest: str | None = term("mlf:digest")
    basis: str | None


class Model(View):
    """A logged model, with its training data and the registered versions made of it."""

    id: str | None = term("mlf:modelId")
    name: str | None = term("schema:name")
    type: str | None = term("mlf:modelType")
    status: str | None = term("mlf:status")
    trained_on: tuple[TrainingData, ...]
    versions: tuple[str, ...]


class ModelVersion(View):
    """A version of a registered model or prompt; ``model`` is the logged model it was made of."""

    name: str
    version: str
    aliases: tuple[str, ...]
    stage: str | None = term()
    status: str | None = term()
    model: str | None = term()


class Trace(View):
    """A trace: ``start`` is ISO 8601 in UTC, ``spans`` the number of its spans."""

    id: str
    name: str | None = term()
    status: str | None = term("mlf:traceState")
    start: str | None
    duration_ms: int | None = term("mlf:executionDurationMs")
    spans: int


class Artifact(View):
    """The current version of an artifact, and the number of its versions; size in bytes.

    ``owner`` is the id of the record that the file belongs to, None for the run; ``model`` is
    the id of this owner if it is a logged model.
    """

    path: str | None = term("mlf:path")
    size: int | None = term("mlf:size")
    sha256: str | None = term("mlf:sha256")
    type: str | None = term("schema:encodingFormat")
    owner: str | None = term()
    model: str | None = term()
    versions: int


class WorkflowTask(View):
    """A task of a workflow engine that started the run or works on it, the innermost first.

    ``workflow`` is the name of the workflow, ``execution`` the engine's id of its execution.
    ``task`` is None if only the execution is known. ``written`` are the paths of files that the
    task wrote, if the document is the workflow's own.
    """

    engine: str | None
    workflow: str | None
    execution: str | None
    task: str | None
    task_id: str | None
    attempt: str | None
    document: str | None
    engine_version: str | None = term()
    start: str | None = term("prov:startTime")
    end: str | None = term("prov:endTime")
    status: str | None = term("mlf:status")
    written: tuple[str, ...] | None = term()


class Session(View):
    """A process that worked on the run."""

    label: str | None = term("prov:label")
    start: str | None = term("prov:startTime")
    end: str | None = term("prov:endTime")
    rank: int | None = term("mlf:rank")
    pid: int | None = term("mlf:pid")
    command: str | None = term("mlf:commandLine")


class Code(View):
    """The script and its git repository; ``dirty`` if it had uncommitted changes.

    ``kept_in`` are the folders among the artifacts that have files of the code.
    """

    entry_point: str | None = term("mlf:entryPoint")
    entry_point_sha256: str | None = term("mlf:entryPointSha256")
    commit: str | None = term("mlf:gitCommit")
    branch: str | None = term("mlf:gitBranch")
    dirty: bool | None = term("mlf:gitDirty")
    diff_sha256: str | None = term("mlf:gitDiffSha256")
    remote: str | None = term("schema:codeRepository")
    kept_in: str | Sequence[str] | None = term("mlf:keptIn")


class Environment(View):
    """The Python environment; ``packages`` maps names to versions."""

    python: str | None = term("mlf:pythonVersion")
    implementation: str | None = term("mlf:pythonImplementation")
    platform: str | None = term("mlf:platform")
    packages: Mapping[str, str | None]


class Host(View):
    """A machine that the run used."""

    name: str | None = term("prov:label")
    os: str | None = term("mlf:operatingSystem")
    machine: str | None = term("mlf:machine")
    cpu: str | None = term()
    cpu_count: int | None = term("mlf:cpuCount")
    memory_bytes: int | None = term("mlf:memoryBytes")


class Device(View):
    """A device that a collector measured, such as a GPU; ``host`` is the name of its machine."""

    id: str | None = term("mlf:deviceName")
    name: str | None = term("prov:label")
    host: str | None = term()


class Summary(View):
    """The current state of a run or store: no earlier values of tags, no overwritten artifacts.

    ``describes`` is ``run``, ``store`` or ``other``, for PROV of other programs. ``params`` and
    ``tags`` map keys to values, ``records`` PROV-JSON sections to the number of their records.
    ``energy`` is that of the hardware while the run was measured, ``own_energy`` the run's share.
    """

    describes: str
    run: RunDetails
    about: About | None = term()
    store: Store | None = term()
    experiments: tuple[Experiment, ...]
    params: Mapping[str, Any]
    tags: Mapping[str, Any]
    metrics: tuple[Metric, ...]
    contexts: tuple[Context, ...]
    datasets: tuple[Dataset, ...]
    models: tuple[Model, ...]
    model_versions: tuple[ModelVersion, ...]
    prompts: tuple[ModelVersion, ...]
    traces: tuple[Trace, ...]
    artifacts: tuple[Artifact, ...]
    workflow_tasks: tuple[WorkflowTask, ...]
    sessions: tuple[Session, ...]
    code: tuple[Code, ...]
    environments: tuple[Environment, ...]
    hosts: tuple[Host, ...]
    devices: tuple[Device, ...]
    energy: TotalEnergy | None = term()
    own_energy: TotalEnergy | None = term()
    records: Mapping[str, int]

    def tables(self) -> Iterator[Table]:
        """Yield a table for each part of the summary; those of absent parts are empty."""
        yield from self._heading()
        yield Table("Params", ("key", "value"), list(self.params.items()))
        yield Table("Tags", ("key", "value"), list(self.tags.items()))
        yield from _metric_tables(self.metrics, self.contexts)
        yield from _model_tables(self.datasets, self.models, self.model_versions, self.prompts)
        yield _trace_table(self.traces)
        yield from _artifact_tables(self.artifacts, self.models)
        yield Table(
            "Workflow",
            ("engine", "workflow", "task", "attempt", "execution"),
            [(w.engine, w.workflow, w.task, w.attempt, w.execution) for w in self.workflow_tasks],
        )
        yield _session_table(self.sessions)
        yield Table("Energy", (), list(self._energies()))
        yield Table("Ran on", (), [*_software(self.code, self.environments), *self._hardware()])

    def _heading(self) -> Iterator[Table]:
        if self.describes == "run":
            yield from self.run.tables()
            yield from () if self.about is None else self.about.tables()
            runs = [("parent", self.run.parent)] if self.run.parent else []
            runs += [("child", run) for run in self.run.children]
            yield Table("Related runs", (), runs)
        elif self.store is not None:
            rows = [("id", self.store.id), ("uri", self.store.uri)]
            yield Table("Store: data outside runs", (), [row for row in rows if row[1]])
            columns = ("id", "name", "lifecycle")
            experiments = [(e.id, e.name, e.lifecycle) for e in self.experiments]
            yield Table("Experiments", columns, experiments)
        else:
            title = "PROV document of neither a run nor a store of MLflow"
            yield Table(title, ("records", "number"), list(self.records.items()))

    def _energies(self) -> Iterator[tuple[str, str]]:
        if self.energy is not None:
            yield "hardware", energy_text(self.energy)
        if self.own_energy is not None:
            yield "own share of the run", energy_text(self.own_energy)

    def _hardware(self) -> Iterator[tuple[str, str]]:
        for host in self.hosts:
            yield "host", _joined((host.name, host.os, host.machine))
            cores = f"{host.cpu_count} logical cores" if host.cpu_count else None
            if details := _joined((host.cpu, cores, _memory(host.memory_bytes))):
                yield "processor", details
        several = len(self.hosts) > 1
        for device in self.devices:
            name = None if device.name == device.id else device.name
            yield "device", _joined((device.id, name, device.host if several else None))

    def notes(self) -> Iterable[Note]:
        """Return one line: the size of the document."""
        return [Note(f"{sum(self.records.values())} PROV records", "detail")]


def _author_text(author: Author) -> str:
    affiliation = author.affiliation and author.affiliation.name
    return _joined((author.name, author.orcid, affiliation))


def _metric_tables(metrics: Sequence[Metric], contexts: Sequence[Context]) -> Iterator[Table]:
    rows = [
        ("/".join((*m.context, m.key)), m.count, m.first, m.last, m.min, m.max) for m in metrics
    ]
    yield Table("Metrics", ("metric", "points", "first", "last", "min", "max"), rows)
    yield Table(
        "Contexts",
        ("context", "epochs", "start (UTC)", "seconds"),
        [
            (c.name, c.epochs, _to_second(c.start), seconds_between(c.start, c.end))
            for c in contexts
        ],
    )


def _model_tables(
    datasets: Sequence[Dataset],
    models: Sequence[Model],
    versions: Sequence[ModelVersion],
    prompts: Sequence[ModelVersion],
) -> Iterator[Table]:
    yield Table(
        "Datasets",
        ("name", "digest", "for", "source"),
        [(d.name, d.digest, _joined(d.contexts), d.source_type) for d in datasets],
    )
    yield Table(
        "Models",
        ("name", "id", "type", "status", "trained on", "registered as"),
        [
            (m.name, m.id, m.type, m.status, _trained_on(m.trained_on), _joined(m.versions))
            for m in models
        ],
    )
    yield Table(
        "Registered versions",
        ("model", "version", "stage", "aliases", "made of"),
        [(v.name, v.version, v.stage, _joined(v.aliases), v.model) for v in versions],
    )
    rows = [(p.name, p.version, _joined(p.aliases)) for p in prompts]
    yield Table("Prompts", ("prompt", "version", "aliases"), rows)


def _trained_on(datasets: Sequence[TrainingData]) -> str:
    texts = (f"{d.name or d.digest}" + (f" ({d.basis})" if d.basis else "") for d in datasets)
    return ", ".join(texts)


def _trace_table(traces: Sequence[Trace]) -> Table:
    rows: list[tuple[object, ...]] = [
        (t.name or t.id, t.status, t.duration_ms, t.spans, _to_second(t.start))
        for t in traces[:_MOST_TRACES]
    ]
    if len(traces) > _MOST_TRACES:
        rows.append((f"and {len(traces) - _MOST_TRACES} more", *[None] * 4))
    statuses = Counter(str(trace.status or "unknown") for trace in traces)
    title = "Traces: " + ", ".join(f"{number} {status}" for status, number in statuses.items())
    return Table(title, ("trace", "status", "ms", "spans", _WHEN[0]), rows)


def _artifact_tables(artifacts: Sequence[Artifact], models: Sequence[Model]) -> Iterator[Table]:
    """Yield a table of the files of the run, and one for each other owner."""
    names = {str(model.id): model.name for model in models}
    groups: dict[str | None, list[Artifact]] = {None: []}
    for artifact in artifacts:
        groups.setdefault(artifact.owner, []).append(artifact)
    for owner, files in groups.items():
        title = "Artifacts" if owner is None else f"Artifacts of {owner.partition(':')[2]}"
        if files and (model := files[0].model) is not None:
            title = f"Artifacts of model {_joined((names.get(model), model))}"
        rows = [(a.path, a.size, _short(a.sha256), a.versions) for a in files]
        yield Table(title, ("path", "bytes", "sha256", "versions"), rows)


def _session_table(sessions: Sequence[Session]) -> Table:
    several_ranks = len({str(session.rank) for session in sessions}) > 1
    rows = [
        (s.label, s.rank if several_ranks else None, s.pid, *_when(s.start, s.end), s.command)
        for s in sessions
        if s.start is not None or s.pid is not None
    ]
    return Table("Sessions", ("session", "rank", "pid", *_WHEN, "command"), rows)


def _software(
    codes: Sequence[Code], environments: Sequence[Environment]
) -> Iterator[tuple[str, str]]:
    for code in codes:
        commit = "no commit" if code.commit is None else code.commit
        changes = ", with uncommitted changes" if code.dirty else ""
        yield "code", f"{code.entry_point or ''} at {commit}{changes}"
        if code.kept_in:
            folders = [code.kept_in] if isinstance(code.kept_in, str) else code.kept_in
            yield "code that is kept", _joined(folders)
    for environment in environments:
        packages = len(environment.packages)
        yield "environment", f"Python {environment.python}, {packages} packages"


def _when(start: str | None, end: str | None) -> tuple[str | None, float | None]:
    return _to_second(start), seconds_between(start, end)


def _joined(texts: Iterable[object]) -> str:
    return ", ".join(str(text) for text in texts if text is not None)


def _memory(count: int | None) -> str | None:
    # Documents of other programs may have anything here.
    return f"{count / 1e9:.4g} GB memory" if isinstance(count, int) and count < 2**64 else None


def _to_second(time: str | None) -> str | None:
    return str(time)[:_SECOND].replace("T", " ") if time else None


def _short(sha256: str | None) -> str | None:
    return f"{str(sha256)[:_HASH_LENGTH]}…" if sha256 else None
