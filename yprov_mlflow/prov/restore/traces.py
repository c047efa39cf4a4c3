"""Replay calls about traces, their spans and assessments; convert spans for MLflow 3."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any

from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.literals import mapping
from yprov_mlflow.prov.restore.calls import Call, Handler, deletes_tag, sets_tags
from yprov_mlflow.prov.state import StoreState, Trace
from yprov_mlflow.prov.translate.store_calls.spans import span_key

_SECONDS = re.compile(r"(\d+(?:\.\d+)?)s\Z")
_CHANGEABLE = ("name", "feedback", "expectation", "rationale", "metadata", "valid")


def trace_of(state: StoreState, trace_id: str) -> Trace:
    """Return the state of a trace, new if necessary."""
    return state.traces.setdefault(trace_id, Trace(trace_id))


def _trace(state: StoreState, call: Call) -> Trace | None:
    trace_id = call.text("trace_id", "request_id")
    return trace_of(state, trace_id) if trace_id is not None else None


def _start(state: StoreState, call: Call) -> bool:
    trace_info, result = mapping(call.arguments.get("trace_info")), mapping(call.result)
    info = {**result, **_present(trace_info)} or {**call.arguments}
    trace_id = info.get("trace_id") or info.get("request_id") or call.text("trace_id", "request_id")
    if not isinstance(trace_id, str):
        return False
    trace = trace_of(state, trace_id)  # its spans may have come first
    trace.started = True
    for field, value in (
        ("experiment_id", _experiment_id(info)),
        ("request_time_ms", _milliseconds(info, "request_time", "timestamp_ms")),
        ("duration_ms", _milliseconds(info, "execution_duration", "execution_time_ms")),
        ("state", info.get("state") or info.get("status")),
        ("request_preview", info.get("request_preview")),
        ("response_preview", info.get("response_preview")),
        ("client_request_id", info.get("client_request_id")),
    ):
        if value is not None:
            setattr(trace, field, value)
    # The result comes last: stores add tags and metadata to those of the arguments.
    for source in (call.arguments, trace_info, result):
        trace.tags.update(_texts(source.get("tags")))
        trace.metadata.update(
            _texts(source.get("trace_metadata") or source.get("request_metadata"))
        )
    assessments = info.get("assessments")
    for assessment in assessments if isinstance(assessments, list) else ():
        _add_assessment(trace, mapping(assessment))
    return True


def _present(info: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in info.items() if value is not None}


def _experiment_id(info: Mapping[str, Any]) -> str | None:
    location = mapping(mapping(info.get("trace_location")).get("mlflow_experiment"))
    experiment_id = info.get("experiment_id", location.get("experiment_id"))
    return str(experiment_id) if experiment_id is not None else None


def _milliseconds(info: Mapping[str, Any], *keys: str) -> int | None:
    """Return ms from a number, an ISO 8601 timestamp or a duration such as ``1.5s``.

    MLflow's JSON of a trace has had all of these.
    """
    for key in keys:
        value = info.get(key)
        number = literals.number(value)
        if number is not None:
            return number
        if isinstance(value, str):
            if seconds := _SECONDS.match(value):
                return round(float(seconds[1]) * 1000)
            try:
                return literals.milliseconds(datetime.datetime.fromisoformat(value))
            except (ValueError, TypeError):
                continue
    return None


def _texts(value: object) -> dict[str, str]:
    return {key: "" if v is None else str(v) for key, v in literals.pairs(value).items()}


def _log_spans(state: StoreState, call: Call) -> bool:
    spans = call.items("spans")
    logged = False
    for span in spans or ():
        key = span_key(span) if isinstance(span, Mapping) else None
        if key is not None:
            trace = trace_of(state, key[0])
            trace.spans[key[1]] = dict(span)
            if trace.experiment_id is None:
                trace.experiment_id = call.text("location")
            logged = True
    return logged or spans == []


def _delete(state: StoreState, call: Call) -> bool:
    trace_ids = call.items("trace_ids")
    for trace_id in trace_ids or ():
        state.traces.pop(str(trace_id), None)
    return trace_ids is not None


def _link_run(state: StoreState, call: Call) -> bool:
    """Link traces to a run, or unlink them, depending on the method."""
    trace_ids, run_id = call.items("trace_ids"), call.text("run_id")
    if run_id is None or trace_ids is None:
        return False
    for trace_id in trace_ids:
        runs = trace_of(state, str(trace_id)).runs
        if call.method.startswith("unlink"):
            runs[:] = [other for other in runs if other != run_id]
        elif run_id not in runs:
            runs.append(run_id)
    return True


def _link_prompts(state: StoreState, call: Call) -> bool:
    trace_id, versions = call.text("trace_id"), call.items("prompt_versions")
    if trace_id is None or versions is None:
        return False
    prompts = trace_of(state, trace_id).prompts
    for version in map(mapping, versions):
        prompt = f"{version.get('name')}/{version.get('version')}"
        if prompt not in prompts:
            prompts.append(prompt)
    return True


# -- assessments -------------------------------------------------------------------------


def _add_assessment(trace: Trace, assessment: Mapping[str, Any]) -> bool:
    assessment_id = assessment.get("assessment_id")
    if not isinstance(assessment_id, str):
        return False
    trace.assessments[assessment_id] = dict(assessment)
    return True


def _create_assessment(state: StoreState, call: Call) -> bool:
    argument = mapping(call.arguments.get("assessment"))
    assessment = {**_present(mapping(call.result)), **_present(argument)}
    trace_id = assessment.get("trace_id")
    if not isinstance(trace_id, str):
        return False
    trace = trace_of(state, trace_id)
    if call.time_ms is not None:
        assessment.setdefault("create_time_ms", call.time_ms)
        assessment.setdefault("last_update_time_ms", call.time_ms)
        # Stores invalidate an assessment that a new one overrides. A call that was read from
        # a store (without a time) comes with the final value of ``valid``.
        overridden = trace.assessments.get(str(assessment.get("overrides")))
        if overridden is not None:
            overridden["valid"] = False
    return _add_assessment(trace, assessment)


def _update_assessment(state: StoreState, call: Call) -> bool:
    trace_id, assessment_id = call.text("trace_id"), call.text("assessment_id")
    if trace_id is None or assessment_id is None:
        return False
    assessment = trace_of(state, trace_id).assessments.setdefault(
        assessment_id, {"assessment_id": assessment_id, "trace_id": trace_id}
    )
    changes = {key: call.arguments.get(key) for key in _CHANGEABLE}
    assessment.update(_present(changes))
    if call.time_ms is not None:
        assessment["last_update_time_ms"] = call.time_ms
    return True


def _delete_assessment(state: StoreState, call: Call) -> bool:
    trace_id = call.text("trace_id")
    if trace_id is None:
        return False
    assessments = trace_of(state, trace_id).assessments
    deleted = assessments.pop(call.text("assessment_id") or "", {})
    overridden = assessments.get(str(deleted.get("overrides")))
    if overridden is not None:  # as stores do
        overridden["valid"] = True
    return True


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
    events = converted.get("events")
    if isinstance(events, list):
        converted["events"] = [
            {
                **{key: value for key, value in event.items() if key != "timestamp"},
                "time_unix_nano": event.get("time_unix_nano", event.get("timestamp")),
            }
            if isinstance(event, Mapping)
            else event
            for event in events
        ]
    return converted


def span_entity(span: dict[str, Any]) -> Any:
    """Return MLflow's object for a span, or None if MLflow cannot read it."""
    from mlflow.entities import Span

    try:
        return Span.from_dict(span)
    except Exception:  # noqa: BLE001 - MLflow raises anything for a broken span
        return None
