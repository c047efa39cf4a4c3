"""Traces of a database: what it says of each, its spans where it has them, assessments."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from yprov_mlflow.prov.events import ArtifactsLogged, Event, Json
from yprov_mlflow.prov.sources.file_store.traces import SPANS, read_spans
from yprov_mlflow.prov.sources.file_store.tree_files import Files
from yprov_mlflow.prov.sources.source import Problem
from yprov_mlflow.prov.sources.sql.context import Reading
from yprov_mlflow.prov.sources.sql.event_factory import (
    ARCHIVED,
    IN_DATABASE,
    SPANS_LOCATION,
    TRACE_LOCATION,
    as_number,
    others,
    plain,
    some,
    texts,
    trace_info,
)
from yprov_mlflow.prov.sources.sql.query_reader import Record
from yprov_mlflow.prov.sources.sql.run_index import SOURCE_RUN

_PAGE = 200
_TAG_NAME = "mlflow.traceName"
_SESSION = "mlflow.trace.session"
_USAGE = "mlflow.trace.tokenUsage"
_COST = "mlflow.trace.cost"

_TOKENS = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation_input_tokens_above_1hr",
)
_COSTS = ("input_cost", "output_cost", "total_cost")
_NAMES = {
    "timestamp_ms": "request_time",
    "execution_time_ms": "execution_duration",
    "status": "state",
}
"""MLflow's names of columns of ``trace_info``."""

_INFO = frozenset(
    "request_id experiment_id timestamp_ms execution_time_ms status client_request_id"
    " request_preview response_preview trace_name session_id db_payload_generation".split()
).union(_TOKENS, _COSTS)
"""Columns of ``trace_info`` that are told, or that count MLflow's own writes."""

_ASSESSED = frozenset(
    "assessment_id trace_id name assessment_type value error created_timestamp rationale valid"
    " last_updated_timestamp source_type source_id run_id span_id overrides assessment_metadata"
    " experiment_id trace_timestamp_ms aggregate_value is_numeric_value".split()
)
"""Columns of assessments that are told, or that repeat what the trace and the value say."""

_KINDS = ("feedback", "expectation", "issue")


def logged(reading: Reading, ids: Sequence[object]) -> Iterator[Event]:
    """Give the traces with these ids, by id."""
    for start in range(0, len(ids), _PAGE):
        page = list(ids[start : start + _PAGE])
        found = list(reading.reader.records("trace_info", {"request_id": page}))
        yield from _events(reading, sorted(found, key=lambda one: str(one["request_id"])))


def without_run(reading: Reading) -> Iterator[Event]:
    """Give the traces that no run of this database made, page by page."""
    if not reading.reader.schema.has("trace_info", "request_id"):
        return
    last: object = ""
    while True:
        chunks = reading.reader.chunks(_page(reading, last), streamed=False)
        ids = [trace_id for chunk in chunks for (trace_id,) in chunk]
        if not ids:
            return
        last = ids[-1]
        yield from logged(reading, ids)


def _page(reading: Reading, last: object) -> Any:
    import sqlalchemy

    tables = reading.reader.schema.tables
    traces, runs = tables["trace_info"], tables["runs"]
    name = traces.c.request_id
    statement = sqlalchemy.select(name).where(name > last).order_by(name).limit(_PAGE)
    if reading.reader.schema.has("trace_request_metadata", "request_id", "key", "value"):
        metadata = tables["trace_request_metadata"]
        of_run = (
            sqlalchemy.select(metadata.c.key)
            .join_from(metadata, runs, runs.c.run_uuid == metadata.c.value)
            .where(metadata.c.request_id == name, metadata.c.key == SOURCE_RUN)
            .correlate(traces)
        )
        statement = statement.where(~of_run.exists())
    return statement


# -- one page of traces ------------------------------------------------------------------


def _events(reading: Reading, page: Sequence[Record]) -> Iterator[Event]:
    ids = [str(record["request_id"]) for record in page]
    metadata = _by_trace(reading, "trace_request_metadata", ids)
    tags = _by_trace(reading, "trace_tags", ids)
    for record in page:
        trace_id = str(record["request_id"])
        own_tags = texts(tags.get(trace_id, []))
        yield reading.entries.trace(_info(record, texts(metadata.get(trace_id, [])), own_tags))
        place = f"trace {trace_id}"
        folder = None
        if own_tags.get(TRACE_LOCATION) and own_tags.get(SPANS_LOCATION) != IN_DATABASE:
            folder = reading.artifacts.folder(own_tags[TRACE_LOCATION], trace_id)
        found = _spans(reading, trace_id, own_tags.get(SPANS_LOCATION), folder)
        yield from reading.saved(f"spans, {place}", "spans", found)
        found = _assessments(reading, trace_id)
        yield from reading.saved(f"assessments, {place}", "assessments", found)
        yield from _prompts(reading, trace_id)
        files = reading.artifacts.listed(folder) if folder is not None else []
        if files:
            yield reading.entries.event(ArtifactsLogged, files, ("trace", trace_id))


def _by_trace(reading: Reading, table: str, ids: list[str]) -> dict[str, list[tuple[Any, Any]]]:
    found: dict[str, list[tuple[Any, Any]]] = {}
    for trace_id, key, value in reading.reader.rows(
        table, ("request_id", "key", "value"), {"request_id": ids}
    ):
        found.setdefault(str(trace_id), []).append((key, value))
    return {trace_id: sorted(pairs, key=lambda p: str(p[0])) for trace_id, pairs in found.items()}


