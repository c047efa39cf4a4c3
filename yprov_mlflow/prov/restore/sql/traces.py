"""Traces as rows: what MLflow keeps of them, their spans, assessments and links."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from yprov_mlflow.prov.model.literals import mapping, number
from yprov_mlflow.prov.restore.span_entities import of_mlflow, readable
from yprov_mlflow.prov.restore.sql.runs import made_id
from yprov_mlflow.prov.restore.sql.tables import Part, Row, Tables, Thing
from yprov_mlflow.prov.restore.state import Trace

_TRACE_NAME = "mlflow.traceName"
_SPANS_LOCATION = "mlflow.trace.spansLocation"
_IN_STORE = "TRACKING_STORE"
_STATES = frozenset({"OK", "ERROR", "IN_PROGRESS", "STATE_UNSPECIFIED"})


def trace_thing(tables: Tables, trace: Trace, experiment_id: int) -> Thing:
    """Give the rows of a trace."""
    place = f"trace {trace.trace_id}"
    mine = {"request_id": trace.trace_id}
    spans = list(_span_rows(tables, trace, experiment_id, place))
    tags, metadata = dict(trace.tags), dict(trace.metadata)
    if moves_spans(tables, trace):
        tags[_SPANS_LOCATION] = _IN_STORE
    state = trace.state or "STATE_UNSPECIFIED"
    if state not in _STATES:
        tables.report.lose(place, f"MLflow has no state {state!r}")
        state = "STATE_UNSPECIFIED"
    row = {
        **mine,
        "experiment_id": experiment_id,
        "timestamp_ms": trace.request_time_ms or 0,
        "execution_time_ms": trace.duration_ms,
        "status": state,
        "client_request_id": trace.client_request_id,
        "request_preview": trace.request_preview,
        "response_preview": trace.response_preview,
    }
    if tables.has("trace_info", "trace_name"):
        row["trace_name"] = tags.pop(_TRACE_NAME, None)
    row |= _promoted(tables, metadata)
    parts = [Part("trace_info", mine, [tables.fit("trace_info", place, row)])]
    for table, found in (("trace_tags", tags), ("trace_request_metadata", metadata)):
        rows = [
            tables.fit(table, f"{place}, {key}", {**mine, "key": key, "value": value})
            for key, value in sorted(found.items())
        ]
        parts.append(Part(table, mine, rows))
    ours = {"trace_id": trace.trace_id}
    if tables.has("spans"):
        parts.append(Part("spans", ours, spans))
    if tables.has("assessments"):
        rows = [
            tables.fit("assessments", place, _assessment(trace, one, experiment_id))
            for one in trace.assessments.values()
        ]
        parts.append(Part("assessments", ours, rows))
    return Thing("trace", place, [*parts, *_links(tables, trace)])


def moves_spans(tables: Tables, trace: Trace) -> bool:
    """Tell whether spans that were a file go into the database."""
    there = trace.tags.get(_SPANS_LOCATION) == _IN_STORE
    return bool(trace.spans) and tables.has("spans") and not there


def _promoted(tables: Tables, metadata: dict[str, str]) -> Row:
    """Move metadata that later versions of MLflow keep in columns, if they come back from there."""
    if not tables.has("trace_info", "session_id"):
        return {}
    from mlflow.store.tracking.utils import trace_analytics

    found: Row = {}
    for key in sorted(trace_analytics.PROMOTED_TRACE_METADATA_KEYS & metadata.keys()):
        found |= trace_analytics.analytics_columns_from_metadata({key: metadata.pop(key)})
    return found


# -- spans -------------------------------------------------------------------------------


def _span_rows(tables: Tables, trace: Trace, experiment_id: int, place: str) -> Iterator[Row]:
    if trace.spans and not tables.has("spans"):
        tables.report.lose(place, "this version of MLflow keeps no spans in its database")
        return
    for span_id, given in trace.spans.items():
        found = readable(given)
        span = of_mlflow(found)
        start = number(given.get("start_time_unix_nano", given.get("start_time_ns")))
        if span is None or start is None:
            tables.report.lose(f"{place}, span {span_id}", "it is no span that MLflow can read")
            continue
        status = mapping(given.get("status"))
        row = {
            "trace_id": trace.trace_id,
            "experiment_id": experiment_id,
            "span_id": span_id,
            "parent_span_id": span.parent_id,
            "name": span.name,
            "type": span.span_type,
            "status": span.status.status_code.value
            if status
            else str(given.get("status") or "UNSET"),
            "start_time_unix_nano": start,
            "end_time_unix_nano": span.end_time_ns,
            "content": json.dumps(found, ensure_ascii=False),
        }
        yield tables.fit("spans", f"{place}, span {span_id}", row | _costs(tables, given))


def _costs(tables: Tables, given: Mapping[str, Any]) -> Row:
    """Give what MLflow keeps of a span in columns as well, to sum it up."""
    if not tables.has("spans", "total_cost", "model_name"):
        return {}
    from mlflow.store.tracking.utils.trace_analytics import (
        bounded_model_dimension,
        finite_float_or_none,
    )

    attributes = mapping(given.get("attributes"))
    cost = mapping(_decoded(attributes.get("mlflow.llm.cost")))
    return {
        **{
            name: finite_float_or_none(cost.get(name))
            for name in ("input_cost", "output_cost", "total_cost")
        },
        "model_name": bounded_model_dimension(_decoded(attributes.get("mlflow.llm.model"))),
        "model_provider": bounded_model_dimension(_decoded(attributes.get("mlflow.llm.provider"))),
    }


def _decoded(value: object) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value


# -- assessments and links ---------------------------------------------------------------


def _assessment(trace: Trace, given: Mapping[str, Any], experiment_id: int) -> Row:
    kind = next((k for k in ("feedback", "expectation", "issue") if given.get(k) is not None), None)
    content = mapping(given.get(kind)) if kind is not None else {}
    value = dict(content) if kind == "issue" else content.get("value")
    error = content.get("error")
    source = mapping(given.get("source"))
    created = number(given.get("create_time_ms"))
    updated = number(given.get("last_update_time_ms"))
    metadata = given.get("metadata")
    row = {
        "assessment_id": given.get("assessment_id"),
        "trace_id": trace.trace_id,
        "name": str(given.get("name") or given.get("assessment_name") or ""),
        "assessment_type": kind or "feedback",
        "value": json.dumps(value),
        "error": json.dumps(error) if error else None,
        "created_timestamp": created if created is not None else updated or 0,
        "last_updated_timestamp": updated if updated is not None else created or 0,
        "source_type": str(source.get("source_type") or "SOURCE_TYPE_UNSPECIFIED"),
        "source_id": source.get("source_id"),
        "run_id": given.get("run_id"),
        "span_id": given.get("span_id"),
        "rationale": given.get("rationale"),
        "overrides": given.get("overrides"),
        "valid": given.get("valid") is not False,
        "assessment_metadata": json.dumps(metadata) if metadata else None,
        "experiment_id": experiment_id,
        "trace_timestamp_ms": trace.request_time_ms or 0,
    }
    return row | _aggregate(value)


def _aggregate(value: object) -> Row:
    try:
        from mlflow.store.tracking.utils.trace_analytics import assessment_aggregate
    except ImportError:  # before MLflow kept it
        return {}
    aggregate, numeric = assessment_aggregate(value)
    return {"aggregate_value": aggregate, "is_numeric_value": numeric}


def _links(tables: Tables, trace: Trace) -> Iterator[Part]:
    if not tables.has("entity_associations"):
        return
    for kind, targets in (("run", trace.runs), ("prompt_version", trace.prompts)):
        ends = {
            "source_type": "trace",
            "source_id": trace.trace_id,
            "destination_type": kind,
        }
        rows = [
            {
                "association_id": made_id(trace.trace_id, kind, target),
                **ends,
                "destination_id": target,
            }
            for target in targets
        ]
        fitted = [tables.fit("entity_associations", f"trace {trace.trace_id}", r) for r in rows]
        yield Part("entity_associations", ends, fitted)
