"""What a provenance document says of its run, as plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from yprov_mlflow.prov.views.document_view import Records, Summary, View, pick, types, value

_RUN = {"id": "mlf:runId", "status": "mlf:status", "name": "prov:label"}
_SERIES = {
    "count": "mlf:count",
    "first": "mlf:first",
    "last": "mlf:last",
    "min": "mlf:min",
    "max": "mlf:max",
}
_ARTIFACT = {
    "path": "mlf:path",
    "size": "mlf:size",
    "sha256": "mlf:sha256",
    "type": "schema:encodingFormat",
    "owner": "dcterms:isPartOf",
}
_DATASET = {
    "name": "schema:name",
    "digest": "mlf:digest",
    "source_type": "mlf:sourceType",
    "source": "mlf:source",
}
_MODEL = {
    "id": "mlf:modelId",
    "name": "schema:name",
    "type": "mlf:modelType",
    "status": "mlf:status",
}
_SESSION = {
    "label": "prov:label",
    "start": "prov:startTime",
    "end": "prov:endTime",
    "rank": "mlf:rank",
    "pid": "mlf:pid",
    "command": "mlf:commandLine",
}
_CODE = {
    "entry_point": "mlf:entryPoint",
    "entry_point_sha256": "mlf:entryPointSha256",
    "commit": "mlf:gitCommit",
    "branch": "mlf:gitBranch",
    "dirty": "mlf:gitDirty",
    "diff_sha256": "mlf:gitDiffSha256",
    "remote": "schema:codeRepository",
}
_ENVIRONMENT = {
    "python": "mlf:pythonVersion",
    "implementation": "mlf:pythonImplementation",
    "platform": "mlf:platform",
}
_HOST = {
    "name": "prov:label",
    "os": "mlf:operatingSystem",
    "machine": "mlf:machine",
    "cpu_count": "mlf:cpuCount",
    "memory_bytes": "mlf:memoryBytes",
}
_CONTEXT = {
    "name": "prov:label",
    "start": "prov:startTime",
    "end": "prov:endTime",
    "failed": "mlf:failed",
}


def summarise(document: Mapping[str, Records]) -> Summary:
    """Say what a PROV-JSON object holds: run, params, metrics, artifacts and so on.

    Only what is current is listed: not the earlier values of a tag or the overwritten
    versions of an artifact, of which ``versions`` gives the count. Values that JSON cannot
    carry (NaN, infinities) are text.
    """
    view = View(document)
    return {
        "run": _run(view),
        "params": {_key(r): _param(r) for _, r in view.of("entity", "mlf:Param", "run:param/")},
        "tags": _tags(view),
        "metrics": _metrics(view),
        "contexts": _contexts(view),
        "datasets": _datasets(view),
        "models": [pick(r, _MODEL) for _, r in view.current("mlf:LoggedModel")],
        "artifacts": _artifacts(view),
        "sessions": [pick(r, _SESSION) for _, r in view.of("activity", "mlf:RunSession")],
        "code": [pick(r, _CODE) for _, r in view.of("entity", "schema:SoftwareSourceCode")],
        "environments": _environments(view),
        "hosts": [pick(r, _HOST) for _, r in view.of("entity", "mlf:Host")],
        "records": {
            section: len(found)
            for section, found in sorted(document.items())
            if section != "prefix"
        },
    }


def _key(record: Mapping[str, Any]) -> str:
    return str(value(record.get("schema:name", record.get("prov:label", ""))))


def _param(record: Mapping[str, Any]) -> Any:
    return value(record.get("mlf:text", record.get("prov:value")))


def _run(view: View) -> Summary:
    record = view.section("activity").get("run:run", {})
    experiments = view.of("entity", "mlf:Experiment")
    users = [_key(r) for _, r in view.of("agent", "prov:Person")]
    return {
        **pick(record, _RUN),
        "start": record.get("prov:startTime"),
        "end": record.get("prov:endTime"),
        "experiment": next((_key(r) for _, r in experiments), None),
        "user": users[0] if users else None,
    }


def _tags(view: View) -> dict[str, Any]:
    found = view.current("mlf:Tag", "run:tag/")
    return {_key(record): value(record.get("prov:value")) for _, record in found}


def _metrics(view: View) -> list[Summary]:
    found = []
    for _, record in view.of("entity", "mlf:MetricSeries"):
        context = value(record.get("mlf:context", []))
        path = context if isinstance(context, list) else [context]
        found.append({"context": path, "key": _key(record), **pick(record, _SERIES)})
    return sorted(found, key=lambda series: (series["context"], series["key"]))


def _contexts(view: View) -> list[Summary]:
    epochs: dict[Any, int] = {}
    for _, record in view.of("activity", "mlf:Epoch"):
        part_of = value(record.get("dcterms:isPartOf"))
        epochs[part_of] = epochs.get(part_of, 0) + 1
    return [
        {**pick(record, _CONTEXT), "epochs": epochs.get(identifier, 0)}
        for identifier, record in view.of("activity", "mlf:Context")
    ]


def _datasets(view: View) -> list[Summary]:
    contexts: dict[Any, list[Any]] = {}
    for record in view.section("used").values():
        if (context := value(record.get("mlf:datasetContext"))) is not None:
            contexts.setdefault(record.get("prov:entity"), []).append(context)
    return [
        {**pick(record, _DATASET), "contexts": contexts.get(identifier, [])}
        for identifier, record in view.of("entity", "mls:Dataset")
    ]


def _artifacts(view: View) -> list[Summary]:
    versions: dict[tuple[Any, Any], int] = {}
    for _, record in view.of("entity", "mlf:Artifact"):
        file = (value(record.get("dcterms:isPartOf")), value(record.get("mlf:path")))
        versions[file] = versions.get(file, 0) + 1
    found = [pick(record, _ARTIFACT) for _, record in view.current("mlf:Artifact")]
    for artifact in found:
        artifact["versions"] = versions[(artifact.get("owner"), artifact.get("path"))]
    return sorted(found, key=lambda artifact: str(artifact.get("path")))


def _environments(view: View) -> list[Summary]:
    packages: dict[Any, dict[str, Any]] = {}
    entities = view.section("entity")
    for record in view.section("hadMember").values():
        member = entities.get(str(record.get("prov:entity")), {})
        if "mlf:Package" in types(member):
            version = value(member.get("schema:softwareVersion"))
            packages.setdefault(record.get("prov:collection"), {})[_key(member)] = version
    return [
        {**pick(record, _ENVIRONMENT), "packages": packages.get(identifier, {})}
        for identifier, record in view.of("entity", "mlf:Environment")
    ]


def dumps(summary: Mapping[str, Any]) -> str:
    """Give a summary, or anything of JSON, as indented text."""
    return json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
