"""Traces of a file store: their description in either of its forms, spans, assessments."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterator

import orjson

from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.sources.file_store import decoding
from yprov_mlflow.prov.sources.file_store.meta import Meta, to_time
from yprov_mlflow.prov.sources.file_store.runs import ExperimentFolder, OwnedFolder
from yprov_mlflow.prov.sources.file_store.store_files import StoreFiles
from yprov_mlflow.prov.state import Trace

INFO = "trace_info.yaml"
SPANS = "traces.json"
_METADATA = "request_metadata"
_DURATIONS = ("execution_duration_ms", "execution_duration", "execution_time_ms")
_IDS = ("assessment_id", "trace_id", "run_id", "span_id", "overrides")
_PARTS = frozenset({_METADATA, "tags", "assessments", "artifacts"})
_MAX_SPANS_BYTES = 256 << 20
_KNOWN = frozenset(
    "trace_id request_id trace_location experiment_id request_time timestamp_ms"
    " execution_duration execution_duration_ms execution_time_ms state status request_preview"
    " response_preview client_request_id trace_metadata request_metadata tags assessments".split()
)
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def read_traces(files: StoreFiles, experiment: ExperimentFolder) -> Iterator[OwnedFolder]:
    """Yield the traces of an experiment, sorted by folder."""
    for entry in trace_folders(files, experiment):
        metadata = os.path.join(entry.path, _METADATA)
        source = os.path.join(metadata, "mlflow.sourceRun")
        exists = files.has_folder(metadata) and os.path.lexists(source)
        run_id = files.value(source) if exists else None
        yield OwnedFolder(entry.path, entry.name, run_id or None, experiment)


def trace_folders(files: StoreFiles, experiment: ExperimentFolder) -> list[os.DirEntry[str]]:
    """Return the folders of an experiment's traces; report other entries."""
    return files.folders(os.path.join(experiment.path, "traces"))


def trace_meta(files: StoreFiles, folder: OwnedFolder) -> Meta | None:
    """Return the description of a trace, perhaps empty; None if the folder is not a trace."""
    parts = files.parts(folder.path, INFO, _PARTS)
    if INFO in parts:
        meta = files.meta(parts[INFO])
        times = ("request_time", "timestamp_ms", *_DURATIONS)
        files.report_bad_times(parts[INFO], meta, times, milliseconds)
        return meta
    if _METADATA in parts:
        files.report(folder.path, f"has no {INFO}", "its time, duration and state")
        return Meta()
    files.report(folder.path, f"is not a trace: it has no {INFO}", decoding.THE_FOLDER)
    return None


def trace_record(files: StoreFiles, folder: OwnedFolder, meta: Meta) -> Trace:
    """Return the state of a trace without spans and assessments, in the form of MLflow 3."""
    tags = files.values(os.path.join(folder.path, "tags"))
    fields = meta.others(_KNOWN)
    if meta.get("trace_location"):
        fields["trace_location"] = meta["trace_location"]
    has_request_time = "request_time" in meta  # MLflow 2 has timestamp_ms instead
    return Trace(
        meta.text("trace_id", "request_id") or folder.item_id,
        True,
        folder.experiment.experiment_id,
        milliseconds(meta["request_time"]) if has_request_time else meta.time("timestamp_ms"),
        meta.time(*_DURATIONS),
        meta.text("state", "status"),
        meta.text_or_empty("request_preview"),
        meta.text_or_empty("response_preview"),
        meta.text_or_empty("client_request_id"),
        tags,
        files.values(os.path.join(folder.path, _METADATA)),
        fields,
    )


def milliseconds(value: Json) -> int | None:
    """Return ms since the epoch, given as a number or in ISO 8601; None for anything else."""
    number = to_time(value)
    if number is not None or not isinstance(value, str):
        return number
    try:
        time = datetime.datetime.fromisoformat(value)
    except ValueError:
        return None
    if time.tzinfo is None:  # MLflow writes UTC
        time = time.replace(tzinfo=datetime.UTC)
    return (time - _EPOCH) // datetime.timedelta(milliseconds=1)


