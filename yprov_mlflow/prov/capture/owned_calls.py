"""Record calls about several objects once for each owner.

MLflow decides: a trace belongs to the run in its metadata, a logged model to its source
run. A call about several traces is recorded once for each owner, with the elements that are its
own, so that the data of a run never appear in the document of another. Objects without a run go to
the document of the store; calls about other objects belong to the active run that made them.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from yprov_mlflow.prov import events, serialize
from yprov_mlflow.prov.capture import mlflow_private, removals
from yprov_mlflow.prov.capture.mlflow_private import store_uri
from yprov_mlflow.prov.capture.session import (
    SETTLE,
    SOURCE_RUN,
    CaptureSession,
    EarlySpans,
)
from yprov_mlflow.prov.events import Event, Json
from yprov_mlflow.prov.ids import store_id, store_of


class Call(NamedTuple):
    """A call of a wrapped store that has succeeded."""

    capture: CaptureSession
    store: Any
    result: Any
    before: removals.Before | None = None

    def record(self, run_id: str, cls: type[Event], *fields: Any) -> None:
        """Append an event to the journal of a run in this store, or of the store."""
        self.capture.recorder.record(run_id, cls, *fields, store=self.store)

    def store_id(self) -> str:
        """Return the id that stands for this store."""
        return store_id(self.capture.store_reference(self.store)["uuid"])


# Kinds of subjects by the argument, or field of a result, that identifies one.
_SUBJECTS = {
    "experiment_id": "experiment",
    "trace_id": "trace",
    "request_id": "trace",
    "model_id": "logged-model",
    "run_id": "run",
    "dataset_id": "dataset",
    "assessment_id": "assessment",
    "webhook_id": "webhook",
    **{kind: kind for kind in ("version", "alias", "key")},
}

# Nouns of methods about registered models, which MLflow's prompts are, too.
_IN_REGISTRY = ("registered_model", "model_version", "prompt")
_CREATE_VERSIONS = frozenset({"create_model_version", "copy_model_version"})
_OF_REGISTRY = frozenset({"model", "version", "alias", "key"})

_MAX_EARLY_TRACES = 64
_MAX_EARLY_S = 300.0

# Methods about several traces: the argument with the elements, and the trace of one.
_ELEMENTS: dict[str, tuple[str, Callable[[Any], str | None]]] = {
    "log_spans": ("spans", mlflow_private.trace_of),
    "delete_traces": ("trace_ids", str),
}


def store_called(
    method: str, signature: inspect.Signature, call: Call, /, *args: Any, **kwargs: Any
) -> None:
    """Record a call for its owner, or a part of it for each of its owners."""
    bound = signature.bind(call.store, *args, **kwargs)
    values = {k: v for k, v in list(bound.arguments.items())[1:] if k != "kwargs"}
    before = call.before or removals.Before()
    if before.traces is not None:
        values["trace_ids"] = removals.deleted_traces(call.capture, call.store, before.traces)
    elif before.stages:
        experiment_id = str(values["experiment_id"])
        removals.record_stages(call.capture, call.store, experiment_id, before.stages)
    arguments = serialize.arguments(method, values)
    if method in _ELEMENTS and values.get(_ELEMENTS[method][0]):
        _elements_called(call, method, values, arguments)
        return
    answer = serialize.result(method, call.result)
    fields = answer if isinstance(answer, dict) else {}
    trace = _trace_of_call(arguments, fields)
    subjects = subjects_of(method, arguments, answer)
    if trace:
        subjects.setdefault("trace", trace)
    if "experiment" in method:
        call.capture.forget_experiment(call.store, subjects.get("experiment", ""))
    if trace and "start_trace" in method:
        _trace_started(call, trace, _run_in_metadata(arguments, fields))
    owner = _owner(call, method, arguments, fields, trace)
    state = () if before.state is None else (dict(before.state),)
    _record(call, owner, (method, subjects, arguments, answer, *state))


def _record(call: Call, owner: str, fields: tuple[Any, ...]) -> None:
    # A registry store cannot take the document of a run; the tracking store with its URI can.
    home = None if store_of(owner) else call.capture.tracking.get(store_uri(call.store))
    call.capture.recorder.record(owner, events.StoreCalled, *fields, store=home)


def subjects_of(method: str, arguments: Mapping[str, Json], answer: Json) -> dict[str, str]:
    """Return the ids of a call's objects by their kind, the same ones as of converted stores."""
    fields = answer if isinstance(answer, dict) else {}
    subjects: dict[str, str] = {}
    for source in (arguments, fields):
        for field, kind in _SUBJECTS.items():
            if kind not in subjects and isinstance(source.get(field), str | int):
                subjects[kind] = str(source[field])
    if method == "create_experiment" and isinstance(answer, str | int):
        return {"experiment": str(answer)}
    in_registry = any(noun in method for noun in _IN_REGISTRY)
    # A name identifies models of the registry, and objects without an id, such as scorers.
    if isinstance(name := arguments.get("name"), str):
        if in_registry:
            subjects["model"] = name
        elif method.rpartition("_")[2] not in subjects:
            subjects["name"] = name
    if _is_about_registry(method):
        return {kind: subjects[kind] for kind in subjects if kind in _OF_REGISTRY}
    return subjects


