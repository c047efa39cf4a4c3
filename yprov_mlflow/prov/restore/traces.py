"""Traces, with their spans and assessments, by the calls about them."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any

from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.literals import mapping
from yprov_mlflow.prov.restore.call_record import Call, Handler
from yprov_mlflow.prov.restore.state import StoreState, Trace
from yprov_mlflow.prov.translate.store_calls.spans import span_key

_SECONDS = re.compile(r"(\d+(?:\.\d+)?)s\Z")
_CHANGES = ("name", "feedback", "expectation", "rationale", "metadata", "valid")


def trace_of(estate: StoreState, trace_id: str) -> Trace:
    """Give the state of a trace."""
    return estate.traces.setdefault(trace_id, Trace(trace_id))


def _start(estate: StoreState, call: Call) -> bool:
    info = {**mapping(call.result), **_told(mapping(call.arguments.get("trace_info")))}
    if not info:
        info = {**call.arguments}
    trace_id = info.get("trace_id") or info.get("request_id") or call.text("trace_id", "request_id")
    if not isinstance(trace_id, str):
        return False
    trace = trace_of(estate, trace_id)
    trace.known = True
    for field, value in (
        ("experiment_id", _experiment(info)),
        ("request_time_ms", _ms(info, "request_time", "timestamp_ms")),
        ("duration_ms", _ms(info, "execution_duration", "execution_time_ms")),
        ("state", info.get("state") or info.get("status")),
        ("request_preview", info.get("request_preview")),
        ("response_preview", info.get("response_preview")),
        ("client_request_id", info.get("client_request_id")),
    ):
        if value is not None:
            setattr(trace, field, value)
    # What the store answered is what it holds: it adds to what it is given.
    for told in (call.arguments, mapping(call.arguments.get("trace_info")), mapping(call.result)):
        trace.tags.update(_texts(told.get("tags")))
        metadata = told.get("trace_metadata") or told.get("request_metadata")
        trace.metadata.update(_texts(metadata))
    given = info.get("assessments")
    for assessment in given if isinstance(given, list) else ():
        _keep(trace, mapping(assessment))
    return True


def _told(info: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in info.items() if value is not None}


def _experiment(info: Mapping[str, Any]) -> str | None:
    location = mapping(mapping(info.get("trace_location")).get("mlflow_experiment"))
    found = info.get("experiment_id", location.get("experiment_id"))
    return str(found) if found is not None else None


def _ms(info: Mapping[str, Any], *keys: str) -> int | None:
    """Give ms: from a number, an instant in ISO 8601, or a duration such as ``1.5s``."""
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


def _log_spans(estate: StoreState, call: Call) -> bool:
    spans = call.arguments.get("spans")
    told = False
    for span in spans if isinstance(spans, list) else ():
        found = span_key(span) if isinstance(span, Mapping) else None
        if found is not None:
            trace = trace_of(estate, found[0])
            trace.spans[found[1]] = dict(span)
            if trace.experiment_id is None:
                trace.experiment_id = call.text("location")
            told = True
    return told or spans == []


def _delete(estate: StoreState, call: Call) -> bool:
    given = call.arguments.get("trace_ids")
    for trace_id in given if isinstance(given, list) else ():
        estate.traces.pop(str(trace_id), None)
    return isinstance(given, list)


def _set_tag(estate: StoreState, call: Call) -> bool:
    trace_id = call.text("trace_id", "request_id")
    if trace_id is None:
        return False
    trace_of(estate, trace_id).tags.update(call.tags())
    return True


def _delete_tag(estate: StoreState, call: Call) -> bool:
    trace_id = call.text("trace_id", "request_id")
    if trace_id is None:
        return False
    trace_of(estate, trace_id).tags.pop(str(call.arguments.get("key")), None)
    return True


def _link(estate: StoreState, call: Call) -> bool:
    given, run_id = call.arguments.get("trace_ids"), call.text("run_id")
    if run_id is None or not isinstance(given, list):
        return False
    for trace_id in given:
        linked = trace_of(estate, str(trace_id)).runs
        if call.method.startswith("unlink"):
            linked[:] = [one for one in linked if one != run_id]
        elif run_id not in linked:
            linked.append(run_id)
    return True


def _link_prompts(estate: StoreState, call: Call) -> bool:
    trace_id, given = call.text("trace_id"), call.arguments.get("prompt_versions")
    if trace_id is None or not isinstance(given, list):
        return False
    prompts = trace_of(estate, trace_id).prompts
    for one in given:
        named = mapping(one)
        prompt = f"{named.get('name')}/{named.get('version')}"
        if prompt not in prompts:
            prompts.append(prompt)
    return True


# -- assessments -------------------------------------------------------------------------


def _keep(trace: Trace, assessment: Mapping[str, Any]) -> bool:
    assessment_id = assessment.get("assessment_id")
    if not isinstance(assessment_id, str):
        return False
    trace.assessments[assessment_id] = dict(assessment)
    return True


def _assess(estate: StoreState, call: Call) -> bool:
    found = {**_told(mapping(call.result)), **_told(mapping(call.arguments.get("assessment")))}
    trace_id = found.get("trace_id")
    if not isinstance(trace_id, str):
        return False
    for key in ("create_time_ms", "last_update_time_ms"):
        if call.time_ms is not None:
            found.setdefault(key, call.time_ms)
    trace = trace_of(estate, trace_id)
    overridden = trace.assessments.get(str(found.get("overrides")))
    if overridden is not None and call.time_ms is not None:
        overridden["valid"] = False
    return _keep(trace, found)


def _reassess(estate: StoreState, call: Call) -> bool:
    trace_id, assessment_id = call.text("trace_id"), call.text("assessment_id")
    if trace_id is None or assessment_id is None:
        return False
    known = trace_of(estate, trace_id).assessments.setdefault(
        assessment_id, {"assessment_id": assessment_id, "trace_id": trace_id}
    )
    known.update(
        {key: call.arguments[key] for key in _CHANGES if call.arguments.get(key) is not None}
    )
    if call.time_ms is not None:
        known["last_update_time_ms"] = call.time_ms
    return True


def _unassess(estate: StoreState, call: Call) -> bool:
    trace_id = call.text("trace_id")
    if trace_id is None:
        return False
    gone = trace_of(estate, trace_id).assessments.pop(call.text("assessment_id") or "", {})
    restored = trace_of(estate, trace_id).assessments.get(str(gone.get("overrides")))
    if restored is not None:
        restored["valid"] = True
    return True


HANDLERS: Mapping[str, Handler] = {
    "start_trace": _start,
    "deprecated_start_trace_v2": _start,
    "deprecated_end_trace_v2": _start,
    "log_spans": _log_spans,
    "delete_traces": _delete,
    "set_trace_tag": _set_tag,
    "delete_trace_tag": _delete_tag,
    "link_traces_to_run": _link,
    "unlink_traces_from_run": _link,
    "link_prompts_to_trace": _link_prompts,
    "create_assessment": _assess,
    "update_assessment": _reassess,
    "delete_assessment": _unassess,
}
