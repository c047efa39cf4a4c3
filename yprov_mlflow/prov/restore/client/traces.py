"""Traces, through the client: they keep their ids everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yprov_mlflow.prov.restore.client.client_session import Session
from yprov_mlflow.prov.restore.restore_report import REFUSED, RESTORED, UNCHANGED
from yprov_mlflow.prov.restore.span_entities import of_mlflow, readable
from yprov_mlflow.prov.restore.state import Trace

_RUN = "mlflow.sourceRun"
_PLACES = frozenset({"mlflow.artifactLocation", "mlflow.trace.spansLocation"})
"""Tags that say where the store keeps a trace's files and spans: the target has its own."""

_SPANS = "traces.json"
"""Of a trace's files the one that is written anew."""


def put_trace(
    session: Session, trace: Trace, experiment_id: str, run_ids: Mapping[str, str]
) -> None:
    """Write a trace with its spans, assessments and links, unless the target has it already.

    ``run_ids`` are the ids that runs have in the target.
    """
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
        made = tracing.start_trace(_info(trace, experiment_id, run_ids))
        session.report.count("trace", RESTORED)
        done = True
        _put_spans(tracing, trace, made)
    if not done:
        session.report.count("trace", REFUSED)
        return
    made_ids: dict[str, str] = {}
    for assessment_id, given in trace.assessments.items():
        with session.reporting(f"{place}, assessment {assessment_id}"):
            assessment = _assessment(trace, given, made_ids)
            written = tracing.log_assessment(trace.trace_id, assessment)
            made_ids[assessment_id] = written.assessment_id
    for run_id in trace.runs:
        with session.reporting(f"{place}, its link to run {run_id}"):
            session.client.link_traces_to_run([trace.trace_id], run_ids.get(run_id, run_id))
    for what, left in (("files", trace.artifacts.keys() - {_SPANS}), ("prompts", trace.prompts)):
        if left:
            session.report.lose(place, f"its {what} are only for databases: {len(left)}")


def _has(tracing: Any, trace_id: str) -> bool:
    try:
        found = tracing.get_trace_info(trace_id)
    except Exception:  # noqa: BLE001 - each store has its own way to say that there is none
        found = None
    return found is not None


def _info(trace: Trace, experiment_id: str, run_ids: Mapping[str, str]) -> Any:
    from mlflow.entities import TraceInfo, TraceLocation, TraceState

    metadata = dict(trace.metadata)
    if _RUN in metadata:
        metadata[_RUN] = run_ids.get(metadata[_RUN], metadata[_RUN])
    tags = {key: value for key, value in trace.tags.items() if key not in _PLACES}
    return TraceInfo(
        trace_id=trace.trace_id,
        trace_location=TraceLocation.from_experiment_id(experiment_id),
        request_time=trace.request_time_ms or 0,
        state=TraceState(trace.state or "STATE_UNSPECIFIED"),
        request_preview=trace.request_preview,
        response_preview=trace.response_preview,
        client_request_id=trace.client_request_id,
        execution_duration=trace.duration_ms,
        trace_metadata=metadata,
        tags=tags,
    )


def _put_spans(tracing: Any, trace: Trace, made: Any) -> None:
    from mlflow.entities import TraceData

    found = [of_mlflow(readable(span)) for span in trace.spans.values()]
    spans = [span for span in found if span is not None]
    if spans:
        try:
            tracing.log_spans(made.experiment_id, spans)
        except Exception:  # noqa: BLE001 - each store has its own way to say that it keeps files
            tracing._upload_trace_data(made, TraceData(spans))
    if len(spans) < len(found):
        raise ValueError(f"{len(found) - len(spans)} spans are none that MLflow can read")


def _assessment(trace: Trace, given: Mapping[str, Any], made_ids: Mapping[str, str]) -> Any:
    from mlflow.entities import AssessmentError, AssessmentSource, Expectation, Feedback

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
        return Expectation(value=given["expectation"].get("value"), **common)
    feedback = given.get("feedback")
    if feedback is None:
        raise ValueError("it is neither feedback nor an expectation")
    return Feedback(
        value=feedback.get("value"),
        error=AssessmentError(**feedback["error"]) if feedback.get("error") else None,
        rationale=given.get("rationale"),
        overrides=made_ids.get(str(given.get("overrides"))),
        valid=given.get("valid") is not False,
        **common,
    )
