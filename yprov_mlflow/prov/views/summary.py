"""The summary of a document: the run or store with its data, inputs, outputs and environment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, TypeVar

from yprov_mlflow.prov.views import energy, related
from yprov_mlflow.prov.views.document_reader import (
    DocumentReader,
    Record,
    Source,
    key,
    mapping,
    read,
    text,
    types,
    value,
)
from yprov_mlflow.prov.views.summary_report import (
    Artifact,
    Code,
    Context,
    Dataset,
    Device,
    Environment,
    Host,
    Metric,
    RunDetails,
    Session,
    Summary,
)
from yprov_mlflow.prov.views.view import View

_V = TypeVar("_V", bound=View)


def from_document(document: Source) -> Summary:
    """Return the summary of a document."""
    reader = DocumentReader.of(document)
    # The prefixes exclude params and tags of models and traces, which a document may have, too.
    params = reader.of_type("entity", "mlf:Param", "run:param/")
    tags = {
        key(record): value(record.get("prov:value"))
        for _, record in reader.current("mlf:Tag", "run:tag/")
    }
    report = energy.from_document(reader)
    store = None if "run:run" in reader.section("activity") else related.store(reader)
    describes = "run" if "run:run" in reader.section("activity") else "other"
    return Summary(
        describes=describes if store is None else "store",
        run=_run(reader),
        about=related.about(reader),
        store=store,
        experiments=related.experiments(reader),
        # A param's value is what the user passed, such as a number; MLflow stores its text.
        params={
            key(record): value(record.get("mlf:text", record.get("prov:value")))
            for _, record in params
        },
        tags=tags,
        metrics=_metrics(reader),
        contexts=_contexts(reader),
        datasets=_datasets(reader),
        models=related.models(reader),
        model_versions=related.model_versions(reader),
        prompts=related.prompts(reader, tags),
        traces=related.traces(reader),
        artifacts=_artifacts(reader),
        workflow_tasks=related.workflow_tasks(reader),
        sessions=_read_all(Session, reader.of_type("activity", "mlf:RunSession")),
        code=_read_all(Code, reader.of_type("entity", "schema:SoftwareSourceCode")),
        environments=_environments(reader),
        hosts=_hosts(reader),
        devices=_devices(reader),
        energy=report.total,
        own_energy=report.own,
        records={
            section: len(records)
            for section, records in sorted(reader.sections.items())
            if section != "prefix"
        },
    )


def _read_all(view: type[_V], records: Iterable[tuple[str, Record]]) -> tuple[_V, ...]:
    return tuple(read(view, record, record_id=identifier) for identifier, record in records)


def _run(reader: DocumentReader) -> RunDetails:
    record = reader.section("activity").get("run:run", {})
    experiments = reader.of_type("entity", "mlf:Experiment")
    persons = dict(reader.of_type("agent", "prov:Person"))
    # Authors are persons, too. Documents of other programs have other ids of users.
    users = {key: persons[key] for key in persons if key.startswith("store:user/")} or persons
    return read(
        RunDetails,
        record,
        start=record.get("prov:startTime"),
        end=record.get("prov:endTime"),
        experiment=next((key(entity) for _, entity in experiments), None),
        user=next(map(key, users.values()), None),
        parent=related.parent(reader),
        children=related.children(reader),
        record_id="run:run",
    )


def _metrics(reader: DocumentReader) -> tuple[Metric, ...]:
    metrics = []
    for identifier, record in reader.of_type("entity", "mlf:MetricSeries"):
        context = value(record.get("mlf:context", []))
        path = tuple(context) if isinstance(context, list) else (context,)
        series = {"context": path, "key": key(record), "record_id": identifier}
        metrics.append(read(Metric, record, **series))
    return tuple(sorted(metrics, key=lambda metric: (metric.context, metric.key)))


def _contexts(reader: DocumentReader) -> tuple[Context, ...]:
    epochs = Counter(
        text(record.get("dcterms:isPartOf"))
        for _, record in reader.of_type("activity", "mlf:Epoch")
    )
    return tuple(
        read(Context, record, epochs=epochs[identifier], record_id=identifier)
        for identifier, record in reader.of_type("activity", "mlf:Context")
    )


def _datasets(reader: DocumentReader) -> tuple[Dataset, ...]:
    # The entity is the content; name and source belong to the usage. In documents of the first
    # edition the entity has all.
    contents = dict(reader.of_type("entity", "mls:Dataset"))
    used: dict[str, Record] = {}
    identifiers: dict[str, str] = {}
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
        identifiers.setdefault(same, str(usage.get("prov:entity")))
        if (context := value(usage.get("mlf:datasetContext"))) is not None:
            contexts.setdefault(same, []).append(context)
    return tuple(
        read(
            Dataset,
            record,
            contexts=tuple(contexts.get(same, ())),
            record_id=identifiers[same],
        )
        for same, record in used.items()
    )


def _artifacts(reader: DocumentReader) -> tuple[Artifact, ...]:
    # All versions are entities; every one but the last is invalidated.
    versions = Counter(_file(record) for _, record in reader.of_type("entity", "mlf:Artifact"))
    models = {identifier: text(r.get("mlf:modelId")) for identifier, r in related.logged(reader)}
    artifacts = [
        read(
            Artifact,
            record,
            owner=owner,
            model=models.get(str(owner)),
            versions=versions[owner, path],
            record_id=identifier,
        )
        for identifier, record in reader.current("mlf:Artifact")
        for owner, path in [_file(record)]
    ]
    return tuple(sorted(artifacts, key=lambda a: (str(a.owner or ""), str(a.path))))


def _file(record: Record) -> tuple[str | None, str | None]:
    """Return what the versions of an artifact have in common: its owner and path."""
    return text(record.get("dcterms:isPartOf")), text(record.get("mlf:path"))


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
            packages.setdefault(str(record.get("prov:collection")), {})[key(member)] = version
    return tuple(
        read(Environment, record, packages=packages.get(identifier, {}), record_id=identifier)
        for identifier, record in reader.of_type("entity", "mlf:Environment")
    )


def _hosts(reader: DocumentReader) -> tuple[Host, ...]:
    return tuple(
        read(
            Host,
            record,
            cpu=text(mapping(record.get("mlf:facts")).get("cpu_model")),
            record_id=identifier,
        )
        for identifier, record in reader.of_type("entity", "mlf:Host")
    )


def _devices(reader: DocumentReader) -> tuple[Device, ...]:
    hosts = reader.section("entity")
    return tuple(
        read(
            Device,
            record,
            host=text(hosts.get(str(part_of), {}).get("prov:label")),
            record_id=identifier,
        )
        for identifier, record in reader.of_type("entity", "mlf:Device")
        for part_of in [value(record.get("dcterms:isPartOf"))]
    )
