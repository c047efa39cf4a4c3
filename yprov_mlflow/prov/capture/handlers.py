"""Which call to a store becomes which event: one function for each, named as the call.

A handler has the parameters of MLflow's method, so that Python itself binds what it was
called with; it runs after the call has succeeded. Every other method that writes becomes a
``StoreCalled`` with all its arguments, also in MLflow versions newer than this.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from mlflow.store.tracking.file_store import FileStore
from mlflow.utils import validation

from yprov_mlflow.prov.capture import serialize
from yprov_mlflow.prov.capture.session import URI, CaptureSession
from yprov_mlflow.prov.events import (
    FIELDS,
    TERMINAL,
    Event,
    InputsLogged,
    MetricsLogged,
    ModelLogged,
    OutputsLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
    StoreCalled,
    TagDeleted,
    TagsSet,
)
from yprov_mlflow.prov.ids import redact, store_id

Handler = Callable[..., None]

SYSTEM_METRICS_PATIENCE_S = 5.0
"""How long the end of a run waits for its last system metrics to be logged."""

WRITES = frozenset(
    "add archive attach copy create delete deprecated detach end finalize link log record "
    "register remove rename restore set start transition unlink update upsert hard".split()
)
"""First words of the names of methods that change a store."""

READS = frozenset(
    "batch calculate count filter find flush get has is list query resolve sanitize search shut "
    "sum supports test".split()
)
"""First words of those that do not; a test looks for methods that are in neither list."""

NOT_CALLS = frozenset(
    {"end_async_logging", "archive_traces", "log_param_async", "set_tag_async", "log_spans_async"}
)
"""Writes by their names that are none: control of queues (what was queued is seen when it is
written), housekeeping of servers."""

HANDLERS: dict[str, tuple[Handler, tuple[type[Event], ...]]] = {}
"""Handlers by method name, with the events that each makes."""


def _handles(*events: type[Event]) -> Callable[[Handler], Handler]:
    def register(function: Handler) -> Handler:
        HANDLERS[function.__name__] = (function, events)
        return function

    return register


def handler(kind: str, name: str, method: Callable[..., Any]) -> Handler | None:
    """Give what to do after a call of a store's method; None for methods that only read."""
    if kind == "tracking" and name in HANDLERS:
        return HANDLERS[name][0]
    if name.lstrip("_").split("_")[0] in WRITES and name not in NOT_CALLS:
        return functools.partial(_other, name, inspect.signature(method))
    return None


