"""What documents in PROV-JSON say, as facts with the keys of ``programs``.

This module reads the JSON without the package under test.
"""

from __future__ import annotations

import datetime
import json
import urllib.parse
import uuid
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

Record = dict[str, Any]
Fact = tuple[tuple[Any, ...], Any]

_OWN_TAGS = ("mlflow.prompt.text",)
"""Tags of MLflow outside runs that are compared: the others vary with its version."""


class Document:
    """The records of a document, or of several that are read as one."""

    def __init__(self, *contents: Record) -> None:
        self.sections: dict[str, dict[str, Record]] = defaultdict(dict)
        self._origin: dict[str, int] = {}
        for number, content in enumerate(contents):
            for section, records in content.items():
                known = self.sections[section]
                for identifier, record in records.items():
                    # Each document knows only some attributes of a record of the store.
                    is_shared = section != "prefix" and identifier in known
                    known[identifier] = known[identifier] | record if is_shared else record
            self._origin.update(dict.fromkeys(content.get("entity", ()), number))
        self.entities = self.sections["entity"]
        self.ended = {r["prov:entity"]: r for r in self.sections["wasInvalidatedBy"].values()}
        self._before = {i: end for i, end in self.ended.items() if i.endswith("@before")}
        self._made = {r["prov:entity"]: r for r in self.sections["wasGeneratedBy"].values()}
        self._by_type: dict[str, list[tuple[str, Record]]] = defaultdict(list)
        for section in ("entity", "activity"):
            for identifier, record in self.sections[section].items():
                for kind in plain_list(record.get("prov:type")):
                    self._by_type[kind].append((identifier, record))

    def of_type(self, kind: str) -> list[tuple[str, Record]]:
        """Return the entities and activities of a type, with their ids."""
        return self._by_type[kind]

    def is_current(self, identifier: str) -> bool:
        """Return whether an entity is neither replaced nor deleted."""
        if identifier in self.ended:
            return False
        # "@before" stands for a value that another document generated.
        facet = identifier.rpartition("/")[0] + "/"
        return not any(
            other.startswith(facet) and str(end.get("prov:time")) > self._time(identifier)
            for other, end in self._before.items()
        )

    def activity_of(self, identifier: str) -> str:
        """Return the activity that generated an entity."""
        return str(self._made[identifier]["prov:activity"])

    def _time(self, identifier: str) -> str:
        return str(self._made.get(identifier, {}).get("prov:time", ""))

    def current(self, kind: str, prefix: str) -> Iterator[tuple[str, Record]]:
        """Yield the current entities of a type whose ids begin with a prefix."""
        for identifier, record in self.of_type(kind):
            if identifier.startswith(prefix) and self.is_current(identifier):
                yield identifier, record

    def latest(self, kind: str, prefix: str) -> Iterator[tuple[str, Record]]:
        """Yield current entities, but not values that another document replaced later.

        Values of one document stay side by side, as that document contradicts itself.
        """
        by_property: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
        for identifier, _ in self.current(kind, prefix):
            of_documents = by_property[identifier.rpartition("/")[0]]
            of_documents[self._origin[identifier]].append(identifier)
        for of_documents in by_property.values():
            groups = of_documents.values()
            for identifier in max(groups, key=lambda group: max(map(self._time, group))):
                yield identifier, self.entities[identifier]


# -- a run -----------------------------------------------------------------------------------


def facts_of_run(content: Record) -> Iterator[Fact]:
    """Yield what the document of a run says about it, its models and its traces."""
    document = Document(content)
    run = document.sections["activity"]["run:run"]
    yield ("name",), run["prov:label"]
    yield ("status",), plain(run["mlf:status"]).removeprefix("mlf:")
    records = [i for i, _ in document.current("mlf:RunRecord", "run:record/")]
    yield ("lifecycle",), "active" if records else "deleted"
    parents = [
        content["prefix"][part.partition(":")[0]].removeprefix("urn:uuid:").strip("#")
        for part in plain_list(run.get("dcterms:isPartOf"))
        if part.endswith(":run")
    ]
    yield ("parent",), uuid.UUID(parents[0]).hex if parents else None
    for identifier, record in document.of_type("mlf:Param"):
        if identifier.startswith("run:"):
            yield ("param", record["schema:name"]), record["mlf:text"]
    for _, record in document.current("mlf:Tag", "run:"):
        if record["schema:name"] == "mlflow.linkedPrompts":  # of MLflow itself
            continue
        yield ("tag", record["schema:name"]), str(plain(record["prov:value"]))
    for _, record in document.current("mlf:Artifact", "run:artifact/"):
        yield ("file", record["mlf:path"]), record.get("mlf:sha256")
    for identifier, record in document.current("mlf:Link", "store:trace/"):
        if plain(record["mlf:target"]) == "run:run":
            yield ("linked", identifier.split("/")[1]), True
    yield from _reads(document)
    yield from _metrics(document)
    yield from _data(document)
    yield from _models(document)
    yield from facts_of_traces(document)