def _is_about_registry(method: str) -> bool:
    is_link = method.startswith("link_")
    return not is_link and any(noun in method for noun in _IN_REGISTRY)


# -- owners ------------------------------------------------------------------------------


def _owner(
    call: Call,
    method: str,
    arguments: Mapping[str, Any],
    fields: Mapping[str, Any],
    trace: str | None,
) -> str:
    """Return the run, or what stands for the store, whose document a call belongs to."""
    capture, store = call.capture, call.store
    if _is_about_registry(method) and method not in _CREATE_VERSIONS:
        # The result may name the run that a version is from, which did not make this call.
        return str(capture.active_run_in(store) or fields.get("run_id") or call.store_id())
    run_id: str | None = arguments.get("run_id")
    if run_id is None and trace is not None:
        return capture.run_of_trace(trace, store, ask=True) or call.store_id()
    model_id = arguments.get("model_id") or fields.get("model_id")
    run_id = run_id or fields.get("run_id") or fields.get("source_run_id")
    if not run_id and model_id:
        # A call on a registry, which lacks logged models, is about them, too.
        tracking = capture.tracking.get(store_uri(store), store)
        run_id = capture.run_of_model(str(model_id), tracking)
    return str(run_id or capture.active_run_in(store) or call.store_id())


def _trace_of_call(arguments: Mapping[str, Any], fields: Mapping[str, Any]) -> str | None:
    """Return the id of the trace that a call is about."""
    sources = (arguments, fields, _object(arguments, "trace_info"))
    ids = [source.get(key) for source in sources for key in ("trace_id", "request_id")]
    ids.append(_object(arguments, "assessment").get("trace_id"))
    return next((str(i) for i in ids if isinstance(i, str | int)), None)


