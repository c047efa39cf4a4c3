"""Calls on traces and on their assessments by a person or a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.identifiers import STORE, segment
from yprov_mlflow.prov.model.literals import mapping, name, plain, text
from yprov_mlflow.prov.translate.params_tags import set_tags
from yprov_mlflow.prov.translate.store_calls.method_names import on_noun
from yprov_mlflow.prov.translate.store_calls.spans import (
    decoded,
    log_spans,
    span_output,
    usage_of_models,
)
from yprov_mlflow.prov.translate.store_calls.store_call import Call, Handler

_TRACE_TERMS = {
    "request_preview": "mlf:requestPreview",
    "response_preview": "mlf:responsePreview",
    "client_request_id": "mlf:clientRequestId",
    "execution_duration": "mlf:executionDurationMs",
    "request_time": "mlf:requestTimeMs",
    "state": "mlf:traceState",
}
_ASSESSMENT_TERMS = {"rationale": "mlf:rationale", "name": "schema:name", "span_id": "mlf:spanId"}


def _start_trace(call: Call, trace: str) -> bool:
    # MLflow 2 has a call for the end of a trace as well, which must not create it again.
    if call.entry(trace) is None:
        call.create(trace)
    info = {**mapping(call.result), **mapping(call.arguments.get("trace_info"))}
    metadata = literals.pairs(info.get("trace_metadata") or info.get("request_metadata"))
    attributes: dict[str, Any] = {term: plain(info.get(key)) for key, term in _TRACE_TERMS.items()}
    attributes["mlf:traceMetadata"] = literals.canonical(metadata) if metadata else None
    usage = (decoded(metadata.get(f"mlflow.trace.{key}")) for key in ("tokenUsage", "cost"))
    attributes |= usage_of_models(*usage)
    run_id = metadata.get("mlflow.sourceRun")
    if isinstance(run_id, str) and run_id:
        run = call.translation.namespaces.of_run(run_id)
        call.builder.activity(run)
        attributes["dcterms:isPartOf"] = name(run)
    call.builder.entity(trace, (), None, attributes)
    tags = literals.pairs(info.get("tags"))
    set_tags(call.translation, call.ref, tags, trace)
    return True


def _delete_traces(call: Call) -> bool:
    traces = call.arguments.get("trace_ids")
    if not isinstance(traces, list | tuple):
        return False
    deleted = {call.declare(("trace", segment(trace)), text(trace)) for trace in traces}
    for assessment in call.translation.assessments:
        if assessment.partition("/assessment/")[0] in deleted:
            call.delete(assessment)
    for trace in sorted(deleted):
        call.delete(trace)
    return True


# -- assessments -------------------------------------------------------------------------


def _create_assessment(call: Call) -> bool:
    # The result wins: the store completes an assessment, with its id for example.
    result = {key: value for key, value in mapping(call.result).items() if value is not None}
    fields = {**mapping(call.arguments.get("assessment")), **result}
    assessment = _declare_assessment(call, fields)
    if assessment is None:
        return False
    trace_id = str(fields["trace_id"])
    kind = "mlf:Expectation" if fields.get("expectation") is not None else "mlf:Feedback"
    if isinstance(fields.get("issue"), Mapping):
        kind = "mlf:Assessment"
    _describe(call, assessment, fields, [kind])
    call.create(assessment)
    _set_value(call, assessment, fields)
    trace = call.declare(("trace", segment(trace_id)))
    output = span_output(call, trace_id, fields.get("span_id")) if fields.get("span_id") else None
    call.derive(assessment, output or trace)
    _override(call, assessment, trace, fields.get("overrides"))
    source = mapping(fields.get("source"))
    if source.get("source_id"):
        call.builder.was_attributed_to(assessment, _judge(call, source))
    return True


def _override(call: Call, assessment: str, trace: str, overridden: object) -> None:
    if not isinstance(overridden, str) or not overridden:
        return
    previous = f"{trace}/assessment/{segment(overridden)}"
    generations = call.builder.generations
    if previous != assessment and previous in generations:
        # Only what this call generated can be a revision: it may update an older assessment.
        if generations.get(assessment, ("", ""))[1] == call.ref.activity:
            call.builder.was_revision_of(assessment, previous)
        call.builder.entity(assessment, (), None, {"mlf:overrides": name(previous)})
        call.hide(previous)


def _update_assessment(call: Call) -> bool:
    fields = {key: value for key, value in call.arguments.items() if value is not None}
    assessment = _declare_assessment(call, fields)
    if assessment is None:
        return False
    _describe(call, assessment, fields)
    call.use(assessment)
    _set_value(call, assessment, fields)
    return True


def _delete_assessment(call: Call) -> bool:
    assessment = _declare_assessment(call, call.arguments)
    if assessment is None:
        return False
    overridden = call.builder.records["entity"][assessment].get("mlf:overrides")
    if call.entry(assessment) is not None and isinstance(overridden, dict):
        call.create(overridden["$"])  # MLflow makes it valid again
    call.delete(assessment)
    return True


def _declare_assessment(call: Call, fields: Mapping[str, Any]) -> str | None:
    trace_id, assessment_id = fields.get("trace_id"), fields.get("assessment_id")
    if not isinstance(trace_id, str) or not isinstance(assessment_id, str):
        return None
    trace = call.builder.entity(call.declare(("trace", segment(trace_id))), (), text(trace_id))
    assessment = f"{trace}/assessment/{segment(assessment_id)}"
    exists = assessment in call.builder.records["entity"]
    label = None if exists else text(fields.get("name") or assessment_id)
    call.translation.assessments[assessment] = None
    call.builder.entity(assessment, ["mlf:Assessment"], label)
    call.builder.was_influenced_by(assessment, trace)
    return assessment


def _describe(
    call: Call, assessment: str, fields: Mapping[str, Any], types: Sequence[str] = ()
) -> None:
    metadata = mapping(fields.get("metadata"))
    attributes = {term: plain(fields.get(key)) for key, term in _ASSESSMENT_TERMS.items()}
    attributes["mlf:assessmentMetadata"] = literals.canonical(dict(metadata)) if metadata else None
    label = text(fields["name"]) if fields.get("name") else None
    call.builder.entity(assessment, types, label, attributes)


def _set_value(call: Call, assessment: str, fields: Mapping[str, Any]) -> None:
    """Set the value of an assessment, which later calls may change."""
    contents = [fields.get(field) for field in ("expectation", "feedback", "issue")]
    content = next((content for content in contents if content is not None), None)
    if content is not None:
        value = content.get("value", content) if isinstance(content, Mapping) else content
        error = mapping(content).get("error")
        attributes = {"mlf:assessmentError": literals.canonical(error) if error else None}
        call.builder.entity(assessment, (), None, attributes)
        if value is None:
            return
        call.change(assessment, "value", value, ("mlf:AssessmentValue",))
        call.builder.entity(assessment, (), None, {"prov:value": plain(value)})


def _judge(call: Call, source: Mapping[str, Any]) -> str:
    # Login names are hashed with the rest of the call, if the options say so.
    judge, is_person = str(source["source_id"]), source.get("source_type") == "HUMAN"
    word, kind = ("user", "prov:Person") if is_person else ("judge", "prov:SoftwareAgent")
    return call.builder.agent(f"{STORE}:{word}/{segment(judge)}", [kind], text(judge))


HANDLERS: Mapping[str, Handler] = {
    "start_trace": on_noun("trace", _start_trace),
    "deprecated_start_trace_v2": on_noun("trace", _start_trace),
    "deprecated_end_trace_v2": on_noun("trace", _start_trace),
    "log_spans": log_spans,
    "delete_traces": _delete_traces,
    "create_assessment": _create_assessment,
    "update_assessment": _update_assessment,
    "delete_assessment": _delete_assessment,
}
