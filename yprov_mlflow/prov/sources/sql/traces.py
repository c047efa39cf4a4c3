"""Traces of a database, with their spans and assessments."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy

from yprov_mlflow.prov.events import Event, Json
from yprov_mlflow.prov.sources.file_store.store_files import StoreFiles
from yprov_mlflow.prov.sources.file_store.traces import SPANS, read_spans
from yprov_mlflow.prov.sources.source import Problem
from yprov_mlflow.prov.sources.sql.query_reader import Record
from yprov_mlflow.prov.sources.sql.reading import Reading, extra_fields, json_value, number_key
from yprov_mlflow.prov.sources.state_events import (
    IN_DATABASE,
    SOURCE_RUN,
    SPANS_LOCATION,
    TRACE_LOCATION,
    batches,
)
from yprov_mlflow.prov.state import Trace

_ARCHIVED = "ARCHIVE_REPO"
_PAGE = 200

# Columns that later schemas use for values that earlier ones had in tags and metadata, where
# MLflow's API still returns them.
_TOKENS = (
    "input_tokens output_tokens total_tokens cache_read_input_tokens cache_creation_input_tokens"
    " cache_creation_input_tokens_above_1hr"
).split()
_COSTS = ("input_cost", "output_cost", "total_cost")
_METADATA = {"mlflow.trace.tokenUsage": _TOKENS, "mlflow.trace.cost": _COSTS}
# Columns with attributes of their own; db_payload_generation counts MLflow's own writes.
_COLUMNS = frozenset(
    "request_id experiment_id timestamp_ms execution_time_ms status client_request_id"
    " request_preview response_preview trace_name session_id db_payload_generation".split()
).union(_TOKENS, _COSTS)

# Columns of assessments that have fields in MLflow's API, or that repeat other values.
_ASSESSMENT = frozenset(
    "assessment_id trace_id name assessment_type value error created_timestamp rationale valid"
    " last_updated_timestamp source_type source_id run_id span_id overrides assessment_metadata"
    " experiment_id trace_timestamp_ms aggregate_value is_numeric_value".split()
)
_ASSESSMENT_KINDS = ("feedback", "expectation", "issue")


def logged(reading: Reading, ids: Sequence[object]) -> Iterator[Event]:
    """Yield the traces with these ids, by id."""
    for page in batches(ids, _PAGE):
        records = reading.reader.records("trace_info", {"request_id": page})
        yield from _traces(reading, sorted(records, key=lambda r: str(r["request_id"])))


def without_run(reading: Reading) -> Iterator[Event]:
    """Yield the traces that no run of this database created, page by page."""
    if not reading.reader.schema.has("trace_info", "request_id"):
        return
    ids: list[object] = [""]
    while ids:
        rows = reading.reader.select(_page_without_run(reading, ids[-1]), streamed=False)
        ids = [trace_id for (trace_id,) in rows]
        yield from logged(reading, ids)


def _page_without_run(reading: Reading, last: object) -> Any:
    """Return the query for the next ids: by key, as an offset would read all earlier rows."""
    schema = reading.reader.schema
    traces, runs = schema.tables["trace_info"], schema.tables["runs"]
    name = traces.c.request_id
    statement = sqlalchemy.select(name).where(name > last).order_by(name).limit(_PAGE)
    if schema.has("trace_request_metadata", "request_id", "key", "value"):
        metadata = schema.tables["trace_request_metadata"]
        of_run = (
            sqlalchemy.select(metadata.c.key)
            .join_from(metadata, runs, runs.c.run_uuid == metadata.c.value)
            .where(metadata.c.request_id == name, metadata.c.key == SOURCE_RUN)
            .correlate(traces)
        )
        statement = statement.where(~of_run.exists())
    return statement


def _traces(reading: Reading, records: Sequence[Record]) -> Iterator[Event]:
    """Yield the traces of one page, whose tags and metadata are read with one query each."""
    owner, where = ("request_id",), {"request_id": [str(r["request_id"]) for r in records]}
    metadata = reading.reader.grouped("trace_request_metadata", owner, where)
    tags = reading.reader.grouped("trace_tags", owner, where)
    for record in records:
        trace_id = str(record["request_id"])
        reading.whole_times(record, ("timestamp_ms", "execution_time_ms"), f"trace {trace_id}")
        trace = _trace(record, metadata[trace_id,], tags[trace_id,])
        yield reading.events.trace(trace)
        folder = None
        if trace.tags.get(TRACE_LOCATION) and trace.tags.get(SPANS_LOCATION) != IN_DATABASE:
            folder = reading.artifacts.folder(trace.tags[TRACE_LOCATION], trace_id)
        spans = _spans(reading, trace, folder)
        for lost, part in ("spans", spans), ("assessments", _assessments(reading, trace_id)):
            yield from reading.guard(f"{lost}, trace {trace_id}", lost, part)
        trace.prompts = reading.associated("trace", trace_id, "prompt_version")
        yield from reading.events.linked_prompts(trace)
        files = reading.artifacts.list_files(folder) if folder is not None else []
        yield from reading.events.artifacts(files, ("trace", trace_id))


def _trace(record: Record, metadata: dict[str, str], tags: dict[str, str]) -> Trace:
    if record.get("trace_name") is not None:
        tags["mlflow.traceName"] = str(record["trace_name"])
    if record.get("session_id") is not None:
        metadata["mlflow.trace.session"] = str(record["session_id"])
    for key, columns in _METADATA.items():
        if values := _present(record, columns):
            metadata[key] = json.dumps(values, default=json_value)
    names = ("request_preview", "response_preview", "client_request_id")
    texts: Record = {name: record.get(name) for name in names}
    return Trace(
        str(record["request_id"]),
        True,
        str(record.get("experiment_id")),
        record["timestamp_ms"],
        record["execution_time_ms"],
        record.get("status"),
        tags=tags,
        metadata=metadata,
        fields=extra_fields(record, _COLUMNS),
        **texts,
    )


def _present(record: Record, names: Iterable[str]) -> dict[str, Any]:
    return {name: record[name] for name in names if record.get(name) is not None}


# -- spans -------------------------------------------------------------------------------


def _spans(reading: Reading, trace: Trace, folder: str | None) -> Iterator[Event]:
    """Yield the spans of a trace, from the database or from a file among its artifacts."""
    trace_id = trace.trace_id
    records = sorted(
        reading.reader.records("spans", {"trace_id": trace_id}),
        # The root first, then by start.
        key=lambda r: (
            r.get("parent_span_id") is not None,
            number_key(r.get("start_time_unix_nano")),
            str(r.get("span_id")),
        ),
    )
    contents = [_parse_span(record.get("content")) for record in records]
    spans = [
        _span_of_columns(record) if span is None else span
        for span, record in zip(contents, records, strict=True)
    ]
    if trace.tags.get(SPANS_LOCATION) == _ARCHIVED or None in contents:
        reason = "spans were moved to an archive, or are broken"
        lost = "inputs, outputs and attributes of the spans"
        reading.report(Problem(f"spans, trace {trace_id}", reason, lost))
    path = os.path.join(folder or "", SPANS)
    if not spans and folder is not None and os.path.isfile(path):
        files = StoreFiles(os.path.dirname(path))
        spans = [*read_spans(files, path, trace_id)]
        for problem in files.problems():
            reading.report(problem)
    yield from reading.events.spans(trace_id, spans)


def _parse_span(content: Any) -> Json:
    try:
        span = json.loads(content) if isinstance(content, str) and content else content
    except (ValueError, RecursionError):
        return None
    return span if isinstance(span, dict) else None


def _span_of_columns(record: Record) -> dict[str, Json]:
    """Return what the columns say of a span whose content was moved to an archive."""
    columns = "trace_id span_id parent_span_id name start_time_unix_nano end_time_unix_nano"
    span = {**_present(record, columns.split()), "request_id": record.get("trace_id")}
    if record.get("status") is not None:
        span["status"] = {"code": record["status"]}
    if record.get("type") is not None:
        span["span_type"] = record["type"]
    return span


# -- assessments -------------------------------------------------------------------------


def _assessments(reading: Reading, trace_id: str) -> Iterator[Event]:
    for record in sorted(
        reading.reader.records("assessments", {"trace_id": trace_id}),
        key=lambda r: (number_key(r.get("created_timestamp")), str(r.get("assessment_id"))),
    ):
        times = ("created_timestamp", "last_updated_timestamp")
        reading.whole_times(record, times, f"assessment {record.get('assessment_id')}")
        try:
            assessment = _assessment(record)
        except (ValueError, TypeError, RecursionError) as error:
            where = f"assessments, {record.get('assessment_id')}"
            reading.report(Problem(where, f"its value is not JSON: {error}", "the assessment"))
            continue
        yield reading.events.assessment(trace_id, assessment)


def _assessment(record: Record) -> dict[str, Json]:
    """Return the fields of MLflow's ``Assessment``."""
    kind = str(record.get("assessment_type"))
    value = _parse(record.get("value"))
    content: dict[str, Json] = {"value": value}
    if kind == "issue" and isinstance(value, dict):
        content = value
    elif record.get("error") is not None:
        content["error"] = _parse(record["error"])
    columns = ("trace_id", "name", "run_id", "rationale", "span_id", "overrides")
    fields = {
        "assessment_id": str(record.get("assessment_id")),
        "create_time_ms": record.get("created_timestamp"),
        "last_update_time_ms": record.get("last_updated_timestamp"),
        "metadata": _parse(record.get("assessment_metadata")),
        "source": {"source_type": record.get("source_type"), "source_id": record.get("source_id")},
        **{name: record.get(name) for name in columns},
        # True is the default and is omitted; databases without booleans return 0 and 1.
        "valid": False if record.get("valid") in (False, 0) else None,
        **extra_fields(record, _ASSESSMENT),
    }
    fields = {name: item for name, item in fields.items() if item is not None}
    return {**fields, kind if kind in _ASSESSMENT_KINDS else "feedback": content}


def _parse(value: Any) -> Json:
    return json.loads(value) if isinstance(value, str) else value
