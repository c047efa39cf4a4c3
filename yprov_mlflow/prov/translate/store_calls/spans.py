"""Spans of traces: each is an activity, with its inputs and outputs as entities.

A store keeps a span as JSON. Parts of it that become records are left out of the JSON that the
document keeps, and ``rebuild_span`` puts them together again.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Mapping
from typing import Any

from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.document import Attributes
from yprov_mlflow.prov.model.identifiers import STORE, segment
from yprov_mlflow.prov.model.literals import mapping, name, plain, text
from yprov_mlflow.prov.translate.store_calls.store_call import Call
from yprov_mlflow.prov.translate.timeline import event_time
from yprov_mlflow.prov.translate.translation import SpanState, Translation

_SPAN_TYPE, _TRACE = "mlflow.spanType", "mlflow.traceRequestId"
_INPUTS, _OUTPUTS = "mlflow.spanInputs", "mlflow.spanOutputs"
_TOKENS = {
    "input_tokens": "mlf:inputTokens",
    "output_tokens": "mlf:outputTokens",
    "total_tokens": "mlf:totalTokens",
}
_FIELD = {_INPUTS: "inputs", _OUTPUTS: "outputs"}
_MLFLOW_ATTRIBUTES = frozenset({_SPAN_TYPE, _INPUTS, _OUTPUTS, _TRACE})


def log_spans(call: Call) -> bool:
    """Note the spans of a call; those without ids stay among its arguments."""
    spans = call.arguments.get("spans")
    if not isinstance(spans, list):
        if spans is not None:
            call.keep_argument("spans", spans)
        return False
    left = [s for s in spans if not isinstance(s, Mapping) or not _note_span(call, s)]
    if left:
        call.keep_argument("spans", left)
    return not left or len(left) < len(spans)


def span_key(span: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the ids of a span's trace and of the span, None if either is missing."""
    attribute = mapping(span.get("attributes")).get(_TRACE)
    trace_id = decoded(attribute) or span.get("trace_id") or span.get("request_id")
    span_id = _hexadecimal(span.get("span_id"))
    return (trace_id, span_id) if isinstance(trace_id, str) and span_id is not None else None


def _note_span(call: Call, span: Mapping[str, Any]) -> bool:
    """Note a span, and return whether it has ids.

    Records are added at the end, because MLflow logs a span when it starts and when it ends.
    """
    attributes = {str(k): decoded(v) for k, v in mapping(span.get("attributes")).items()}
    if (ids := span_key(span)) is None:
        return False
    trace_id, span_id = ids
    trace = call.declare(("trace", segment(trace_id)), text(trace_id))
    identifier = f"{trace}/span/{segment(span_id)}"
    # MLflow's own JSON, that of OpenTelemetry and that of older versions use different names.
    parent_id = _hexadecimal(span.get("parent_id") or span.get("parent_span_id"))
    start = _first_number(span, "start_time_ns", "start_time_unix_nano")
    end = _first_number(span, "end_time_ns", "end_time_unix_nano")
    status, label = span.get("status"), span.get("name")
    code = mapping(status).get("status_code") or mapping(status).get("code") or status
    kind = span.get("span_type") or attributes.get(_SPAN_TYPE)
    others = {k: v for k, v in attributes.items() if k not in _MLFLOW_ATTRIBUTES}
    inputs, outputs = span.get("inputs"), span.get("outputs")
    call.translation.spans[identifier] = SpanState(
        label=text(label if isinstance(label, str) else span_id),
        parent=f"{trace}/span/{segment(parent_id)}" if parent_id is not None else None,
        start=start or 0,
        end=end if end is not None and start is not None and end >= start else 0,
        inputs=attributes.get(_INPUTS) if inputs is None else inputs,
        outputs=attributes.get(_OUTPUTS) if outputs is None else outputs,
        attributes={
            "mlf:spanType": text(kind) if isinstance(kind, str) else None,
            "mlf:spanStatus": text(code) if isinstance(code, str) else None,
            "mlf:spanAttributes": literals.canonical(others) if others else None,
            **usage_of_models(
                attributes.get("mlflow.chat.tokenUsage"), attributes.get("mlflow.llm.cost")
            ),
            "mlf:spanEvents": literals.canonical(span["events"]) if span.get("events") else None,
            "mlf:trace": name(trace),
            "mlf:loggedBy": name(call.ref.activity),
            "mlf:spanFields": literals.canonical(_fields(span)),
        },
    )
    return True


def usage_of_models(tokens: object, cost: object) -> Attributes:
    """Return the tokens and the cost of language models as attributes, from MLflow's JSON."""
    counts = {term: literals.number(mapping(tokens).get(key)) for key, term in _TOKENS.items()}
    dollars = mapping(cost).get("total_cost")
    return {
        **{term: plain(count) for term, count in counts.items()},
        "mlf:costUsd": plain(dollars) if isinstance(dollars, float) else None,
    }


