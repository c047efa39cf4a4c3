"""RO-Crates of runs: files, document and a description that catalogs and validators read.

Every statement comes from the summary of a run's document. Statements that the profiles
recommend and no document has are left out, and listed with the setting that fills them.
"""

from __future__ import annotations

import datetime
import hashlib
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from yprov_mlflow.prov.errors import MissingExtraError, OutputError
from yprov_mlflow.prov.ids import quote_key
from yprov_mlflow.prov.layout import PROV_JSON, PROVENANCE
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.share import crate_people, run_card
from yprov_mlflow.prov.share.crate_actions import STATUS, Entity, compact, time_text
from yprov_mlflow.prov.share.workflow_crate import PROFILES, WorkflowParts, add_workflow
from yprov_mlflow.prov.translate import side_files
from yprov_mlflow.prov.views import summary as summary_view
from yprov_mlflow.prov.views.summary_report import Artifact, Code, Summary, WorkflowTask

PROCESS_RUN = "https://w3id.org/ro/wfrun/process/0.5"
"""Profile of crates that describe executions of programs."""

_TERMS = "https://w3id.org/ro/terms/workflow-run#"
_JSON, _UNKNOWN_TYPE = "application/json", "application/octet-stream"

Owned = tuple[str | None, str]
"""An artifact: the id of the logged model that owns it, None for the run, and its path."""


@dataclass(frozen=True)
class CrateRun:
    """A run for a crate.

    Args:
        document: Its document.
        folder: The folder of the document, with its metric file.
        files: The artifact files that exist and are the ones that were logged.
    """

    document: Document
    folder: Path
    files: Mapping[Owned, Path] = field(default_factory=dict)


@dataclass
class CrateReport:
    """The result: numbers of runs and files, files that are missing, and recommended blanks."""

    runs: int = 0
    files: int = 0
    missing: list[str] = field(default_factory=list)
    blanks: list[str] = field(default_factory=list)

    def add_blank(self, text: str) -> None:
        """Add a statement that is recommended and not known, once."""
        if text not in self.blanks:
            self.blanks.append(text)


def write(
    runs: Sequence[CrateRun],
    out: Path,
    today: datetime.date,
    *,
    with_files: bool = True,
    workflow: Path | None = None,
    others: Sequence[Document] = (),
) -> CrateReport:
    """Write the crate of runs.

    Args:
        runs: At least one run.
        out: A folder, which is created, or a file that ends with ``.zip``.
        today: Date of publication in the crate.
        with_files: Copy artifacts; otherwise the crate only names them.
        workflow: The file that defines the workflow whose tasks started the runs.
        others: Documents of that workflow.

    Raises:
        UsageError: ``workflow`` is given, and no document names a task.
        MissingExtraError: The library rocrate is not installed.
        OutputError: The output exists, or cannot be written.
    """
    try:
        from rocrate.rocrate import ROCrate  # an extra
    except ImportError as error:
        raise MissingExtraError.of("rocrate", "crate", "RO-Crate") from error
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        cure = "Give another path, or remove it first"
        raise OutputError("the output exists already", str(out), cure)
    # Version 1.1 is the newest one that the profiles of runs extend.
    writer = _CrateWriter(ROCrate(version="1.1"), with_files=with_files, single=len(runs) == 1)
    try:
        for run in runs:
            writer.add_run(run)
        if workflow is not None:
            writer.add_workflow(workflow, others)
        writer.finish(today)
        write_crate = writer.crate.write_zip if out.suffix == ".zip" else writer.crate.write
        write_crate(out)
    except OSError as error:
        raise OutputError.unwritable(str(out), error) from error
    return writer.report


