"""What documents say, as facts that MLflow's answers can be compared with."""

from __future__ import annotations

import datetime
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from frameworks.store_facts import NOT_LOGGED, OUTSIDE_OF_RUNS, TAGS_OF_STORE, Facts, comparable
from pyarrow import parquet
from support.readers.documents import RunDocument, literal, literals

Rows = Iterator[tuple[str, Iterable[Any]]]
Row = tuple[tuple[str, int, int, str], str | None, str | None]
"""A point (key, step, timestamp, value), a model that it evaluates, and the dataset's digest."""


def read_documents(paths: Iterable[Path]) -> Facts:
    """Return the facts of all documents; fail if one of them is invalid."""
    facts: Facts = defaultdict(Counter)
    for path in paths:
        document = RunDocument.load(path)
        is_run = "run:run" in document.data.get("activity", {})
        owner = document.run_id if is_run else OUTSIDE_OF_RUNS
        for kind, rows in _all_facts(document, owner, is_run):
            facts[kind].update(rows)
    return facts


def _all_facts(document: RunDocument, owner: str, is_run: bool) -> Rows:
    if is_run:
        yield from _run_facts(document, owner)
        yield from _point_facts(document, owner)
    yield from _model_facts(document, owner)
    yield from _registry_facts(document)
    yield from _trace_facts(document, owner)


def _microseconds(time: str) -> int:
    since = datetime.datetime.fromisoformat(time) - datetime.datetime.fromtimestamp(0, datetime.UTC)
    return since // datetime.timedelta(microseconds=1)


def _last(identifier: str) -> str:
    return identifier.rpartition("/")[2]


def _run_facts(document: RunDocument, run_id: str) -> Rows:
    run = document.run
    starters = [
        r["prov:starter"]
        for r in document.relations("wasStartedBy")
        if r["prov:activity"] == "run:run" and "prov:starter" in r
    ]
    prefixes = [document.data["prefix"][starter.partition(":")[0]] for starter in starters]
    parent = "".join(prefixes).removeprefix("urn:uuid:").removesuffix("#").replace("-", "")
    times = [literal(run.get(f"mlf:{end}TimeMs")) for end in ("start", "end")]
    yield "runs", [(run_id, document.name, document.status, parent, *times)]
    yield "params", [(run_id, *item) for item in document.params.items()]
    yield "tags", [(run_id, *item) for item in document.tags.items()]
    for usage in document.relations("used"):
        if "mlf:datasetName" in usage:
            content = document.data["entity"][usage["prov:entity"]]
            name, context = usage["mlf:datasetName"], usage.get("mlf:datasetContext")
            yield "datasets", [(run_id, name, literal(content["mlf:digest"]), context)]
        elif usage.get("prov:role") and _last(literal(usage["prov:role"])) == "mlf:inputModel":
            yield "model inputs", [(run_id, _last(usage["prov:entity"]))]
    for identifier, record in document.of_type("mlf:Artifact").items():
        if identifier.startswith("run:") and identifier not in document.invalidated:
            yield "files", [(run_id, record["mlf:path"], record["mlf:sha256"])]


def _point_facts(document: RunDocument, run_id: str) -> Rows:
    for identifier, series in document.of_type("mlf:MetricSeries").items():
        if identifier.startswith("run:metric/@run/") and identifier.count("/") == 2:
            last, count = literal(series["mlf:last"]), literal(series["mlf:count"])
            yield "series", [(run_id, series["schema:name"], count, repr(last))]
    if any("mlf:points" in r for r in document.of_type("mlf:MetricSeries").values()):
        rows = list(_rows_of_file(document))
    else:
        rows = list(_rows_of_samples(document))
    # A point that was logged again for a model is one point.
    yield "points", _once((run_id, *point) for point, _, _ in rows)
    yield (
        "model points",
        _once((run_id, model, *point, digest) for point, model, digest in rows if model),
    )


