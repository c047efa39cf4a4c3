"""Traces: an entity for what the store keeps, an activity for each span."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from yprov_mlflow.translate import literals
from yprov_mlflow.translate.calls.call import Call, Handler
from yprov_mlflow.translate.calls.grammar import thing
from yprov_mlflow.translate.identifiers import STORE, segment
from yprov_mlflow.translate.literals import mapping, name, plain, text
from yprov_mlflow.translate.tags import set_tags
from yprov_mlflow.translate.translation import SpanState, Translation, event_time

_INFO_TERMS = {
    "request_preview": "mlf:requestPreview",
    "response_preview": "mlf:responsePreview",
    "client_request_id": "mlf:clientRequestId",
    "execution_duration": "mlf:executionDurationMs",
    "request_time": "mlf:requestTimeMs",
    "state": "mlf:traceState",
}
_SPAN_TYPE = "mlflow.spanType"
_INPUTS, _OUTPUTS = "mlflow.spanInputs", "mlflow.spanOutputs"
_TRACE = "mlflow.traceRequestId"
_OWN_ATTRIBUTES = frozenset({_SPAN_TYPE, _INPUTS, _OUTPUTS, _TRACE})


def _start(call: Call) -> bool:
    trace = thing(call, "trace")
    if trace is None:
        return False
    if call.entry(trace) is None:
        call.create(trace)
    info = {**mapping(call.result), **mapping(call.arguments.get("trace_info"))}
    metadata = literals.pairs(info.get("trace_metadata") or info.get("request_metadata"))
    attributes: dict[str, Any] = {term: plain(info.get(key)) for key, term in _INFO_TERMS.items()}
    attributes["mlf:traceMetadata"] = literals.canonical(metadata) if metadata else None
    run_id = metadata.get("mlflow.sourceRun")
    if isinstance(run_id, str) and run_id:
        run = call.translation.namespaces.of_run(run_id)
        call.builder.activity(run)
        attributes["dcterms:isPartOf"] = name(run)
    call.builder.entity(trace, (), None, attributes)
    tags = literals.pairs(info.get("tags"))
    set_tags(call.translation, call.act, tags, f"{trace}/", trace)
    return True


def _delete(call: Call) -> bool:
    traces = call.arguments.get("trace_ids")
    if not isinstance(traces, list | tuple):
        return False
    for trace in traces:
        call.delete(call.subject(("trace", segment(trace)), text(trace)))
    return True


# -- spans -------------------------------------------------------------------------------


def _log_spans(call: Call) -> bool:
    spans = call.arguments.get("spans")
    found = [s for s in spans if isinstance(s, Mapping)] if isinstance(spans, list) else []
    told = [_take_span(call, span) for span in found]
    return any(told)


def _take_span(call: Call, span: Mapping[str, Any]) -> bool:
    """Note a span; the records come at the end, as spans are logged again when they end."""
    attributes = {str(k): _decoded(v) for k, v in mapping(span.get("attributes")).items()}
    trace_id = attributes.get(_TRACE) or span.get("trace_id") or span.get("request_id")
    span_id = _hex(span.get("span_id"))
    if not isinstance(trace_id, str) or span_id is None:
        return False
    trace = call.subject(("trace", segment(trace_id)), text(trace_id))
    identifier = f"{trace}/span/{segment(span_id)}"
    parent_id = _hex(span.get("parent_id") or span.get("parent_span_id"))
    start = _time(span, "start_time_ns", "start_time_unix_nano")
    end = _time(span, "end_time_ns", "end_time_unix_nano")
    status, named = span.get("status"), span.get("name")
    code = mapping(status).get("status_code") or mapping(status).get("code") or status
    kind = span.get("span_type") or attributes.get(_SPAN_TYPE)
    shown = {k: v for k, v in attributes.items() if k not in _OWN_ATTRIBUTES}
    inputs, outputs = span.get("inputs"), span.get("outputs")
    call.translation.spans[identifier] = SpanState(
        label=text(named if isinstance(named, str) else span_id),
        parent=f"{trace}/span/{segment(parent_id)}" if parent_id is not None else None,
        start=start or 0,
        end=end if end is not None and start is not None and end >= start else 0,
        inputs=attributes.get(_INPUTS) if inputs is None else inputs,
        outputs=attributes.get(_OUTPUTS) if outputs is None else outputs,
        attributes={
            "mlf:spanType": text(kind) if isinstance(kind, str) else None,
            "mlf:spanStatus": text(code) if isinstance(code, str) else None,
            "mlf:spanAttributes": literals.canonical(shown) if shown else None,
            "mlf:spanEvents": literals.canonical(span["events"]) if span.get("events") else None,
            "mlf:trace": name(trace),
        },
    )
    return True


def add_spans(translation: Translation) -> None:
    """Make the records of all spans, each as it was logged last."""
    builder, spans = translation.builder, translation.spans
    whole = None if translation.store_level else translation.timeline.whole
    for identifier, span in sorted(spans.items()):
        part_of = span.parent if span.parent is not None else whole
        start = literals.instant(span.start)
        builder.activity(
            identifier,
            start,
            literals.instant(span.end),
            ["mlf:Span"],
            span.label,
            {**span.attributes, "dcterms:isPartOf": name(part_of) if part_of else None},
        )
        if span.parent is not None and _precedes(spans, span.parent, identifier):
            builder.activity(span.parent, types=["mlf:Span"])
            builder.was_started_by(identifier, span.parent, start)
        if span.inputs is not None:
            entity = f"{identifier}/in"
            builder.entity(entity, ["mlf:SpanInput"], "input", {"prov:value": plain(span.inputs)})
            builder.used(identifier, entity, start)
        if span.outputs is not None:
            entity = f"{identifier}/out"
            value = {"prov:value": plain(span.outputs)}
            builder.entity(entity, ["mlf:SpanOutput"], "output", value)
            builder.was_generated_by(entity, identifier, literals.instant(span.end))


def _precedes(spans: Mapping[str, SpanState], parent: str, child: str) -> bool:
    """Tell whether a span can have started another: not later, and not in a circle."""
    seen, one = {child}, child
    while one in spans and (up := spans[one].parent) is not None:
        if up in seen or (up in spans and spans[up].start > spans[one].start):
            return False
        seen.add(up)
        one = up
    return parent in seen


def span_output(call: Call, trace_id: str, span_id: object) -> str | None:
    """Give the output of a span, if the document will have it and it was there by then."""
    span = f"{STORE}:trace/{segment(trace_id)}/span/{segment(span_id)}"
    known = call.translation.spans.get(span)
    if known is None or known.outputs is None:
        return None
    return f"{span}/out" if known.end <= event_time(call.event) else None


def _time(span: Mapping[str, Any], *keys: str) -> int | None:
    return next((n for key in keys if (n := literals.number(span.get(key)))), None)


def _decoded(value: object) -> object:
    """Undo that MLflow keeps attributes of spans as JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _hex(span_id: object) -> str | None:
    """Give a span's id in hex; MLflow's own JSON has it in Base64."""
    if not isinstance(span_id, str) or not span_id:
        return None
    if len(span_id) == 12:
        try:
            return base64.b64decode(span_id, validate=True).hex()
        except (binascii.Error, ValueError):
            return span_id
    return span_id


HANDLERS: Mapping[str, Handler] = {
    "start_trace": _start,
    "deprecated_start_trace_v2": _start,
    "deprecated_end_trace_v2": _start,
    "log_spans": _log_spans,
    "delete_traces": _delete,
}