class _CrateWriter:
    """Adds runs to a crate of the library."""

    def __init__(self, crate: Any, *, with_files: bool, single: bool) -> None:
        self.crate = crate
        self.report = CrateReport()
        self._with_files = with_files
        self._single = single
        self._runs: list[CrateRun] = []
        self._summaries: list[Summary] = []
        self._actions: list[Entity] = []
        self._workflow: dict[str, Any] = {}
        self._people = crate_people.People(self._add, self.report.add_blank)

    def add_run(self, run: CrateRun) -> None:
        """Add a run: an action with its inputs, outputs, software and agent."""
        summary = summary_view.from_document(run.document)
        run_id = str(summary.run.id or run.document.digest()[:32])
        prefix = "" if self._single else f"{quote_key(run_id)}/"
        record = self._add_documents(run, prefix)
        results = [*self._artifacts(run, summary, prefix), *self._models(summary, run_id)]
        results += self._values("metric", run_id, _metrics(summary))
        objects = self._values("param", run_id, summary.params.items())
        objects += [*self._datasets(summary), *self._scripts(summary)]
        label = summary.run.name or run_id
        action: Entity = {
            "@id": f"#run/{quote(run_id)}",
            "@type": "CreateAction",
            "identifier": run_id,
            "name": f"run {label}",
            "description": _action_text(summary),
            "startTime": time_text(summary.run.start),
            "endTime": time_text(summary.run.end),
            "actionStatus": STATUS.get(str(summary.run.status)),
            "agent": self._people.agent(summary),
            "instrument": self._instruments(summary),
            "object": objects,
            "result": results,
            "resourceUsage": self._energy(summary, run_id),
            "subjectOf": record,
        }
        self._report_blanks(action, label)
        self._add(action)
        self._actions.append(action)
        self._summaries.append(summary)
        self._runs.append(run)
        self.report.runs += 1

    def add_workflow(self, file: Path, others: Sequence[Document]) -> None:
        """Add the workflow that the file defines, with the executions of its tasks."""
        tasks: list[tuple[WorkflowTask, Entity | None]] = []
        for summary, action in zip(self._summaries, self._actions, strict=True):
            # The innermost task started the run; those around it have parts of their own.
            own = next((task for task in summary.workflow_tasks if task.task), None)
            tasks += [] if own is None else [(own, action)]
        for document in others:
            known = summary_view.from_document(document).workflow_tasks
            tasks += [(task, None) for task in known]
        codes = [code for summary in self._summaries for code in summary.code]
        parts = WorkflowParts(tasks, codes, self._actions[0]["agent"])
        add_file, blank = self._add_workflow_file, self.report.add_blank
        self._workflow = add_workflow(file, parts, self._add, add_file, blank)

    def _add_workflow_file(self, source: Path, target: str, **properties: Any) -> Any:
        self.report.files += 1
        present = {key: value for key, value in properties.items() if value is not None}
        return self.crate.add_file(source, dest_path=target, properties=present)

    def finish(self, today: datetime.date) -> None:
        """Describe the crate itself."""
        root, first = self.crate.root_dataset, self._summaries[0]
        about = next((s.about for s in self._summaries if s.about is not None), None)
        names = dict.fromkeys(s.run.experiment for s in self._summaries if s.run.experiment)
        subject = f"MLflow run {first.run.name or first.run.id}"
        if not self._single:
            subject = f"{len(self._summaries)} MLflow runs of {', '.join(names) or 'a store'}"
        profile = {"@id": PROCESS_RUN, "@type": "CreativeWork"}
        profile |= {"name": "Process Run Crate", "version": PROCESS_RUN.rpartition("/")[2]}
        description = f"Parameters, metrics, files and provenance of {subject}."
        properties: Entity = {
            "name": (about and about.title) or f"Provenance of {subject}",
            "description": (about and about.description) or description,
            "datePublished": today.isoformat(),
            "conformsTo": [self._add(profile), *self._workflow.get("conformsTo", ())],
            "mentions": [
                *({"@id": action["@id"]} for action in self._actions),
                *self._workflow.get("mentions", ()),
            ],
            "mainEntity": self._workflow.get("mainEntity"),
            **self._people.of_root(about),
        }
        if self._workflow:
            self.crate.metadata["conformsTo"] = [
                {"@id": "https://w3id.org/ro/crate/1.1"},
                {"@id": PROFILES["Workflow RO-Crate"]},
            ]
        self._add_readme()
        for key, value in properties.items():
            if (short := compact(value)) is not None:
                root[key] = short
        if any("resourceUsage" in entity for entity in self.crate.contextual_entities):
            self.crate.metadata.extra_terms["resourceUsage"] = f"{_TERMS}resourceUsage"
        self.crate.metadata.extra_terms["sha256"] = f"{_TERMS}sha256"

    def _add_readme(self) -> None:
        card = run_card.from_documents([run.document for run in self._runs])
        properties = {
            "name": "workflow-provenance card",
            "encodingFormat": "text/markdown",
            "about": {"@id": "./"},
        }
        self._add_content("README.md", card.to_markdown().encode(), properties)

    def _add_content(self, target: str, content: bytes, properties: Mapping[str, Any]) -> Entity:
        self.report.files += 1
        size, sha256 = str(len(content)), hashlib.sha256(content).hexdigest()
        properties = {**properties, "contentSize": size, "sha256": sha256}
        file = self.crate.add_file(io.BytesIO(content), dest_path=target, properties=properties)
        return {"@id": file.id}

    def _add(self, entity: Entity) -> Entity:
        """Add an entity, or keep an equal one; return a reference to it."""
        identifier = str(entity["@id"])
        if self.crate.dereference(identifier) is None:
            short = {key: compact(value) for key, value in entity.items()}
            self.crate.add_jsonld({k: v for k, v in short.items() if v is not None})
        return {"@id": identifier}

    def _add_file(self, source: Path, target: str, **properties: Any) -> Entity:
        self.report.files += 1
        present = {key: value for key, value in properties.items() if value is not None}
        return {"@id": self.crate.add_file(source, dest_path=target, properties=present).id}

    def _add_documents(self, run: CrateRun, prefix: str) -> Entity:
        content = run.document.to_json_bytes() + b"\n"
        properties = {"name": "provenance of the run in W3C PROV", "encodingFormat": _JSON}
        record = self._add_content(f"{prefix}{PROVENANCE}/{PROV_JSON}", content, properties)
        for name, sha256 in side_files(run.document):
            file = run.folder / name
            if not file.is_file():
                self.report.missing.append(f"{name}: the metric file is not beside the document")
                continue
            label, target = "metric points of the run", f"{prefix}{PROVENANCE}/{file.name}"
            kind = _UNKNOWN_TYPE
            self._add_file(file, target, name=label, encodingFormat=kind, sha256=sha256)
        return record

    # -- inputs and outputs --------------------------------------------------------------

    def _artifacts(self, run: CrateRun, summary: Summary, prefix: str) -> Iterator[Entity]:
        for artifact in summary.artifacts:
            file = run.files.get((artifact.model, str(artifact.path)))
            properties = {
                "name": str(artifact.path).rpartition("/")[2],
                "encodingFormat": artifact.type or _UNKNOWN_TYPE,
                "contentSize": None if artifact.size is None else str(artifact.size),
                "sha256": artifact.sha256,
            }
            if file is not None and self._with_files:
                yield self._add_file(file, f"{prefix}{_target(artifact)}", **properties)
                continue
            if self._with_files:
                reason = "not found, or not the file that was logged"
                self.report.missing.append(f"{prefix}{_target(artifact)}: {reason}")
            # Not a File: every File of a crate must be in it.
            identifier = f"#{quote(prefix + _target(artifact))}"
            yield self._add({"@id": identifier, "@type": "CreativeWork", **properties})

    def _models(self, summary: Summary, run_id: str) -> Iterator[Entity]:
        for model in summary.models:
            yield self._add(
                {
                    "@id": f"#model/{quote(str(model.id))}",
                    "@type": "CreativeWork",
                    "name": f"model {model.name or model.id}",
                    "identifier": model.id,
                    "additionalType": model.type,
                    "isBasedOn": [self._dataset(d.name, d.digest, None) for d in model.trained_on],
                }
            )

    def _datasets(self, summary: Summary) -> list[Entity]:
        return [self._dataset(d.name, d.digest, d.source_type) for d in summary.datasets]

    def _dataset(self, name: str | None, digest: str | None, source: str | None) -> Entity:
        # Not a Dataset, which is a folder of the crate.
        return self._add(
            {
                "@id": f"#dataset/{quote(str(digest or name))}",
                "@type": "CreativeWork",
                "name": f"dataset {name or digest}",
                "identifier": digest,
                "description": source and f"Read from: {source}",
            }
        )

    def _values(self, kind: str, run_id: str, pairs: Iterable[tuple[str, Any]]) -> list[Entity]:
        return [
            self._add(
                {
                    "@id": f"#{kind}/{quote(run_id)}/{quote(name, safe='')}",
                    "@type": "PropertyValue",
                    "additionalType": kind,
                    "name": name,
                    "value": _scalar(value),
                }
            )
            for name, value in pairs
        ]

    def _energy(self, summary: Summary, run_id: str) -> Entity | None:
        if summary.energy is None:
            return None
        return self._add(
            {
                "@id": f"#energy/{quote(run_id)}",
                "@type": "PropertyValue",
                "name": "energy of the hardware while the run was measured",
                "propertyID": "http://qudt.org/vocab/quantitykind/ElectricEnergy",
                "unitCode": "http://qudt.org/vocab/unit/J",
                "value": summary.energy.energy_j,
            }
        )

    # -- software ------------------------------------------------------------------------

    def _instruments(self, summary: Summary) -> list[Entity]:
        software = [*self._software(summary)]
        codes = [self._code(c, software) for c in summary.code if c.remote and c.commit]
        codes = [code for i, code in enumerate(codes) if code not in codes[:i]]
        if not codes and not software:
            self.report.add_blank(
                "version of the software: the document does not state it; capture the run with"
                " the collectors environment and git"
            )
            url = "https://mlflow.org"
            mlflow = {"@id": url, "@type": "SoftwareApplication", "name": "MLflow", "url": url}
            software = [self._add(mlflow)]
        return codes or software

    def _software(self, summary: Summary) -> Iterator[Entity]:
        for environment in summary.environments:
            if environment.python:
                version = str(environment.python)
                release = version.replace(".", "")
                url = f"https://www.python.org/downloads/release/python-{release}/"
                yield self._application(url, "Python", version)
            for package in ("mlflow", "mlflow-skinny", "yprov-mlflow"):
                if package_version := environment.packages.get(package):
                    url = f"https://pypi.org/project/{package}/{package_version}/"
                    yield self._application(url, package, package_version)

    def _application(self, url: str, name: str, version: str) -> Entity:
        application = {"@id": url, "@type": "SoftwareApplication", "name": name}
        return self._add({**application, "url": url, "softwareVersion": version})

    def _code(self, code: Code, software: list[Entity]) -> Entity:
        remote = str(code.remote)
        changes = "with uncommitted changes" if code.dirty else "without uncommitted changes"
        return self._add(
            {
                "@id": f"{remote}#{code.commit}" if "://" in remote else f"#code/{code.commit}",
                "@type": "SoftwareSourceCode",
                "name": code.entry_point or remote,
                "description": None if code.dirty is None else f"Commit {code.commit}, {changes}.",
                "url": remote,
                "codeRepository": remote,
                "version": code.commit,
                "sha256": code.entry_point_sha256,
                "softwareRequirements": software,
            }
        )

    def _scripts(self, summary: Summary) -> Iterator[Entity]:
        """Add code without a repository, which lacks the URL of an instrument."""
        for code in summary.code:
            if code.entry_point and not (code.remote and code.commit):
                sha256 = code.entry_point_sha256
                script = {"@id": f"#script/{quote(str(sha256 or code.entry_point))}"}
                script |= {"@type": "CreativeWork", "name": f"script {code.entry_point}"}
                yield self._add({**script, "version": code.commit, "sha256": sha256})

    def _report_blanks(self, action: Entity, label: str) -> None:
        if action["endTime"] is None:
            cure = "make the crate again when it has ended, or run `yprov-mlflow recover`"
            self.report.add_blank(f"end of the run {label}: it has none yet; {cure}")
        if not action["result"]:
            cure = "log a metric, a file or a model"
            self.report.add_blank(f"results of the run {label}: it has none; {cure}")


def _target(artifact: Artifact) -> str:
    """Return the path of an artifact in the crate of its run."""
    if artifact.model is not None:
        return f"models/{quote_key(artifact.model)}/{artifact.path}"
    return f"artifacts/{artifact.path}"


def _metrics(summary: Summary) -> Iterator[tuple[str, Any]]:
    for metric in summary.metrics:
        yield "/".join((*metric.context, metric.key)), metric.last


def _action_text(summary: Summary) -> str:
    of = f" of the experiment {summary.run.experiment}" if summary.run.experiment else ""
    status = f", which ended as {summary.run.status}" if summary.run.end else ""
    return f"MLflow run {summary.run.id}{of}{status}."


def _scalar(value: Any) -> Any:
    """Return a value of JSON; numbers that JSON lacks become text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (str, int, float, bool)) else str(value)