def _info(record: Record, metadata: dict[str, str], tags: dict[str, str]) -> dict[str, Json]:
    """Give a trace's fields; what later schemas have in columns goes where MLflow shows it."""
    named = {_NAMES.get(column, column): value for column, value in record.items()}
    if record.get("trace_name") is not None:
        tags[_TAG_NAME] = str(record["trace_name"])
    if record.get("session_id") is not None:
        metadata[_SESSION] = str(record["session_id"])
    usage, cost = some(record, *_TOKENS), some(record, *_COSTS)
    if usage:
        metadata[_USAGE] = json.dumps(usage, default=plain)
    if cost:
        metadata[_COST] = json.dumps(cost, default=plain)
    trace_id = str(record["request_id"])
    info = trace_info(trace_id, record.get("experiment_id"), named, metadata, tags)
    return info | others(record, _INFO)


def _prompts(reading: Reading, trace_id: str) -> Iterator[Event]:
    where = {
        "source_type": "trace",
        "source_id": trace_id,
        "destination_type": "prompt_version",
    }
    found = sorted(str(p) for (p,) in reading.reader.rows("entity_associations", _TO, where))
    if found:
        versions = [dict(zip(("name", "version"), p.rsplit("/", 1), strict=False)) for p in found]
        yield reading.entries.linked_prompts(trace_id, versions)


_TO = ("destination_id",)


# -- spans -------------------------------------------------------------------------------


def _spans(
    reading: Reading, trace_id: str, kept: str | None, folder: str | None
) -> Iterator[Event]:
    """Give the spans of a trace: of the database, else of its file among the artifacts."""
    records = list(reading.reader.records("spans", {"trace_id": trace_id}))
    records.sort(key=lambda r: (r.get("parent_span_id") is not None, *_span_order(r)))
    spans: list[Json] = []
    moved = kept == ARCHIVED
    for record in records:
        span = _parsed(record.get("content"))
        moved = moved or span is None
        spans.append(_of_columns(record) if span is None else span)
    if moved:
        reason = "spans were moved to an archive, or are broken"
        lost = "what they were given and gave"
        reading.report(Problem(f"spans, trace {trace_id}", reason, lost))
    path = os.path.join(folder, SPANS) if folder is not None else None
    if not spans and path is not None and os.path.isfile(path):
        files = Files(os.path.dirname(path))
        spans = list(read_spans(files, path, trace_id))
        for problem in files.problems():
            reading.report(problem)
    yield from reading.entries.spans(trace_id, spans)


def _span_order(record: Record) -> tuple[object, str]:
    return as_number(record.get("start_time_unix_nano")), str(record.get("span_id"))


def _parsed(content: Any) -> Json:
    try:
        found = json.loads(content) if isinstance(content, str) and content else content
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _of_columns(record: Record) -> dict[str, Json]:
    """Give what a span's columns say, where its content was moved to an archive."""
    columns = ("trace_id", "span_id", "parent_span_id", "name")
    times = ("start_time_unix_nano", "end_time_unix_nano")
    span = {**some(record, *columns, *times), "request_id": record.get("trace_id")}
    if record.get("status") is not None:
        span["status"] = {"code": record["status"]}
    if record.get("type") is not None:
        span["span_type"] = record["type"]
    return span


# -- assessments -------------------------------------------------------------------------


def _assessments(reading: Reading, trace_id: str) -> Iterator[Event]:
    records = list(reading.reader.records("assessments", {"trace_id": trace_id}))
    records.sort(key=lambda r: (as_number(r.get("created_timestamp")), str(r.get("assessment_id"))))
    for record in records:
        try:
            yield reading.entries.assessment(_assessment(record))
        except (ValueError, TypeError, RecursionError) as error:
            place = f"assessments, {record.get('assessment_id')}"
            reading.report(Problem(place, f"its value is no JSON: {error}", "the assessment"))


def _assessment(record: Record) -> dict[str, Json]:
    """Give the fields of MLflow's ``Assessment``."""
    kind = str(record.get("assessment_type"))
    value = _json(record.get("value"))
    content: dict[str, Json] = {"value": value}
    if kind == "issue" and isinstance(value, dict):
        content = value
    elif record.get("error") is not None:
        content["error"] = _json(record["error"])
    found = {
        "assessment_id": str(record.get("assessment_id")),
        "create_time_ms": record.get("created_timestamp"),
        "last_update_time_ms": record.get("last_updated_timestamp"),
        "metadata": _json(record.get("assessment_metadata")),
        "source": {"source_type": record.get("source_type"), "source_id": record.get("source_id")},
    }
    columns = ("trace_id", "name", "run_id", "rationale", "span_id", "overrides", "valid")
    found |= {name: record.get(name) for name in columns} | others(record, _ASSESSED)
    # That it counts is how it is.
    found["valid"] = False if found["valid"] in (False, 0) else None
    found = {name: item for name, item in found.items() if item is not None}
    return {**found, kind if kind in _KINDS else "feedback": content}


def _json(value: Any) -> Json:
    return json.loads(value) if isinstance(value, str) else value