def _object(arguments: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = arguments.get(name)
    return value if isinstance(value, dict) else {}


def _run_in_metadata(arguments: Mapping[str, Any], fields: Mapping[str, Any]) -> str:
    """Return the run in the metadata of a new trace, empty without one."""
    for source in (_object(arguments, "trace_info"), arguments, fields):
        for key in ("trace_metadata", "request_metadata"):  # MLflow 2 has the latter
            metadata = source.get(key)
            if isinstance(metadata, dict) and metadata.get(SOURCE_RUN):
                return str(metadata[SOURCE_RUN])
    return ""


# -- several traces ----------------------------------------------------------------------


def _elements_called(
    call: Call, method: str, values: Mapping[str, Any], arguments: dict[str, Json]
) -> None:
    """Record the part of each owner; only the whole call has a result."""
    name, trace_of = _ELEMENTS[method]
    items = arguments[name]
    assert isinstance(items, list)
    parts: dict[str, dict[str | None, list[Json]]] = {}
    groups = _by_trace(values[name], items, trace_of)
    if call.capture.server:  # other processes make the traces
        call.capture.remember_traces(filter(None, groups), call.store)
    with call.capture.lock:  # no other thread may start a trace between question and answer
        for trace, elements in groups.items():
            run_id = trace and call.capture.run_of_trace(trace, call.store, ask=False)
            owner = run_id or call.store_id()
            if run_id is None and trace and method == "log_spans":
                part = {**arguments, name: elements}
                _keep(call, trace, (method, {"trace": trace}, part, None))
            else:
                parts.setdefault(owner, {})[trace] = elements
    answer = None
    if len(parts) == 1 and method != "log_spans":  # which returns its argument
        answer = serialize.result(method, call.result)
    for owner, by_trace in parts.items():
        traces = [trace for trace in by_trace if trace is not None]
        subjects = {"trace": traces[0]} if len(by_trace) == len(traces) == 1 else {}
        part = {**arguments, name: [item for group in by_trace.values() for item in group]}
        _record(call, owner, (method, subjects, part, answer))


def _by_trace(
    elements: Any, items: list[Json], trace_of: Callable[[Any], str | None]
) -> dict[str | None, list[Json]]:
    groups: dict[str | None, list[Json]] = {}
    for element, item in zip(elements, items, strict=True):
        groups.setdefault(trace_of(element), []).append(item)
    return groups


# MLflow exports most spans before their trace itself, which names its run.


def _keep(call: Call, trace: str, fields: tuple[Any, ...]) -> None:
    """Journal spans for their store, and keep them until their trace names its run.

    Many traces never start by a call of their own, and the process may be killed before.
    """
    capture = call.capture
    _record(call, call.store_id(), fields)
    early = capture.early_spans
    early[trace] = [*early.get(trace, ()), EarlySpans(call.store, fields, time.monotonic())]
    capture.settle = functools.partial(settle_all, capture)
    if capture.server:  # another worker may hear of the trace
        capture.deliver_later(capture, SETTLE)
    while len(early) > _MAX_EARLY_TRACES:
        del early[next(iter(early))]


def _trace_started(call: Call, trace: str, run_id: str) -> None:
    """Remember the run of a new trace, and record the spans that came before."""
    with call.capture.lock:
        call.capture.trace_runs[trace] = run_id
        is_early = trace in call.capture.early_spans
        _settle(call.capture, trace)
    if run_id and call.capture.server and not is_early:
        # Another worker of this server may have journaled spans.
        _note_owner(call, trace, run_id)


def _note_owner(call: Call, trace: str, run_id: str) -> None:
    """Note in the journal of the store that its spans of a trace belong to a run."""
    _record(call, call.store_id(), ("start_trace", {"trace": trace, "run": run_id}, {}, None))


def _settle(capture: CaptureSession, trace: str) -> None:
    """Record the early spans of a trace for the run that it belongs to, if that is known."""
    early = capture.early_spans.pop(trace, [])
    for number, (store, fields, _) in enumerate(early):
        call = Call(capture, store, None)
        if run_id := capture.run_of_trace(trace, store, ask=False):
            if number == 0:
                _note_owner(call, trace, run_id)
            _record(call, run_id, fields)


def settle_all(capture: CaptureSession) -> None:
    """Record the early spans of all traces whose run the store knows by now."""
    early = capture.early_spans
    for store in {id(spans[0].store): spans[0].store for spans in list(early.values())}.values():
        capture.remember_traces(list(early), store)
    with capture.lock:
        for trace in [trace for trace in early if trace in capture.trace_runs]:
            _settle(capture, trace)
        oldest = time.monotonic() - _MAX_EARLY_S
        for trace in [trace for trace, spans in early.items() if spans[-1].time_s < oldest]:
            del early[trace]
        if early and capture.server:
            capture.deliver_later(capture, SETTLE)