def read_spans(files: StoreFiles, path: str, trace_id: str) -> list[dict[str, Json]]:
    """Return the spans in a file, in the form of MLflow 3."""
    if not files.has_folder(os.path.dirname(path)) or not os.path.lexists(path):
        return []
    data = files.read(path, _MAX_SPANS_BYTES)
    if data is None:
        return []
    try:
        content = _load_json(data)
    except (ValueError, RecursionError) as error:
        files.report(path, f"is not JSON: {error}", "the spans")
        return []
    spans = content.get("spans") if isinstance(content, dict) else None
    if not isinstance(spans, list):
        files.report(path, "has no list of spans", decoding.CONTENT)
        return []
    if not all(isinstance(span, dict) for span in spans):
        files.report(path, "has spans that are not objects", "these spans")
    return [_span(span, trace_id) for span in spans if isinstance(span, dict)]


def _load_json(data: bytes) -> Json:
    try:
        return orjson.loads(data)
    except ValueError:
        return json.loads(data)  # accepts NaN, and integers beyond 64 bits


def _span(span: dict[str, Json], trace_id: str) -> dict[str, Json]:
    """Return a span in the form of MLflow 3; 2.x had its ids in ``context`` and other names."""
    context = span.get("context")
    if not isinstance(context, dict):
        return span
    attributes = span.get("attributes")
    attributes = dict(attributes) if isinstance(attributes, dict) else {}
    # Attributes are JSON texts in either version.
    attributes.setdefault("mlflow.traceRequestId", json.dumps(trace_id))
    renamed = {"context", "parent_id", "start_time", "end_time", "status_code", "status_message"}
    return {
        "trace_id": _without_0x(context.get("trace_id")),
        "span_id": _without_0x(context.get("span_id")),
        "parent_span_id": _without_0x(span.get("parent_id")),
        "start_time_unix_nano": span.get("start_time"),
        "end_time_unix_nano": span.get("end_time"),
        "status": {"code": span.get("status_code"), "message": span.get("status_message")},
        **{key: value for key, value in span.items() if key not in renamed},
        "attributes": attributes,
    }


def _without_0x(identifier: Json) -> Json:
    return identifier.removeprefix("0x") if isinstance(identifier, str) else identifier


def assessments(files: StoreFiles, trace: OwnedFolder, meta: Meta) -> list[dict[str, Json]]:
    """Return the assessments, oldest first: a newer one may override an older one."""
    folder = os.path.join(trace.path, "assessments")
    items: list[dict[str, Json]] = []
    if files.has_folder(folder):
        for name, path in files.walk(folder):
            if name.endswith(".yaml"):
                meta_of_file = files.meta(path)
                fields = dict(meta_of_file)
                fields |= {key: meta_of_file.text_or_empty(key) for key in fields.keys() & {*_IDS}}
                fields.setdefault("assessment_id", name.removesuffix(".yaml"))
                items.append(_assessment(fields))
            else:
                files.report_unknown_file(path)
    # MLflow 2 had them in the description; a file of the same id has precedence.
    described = meta.get("assessments")
    ids = {str(item["assessment_id"]) for item in items}
    for number, fields in enumerate(described if isinstance(described, list) else ()):
        if isinstance(fields, dict):
            fields = {"assessment_id": f"a-{number}", **fields}
            if str(fields["assessment_id"]) not in ids:
                items.append(_assessment(fields))
    items.sort(key=lambda item: (item.get("create_time_ms") or 0, str(item["assessment_id"])))
    return items


def _assessment(fields: dict[str, Json]) -> dict[str, Json]:
    """Return an assessment with the attribute names of MLflow's ``Assessment``."""
    expectation = fields.get("expectation")
    if isinstance(expectation, dict) and isinstance(expectation.get("serialized_value"), dict):
        text = expectation["serialized_value"].get("value")
        try:
            expectation = {"value": json.loads(text)}
        except (TypeError, ValueError, RecursionError):
            expectation = {"value": text}
    renamed = {"assessment_name", "create_time", "last_update_time", "expectation"}
    created = fields.get("create_time", fields.get("create_time_ms"))
    updated = fields.get("last_update_time", fields.get("last_update_time_ms"))
    return {
        "name": fields.get("assessment_name") or fields.get("name"),
        "create_time_ms": milliseconds(created),
        "last_update_time_ms": milliseconds(updated),
        **({"expectation": expectation} if expectation is not None else {}),
        **{key: value for key, value in fields.items() if key not in renamed},
    }
