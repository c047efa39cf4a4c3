"""Replay calls about traces, their spans and assessments; convert spans for MLflow 3."""

from __future__ import annotations

import contextlib
import datetime
import re
from collections.abc import Mapping
from typing import Any

from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.literals import mapping
from yprov_mlflow.prov.restore.calls import (
    Call,
    Handler,
    IncompleteCallError,
    deletes_tag,
    required,
    set_tags,
    sets_tags,
    texts,
)
from yprov_mlflow.prov.state import StoreState, Trace
from yprov_mlflow.prov.translate.store_calls.spans import span_key

SPANS_LOCATION = "mlflow.trace.spansLocation"
"""Tag of a trace with the location of its spans, which depends on the store."""

_SECONDS = re.compile(r"(\d+(?:\.\d+)?)s\Z")
_TEXTS = ("request_preview", "response_preview", "client_request_id")
_KNOWN = (
    *("trace_id", "request_id", "trace_location", "experiment_id", "request_time", "timestamp_ms"),
    *("execution_duration", "execution_time_ms", "state", "status", "trace_metadata"),
    *("request_metadata", "tags", "assessments", *_TEXTS),
)
_CHANGEABLE = ("name", "feedback", "expectation", "rationale", "metadata", "valid")


def trace_of(state: StoreState, trace_id: str) -> Trace:
    """Return the state of a trace, new if necessary."""
    return state.traces.setdefault(trace_id, Trace(trace_id))


def _trace(state: StoreState, call: Call) -> Trace:
    return trace_of(state, required(call.text("trace_id", "request_id")))


def _start(state: StoreState, call: Call) -> None:
    if not call.arguments and call.result is None:
        return  # a note in the journal of a store that the trace belongs to a run
    trace_info, result = mapping(call.arguments.get("trace_info")), mapping(call.result)
    info = {**result, **_present(trace_info)} or {**call.arguments}
    trace_id = info.get("trace_id") or info.get("request_id") or call.text("trace_id", "request_id")
    trace = trace_of(state, _required_text(trace_id))  # its spans may have come first
    trace.started = True
    fields = {
        "experiment_id": _experiment_id(info),
        "request_time_ms": _milliseconds(info, "request_time", "timestamp_ms"),
        "duration_ms": _milliseconds(info, "execution_duration", "execution_time_ms"),
        "state": info.get("state") or info.get("status"),
        **{key: info.get(key) for key in _TEXTS},
    }
    for field, value in _present(fields).items():
        setattr(trace, field, value)
    trace.fields.update(call.extra(trace_info, *_KNOWN))
    # The result comes last: stores add tags and metadata to those of the arguments.
    for source in (call.arguments, trace_info, result):
        metadata = source.get("trace_metadata") or source.get("request_metadata")
        set_tags(trace.tags, texts(literals.pairs(source.get("tags"))))
        trace.metadata.update(texts(literals.pairs(metadata)))
    assessments = info.get("assessments")
    for assessment in assessments if isinstance(assessments, list) else ():
        if isinstance(mapping(assessment).get("assessment_id"), str):
            trace.assessments[assessment["assessment_id"]] = dict(assessment)


def _present(info: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in info.items() if value is not None}


def _required_text(value: object) -> str:
    return required(value if isinstance(value, str) else None)


def _experiment_id(info: Mapping[str, Any]) -> str | None:
    location = mapping(mapping(info.get("trace_location")).get("mlflow_experiment"))
    experiment_id = info.get("experiment_id", location.get("experiment_id"))
    return str(experiment_id) if experiment_id is not None else None


def _milliseconds(info: Mapping[str, Any], *keys: str) -> int | None:
    """Return ms from a number, an ISO 8601 timestamp or a duration such as ``1.5s``.

    MLflow's JSON of a trace has had all of these.
    """
    for value in map(info.get, keys):
        number = literals.number(value)
        if number is not None:
            return number
        if isinstance(value, str):
            if seconds := _SECONDS.match(value):
                return round(float(seconds[1]) * 1000)
            with contextlib.suppress(ValueError, TypeError):
                return literals.milliseconds(datetime.datetime.fromisoformat(value))
    return None


def _log_spans(state: StoreState, call: Call) -> None:
    spans = call.items("spans")
    keys = [(span_key(span), span) for span in spans if isinstance(span, Mapping)]
    logged = [(*key, span) for key, span in keys if key is not None]
    for trace_id, span_id, span in logged:
        trace = trace_of(state, trace_id)
        trace.spans[span_id] = dict(span)
        if trace.experiment_id is None:
            trace.experiment_id = call.text("location")
    if spans and not logged:
        raise IncompleteCallError


