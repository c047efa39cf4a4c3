"""Traces: an entity for what the store keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.identifiers import segment
from yprov_mlflow.prov.model.literals import mapping, name, plain, text
from yprov_mlflow.prov.translate.store_calls.method_names import thing
from yprov_mlflow.prov.translate.store_calls.spans import log_spans
from yprov_mlflow.prov.translate.store_calls.store_call import Call, Handler
from yprov_mlflow.prov.translate.tags import set_tags

_INFO_TERMS = {
    "request_preview": "mlf:requestPreview",
    "response_preview": "mlf:responsePreview",
    "client_request_id": "mlf:clientRequestId",
    "execution_duration": "mlf:executionDurationMs",
    "request_time": "mlf:requestTimeMs",
    "state": "mlf:traceState",
}


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


HANDLERS: Mapping[str, Handler] = {
    "start_trace": _start,
    "deprecated_start_trace_v2": _start,
    "deprecated_end_trace_v2": _start,
    "log_spans": log_spans,
    "delete_traces": _delete,
}