def failed(capture: CaptureSession, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Take note that a call raised: some backends have done a part of it by then."""
    run_id = kwargs.get("run_id", args[0] if args else None)
    if isinstance(run_id, str):
        capture.recorder.suspect(run_id)


# -- runs --------------------------------------------------------------------------------


@_handles(RunCreated)
def create_run(
    capture: CaptureSession, store: Any, run: Any, experiment_id: Any, *_: Any, **__: Any
) -> None:
    """Begin a run with all that it was created with, and its place in the store."""
    info = run.info
    capture.remember_root(info.artifact_uri, "run", info.run_id)
    capture.recorder.record(
        info.run_id,
        RunCreated,
        str(info.experiment_id),
        capture.experiment_name(store, info.experiment_id),
        info.run_name,
        info.user_id,
        info.start_time,
        info.artifact_uri and redact(info.artifact_uri),
        dict(run.data.tags),
        capture.store_reference(store),
        store=store,
    )


@_handles(RunUpdated)
def update_run_info(
    capture: CaptureSession,
    store: Any,
    _: Any,
    run_id: str,
    run_status: Any = None,
    end_time: int | None = None,
    run_name: str | None = None,
) -> None:
    """Record status, end and name; a run that has ended gets its document."""
    status = _status(run_status)
    state = capture.recorder.state(run_id)
    if status is not None:
        state.terminal = False
    if status in TERMINAL:
        capture.recorder.finish(run_id)
        capture.publisher.finish(run_id, SYSTEM_METRICS_PATIENCE_S)
    capture.recorder.record(
        run_id, RunUpdated, status, end_time, run_name or None, None, store=store
    )
    if status in TERMINAL:
        from yprov_mlflow.prov.capture import delivery

        state.terminal = True
        delivery.deliver(capture, run_id)


def _status(run_status: Any) -> str | None:
    if run_status is None or isinstance(run_status, str):
        return run_status
    from mlflow.entities import RunStatus

    return str(RunStatus.to_string(run_status))


def _lifecycle(lifecycle: str) -> Handler:
    def handle(capture: CaptureSession, store: Any, _: Any, run_id: str) -> None:
        capture.recorder.record(run_id, RunUpdated, None, None, None, lifecycle, store=store)
        if lifecycle == "purged":
            # There is no run any more that could have a document among its artifacts.
            capture.recorder.state(run_id).store = None

    return handle


HANDLERS["delete_run"] = (_lifecycle("deleted"), (RunUpdated,))
HANDLERS["restore_run"] = (_lifecycle("active"), (RunUpdated,))
HANDLERS["_hard_delete_run"] = (_lifecycle("purged"), (RunUpdated,))


@_handles()
def get_run(capture: CaptureSession, store: Any, run: Any, *_: Any, **__: Any) -> None:
    """Learn where the run's artifacts are; a read makes no event."""
    capture.remember_root(run.info.artifact_uri, "run", run.info.run_id)


# -- params, metrics, tags ---------------------------------------------------------------

_LONGEST_PARAM = validation.MAX_PARAM_VAL_LENGTH


def _longest_tag(store: Any) -> int | None:
    """Give how much of a tag's value the store keeps; the file store alone keeps all."""
    return None if isinstance(store, FileStore) else validation.MAX_TAG_VAL_LENGTH


def _kept(items: Any, longest: int | None) -> dict[str, str]:
    """Give keys and values as the store has them: MLflow cuts long values and only warns."""
    return {item.key: str(item.value)[:longest] for item in items}


@_handles(ParamsLogged)
def log_param(capture: CaptureSession, store: Any, _: Any, run_id: str, param: Any) -> None:
    """Record one param."""
    capture.recorder.record(run_id, ParamsLogged, _kept((param,), _LONGEST_PARAM), store=store)


@_handles(TagsSet)
def set_tag(capture: CaptureSession, store: Any, _: Any, run_id: str, tag: Any) -> None:
    """Record one tag."""
    capture.recorder.record(run_id, TagsSet, _kept((tag,), _longest_tag(store)), store=store)


@_handles(TagDeleted)
def delete_tag(capture: CaptureSession, store: Any, _: Any, run_id: str, key: str) -> None:
    """Record that a tag is gone."""
    capture.recorder.record(run_id, TagDeleted, key, store=store)


@_handles(MetricsLogged)
def log_metric(capture: CaptureSession, store: Any, _: Any, run_id: str, metric: Any) -> None:
    """Record one point of a metric."""
    capture.recorder.record_metric(run_id, metric, store)


@_handles(ParamsLogged, TagsSet, MetricsLogged)
def log_batch(
    capture: CaptureSession,
    store: Any,
    _: Any,
    run_id: str,
    metrics: Any = (),
    params: Any = (),
    tags: Any = (),
) -> None:
    """Record what MLflow wrote in one go, one event for each kind."""
    if params:
        capture.recorder.record(run_id, ParamsLogged, _kept(params, _LONGEST_PARAM), store=store)
    if tags:
        capture.recorder.record(run_id, TagsSet, _kept(tags, _longest_tag(store)), store=store)
    if metrics and len(metrics) == 1:
        capture.recorder.record_metric(run_id, metrics[0], store)
    elif metrics:
        capture.recorder.record_metrics(run_id, metrics, store)


@_handles()
def log_metric_async(capture: CaptureSession, store: Any, _: Any, run_id: str, metric: Any) -> None:
    """Note the context of the caller: the event comes when the queue writes."""
    capture.recorder.stamp(run_id, (metric,))


@_handles()
def log_batch_async(
    capture: CaptureSession,
    store: Any,
    _: Any,
    run_id: str,
    metrics: Any = (),
    *__: Any,
    **___: Any,
) -> None:
    """Note the context of the caller for every point of the batch."""
    if metrics:
        capture.recorder.stamp(run_id, metrics)


# -- data sets and models ----------------------------------------------------------------


@_handles(InputsLogged)
def log_inputs(
    capture: CaptureSession,
    store: Any,
    _: Any,
    run_id: str,
    datasets: Any = None,
    models: Any = None,
) -> None:
    """Record the data sets and models that the run read."""
    capture.recorder.record(
        run_id,
        InputsLogged,
        [dataset(item) for item in datasets or ()],
        [item.model_id for item in models or ()],
        store=store,
    )


def dataset(given: Any) -> dict[str, Any]:
    """Give MLflow's ``DatasetInput`` as events hold it."""
    data = given.dataset
    return {
        "name": data.name,
        "digest": data.digest,
        "source_type": data.source_type,
        "source": data.source,
        "schema": data.schema,
        "profile": data.profile,
        "tags": {tag.key: tag.value for tag in given.tags},
    }


@_handles(OutputsLogged)
def log_outputs(capture: CaptureSession, store: Any, _: Any, run_id: str, models: Any) -> None:
    """Record the models that the run put out, each with its step."""
    pairs = [(item.model_id, item.step) for item in models]
    capture.recorder.record(run_id, OutputsLogged, pairs, store=store)


@_handles(ModelLogged)
def create_logged_model(
    capture: CaptureSession, store: Any, model: Any, *_: Any, **__: Any
) -> None:
    """Record a new model, and learn which run it belongs to."""
    run_id = model.source_run_id or capture.active_run()
    if run_id:
        capture.model_runs[model.model_id] = run_id
    capture.remember_root(model.artifact_location, "model", model.model_id)
    _model(capture, store, *model_fields(model))


def model_fields(model: Any) -> tuple[Any, ...]:
    """Give the fields of ``ModelLogged`` for MLflow's ``LoggedModel``, header left out."""
    return (
        model.model_id,
        model.name,
        model.model_type,
        _model_status(model.status),
        model.experiment_id,
        model.artifact_location and redact(model.artifact_location),
        model.creation_timestamp,
        dict(model.params or {}),
        dict(model.tags or {}),
    )


def _model_status(status: Any) -> str:
    """Give MLflow's status of a model, an enum or its value, as text."""
    return str(getattr(status, "value", status))


def _model(capture: CaptureSession, store: Any, model_id: str, *fields: Any) -> None:
    run_id = capture.model_runs.get(model_id) or _no_run(capture, store)
    capture.recorder.record(run_id, ModelLogged, model_id, *fields, store=store)


def _change_model(capture: CaptureSession, store: Any, model_id: str, **changed: Any) -> None:
    """Record what a call changed of a model, by the names of the fields; the others stay."""
    _model(capture, store, model_id, *map(changed.get, _CHANGEABLE))


_CHANGEABLE = FIELDS[ModelLogged.kind][FIELDS[ModelLogged.kind].index("model_id") + 1 :]


@_handles()
def get_logged_model(capture: CaptureSession, store: Any, model: Any, *_: Any, **__: Any) -> None:
    """Learn whose model it is and where its files are; a read makes no event."""
    capture.remember_root(model.artifact_location, "model", model.model_id)
    if model.source_run_id:
        capture.model_runs[model.model_id] = model.source_run_id


@_handles(ModelLogged)
def finalize_logged_model(
    capture: CaptureSession, store: Any, model: Any, model_id: str, status: Any
) -> None:
    """Record the status that a model ends up with."""
    if model is not None and getattr(model, "source_run_id", None):
        capture.model_runs[model_id] = model.source_run_id
    _change_model(capture, store, model_id, status=_model_status(status))


@_handles(ModelLogged)
def set_logged_model_tags(
    capture: CaptureSession, store: Any, _: Any, model_id: str, tags: Any
) -> None:
    """Record tags of a model."""
    values = {tag.key: tag.value for tag in tags}
    _change_model(capture, store, model_id, tags=values)


@_handles(ModelLogged)
def delete_logged_model_tag(
    capture: CaptureSession, store: Any, _: Any, model_id: str, key: str
) -> None:
    """Record that a tag of a model is gone."""
    _change_model(capture, store, model_id, deleted_tag=key)


@_handles(ModelLogged)
def log_logged_model_params(
    capture: CaptureSession, store: Any, _: Any, model_id: str, params: Any
) -> None:
    """Record params of a model."""
    values = {param.key: param.value for param in params}
    _change_model(capture, store, model_id, params=values)


@_handles(ModelLogged)
def delete_logged_model(capture: CaptureSession, store: Any, _: Any, model_id: str) -> None:
    """Record that a model is gone."""
    _change_model(capture, store, model_id, status="DELETED")


HANDLERS["_hard_delete_logged_model"] = HANDLERS["delete_logged_model"]


# -- all others --------------------------------------------------------------------------

_SUBJECTS = {
    "experiment_id": "experiment",
    "trace_id": "trace",
    "request_id": "trace",
    "model_id": "logged_model",
    "run_id": "run",
    "dataset_id": "dataset",
    "assessment_id": "assessment",
    "version": "version",
    "alias": "alias",
    "key": "key",
}


def _other(
    method: str,
    signature: inspect.Signature,
    capture: CaptureSession,
    store: Any,
    result: Any,
    /,
    *args: Any,
    **kwargs: Any,
) -> None:
    bound = signature.bind(store, *args, **kwargs)
    given = {k: v for k, v in list(bound.arguments.items())[1:] if k != "kwargs"}
    arguments = serialize.arguments(method, given)
    answer = serialize.result(method, result)
    subjects = {
        subject: str(arguments[argument])
        for argument, subject in _SUBJECTS.items()
        if isinstance(arguments.get(argument), str | int)
    }
    if "name" in arguments:
        subjects["name"] = str(arguments["name"])
    found = answer if isinstance(answer, dict) else {}
    for argument, subject in _SUBJECTS.items():
        if subject not in subjects and isinstance(found.get(argument), str | int):
            subjects[subject] = str(found[argument])
    if "experiment" in method:
        capture.forget_experiment(store, subjects.get("experiment", ""))
    trace = _trace_of_call(capture, arguments, subjects)
    run_id = _run_of_call(capture, found, subjects, trace) or capture.active_run_in(store)
    call = (method, subjects, arguments, answer)
    home = capture.tracking.get(getattr(store, URI, "")) if run_id else None
    capture.recorder.record(run_id or _no_run(capture, store), StoreCalled, *call, store=home)
    if run_id is None and method == "log_spans" and trace:
        capture.early_spans[trace] = call
    elif trace is not None and trace in capture.early_spans:
        # MLflow exports the spans of a trace before the trace that says whose they are.
        early = capture.early_spans.pop(trace)
        if run_id is not None:
            capture.recorder.record(run_id, StoreCalled, *early)


def _trace_of_call(
    capture: CaptureSession, arguments: Mapping[str, Any], subjects: Mapping[str, str]
) -> str | None:
    """Tell which trace a call is about; learn from it which run the trace belongs to."""
    info = arguments.get("trace_info")
    info = info if isinstance(info, dict) else {}
    metadata = info.get("trace_metadata")
    trace = subjects.get("trace") or info.get("trace_id")
    spans = arguments.get("spans")
    if trace is None and isinstance(spans, list) and spans and isinstance(spans[0], dict):
        trace = (spans[0].get("attributes") or {}).get("mlflow.traceRequestId", "")
        trace = str(trace).strip('"') or None
    if isinstance(metadata, dict) and trace and metadata.get("mlflow.sourceRun"):
        capture.trace_runs[trace] = str(metadata["mlflow.sourceRun"])
    return trace


def _run_of_call(
    capture: CaptureSession,
    found: Mapping[str, Any],
    subjects: Mapping[str, str],
    trace: str | None,
) -> str | None:
    """Tell which run's document a call belongs to, if any."""
    candidates = (
        subjects.get("run"),
        capture.trace_runs.get(trace) if trace else None,
        capture.model_runs.get(subjects.get("logged_model") or ""),
        found.get("run_id"),
        found.get("source_run_id"),
    )
    return next((str(run_id) for run_id in candidates if run_id), None)


def _no_run(capture: CaptureSession, store: Any) -> str:
    """Give what stands for a run where there is none: the store."""
    return capture.active_run_in(store) or store_id(capture.store_reference(store)["uuid"])