def _reads(document: Document) -> Iterator[Fact]:
    prefixes = document.sections["prefix"]
    for usage in document.sections["used"].values():
        if "mlf:requested" not in usage or usage["prov:activity"] != "run:run":
            continue
        prefix, _, local = usage["prov:entity"].partition(":")
        words = [urllib.parse.unquote(word) for word in local.split("/")]
        if words[0] == "artifact":
            run = uuid.UUID(str(prefixes[prefix]).removeprefix("urn:uuid:").strip("#")).hex
            yield ("read", run, *words[1:]), True
        else:
            yield ("read version", words[1], words[3], usage.get("mlf:requestedAlias")), True


def _metrics(document: Document) -> Iterator[Fact]:
    within = {i: record["prov:label"] for i, record in document.of_type("mlf:Context")}
    within |= {i: "session" for i, _ in document.of_type("mlf:RunSession")}
    for identifier, record in document.of_type("mlf:MetricSample"):
        moment = datetime.datetime.fromisoformat(plain(record["mlf:timestamp"]))
        milliseconds = round(moment.timestamp() * 1000)
        models = {_last(model) for model in plain_list(record.get("mlf:model"))}
        key = ("point", record["schema:name"], int(plain(record["mlf:step"])), milliseconds)
        doubt = "?" if "mlf:possiblyInfinite" in record else ""
        value = repr(_number(record["prov:value"])) + doubt
        yield key, (value, frozenset(models), within.get(document.activity_of(identifier)))
    for identifier, record in document.of_type("mlf:MetricSeries"):
        if identifier.startswith("run:metric/@run/"):
            yield ("count", record["schema:name"]), int(plain(record["mlf:count"]))


def _data(document: Document) -> Iterator[Fact]:
    usages = [u for u in document.sections["used"].values() if "mlf:datasetName" in u]
    names: dict[str, list[str]] = defaultdict(list)
    for usage in usages:
        names[usage["prov:entity"]].append(usage["mlf:datasetName"])
    for usage in usages:
        key = ("dataset", usage["mlf:datasetName"], usage.get("mlf:datasetContext"))
        yield key, min(names[usage["prov:entity"]])
    for derivation in document.sections["wasDerivedFrom"].values():
        if "mlf:TrainedOn" in plain_list(derivation.get("prov:type")):
            model, data = derivation["prov:generatedEntity"], derivation["prov:usedEntity"]
            yield ("trained on", _last(model), min(names[data], default="")), True


def _models(document: Document) -> Iterator[Fact]:
    made = {
        generation["prov:entity"] for generation in document.sections["wasGeneratedBy"].values()
    }
    for identifier, record in document.of_type("mlf:LoggedModel"):
        if identifier in made:
            status = plain(record["mlf:status"]).removeprefix("mlf:")
            yield ("model", _last(identifier)), (record["schema:name"], status)
    prefix = "store:logged-model/"
    for _, record in document.of_type("mlf:Param"):
        if "mlf:about" in record:
            model = _last(plain(record["mlf:about"]))
            yield ("model param", model, record["schema:name"]), record["mlf:text"]
    for _, record in document.current("mlf:Tag", prefix):
        if not record["schema:name"].startswith("mlflow."):
            model = _last(plain(record["mlf:about"]))
            yield ("model tag", model, record["schema:name"]), record["prov:value"]


# -- traces ----------------------------------------------------------------------------------


def facts_of_traces(document: Document) -> Iterator[Fact]:
    """Yield what a document says about traces."""
    deleted: set[str] = set()
    for identifier, _ in document.of_type("mlf:Trace"):
        entries = [i for i in document.entities if i.startswith(f"{identifier}/entry/")]
        if any(document.is_current(entry) for entry in entries):
            yield ("trace", _last(identifier)), True
        elif entries:
            deleted.add(_last(identifier))
    for key, value in _facts_of_parts(document):
        if key[1] not in deleted:
            yield key, value


def _facts_of_parts(document: Document) -> Iterator[Fact]:
    """Yield the spans, assessments and tags of traces."""
    spans = {i: r for i, r in document.of_type("mlf:Span") if "prov:label" in r}
    parents = {
        start["prov:activity"]: start.get("prov:starter")
        for start in document.sections["wasStartedBy"].values()
    }
    for identifier, record in spans.items():
        parent = spans.get(parents.get(identifier) or "", {})
        yield ("span", identifier.split("/")[1], record["prov:label"]), parent.get("prov:label")
    for kind in ("Feedback", "Expectation"):
        for identifier, record in document.of_type(f"mlf:{kind}"):
            if next(document.current("mlf:Entry", f"{identifier}/entry/"), None):
                _, trace, _, assessment = identifier.split("/")
                name = record["schema:name"]
                yield ("assessment", trace, name, assessment), (kind, _json(record["prov:value"]))
    for identifier, record in document.current("mlf:Tag", "store:trace/"):
        name = record["schema:name"]
        if not name.startswith("mlflow."):
            yield ("trace tag", identifier.split("/")[1], name), record["prov:value"]