def _delete(state: StoreState, call: Call) -> None:
    # A call without ids deletes by time: only the store knows which traces these were.
    for trace_id in call.items("trace_ids"):
        state.traces.pop(str(trace_id), None)


def _link_run(state: StoreState, call: Call) -> None:
    """Link traces to a run, or unlink them, depending on the method."""
    run_id = required(call.text("run_id"))
    for trace_id in call.items("trace_ids"):
        trace = trace_of(state, str(trace_id))
        if call.method.startswith("unlink"):
            trace.runs = [other for other in trace.runs if other != run_id]
        elif run_id not in trace.runs:
            trace.runs.append(run_id)


def _link_prompts(state: StoreState, call: Call) -> None:
    trace_id, versions = required(call.text("trace_id")), call.items("prompt_versions")
    prompts = trace_of(state, trace_id).prompts
    for version in map(mapping, versions):
        prompt = f"{version.get('name')}/{version.get('version')}"
        if prompt not in prompts:
            prompts.append(prompt)


# -- assessments -------------------------------------------------------------------------


def _create_assessment(state: StoreState, call: Call) -> None:
    argument = mapping(call.arguments.get("assessment"))
    assessment = {**_present(mapping(call.result)), **_present(argument)}
    trace = trace_of(state, _required_text(assessment.get("trace_id")))
    if call.time_ms is not None:
        assessment.setdefault("create_time_ms", call.time_ms)
        assessment.setdefault("last_update_time_ms", call.time_ms)
        # Stores invalidate an assessment that a new one overrides. A call that was read from
        # a store (without a time) comes with the final value of ``valid``.
        _set_valid(trace, assessment.get("overrides"), False)
    trace.assessments[_required_text(assessment.get("assessment_id"))] = assessment


def _set_valid(trace: Trace, assessment_id: object, valid: bool) -> None:
    if str(assessment_id) in trace.assessments:
        trace.assessments[str(assessment_id)]["valid"] = valid


def _update_assessment(state: StoreState, call: Call) -> None:
    ids = {key: required(call.text(key)) for key in ("assessment_id", "trace_id")}
    assessments = trace_of(state, ids["trace_id"]).assessments
    assessment = assessments.setdefault(ids["assessment_id"], {**ids})
    assessment.update(_present({key: call.arguments.get(key) for key in _CHANGEABLE}))
    if call.time_ms is not None:
        assessment["last_update_time_ms"] = call.time_ms


def _delete_assessment(state: StoreState, call: Call) -> None:
    trace = trace_of(state, required(call.text("trace_id")))
    deleted = trace.assessments.pop(call.text("assessment_id") or "", {})
    # Stores make the assessment that it had replaced valid again.
    _set_valid(trace, deleted.get("overrides"), True)


HANDLERS: Mapping[str, Handler] = {
    "start_trace": _start,
    "deprecated_start_trace_v2": _start,
    "deprecated_end_trace_v2": _start,
    "log_spans": _log_spans,
    "delete_traces": _delete,
    "set_trace_tag": sets_tags(_trace),
    "delete_trace_tag": deletes_tag(_trace),
    "link_traces_to_run": _link_run,
    "unlink_traces_from_run": _link_run,
    "link_prompts_to_trace": _link_prompts,
    "create_assessment": _create_assessment,
    "update_assessment": _update_assessment,
    "delete_assessment": _delete_assessment,
}


# -- spans for targets -------------------------------------------------------------------


def mlflow_3_span(span: Mapping[str, Any]) -> dict[str, Any]:
    """Return a span's JSON as MLflow 3 reads it; MLflow 2 names the time of events otherwise."""
    converted = dict(span)
    converted.setdefault("parent_span_id", None)
    if isinstance(converted.get("events"), list):
        converted["events"] = [
            _mlflow_3_event(event) if isinstance(event, Mapping) else event
            for event in converted["events"]
        ]
    return converted


def _mlflow_3_event(event: Mapping[str, Any]) -> dict[str, Any]:
    converted = {key: value for key, value in event.items() if key != "timestamp"}
    return converted | {"time_unix_nano": event.get("time_unix_nano", event.get("timestamp"))}


def span_entity(span: dict[str, Any]) -> Any:
    """Return MLflow's object for a span, or None if MLflow cannot read it."""
    from mlflow.entities import Span

    try:
        return Span.from_dict(span)
    except Exception:  # noqa: BLE001 - MLflow raises anything for a broken span
        return None