def _once(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return list(dict.fromkeys(rows))


def _rows_of_file(document: RunDocument) -> Iterator[Row]:
    table = parquet.read_table(document.folder / "metrics.parquet")
    for row in table.to_pylist():
        point = (row["key"], row["step"], row["timestamp_ms"], repr(row["value"]))
        yield point, row["model_id"], row["dataset_digest"]


def _rows_of_samples(document: RunDocument) -> Iterator[Row]:
    for record in document.of_type("mlf:MetricSample").values():
        value, step = repr(literal(record["prov:value"])), literal(record["mlf:step"])
        time = round(literal(record["mlf:timestamp"]).timestamp() * 1000)
        point = (record["schema:name"], step, time, value)
        own = literal(record.get("mlf:datasetDigest"))
        yield point, None, None
        digests = json.loads(record.get("mlf:modelDatasets", "{}"))
        repeated = literal(record.get("mlf:repetitions", 0))
        models = [_last(entity) for entity in literals(record.get("mlf:model"))]
        for number, model in enumerate(models):
            is_own = number < len(models) - repeated
            yield point, model, own if is_own else digests.get(model, (None, None))[1]


def _model_facts(document: RunDocument, owner: str) -> Rows:
    generated = document.generated_by
    for identifier, record in document.of_type("mlf:LoggedModel").items():
        if identifier not in generated:
            continue
        model, source = literal(record["mlf:modelId"]), owner
        status = _last(str(literal(record["mlf:status"])).replace(":", "/"))
        name = record["schema:name"]
        yield "models", [(model, name, status, "" if owner == OUTSIDE_OF_RUNS else source)]
        for entity, value in document.data["entity"].items():
            if not entity.startswith(f"{identifier}/") or entity in document.invalidated:
                continue
            kinds = literals(value.get("prov:type"))
            if "mlf:Param" in kinds:
                yield "model params", [(model, value["schema:name"], value["mlf:text"])]
            elif "mlf:Tag" in kinds:
                pair = (value["schema:name"], str(literal(value["prov:value"])))
                yield "model tags", [(model, *pair)]
            elif "mlf:Artifact" in kinds and value["mlf:path"] != NOT_LOGGED:
                yield "files", [(model, value["mlf:path"], value["mlf:sha256"])]
    for relation in document.relations("wasInfluencedBy"):
        if "mlf:RunOutput" in literals(relation.get("prov:type")):
            model = _last(relation["prov:influencee"])
            yield "outputs", [(owner, model, literal(relation["mlf:step"]))]
    for relation in document.relations("wasDerivedFrom"):
        if "mlf:TrainedOn" in literals(relation.get("prov:type")):
            digest = document.data["entity"][relation["prov:usedEntity"]]["mlf:digest"]
            yield "trained on", [(_last(relation["prov:generatedEntity"]), literal(digest))]


def _registry_facts(document: RunDocument) -> Rows:
    for identifier, record in document.of_type("mlf:ModelVersion").items():
        if identifier in document.generated_by and identifier not in document.invalidated:
            source = literal(record.get("mlf:source"))
            yield "versions", [(*identifier.split("/")[1::2], source)]


def _trace_facts(document: RunDocument, owner: str) -> Rows:
    entities = document.data.get("entity", {})
    for identifier, record in document.of_type("mlf:Trace").items():
        if "mlf:traceState" in record:
            yield "traces", [(owner, _last(identifier), literal(record["mlf:traceState"]))]
    for identifier, record in document.of_type("mlf:Span").items():
        _, trace, _, span = identifier.split("/")
        above = literal(record["dcterms:isPartOf"]) if "dcterms:isPartOf" in record else ""
        parent = _last(above) if "/span/" in above else ""
        times = [_microseconds(record[f"prov:{end}Time"]) for end in ("start", "end")]
        status = str(literal(record["mlf:spanStatus"])).removeprefix("STATUS_CODE_")
        yield "spans", [(owner, trace, span, record["prov:label"], parent, status, *times)]
        for end in ("in", "out"):
            if f"{identifier}/{end}" in entities:
                value = literal(entities[f"{identifier}/{end}"]["prov:value"])
                yield "span values", [(owner, trace, span, end, comparable(value))]
    for identifier, record in document.of_type("mlf:Tag").items():
        is_current = identifier not in document.invalidated
        is_own = record["schema:name"] not in TAGS_OF_STORE
        if is_own and is_current and identifier.startswith("store:trace/"):
            value = str(literal(record["prov:value"]))
            yield (
                "trace tags",
                [(owner, identifier.split("/")[1], record["schema:name"], value)],
            )
    yield from _assessment_facts(document, owner)


def _assessment_facts(document: RunDocument, owner: str) -> Rows:
    sources = {r["prov:entity"]: r["prov:agent"] for r in document.relations("wasAttributedTo")}
    ended_by = {
        r["prov:entity"]: r["prov:activity"] for r in document.relations("wasInvalidatedBy")
    }
    for identifier, record in document.of_type("mlf:Assessment").items():
        _, trace, _, assessment = identifier.split("/")
        entries = [e for e in document.of_type("mlf:Entry") if e.startswith(f"{identifier}/entry/")]
        if any("/delete_assessment/" in ended_by.get(entry, "") for entry in entries):
            continue
        is_valid = any(entry not in ended_by for entry in entries)
        value = comparable(literal(record.get("prov:value")))
        text, source = literal(record.get("mlf:rationale", "")), sources[identifier]
        about = (owner, trace, assessment, record["schema:name"])
        label = document.data["agent"][source]["prov:label"]
        yield "assessments", [(*about, value, text, is_valid, label)]
