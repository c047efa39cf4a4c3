"""Spans of traces: an activity each, with what it was given and what it gave.

A store has a span as JSON. What no record tells of it is kept as JSON too, so that ``rebuilt``
gives the span back.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.identifiers import STORE, segment
from yprov_mlflow.prov.model.literals import mapping, name, plain, text
from yprov_mlflow.prov.translate.store_calls.store_call import Call
from yprov_mlflow.prov.translate.translation import SpanState, Translation, event_time

_SPAN_TYPE = "mlflow.spanType"
_INPUTS, _OUTPUTS = "mlflow.spanInputs", "mlflow.spanOutputs"
_TRACE = "mlflow.traceRequestId"
_FIELD = {_INPUTS: "inputs", _OUTPUTS: "outputs"}
_OWN_ATTRIBUTES = frozenset({_SPAN_TYPE, _INPUTS, _OUTPUTS, _TRACE})


def log_spans(call: Call) -> bool:
    """Note the spans of a call; those that tell too little stay among its arguments."""
    spans = call.arguments.get("spans")
    if not isinstance(spans, list):
        if spans is not None:
            call.keep("spans", spans)
        return False
    left = [s for s in spans if not isinstance(s, Mapping) or not _take_span(call, s)]
    if left:
        call.keep("spans", left)
    return not left or len(left) < len(spans)


def _attributes(span: Mapping[str, Any]) -> dict[str, Any]:
    return {str(k): _decoded(v) for k, v in mapping(span.get("attributes")).items()}


def span_key(span: Mapping[str, Any]) -> tuple[str, str] | None:
    """Give the ids of a span's trace and of the span, None where it does not tell both."""
    told = mapping(span.get("attributes")).get(_TRACE)
    trace_id = _decoded(told) or span.get("trace_id") or span.get("request_id")
    span_id = _hex(span.get("span_id"))
    return (trace_id, span_id) if isinstance(trace_id, str) and span_id is not None else None


def _take_span(call: Call, span: Mapping[str, Any]) -> bool:
    """Note a span; the records come at the end, as spans are logged again when they end."""
    attributes = _attributes(span)
    found = span_key(span)
    if found is None:
        return False
    trace_id, span_id = found
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
            "mlf:loggedBy": name(call.act.activity),
            "mlf:spanFields": literals.canonical(_rest(span)),
        },
    )
    return True


def _rest(span: Mapping[str, Any]) -> dict[str, Any]:
    """Give what the records of a span do not tell, and which of its parts they do."""
    rest, told = dict(span), []
    for key in ("inputs", "outputs"):
        if span.get(key) is not None and _comes_back(span[key]):
            del rest[key]
            told.append(key)
    if span.get("events"):
        del rest["events"]
        told.append("events")
    given = span.get("attributes")
    if isinstance(given, Mapping):
        kept = dict(given)
        for key, value in given.items():
            decoded = _decoded(value)
            if key in (_SPAN_TYPE, _TRACE) or not _spelt_by_mlflow(decoded, value):
                continue
            if key not in _FIELD:
                del kept[key]
            elif span.get(_FIELD[key]) is None and _comes_back(decoded):
                del kept[key]
                told.append(key)
        rest["attributes"] = kept
    return {"rest": rest, "told": sorted(told)}


def _spelt_by_mlflow(value: object, given: object) -> bool:
    """Tell whether the text of a value can be had back from its canonical text."""
    try:
        return _spelt(json.loads(literals.canonical(value))) == given
    except (ValueError, RecursionError):
        return False


def _spelt(value: object) -> str:
    """Give the text that MLflow keeps for a value."""
    return json.dumps(value, ensure_ascii=False)


def _comes_back(value: object) -> bool:
    return literals.canonical(literals.value(plain(value))) == literals.canonical(value)


def rebuilt(fields: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    """Give a span from what ``mlf:spanFields`` has and from what records tell.

    ``parts`` has ``attributes``, ``events``, ``inputs`` and ``outputs``.
    """
    span = dict(fields.get("rest") or {})
    told = fields.get("told") or ()
    for key in ("inputs", "outputs", "events"):
        if key in told:
            span[key] = parts.get(key)
    if isinstance(span.get("attributes"), Mapping):
        attributes = {
            key: _spelt(value)
            for key, value in (parts.get("attributes") or {}).items()
            if key not in span["attributes"]
        }
        for key, field in _FIELD.items():
            if key in told:
                attributes[key] = _spelt(parts.get(field))
        span["attributes"] = {**attributes, **span["attributes"]}
    return span


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
