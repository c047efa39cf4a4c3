"""Restore traces through the client; they keep their ids in every store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow.exceptions import MlflowException

from yprov_mlflow.prov.capture import mlflow_private
from yprov_mlflow.prov.restore.artifact_files import TRACE_LOCATION
from yprov_mlflow.prov.restore.client.client_session import ClientSession
from yprov_mlflow.prov.restore.restore_report import REFUSED, RESTORED, UNCHANGED
from yprov_mlflow.prov.restore.traces import SPANS_LOCATION, mlflow_3_span, span_entity
from yprov_mlflow.prov.state import Trace

_RUN = "mlflow.sourceRun"
_SPANS_FILE = "traces.json"
"""File of a trace that the target writes itself."""


def put_trace(
    session: ClientSession, trace: Trace, experiment_id: str, run_ids: Mapping[str, str]
) -> None:
    """Write a trace with its spans, assessments and links, unless the target has it already.

    Args:
        session: The client of the target.
        trace: The trace.
        experiment_id: Its experiment in the target.
        run_ids: Ids of runs in the target, by their original ids.
    """
    label = f"trace {trace.trace_id}"
    report = session.report
    # MLflow's public API can only log traces of now.
    tracing = getattr(session.client, "_tracing_client", None)
    if tracing is None or not hasattr(tracing, "start_trace"):
        report.refuse("trace", label, "this MLflow version cannot import existing traces")
        return
    started = False
    with session.reporting(label):
        if _exists(tracing, trace.trace_id):
            report.count("trace", UNCHANGED)
            return
        info = tracing.start_trace(_trace_info(trace, experiment_id, run_ids))
        report.count("trace", RESTORED)
        started = True
        _put_spans(tracing, trace, info)
    if not started:
        report.count("trace", REFUSED)
        return
    new_ids: dict[str, str] = {}
    for assessment_id, assessment in trace.assessments.items():
        with session.reporting(f"{label}, assessment {assessment_id}"):
            entity = _assessment_entity(trace, assessment, new_ids)
            logged = tracing.log_assessment(trace.trace_id, entity)
            new_ids[assessment_id] = logged.assessment_id
    for run_id in trace.runs:
        with session.reporting(f"{label}, its link to run {run_id}"):
            session.client.link_traces_to_run([trace.trace_id], run_ids.get(run_id, run_id))
    files = trace.artifacts.keys() - {_SPANS_FILE}
    for kind, number in (("files", len(files)), ("prompts", len(trace.prompts))):
        if number:
            report.add_loss(label, f"its {number} {kind} can only be restored into a database")


def _exists(tracing: Any, trace_id: str) -> bool:
    try:
        return tracing.get_trace_info(trace_id) is not None
    except MlflowException:
        return False


def _trace_info(trace: Trace, experiment_id: str, run_ids: Mapping[str, str]) -> Any:
    # These exist only in versions of MLflow that can import traces.
    from mlflow.entities import TraceInfo, TraceLocation, TraceState

    metadata = dict(trace.metadata)
    if _RUN in metadata:
        metadata[_RUN] = run_ids.get(metadata[_RUN], metadata[_RUN])
    # The target sets its own locations of files and spans.
    locations = (TRACE_LOCATION, SPANS_LOCATION)
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
        tags={key: value for key, value in trace.tags.items() if key not in locations},
    )


def _put_spans(tracing: Any, trace: Trace, info: Any) -> None:
    from mlflow.entities import TraceData

    entities = [span_entity(mlflow_3_span(span)) for span in trace.spans.values()]
    spans = [span for span in entities if span is not None]
    if spans:
        try:
            tracing.log_spans(info.experiment_id, spans)
        except Exception:  # noqa: BLE001 - stores that keep spans in files raise various errors
            mlflow_private.upload_trace_data(tracing, info, TraceData(spans))
    if len(spans) < len(entities):
        raise ValueError(f"MLflow cannot read {len(entities) - len(spans)} of its spans")


def _assessment_entity(
    trace: Trace, assessment: Mapping[str, Any], new_ids: Mapping[str, str]
) -> Any:
    from mlflow.entities import AssessmentError, AssessmentSource, Expectation, Feedback

    source = assessment.get("source") or {}
    common = {
        "source": AssessmentSource(source.get("source_type"), source.get("source_id")),
        "trace_id": trace.trace_id,
        **{
            key: assessment.get(key)
            for key in ("name", "metadata", "span_id", "create_time_ms", "last_update_time_ms")
        },
    }
    if assessment.get("expectation") is not None:
        return Expectation(value=assessment["expectation"].get("value"), **common)
    feedback = assessment.get("feedback")
    if feedback is None:
        raise ValueError("it is neither feedback nor an expectation")
    return Feedback(
        value=feedback.get("value"),
        error=AssessmentError(**feedback["error"]) if feedback.get("error") else None,
        rationale=assessment.get("rationale"),
        overrides=new_ids.get(str(assessment.get("overrides"))),
        valid=assessment.get("valid") is not False,
        **common,
    )
