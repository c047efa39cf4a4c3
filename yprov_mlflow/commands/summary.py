"""What a provenance document says of its run, as plain values."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Summary = dict[str, Any]
Records = Mapping[str, Mapping[str, Any]]

_NUMBERS: Mapping[str, Callable[[str], Any]] = {
    "xsd:int": int,
    "xsd:long": int,
    "xsd:integer": int,
    "xsd:double": float,
    "xsd:float": float,
    "xsd:boolean": lambda text: text in ("true", "1"),
}
_NOT_JSON = ("NaN", "INF", "-INF")

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
    view = _View(document)
    return {
        "run": _run(view),
        "params": {_key(r): _param(r) for _, r in view.of("entity", "mlf:Param", "run:param/")},
        "tags": _tags(view),
        "metrics": _metrics(view),
        "contexts": _contexts(view),
        "datasets": _datasets(view),
        "models": [_pick(r, _MODEL) for _, r in view.current("mlf:LoggedModel")],
        "artifacts": _artifacts(view),
        "sessions": [_pick(r, _SESSION) for _, r in view.of("activity", "mlf:RunSession")],
        "code": [_pick(r, _CODE) for _, r in view.of("entity", "schema:SoftwareSourceCode")],
        "environments": _environments(view),
        "hosts": [_pick(r, _HOST) for _, r in view.of("entity", "mlf:Host")],
        "records": {
            section: len(found)
            for section, found in sorted(document.items())
            if section != "prefix"
        },
    }


class _View:
    """A document, asked by type."""

    def __init__(self, document: Mapping[str, Records]) -> None:
        self.document = document
        self.ended = {r.get("prov:entity") for r in self.section("wasInvalidatedBy").values()}

    def section(self, name: str) -> Records:
        return self.document.get(name) or {}

    def of(
        self, section: str, kind: str, start: str = ""
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for identifier, record in self.section(section).items():
            if identifier.startswith(start) and kind in _types(record):
                yield identifier, record

    def current(self, kind: str, start: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
        found = self.of("entity", kind, start)
        return ((identifier, r) for identifier, r in found if identifier not in self.ended)


def _types(record: Mapping[str, Any]) -> list[Any]:
    types = record.get("prov:type", [])
    return [_value(t) for t in (types if isinstance(types, list) else [types])]


def _value(value: Any) -> Any:
    """Give a PROV-JSON value as what it means, or its text where that is not known."""
    if isinstance(value, list):
        return [_value(one) for one in value]
    if not isinstance(value, Mapping):
        return value
    raw = value.get("$")
    read = _NUMBERS.get(str(value.get("type")))
    if read is None or raw in _NOT_JSON:
        return raw
    try:
        return read(str(raw))
    except ValueError:
        return raw


def _pick(record: Mapping[str, Any], terms: Mapping[str, str]) -> Summary:
    found = {key: _value(record[term]) for key, term in terms.items() if term in record}
    if isinstance(status := found.get("status"), str):
        found["status"] = status.removeprefix("mlf:")
    return found


def _key(record: Mapping[str, Any]) -> str:
    return str(_value(record.get("schema:name", record.get("prov:label", ""))))


def _param(record: Mapping[str, Any]) -> Any:
    return _value(record.get("mlf:text", record.get("prov:value")))


def _run(view: _View) -> Summary:
    record = view.section("activity").get("run:run", {})
    experiments = view.of("entity", "mlf:Experiment")
    users = [_key(r) for _, r in view.of("agent", "prov:Person")]
    return {
        **_pick(record, _RUN),
        "start": record.get("prov:startTime"),
        "end": record.get("prov:endTime"),
        "experiment": next((_key(r) for _, r in experiments), None),
        "user": users[0] if users else None,
    }


def _tags(view: _View) -> dict[str, Any]:
    found = view.current("mlf:Tag", "run:tag/")
    return {_key(record): _value(record.get("prov:value")) for _, record in found}


def _metrics(view: _View) -> list[Summary]:
    found = []
    for _, record in view.of("entity", "mlf:MetricSeries"):
        context = _value(record.get("mlf:context", []))
        path = context if isinstance(context, list) else [context]
        found.append({"context": path, "key": _key(record), **_pick(record, _SERIES)})
    return sorted(found, key=lambda series: (series["context"], series["key"]))


def _contexts(view: _View) -> list[Summary]:
    epochs: dict[Any, int] = {}
    for _, record in view.of("activity", "mlf:Epoch"):
        part_of = _value(record.get("dcterms:isPartOf"))
        epochs[part_of] = epochs.get(part_of, 0) + 1
    return [
        {**_pick(record, _CONTEXT), "epochs": epochs.get(identifier, 0)}
        for identifier, record in view.of("activity", "mlf:Context")
    ]


def _datasets(view: _View) -> list[Summary]:
    contexts: dict[Any, list[Any]] = {}
    for record in view.section("used").values():
        if (context := _value(record.get("mlf:datasetContext"))) is not None:
            contexts.setdefault(record.get("prov:entity"), []).append(context)
    return [
        {**_pick(record, _DATASET), "contexts": contexts.get(identifier, [])}
        for identifier, record in view.of("entity", "mls:Dataset")
    ]


def _artifacts(view: _View) -> list[Summary]:
    versions: dict[tuple[Any, Any], int] = {}
    for _, record in view.of("entity", "mlf:Artifact"):
        file = (_value(record.get("dcterms:isPartOf")), _value(record.get("mlf:path")))
        versions[file] = versions.get(file, 0) + 1
    found = [_pick(record, _ARTIFACT) for _, record in view.current("mlf:Artifact")]
    for artifact in found:
        artifact["versions"] = versions[(artifact.get("owner"), artifact.get("path"))]
    return sorted(found, key=lambda artifact: str(artifact.get("path")))


def _environments(view: _View) -> list[Summary]:
    packages: dict[Any, dict[str, Any]] = {}
    entities = view.section("entity")
    for record in view.section("hadMember").values():
        member = entities.get(str(record.get("prov:entity")), {})
        if "mlf:Package" in _types(member):
            version = _value(member.get("schema:softwareVersion"))
            packages.setdefault(record.get("prov:collection"), {})[_key(member)] = version
    return [
        {**_pick(record, _ENVIRONMENT), "packages": packages.get(identifier, {})}
        for identifier, record in view.of("entity", "mlf:Environment")
    ]


def dumps(summary: Mapping[str, Any]) -> str:
    """Give a summary, or anything of JSON, as indented text."""
    return json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