# -- JSON of a span ----------------------------------------------------------------------


def _fields(span: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a span without records, and the names of the parts with records.

    A part is left out only if it can be rebuilt exactly as MLflow wrote it.
    """
    remainder, recorded = dict(span), []
    # The keys of the result are part of the format of documents.
    for key in ("inputs", "outputs"):
        if span.get(key) is not None and _survives(span[key]):
            del remainder[key]
            recorded.append(key)
    if span.get("events"):
        del remainder["events"]
        recorded.append("events")
    attributes = span.get("attributes")
    if isinstance(attributes, Mapping):
        kept = dict(attributes)
        for key, value in attributes.items():
            parsed = decoded(value)
            if key in (_SPAN_TYPE, _TRACE) or not _is_mlflow_json(parsed, value):
                continue
            if key not in _FIELD:
                del kept[key]
            elif span.get(_FIELD[key]) is None and _survives(parsed):
                del kept[key]
                recorded.append(key)
        remainder["attributes"] = kept
    return {"rest": remainder, "told": sorted(recorded)}


def rebuild_span(fields: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return a span as MLflow logged it.

    Args:
        fields: The content of ``mlf:spanFields``.
        parts: ``attributes``, ``events``, ``inputs`` and ``outputs``, from the span's records.
    """
    span = dict(fields.get("rest") or {})
    recorded = fields.get("told") or ()
    for key in ("inputs", "outputs", "events"):
        if key in recorded:
            span[key] = parts.get(key)
    own = span.get("attributes")
    if isinstance(own, Mapping):
        attributes = dict(parts.get("attributes") or {})
        attributes |= {key: parts.get(field) for key, field in _FIELD.items() if key in recorded}
        left_out = {k: _mlflow_json(v) for k, v in attributes.items() if k not in own}
        span["attributes"] = {**left_out, **own}
    return span


def _is_mlflow_json(value: object, written: object) -> bool:
    with contextlib.suppress(ValueError, RecursionError):
        return _mlflow_json(json.loads(literals.canonical(value))) == written
    return False


def _mlflow_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _survives(value: object) -> bool:
    return literals.canonical(literals.value(plain(value))) == literals.canonical(value)


# -- records -----------------------------------------------------------------------------


def add_spans(translation: Translation) -> None:
    """Add the records of all spans, each in its latest state."""
    builder, spans = translation.builder, translation.spans
    root = None if translation.store_level else translation.timeline.root_activity
    for identifier, span in sorted(spans.items()):
        part_of = span.parent if span.parent is not None else root
        start, end = literals.instant(span.start), literals.instant(span.end)
        attributes = {**span.attributes, "dcterms:isPartOf": name(part_of) if part_of else None}
        builder.activity(identifier, start, end, ["mlf:Span"], span.label, attributes)
        builder.was_influenced_by(identifier.partition("/span/")[0], identifier)
        # Clocks of several machines, or broken instrumentation, can contradict the tree of spans;
        # PROV allows neither an activity before its starter nor a cycle of starts.
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
            builder.was_generated_by(entity, identifier, end)


def _precedes(spans: Mapping[str, SpanState], parent: str, child: str) -> bool:
    """Return whether a span can have started another: not later, and not in a cycle."""
    seen, current = {child}, child
    while current in spans and (above := spans[current].parent) is not None:
        if above in seen or (above in spans and spans[above].start > spans[current].start):
            return False
        seen.add(above)
        current = above
    return parent in seen


def span_output(call: Call, trace_id: str, span_id: object) -> str | None:
    """Return the output of a span, None if it does not exist at the time of the call."""
    span = f"{STORE}:trace/{segment(trace_id)}/span/{segment(span_id)}"
    state = call.translation.spans.get(span)
    if state is None or state.outputs is None:
        return None
    return f"{span}/out" if state.end <= event_time(call.event) else None


# -- fields ------------------------------------------------------------------------------


def _first_number(span: Mapping[str, Any], *keys: str) -> int | None:
    return next((n for key in keys if (n := literals.number(span.get(key)))), None)


def decoded(value: object) -> object:
    """Return the value of an attribute, which MLflow keeps as JSON text."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(value)
    return value


def _hexadecimal(span_id: object) -> str | None:
    """Return the id of a span in hexadecimal; MLflow's own JSON has it in Base64."""
    if not isinstance(span_id, str) or not span_id:
        return None
    if len(span_id) == 12:  # 8 bytes in Base64; 16 digits in hexadecimal
        with contextlib.suppress(ValueError):
            return base64.b64decode(span_id, validate=True).hex()
    return span_id
