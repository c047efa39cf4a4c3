"""The summary of a document: the run with its data, inputs, outputs and environment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.views.document_reader import (
    DocumentReader,
    Record,
    Records,
    read,
    types,
    value,
)
from yprov_mlflow.prov.views.view import Note, Table, View, term

_V = TypeVar("_V", bound=View)
_HASH_LENGTH = 16


class Run(View):
    """The run itself; times are ISO 8601 in UTC, as in the document."""

    id: str | None = term("mlf:runId")
    status: str | None = term("mlf:status")
    name: str | None = term("prov:label")
    start: str | None
    end: str | None

    def tables(self) -> Iterator[Table]:
        """Yield the attributes that the document has."""
        keys = ("name", "id", "status", "start", "end", "experiment", "user")
        rows = ((key, getattr(self, key, None)) for key in keys)
        yield Table("Run", (), [row for row in rows if row[1] is not None])


class RunDetails(Run):
    """The run itself, with its experiment and user."""

    experiment: str | None
    user: str | None


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


class Model(View):
    """A logged model."""

    id: str | None = term("mlf:modelId")
    name: str | None = term("schema:name")
    type: str | None = term("mlf:modelType")
    status: str | None = term("mlf:status")


class Artifact(View):
    """The current version of an artifact, and the number of its versions; size in bytes."""

    path: str | None = term("mlf:path")
    size: int | None = term("mlf:size")
    sha256: str | None = term("mlf:sha256")
    type: str | None = term("schema:encodingFormat")
    owner: str | None = term("dcterms:isPartOf")
    versions: int


class Session(View):
    """A process that worked on the run."""

    label: str | None = term("prov:label")
    start: str | None = term("prov:startTime")
    end: str | None = term("prov:endTime")
    rank: int | None = term("mlf:rank")
    pid: int | None = term("mlf:pid")
    command: str | None = term("mlf:commandLine")


class Code(View):
    """The script and its git repository; ``dirty`` if it had uncommitted changes."""

    entry_point: str | None = term("mlf:entryPoint")
    entry_point_sha256: str | None = term("mlf:entryPointSha256")
    commit: str | None = term("mlf:gitCommit")
    branch: str | None = term("mlf:gitBranch")
    dirty: bool | None = term("mlf:gitDirty")
    diff_sha256: str | None = term("mlf:gitDiffSha256")
    remote: str | None = term("schema:codeRepository")


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
    cpu_count: int | None = term("mlf:cpuCount")
    memory_bytes: int | None = term("mlf:memoryBytes")


class Summary(View):
    """The current state of a run: no earlier values of tags, no overwritten artifacts.

    ``params`` and ``tags`` map keys to values, ``records`` PROV-JSON sections to the number of
    their records.
    """

    run: RunDetails
    params: Mapping[str, Any]
    tags: Mapping[str, Any]
    metrics: tuple[Metric, ...]
    contexts: tuple[Context, ...]
    datasets: tuple[Dataset, ...]
    models: tuple[Model, ...]
    artifacts: tuple[Artifact, ...]
    sessions: tuple[Session, ...]
    code: tuple[Code, ...]
    environments: tuple[Environment, ...]
    hosts: tuple[Host, ...]
    records: Mapping[str, int]

    def tables(self) -> Iterator[Table]:
        """Yield a table for each part of the summary; those of absent parts are empty."""
        yield from self.run.tables()
        yield Table("Params", ("key", "value"), list(self.params.items()))
        yield Table("Tags", ("key", "value"), list(self.tags.items()))
        yield Table(
            "Metrics",
            ("metric", "points", "first", "last", "min", "max"),
            [
                ("/".join((*m.context, m.key)), m.count, m.first, m.last, m.min, m.max)
                for m in self.metrics
            ],
        )
        yield Table(
            "Contexts",
            ("context", "epochs", "start (UTC)", "end"),
            [(c.name, c.epochs, _to_second(c.start), _to_second(c.end)) for c in self.contexts],
        )
        yield Table(
            "Datasets",
            ("name", "digest", "for", "source"),
            [
                (d.name, d.digest, ", ".join(map(str, d.contexts)), d.source_type)
                for d in self.datasets
            ],
        )
        models = [(m.id, m.name, m.type, m.status) for m in self.models]
        yield Table("Models", ("id", "name", "type", "status"), models)
        yield Table(
            "Artifacts",
            ("path", "bytes", "sha256", "versions"),
            [(a.path, a.size, _short(a.sha256), a.versions) for a in self.artifacts],
        )
        yield Table(
            "Sessions",
            ("session", "pid", "start (UTC)", "end", "command"),
            [
                (s.label, s.pid, _to_second(s.start), _to_second(s.end), s.command)
                for s in self.sessions
            ],
        )
        yield Table("Ran on", (), list(self._ran_on()))

    def _ran_on(self) -> Iterator[tuple[str, str]]:
        for code in self.code:
            commit = "no commit" if code.commit is None else code.commit
            changes = ", with uncommitted changes" if code.dirty else ""
            yield "code", f"{code.entry_point or ''} at {commit}{changes}"
        for environment in self.environments:
            packages = len(environment.packages)
            yield "environment", f"Python {environment.python}, {packages} packages"
        for host in self.hosts:
            names = (host.name, host.os, host.machine)
            yield "host", ", ".join(str(name) for name in names if name is not None)

    def notes(self) -> Iterable[Note]:
        """Return one line: the size of the document."""
        return [Note(f"{sum(self.records.values())} PROV records", "detail")]


def from_document(document: Document | Mapping[str, Records]) -> Summary:
    """Return the summary of a document, or of a PROV-JSON object."""
    reader = DocumentReader(document)
    # The prefixes exclude params and tags of models and traces, which a document may have, too.
    params = reader.of_type("entity", "mlf:Param", "run:param/")
    tags = reader.current("mlf:Tag", "run:tag/")
    return Summary(
        run=_run(reader),
        # A param's value is what the user passed, such as a number; MLflow stores its text.
        params={
            _key(record): value(record.get("mlf:text", record.get("prov:value")))
            for _, record in params
        },
        tags={_key(record): value(record.get("prov:value")) for _, record in tags},
        metrics=_metrics(reader),
        contexts=_contexts(reader),
        datasets=_datasets(reader),
        models=_read_all(Model, reader.current("mlf:LoggedModel")),
        artifacts=_artifacts(reader),
        sessions=_read_all(Session, reader.of_type("activity", "mlf:RunSession")),
        code=_read_all(Code, reader.of_type("entity", "schema:SoftwareSourceCode")),
        environments=_environments(reader),
        hosts=_read_all(Host, reader.of_type("entity", "mlf:Host")),
        records={
            section: len(records)
            for section, records in sorted(reader.sections.items())
            if section != "prefix"
        },
    )


def _read_all(view: type[_V], records: Iterable[tuple[str, Record]]) -> tuple[_V, ...]:
    return tuple(read(view, record) for _, record in records)


def _key(record: Record) -> str:
    return str(value(record.get("schema:name", record.get("prov:label", ""))))


def _run(reader: DocumentReader) -> RunDetails:
    record = reader.section("activity").get("run:run", {})
    experiments = reader.of_type("entity", "mlf:Experiment")
    users = reader.of_type("agent", "prov:Person")
    return read(
        RunDetails,
        record,
        start=record.get("prov:startTime"),
        end=record.get("prov:endTime"),
        experiment=next((_key(entity) for _, entity in experiments), None),
        user=next((_key(agent) for _, agent in users), None),
    )


def _metrics(reader: DocumentReader) -> tuple[Metric, ...]:
    metrics = []
    for _, record in reader.of_type("entity", "mlf:MetricSeries"):
        context = value(record.get("mlf:context", []))
        path = tuple(context) if isinstance(context, list) else (context,)
        metrics.append(read(Metric, record, context=path, key=_key(record)))
    return tuple(sorted(metrics, key=lambda metric: (metric.context, metric.key)))


def _contexts(reader: DocumentReader) -> tuple[Context, ...]:
    epochs = Counter(
        value(record.get("dcterms:isPartOf"))
        for _, record in reader.of_type("activity", "mlf:Epoch")
    )
    return tuple(
        read(Context, record, epochs=epochs[identifier])
        for identifier, record in reader.of_type("activity", "mlf:Context")
    )


def _datasets(reader: DocumentReader) -> tuple[Dataset, ...]:
    # The entity is the content; name and source belong to the usage. In documents of the first
    # edition the entity has all.
    contents = dict(reader.of_type("entity", "mls:Dataset"))
    used: dict[str, Record] = {}
    contexts: dict[str, list[Any]] = {}
    for usage in reader.section("used").values():
        content = contents.get(str(usage.get("prov:entity")))
        if content is None:
            continue
        own = {term: usage[term] for term in ("mlf:source", "mlf:sourceType") if term in usage}
        if "mlf:datasetName" in usage:
            own["schema:name"] = usage["mlf:datasetName"]
        record = {**content, **own}
        same = repr([value(record.get(term)) for term in ("schema:name", "mlf:digest", *own)])
        used.setdefault(same, record)
        if (context := value(usage.get("mlf:datasetContext"))) is not None:
            contexts.setdefault(same, []).append(context)
    return tuple(
        read(Dataset, record, contexts=tuple(contexts.get(same, ())))
        for same, record in used.items()
    )


def _artifacts(reader: DocumentReader) -> tuple[Artifact, ...]:
    # All versions are entities; every one but the last is invalidated.
    versions = Counter(_file(record) for _, record in reader.of_type("entity", "mlf:Artifact"))
    artifacts = [
        read(Artifact, record, versions=versions[_file(record)])
        for _, record in reader.current("mlf:Artifact")
    ]
    return tuple(sorted(artifacts, key=lambda artifact: str(artifact.path)))


def _file(record: Record) -> tuple[Any, Any]:
    """Return what the versions of an artifact have in common: its owner and path."""
    return value(record.get("dcterms:isPartOf")), value(record.get("mlf:path"))


def _environments(reader: DocumentReader) -> tuple[Environment, ...]:
    packages: dict[Any, dict[str, Any]] = {}
    for identifier, record in reader.of_type("entity", "mlf:Environment"):
        lines = str(value(record.get("mlf:packages", ""))).splitlines()
        pairs = (line.partition("==") for line in lines)
        packages[identifier] = {package: version or None for package, _, version in pairs}
    # In documents of the first edition, packages are members of the environment.
    entities = reader.section("entity")
    for record in reader.section("hadMember").values():
        member = entities.get(str(record.get("prov:entity")), {})
        if "mlf:Package" in types(member):
            version = value(member.get("schema:softwareVersion"))
            packages.setdefault(record.get("prov:collection"), {})[_key(member)] = version
    return tuple(
        read(Environment, record, packages=packages.get(identifier, {}))
        for identifier, record in reader.of_type("entity", "mlf:Environment")
    )


def _to_second(time: str | None) -> str | None:
    return str(time)[:19].replace("T", " ") if time else None


def _short(sha256: str | None) -> str | None:
    return f"{str(sha256)[:_HASH_LENGTH]}…" if sha256 else None
