"""Traces of a tree: their description in either shape, spans, assessments."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.sources.file_store.experiments import Experiment
from yprov_mlflow.prov.sources.file_store.meta import (
    read_meta,
    text_of,
    whole,
    whole_of,
    without_password,
)
from yprov_mlflow.prov.sources.file_store.tree_files import STRAY, Files
from yprov_mlflow.prov.sources.file_store.values import read_values

INFO = "trace_info.yaml"
SPANS = "traces.json"
_METADATA = "request_metadata"
_PARTS = frozenset({_METADATA, "tags", "assessments", "artifacts"})
_LARGEST = 256 << 20
_KNOWN = frozenset(
    "trace_id request_id trace_location experiment_id request_time timestamp_ms"
    " execution_duration execution_duration_ms execution_time_ms state status request_preview"
    " response_preview client_request_id trace_metadata request_metadata tags assessments".split()
)

Call = tuple[str, dict[str, str], dict[str, Any]]
"""Method, subjects and arguments of a call."""


class Trace(NamedTuple):
    """A trace's folder, and the run that it belongs to."""

    path: str
    source_run_id: str | None
    experiment: Experiment


def read_traces(files: Files, experiment: Experiment) -> Iterator[Trace]:
    """Give the traces of an experiment, by folder."""
    for entry in trace_folders(files, experiment):
        metadata = os.path.join(entry.path, _METADATA)
        source = os.path.join(metadata, "mlflow.sourceRun")
        known = files.has_folder(metadata) and os.path.lexists(source)
        run_id = files.text(source) if known else None
        yield Trace(entry.path, run_id or None, experiment)


def trace_folders(files: Files, experiment: Experiment) -> list[os.DirEntry[str]]:
    """Give the folders of an experiment's traces; tell of what else is there."""
    return files.folders(os.path.join(experiment.path, "traces"))


def trace_calls(files: Files, trace: Trace) -> Iterator[Call]:
    """Give the calls that would have made the trace."""
    meta: dict[str, Json] = {}
    parts = files.parts(trace.path, INFO, _PARTS)
    if INFO in parts:
        meta = read_meta(files, parts[INFO])
    elif _METADATA not in parts:
        files.report(trace.path, f"is no trace: it has no {INFO}", "the folder")
        return
    else:
        files.report(trace.path, f"has no {INFO}", "its time, duration and state")
    for key in ("request_time", "timestamp_ms"):
        if meta.get(key) is not None and milliseconds(meta[key]) is None:
            files.report(parts[INFO], f"has a {key} that is no time: {meta[key]!r}", f"its {key}")
    trace_id = text_of(meta, "trace_id", "request_id") or os.path.basename(trace.path)
    subjects = {"trace": trace_id}
    yield "start_trace", subjects, {"trace_info": _info(files, trace, trace_id, meta)}
    spans = read_spans(files, os.path.join(trace.path, "artifacts", SPANS), trace_id)
    if spans:
        yield "log_spans", subjects, {"spans": spans}
    for assessment in _assessments(files, trace, meta):
        named = {**subjects, "assessment": str(assessment["assessment_id"])}
        yield "create_assessment", named, {"assessment": {"trace_id": trace_id, **assessment}}


