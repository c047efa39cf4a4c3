"""Rows of a trace: its properties, spans, assessments and links."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from yprov_mlflow.prov.model.literals import mapping, number
from yprov_mlflow.prov.restore.sql.extension import Row
from yprov_mlflow.prov.restore.sql.runs import derived_id
from yprov_mlflow.prov.restore.sql.tables import Part, Record, Tables
from yprov_mlflow.prov.restore.traces import SPANS_LOCATION, mlflow_3_span, span_entity
from yprov_mlflow.prov.state import Trace, was

_TRACE_NAME = "mlflow.traceName"
_IN_STORE = "TRACKING_STORE"
_SAME_COLUMNS = ("client_request_id", "request_preview", "response_preview")
_STATES = frozenset({"OK", "ERROR", "IN_PROGRESS", "STATE_UNSPECIFIED"})


def trace_record(tables: Tables, trace: Trace, experiment_id: int) -> Record:
    """Return the rows of a trace."""
    label = f"trace {trace.trace_id}"
    # MLflow 2 called trace ids request ids; the column kept that name.
    owner = {"request_id": trace.trace_id}
    spans = list(_span_rows(tables, trace, experiment_id, label))
    tags, metadata = dict(trace.tags), dict(trace.metadata)
    if moves_spans(tables, trace):
        tags[SPANS_LOCATION] = _IN_STORE
    state = trace.state or "STATE_UNSPECIFIED"
    if state not in _STATES:
        tables.report.add_loss(label, f"unknown state {state!r}")
        state = "STATE_UNSPECIFIED"
    row = {
        **owner,
        "experiment_id": experiment_id,
        "timestamp_ms": trace.request_time_ms or 0,
        "execution_time_ms": trace.duration_ms,
        "status": state,
        **{name: getattr(trace, name) for name in _SAME_COLUMNS},
    }
    if tables.has("trace_info", "trace_name"):
        row["trace_name"] = tags.pop(_TRACE_NAME, None)
    row |= _metadata_columns(tables, metadata)
    parts = [tables.part("trace_info", label, owner, [row])]
    for table, values in (("trace_tags", tags), ("trace_request_metadata", metadata)):
        parts.append(Part(table, owner, tables.pairs(table, label, owner, values)))
    where = {"trace_id": trace.trace_id}
    if tables.has("spans"):
        parts.append(Part("spans", where, spans))
    if tables.has("assessments"):
        assessments = [
            _assessment_row(trace, assessment, experiment_id)
            for assessment in trace.assessments.values()
        ]
        parts.append(tables.part("assessments", label, where, assessments))
    earlier = {"trace_tags": lambda row, _: was(trace.tags, row["key"], row["value"])}
    return Record("trace", label, [*parts, *_links(tables, trace)], earlier)


def moves_spans(tables: Tables, trace: Trace) -> bool:
    """Return whether spans that were a file go into the database."""
    in_store = trace.tags.get(SPANS_LOCATION) == _IN_STORE
    return bool(trace.spans) and tables.has("spans") and not in_store


def _metadata_columns(tables: Tables, metadata: dict[str, str]) -> Row:
    """Move metadata into the columns in which later versions of MLflow keep it."""
    if not tables.has("trace_info", "session_id"):
        return {}
    # The module exists only in versions that have these columns.
    from mlflow.store.tracking.utils import trace_analytics

    columns: Row = {}
    for key in sorted(trace_analytics.PROMOTED_TRACE_METADATA_KEYS & metadata.keys()):
        columns |= trace_analytics.analytics_columns_from_metadata({key: metadata.pop(key)})
    return columns


# -- spans -------------------------------------------------------------------------------


def _span_rows(tables: Tables, trace: Trace, experiment_id: int, label: str) -> Iterator[Row]:
    if trace.spans and not tables.has("spans"):
        tables.report.add_loss(label, "this MLflow version keeps no spans in its database")
        return
    for span_id, span in trace.spans.items():
        content = mlflow_3_span(span)
        entity = span_entity(content)
        start = number(span.get("start_time_unix_nano", span.get("start_time_ns")))
        if entity is None or start is None:
            tables.report.add_loss(f"{label}, span {span_id}", "MLflow cannot read this span")
            continue
        # MLflow's object normalizes a status mapping; a status as text stays as it is.
        status = str(span.get("status") or "UNSET")
        if mapping(span.get("status")):
            status = entity.status.status_code.value
        row = {
            "trace_id": trace.trace_id,
            "experiment_id": experiment_id,
            "span_id": span_id,
            "parent_span_id": entity.parent_id,
            "name": entity.name,
            "type": entity.span_type,
            "status": status,
            "start_time_unix_nano": start,
            "end_time_unix_nano": entity.end_time_ns,
            "content": json.dumps(content, ensure_ascii=False),
        }
        yield tables.fit("spans", f"{label}, span {span_id}", row | _cost_columns(tables, span))


def _cost_columns(tables: Tables, span: Mapping[str, Any]) -> Row:
    """Return the attributes that MLflow also keeps as columns, to sum them up."""
    if not tables.has("spans", "total_cost", "model_name"):
        return {}
    from mlflow.store.tracking.utils.trace_analytics import (
        bounded_model_dimension,
        finite_float_or_none,
    )

    attributes = mapping(span.get("attributes"))
    cost = mapping(_decoded(attributes.get("mlflow.llm.cost")))
    costs = ("input_cost", "output_cost", "total_cost")
    return {
        **{name: finite_float_or_none(cost.get(name)) for name in costs},
        "model_name": bounded_model_dimension(_decoded(attributes.get("mlflow.llm.model"))),
        "model_provider": bounded_model_dimension(_decoded(attributes.get("mlflow.llm.provider"))),
    }


def _decoded(value: object) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value


# -- assessments and links ---------------------------------------------------------------


def _assessment_row(trace: Trace, assessment: Mapping[str, Any], experiment_id: int) -> Row:
    kinds = ("feedback", "expectation", "issue")
    kind = next((kind for kind in kinds if assessment.get(kind) is not None), None)
    content = mapping(assessment.get(kind)) if kind is not None else {}
    value = dict(content) if kind == "issue" else content.get("value")
    error = content.get("error")
    source = mapping(assessment.get("source"))
    created = number(assessment.get("create_time_ms"))
    updated = number(assessment.get("last_update_time_ms"))
    metadata = assessment.get("metadata")
    row = {
        "assessment_id": assessment.get("assessment_id"),
        "trace_id": trace.trace_id,
        "name": str(assessment.get("name") or assessment.get("assessment_name") or ""),
        "assessment_type": kind or "feedback",
        "value": json.dumps(value),
        "error": json.dumps(error) if error else None,
        "created_timestamp": created if created is not None else updated or 0,
        "last_updated_timestamp": updated if updated is not None else created or 0,
        "source_type": str(source.get("source_type") or "SOURCE_TYPE_UNSPECIFIED"),
        "source_id": source.get("source_id"),
        **{key: assessment.get(key) for key in ("run_id", "span_id", "rationale", "overrides")},
        "valid": assessment.get("valid") is not False,
        "assessment_metadata": json.dumps(metadata) if metadata else None,
        "experiment_id": experiment_id,
        "trace_timestamp_ms": trace.request_time_ms or 0,
    }
    return row | _aggregate_columns(value)


def _aggregate_columns(value: object) -> Row:
    try:
        from mlflow.store.tracking.utils.trace_analytics import assessment_aggregate
    except ImportError:  # versions of MLflow without these columns
        return {}
    aggregate, numeric = assessment_aggregate(value)
    return {"aggregate_value": aggregate, "is_numeric_value": numeric}


def _links(tables: Tables, trace: Trace) -> Iterator[Part]:
    if not tables.has("entity_associations"):
        return
    for kind, targets in (("run", trace.runs), ("prompt_version", trace.prompts)):
        ends = {"source_type": "trace", "source_id": trace.trace_id, "destination_type": kind}
        rows = [
            {"association_id": derived_id(trace.trace_id, kind, t), **ends, "destination_id": t}
            for t in targets
        ]
        yield tables.part("entity_associations", f"trace {trace.trace_id}", ends, rows)