# -- the store -------------------------------------------------------------------------------


def facts_of_store(contents: list[Record]) -> Iterator[Fact]:
    """Yield what the documents of a store and its runs say about experiments and the registry."""
    document = Document(*contents)
    for _, entry in document.current("mlf:Entry", "store:experiment/"):
        experiment = plain(entry["mlf:about"])
        name = document.entities[experiment]["prov:label"]
        if name != "Default":  # exists before any program
            yield ("experiment", name), True
            for identifier, record in document.of_type("mlf:Name"):
                if identifier.startswith(f"{experiment}/name/") and identifier in document.ended:
                    yield ("former name", name), record["prov:value"]
            yield from _tags(document, experiment, "experiment tag", name)
    for _, entry in document.latest("mlf:Entry", "store:dataset/"):
        dataset = plain(entry["mlf:about"])
        yield (
            ("evaluation dataset", document.entities[dataset]["prov:label"]),
            frozenset(
                record["inputs"]["x"]
                for member in document.sections["hadMember"].values()
                if member["prov:collection"] == dataset
                for record in json.loads(document.entities[member["prov:entity"]]["prov:value"])
            ),
        )
    entries = [
        plain(entry["mlf:about"]) for _, entry in document.latest("mlf:Entry", "store:model/")
    ]
    for model in entries:
        if "/version/" not in model:
            yield from _facts_of_registered(document, model)
            versions = [entry for entry in entries if entry.startswith(f"{model}/version/")]
            for version in versions:
                yield from _facts_of_version(document, version)


def _facts_of_registered(document: Document, model: str) -> Iterator[Fact]:
    name = urllib.parse.unquote(_last(model))
    texts = [r for _, r in document.latest("mlf:Property", f"{model}/property/description/")]
    yield ("registered", name), texts[0]["prov:value"] if texts else ""
    yield from _tags(document, model, "registered tag", name)
    for _, record in document.latest("mlf:AliasAssignment", f"{model}/alias/"):
        yield ("alias", name, record["schema:name"]), str(plain(record["prov:value"]))


def _facts_of_version(document: Document, version: str) -> Iterator[Fact]:
    _, name, _, number = urllib.parse.unquote(version).split("/")
    yield ("version", name, number), _origin_of(document, version)
    for _, record in document.latest("mlf:StageAssignment", f"{version}/stage/"):
        yield ("stage", name, number), record["prov:value"]
    yield from _tags(document, version, "version tag", name, number)


def _origin_of(document: Document, version: str) -> str | None:
    """Return the logged model that a version was made from when it was created last."""
    origins: dict[str, str] = {}
    for derivation in document.sections["wasDerivedFrom"].values():
        derived, origin = derivation["prov:generatedEntity"], derivation["prov:usedEntity"]
        if derived == version or derived.startswith(f"{version}/entry/"):
            generation = document.sections["wasGeneratedBy"].get(derivation.get("prov:generation"))
            if generation is not None:
                origins[str(generation.get("prov:time", ""))] = origin
    origin = origins[max(origins)] if origins else ""
    if origin.startswith("store:model/"):  # the version under the former name of its model
        return _origin_of(document, origin)
    return _last(origin) if origin.startswith("store:logged-model/") else None


def _tags(document: Document, thing: str, *key: str) -> Iterator[Fact]:
    for _, record in document.latest("mlf:Tag", f"{thing}/tag/"):
        name = record["schema:name"]
        if not name.startswith(("mlflow.", "_mlflow")) or name in _OWN_TAGS:
            yield (*key, name), str(plain(record["prov:value"]))


# -- literals --------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """Return the text or number of a literal."""
    return value["$"] if isinstance(value, dict) else value


def plain_list(value: Any) -> list[Any]:
    """Return the texts and numbers of an attribute, which is missing, a literal or a list."""
    if value is None:
        return []
    return [plain(item) for item in (value if isinstance(value, list) else [value])]


def _last(identifier: str) -> str:
    return identifier.rpartition("/")[2]


def _number(value: Any) -> float:
    return float(str(plain(value)).replace("INF", "inf"))


def _json(value: Any) -> Any:
    """Return a value of an assessment, which is a literal of its own type."""
    if isinstance(value, dict):
        return json.loads(value["$"])
    return value