def _info(files: Files, trace: Trace, trace_id: str, meta: Mapping[str, Json]) -> dict[str, Json]:
    """Give MLflow 3's description of a trace, whichever version wrote it."""
    tags = read_values(files, os.path.join(trace.path, "tags"))
    location = tags.get("mlflow.artifactLocation")
    if location:
        tags["mlflow.artifactLocation"] = without_password(location)
    experiment = {"experiment_id": trace.experiment.experiment_id}
    return {
        "trace_id": trace_id,
        "trace_location": meta.get("trace_location")
        or {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": experiment},
        "request_time": milliseconds(meta.get("request_time"))
        if "request_time" in meta
        else whole_of(meta, "timestamp_ms"),
        "execution_duration": whole_of(
            meta, "execution_duration_ms", "execution_duration", "execution_time_ms"
        ),
        "state": text_of(meta, "state", "status"),
        "request_preview": meta.get("request_preview"),
        "response_preview": meta.get("response_preview"),
        "client_request_id": meta.get("client_request_id"),
        "trace_metadata": read_values(files, os.path.join(trace.path, _METADATA)),
        "tags": tags,
        **{key: value for key, value in meta.items() if key not in _KNOWN and value},
    }


def milliseconds(found: Json) -> int | None:
    """Give ms since the epoch for a time that is such a number, or ISO 8601."""
    number = whole(found)
    if number is not None or not isinstance(found, str):
        return number
    try:
        moment = datetime.datetime.fromisoformat(found)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return (moment - epoch) // datetime.timedelta(milliseconds=1)


# -- spans -------------------------------------------------------------------------------


def read_spans(files: Files, path: str, trace_id: str) -> list[dict[str, Json]]:
    """Give the spans in a file of them, as MLflow 3 writes them."""
    if not files.has_folder(os.path.dirname(path)) or not os.path.lexists(path):
        return []
    data = files.read(path, _LARGEST)
    if data is None:
        return []
    try:
        found = _parsed(data)
    except (ValueError, RecursionError) as error:
        files.report(path, f"is not JSON: {error}", "the spans")
        return []
    spans = found.get("spans") if isinstance(found, dict) else None
    if not isinstance(spans, list):
        files.report(path, "has no spans", "what it has instead")
        return []
    if not all(isinstance(span, dict) for span in spans):
        files.report(path, "has spans that are none", "these")
    return [_span(span, trace_id) for span in spans if isinstance(span, dict)]


def _parsed(data: bytes) -> Json:
    try:
        return orjson.loads(data)
    except ValueError:
        return json.loads(data)  # knows NaN, and numbers of any length


def _span(span: dict[str, Json], trace_id: str) -> dict[str, Json]:
    """Give a span as MLflow 3 writes it; 2.x had its ids in a context and other names."""
    context = span.get("context")
    if not isinstance(context, dict):
        return span
    attributes = span.get("attributes")
    attributes = dict(attributes) if isinstance(attributes, dict) else {}
    attributes.setdefault("mlflow.traceRequestId", json.dumps(trace_id))
    told = {"context", "parent_id", "start_time", "end_time", "status_code", "status_message"}
    return {
        "trace_id": _bare(context.get("trace_id")),
        "span_id": _bare(context.get("span_id")),
        "parent_span_id": _bare(span.get("parent_id")),
        "start_time_unix_nano": span.get("start_time"),
        "end_time_unix_nano": span.get("end_time"),
        "status": {"code": span.get("status_code"), "message": span.get("status_message")},
        **{key: value for key, value in span.items() if key not in told},
        "attributes": attributes,
    }


def _bare(identifier: Json) -> Json:
    return identifier.removeprefix("0x") if isinstance(identifier, str) else identifier


# -- assessments -------------------------------------------------------------------------


def _assessments(files: Files, trace: Trace, meta: Mapping[str, Json]) -> list[dict[str, Json]]:
    """Give the assessments as calls have them, the older first: a newer may override one."""
    folder = os.path.join(trace.path, "assessments")
    found: list[dict[str, Json]] = []
    if files.has_folder(folder):
        for node in files.walk(folder):
            if node.name.endswith(".yaml"):
                given = read_meta(files, node.path)
                given.setdefault("assessment_id", node.name.removesuffix(".yaml"))
                found.append(_assessment(given))
            else:
                files.report(node.path, STRAY, "the file")
    told = meta.get("assessments")
    known = {str(one["assessment_id"]) for one in found}
    for number, given in enumerate(told if isinstance(told, list) else ()):
        if isinstance(given, dict):
            given = {"assessment_id": f"a-{number}", **given}
            if str(given["assessment_id"]) not in known:
                found.append(_assessment(given))
    found.sort(key=lambda one: (one.get("create_time_ms") or 0, str(one["assessment_id"])))
    return found


def _assessment(given: dict[str, Json]) -> dict[str, Json]:
    """Give an assessment with the names that MLflow's objects have for what its files say."""
    expectation = given.get("expectation")
    if isinstance(expectation, dict) and isinstance(expectation.get("serialized_value"), dict):
        text = expectation["serialized_value"].get("value")
        try:
            expectation = {"value": json.loads(text)}
        except (TypeError, ValueError, RecursionError):
            expectation = {"value": text}
    renamed = {"assessment_name", "create_time", "last_update_time", "expectation"}
    return {
        "name": given.get("assessment_name") or given.get("name"),
        "create_time_ms": milliseconds(given.get("create_time", given.get("create_time_ms"))),
        "last_update_time_ms": milliseconds(
            given.get("last_update_time", given.get("last_update_time_ms"))
        ),
        **({"expectation": expectation} if expectation is not None else {}),
        **{key: value for key, value in given.items() if key not in renamed},
    }
