"""Traces, through the client: they keep their ids everywhere."""

from __future__ import annotations

from typing import Any

from yprov_mlflow.restore.client.session import Session
from yprov_mlflow.restore.report import REFUSED, RESTORED, UNCHANGED
from yprov_mlflow.restore.spans import of_mlflow, readable
from yprov_mlflow.restore.state import Trace


def put_trace(session: Session, trace: Trace, experiment_id: str) -> None:
    """Write a trace with its spans and assessments, unless the target has it already."""
    place = f"trace {trace.trace_id}"
    tracing = getattr(session.client, "_tracing_client", None)
    if tracing is None or not hasattr(tracing, "start_trace"):
        session.report.count("trace", REFUSED)
        session.report.lose(place, "this version of MLflow takes no traces of others")
        return
    if _has(tracing, trace.trace_id):
        session.report.count("trace", UNCHANGED)
        return
    done = False
    with session.reporting(place):
        made = tracing.start_trace(_info(trace, experiment_id))
        session.report.count("trace", RESTORED)
        done = True
        _put_spans(tracing, trace, made)
        for assessment in trace.assessments.values():
            _put_assessment(tracing, trace, assessment)
    if not done:
        session.report.count("trace", REFUSED)


def _has(tracing: Any, trace_id: str) -> bool:
    try:
        found = tracing.get_trace_info(trace_id)
    except Exception:  # noqa: BLE001 - each store has its own way to say that there is none
        found = None
    return found is not None


def _info(trace: Trace, experiment_id: str) -> Any:
    from mlflow.entities import TraceInfo, TraceLocation, TraceState

    tags = {key: value for key, value in trace.tags.items() if key != "mlflow.artifactLocation"}
    return TraceInfo(
        trace_id=trace.trace_id,
        trace_location=TraceLocation.from_experiment_id(experiment_id),
        request_time=trace.request_time_ms or 0,
        state=TraceState(trace.state or "STATE_UNSPECIFIED"),
        request_preview=trace.request_preview,
        response_preview=trace.response_preview,
        client_request_id=trace.client_request_id,
        execution_duration=trace.duration_ms,
        trace_metadata=dict(trace.metadata),
        tags=tags,
    )


def _put_spans(tracing: Any, trace: Trace, made: Any) -> None:
    from mlflow.entities import TraceData

    found = [of_mlflow(readable(span)) for span in trace.spans.values()]
    spans = [span for span in found if span is not None]
    if spans:
        tracing._upload_trace_data(made, TraceData(spans))
    if len(spans) < len(found):
        raise ValueError(f"{len(found) - len(spans)} spans are none that MLflow can read")


def _put_assessment(tracing: Any, trace: Trace, given: dict[str, Any]) -> None:
    from mlflow.entities import AssessmentSource, Expectation, Feedback

    source = given.get("source") or {}
    common = {
        "name": given.get("name"),
        "source": AssessmentSource(source.get("source_type"), source.get("source_id")),
        "trace_id": trace.trace_id,
        "metadata": given.get("metadata"),
        "span_id": given.get("span_id"),
        "create_time_ms": given.get("create_time_ms"),
        "last_update_time_ms": given.get("last_update_time_ms"),
    }
    if given.get("expectation") is not None:
        assessment: Any = Expectation(value=given["expectation"].get("value"), **common)
    else:
        value = (given.get("feedback") or {}).get("value")
        assessment = Feedback(value=value, rationale=given.get("rationale"), **common)
    tracing.log_assessment(trace.trace_id, assessment)
