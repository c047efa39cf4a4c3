"""Assessments: what someone, or a model, thought of a trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.identifiers import STORE, segment
from yprov_mlflow.prov.model.literals import mapping, plain, text
from yprov_mlflow.prov.translate.history import VersionedProperty
from yprov_mlflow.prov.translate.store_calls.spans import span_output
from yprov_mlflow.prov.translate.store_calls.store_call import Call, Handler

_TERMS = {"rationale": "mlf:rationale", "name": "schema:name", "span_id": "mlf:spanId"}


def _create(call: Call) -> bool:
    given = {**mapping(call.arguments.get("assessment"))}
    found = {**given, **{k: v for k, v in mapping(call.result).items() if v is not None}}
    subject = _subject(call, found)
    if subject is None:
        return False
    trace_id = str(found["trace_id"])
    kind = "mlf:Expectation" if found.get("expectation") is not None else "mlf:Feedback"
    if isinstance(found.get("issue"), Mapping):
        kind = "mlf:Assessment"
    _describe(call, subject, found, kind)
    call.create(subject)
    _set_value(call, subject, found)
    trace = call.subject(("trace", segment(trace_id)))
    output = span_output(call, trace_id, found.get("span_id")) if found.get("span_id") else None
    call.derive(subject, output or trace)
    overridden = found.get("overrides")
    if isinstance(overridden, str) and overridden:
        previous = f"{STORE}:trace/{segment(trace_id)}/assessment/{segment(overridden)}"
        made = call.builder.generations
        if previous != subject and previous in made:
            if made.get(subject, ("", ""))[1] == call.act.activity:
                call.builder.was_revision_of(subject, previous)
            call.delete(previous)
    source = mapping(found.get("source"))
    if source.get("source_id"):
        call.builder.was_attributed_to(subject, _judge(call, source))
    return True


def _update(call: Call) -> bool:
    found = {k: v for k, v in call.arguments.items() if v is not None}
    subject = _subject(call, found)
    if subject is None:
        return False
    _describe(call, subject, found, None)
    call.use(subject)
    _set_value(call, subject, found)
    return True


def _delete(call: Call) -> bool:
    subject = _subject(call, call.arguments)
    if subject is None:
        return False
    call.delete(subject)
    return True


def _subject(call: Call, found: Mapping[str, Any]) -> str | None:
    trace_id, assessment_id = found.get("trace_id"), found.get("assessment_id")
    if not isinstance(trace_id, str) or not isinstance(assessment_id, str):
        return None
    call.builder.entity(call.subject(("trace", segment(trace_id))), (), text(trace_id))
    subject = f"{STORE}:trace/{segment(trace_id)}/assessment/{segment(assessment_id)}"
    known = subject in call.builder.records["entity"]
    label = None if known else text(found.get("name") or assessment_id)
    return call.builder.entity(subject, ["mlf:Assessment"], label)


def _describe(call: Call, subject: str, found: Mapping[str, Any], kind: str | None) -> None:
    metadata = mapping(found.get("metadata"))
    call.builder.entity(
        subject,
        [kind] if kind is not None else (),
        text(found["name"]) if found.get("name") else None,
        {
            **{term: plain(found.get(key)) for key, term in _TERMS.items()},
            "mlf:assessmentMetadata": literals.canonical(dict(metadata)) if metadata else None,
        },
    )


def _set_value(call: Call, subject: str, found: Mapping[str, Any]) -> None:
    """Give the value its history: an assessment may be changed."""
    for field in ("expectation", "feedback", "issue"):
        given = found.get(field)
        if given is None:
            continue
        value = given.get("value", given) if isinstance(given, Mapping) else given
        facet = VersionedProperty(f"{subject}/value", ("mlf:AssessmentValue",), subject=subject)
        call.translation.histories.assign(facet, call.act, plain(value))
        call.builder.entity(subject, (), None, {"prov:value": plain(value)})
        return


def _judge(call: Call, source: Mapping[str, Any]) -> str:
    judge = str(source["source_id"])
    if source.get("source_type") == "HUMAN":
        # Already hashed, where logins are, with the rest of the call.
        agent, kind = f"{STORE}:user/{segment(judge)}", "prov:Person"
    else:
        agent, kind = f"{STORE}:judge/{segment(judge)}", "prov:SoftwareAgent"
    return call.builder.agent(agent, [kind], text(judge))


HANDLERS: Mapping[str, Handler] = {
    "create_assessment": _create,
    "update_assessment": _update,
    "delete_assessment": _delete,
}
