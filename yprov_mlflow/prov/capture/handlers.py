"""Which call of a store becomes which event: one function for each, named as the call.

A handler runs after the call has succeeded. After ``call`` it has the parameters of MLflow's
method, so that Python itself binds the arguments. Any other method that writes becomes a
``StoreCalled`` with all its arguments, also in newer versions of MLflow.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mlflow.entities import RunStatus
from mlflow.store.tracking.file_store import FileStore
from mlflow.utils import validation

from yprov_mlflow.prov import events, serialize
from yprov_mlflow.prov.capture.mlflow_private import HARD_DELETES, store_uri
from yprov_mlflow.prov.capture.session import CaptureSession
from yprov_mlflow.prov.events import FIELDS, TERMINAL, Event, Json
from yprov_mlflow.prov.ids import store_id

Handler = Callable[..., None]


class Call(NamedTuple):
    """A call of a wrapped store that has succeeded."""

    capture: CaptureSession
    store: Any
    result: Any

    def record(self, run_id: str, cls: type[Event], *fields: Any) -> None:
        """Append an event to the journal of a run in this store."""
        self.capture.recorder.record(run_id, cls, *fields, store=self.store)


SYSTEM_METRICS_TIMEOUT_S = 5.0  # how long the end of a run waits for its last system metrics

WRITES = frozenset(
    "add archive attach copy create delete deprecated detach end finalize link log record "
    "register remove rename restore set start transition unlink update upsert hard".split()
)
"""First words of the names of methods that change a store."""

READS = frozenset(
    "batch calculate count filter find flush get has is list query resolve sanitize search shut "
    "sum supports test".split()
)
"""First words of other methods; a test fails for a method of MLflow in neither set."""

NOT_CALLS = frozenset(
    {"end_async_logging", "archive_traces", "log_param_async", "set_tag_async", "log_spans_async"}
)
"""Methods that are named like writes and are not captured.

They control queues (a queued call is captured when the queue makes it) or clean up a server.
"""

# Handlers by method name, with the events that each makes.
HANDLERS: dict[str, tuple[Handler, tuple[type[Event], ...]]] = {}


def _handles(*kinds: type[Event]) -> Callable[[Handler], Handler]:
    def register(function: Handler) -> Handler:
        HANDLERS[function.__name__] = (function, kinds)
        return function

    return register


def handler(kind: str, name: str, method: Callable[..., Any]) -> Handler | None:
    """Return the handler of a method of a tracking or registry store; None if it only reads."""
    if kind == "tracking" and name in HANDLERS:
        return HANDLERS[name][0]
    if name.lstrip("_").split("_")[0] in WRITES and name not in NOT_CALLS:
        return functools.partial(_store_called, name, inspect.signature(method))
    return None


def failed(capture: CaptureSession, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Note that a call raised: some backends have done a part of it by then."""
    run_id = kwargs.get("run_id", args[0] if args else None)
    if isinstance(run_id, str):
        capture.recorder.suspect(run_id)


# -- runs --------------------------------------------------------------------------------


@_handles(events.RunCreated)
def create_run(call: Call, experiment_id: Any, *_: Any, **__: Any) -> None:
    """Record a new run and its properties."""
    info = call.result.info
    call.capture.remember_root(info.artifact_uri, "run", info.run_id)
    fields = call.capture.creation_fields(call.store, info, dict(call.result.data.tags))
    call.record(info.run_id, events.RunCreated, *fields)


@_handles(events.RunUpdated)
def update_run_info(
    call: Call,
    run_id: str,
    run_status: Any = None,
    end_time: int | None = None,
    run_name: str | None = None,
) -> None:
    """Record status, end and name; a run that has ended gets its document."""
    capture, status = call.capture, run_status
    if status is not None and not isinstance(status, str):
        status = str(RunStatus.to_string(status))
    state = capture.recorder.state(run_id)
    if status is not None:
        state.terminal = False  # the update itself is not a late event
    if status in TERMINAL:
        # Last samples come before the event of the end, after which they would be late events.
        capture.recorder.finish(run_id)
        capture.publisher.finish(run_id, SYSTEM_METRICS_TIMEOUT_S)
    call.record(run_id, events.RunUpdated, status, end_time, run_name or None, None)
    if status in TERMINAL:
        # Imported at the end of the first run: it loads the translator and the formats (0.3 s).
        from yprov_mlflow.prov.capture import delivery

        state.terminal = True
        delivery.deliver(capture, run_id)


def _lifecycle(lifecycle: str) -> Handler:
    def handle(call: Call, run_id: str) -> None:
        call.record(run_id, events.RunUpdated, None, None, None, lifecycle)
        if lifecycle == "purged":
            # The run no longer exists, so it cannot have a document among its artifacts.
            call.capture.recorder.state(run_id).store = None

    return handle


HANDLERS["delete_run"] = (_lifecycle("deleted"), (events.RunUpdated,))
HANDLERS["restore_run"] = (_lifecycle("active"), (events.RunUpdated,))
HANDLERS[HARD_DELETES["run"]] = (_lifecycle("purged"), (events.RunUpdated,))


@_handles()
def get_run(call: Call, *_: Any, **__: Any) -> None:
    """Remember the run's artifact root; a read makes no event."""
    info = call.result.info
    call.capture.remember_root(info.artifact_uri, "run", info.run_id)


# -- params, metrics, tags ---------------------------------------------------------------


def _params(items: Any) -> dict[str, str]:
    # As the store has them: MLflow truncates long values and only warns.
    return {item.key: str(item.value)[: validation.MAX_PARAM_VAL_LENGTH] for item in items}


def _tags(store: Any, items: Any) -> dict[str, str]:
    # The file store alone keeps long values of tags whole.
    limit = None if isinstance(store, FileStore) else validation.MAX_TAG_VAL_LENGTH
    return {item.key: str(item.value)[:limit] for item in items}


@_handles(events.ParamsLogged)
def log_param(call: Call, run_id: str, param: Any) -> None:
    """Record one param."""
    call.record(run_id, events.ParamsLogged, _params((param,)))


@_handles(events.TagsSet)
def set_tag(call: Call, run_id: str, tag: Any) -> None:
    """Record one tag."""
    call.record(run_id, events.TagsSet, _tags(call.store, (tag,)))


@_handles(events.TagDeleted)
def delete_tag(call: Call, run_id: str, key: str) -> None:
    """Record the deletion of a tag."""
    call.record(run_id, events.TagDeleted, key)


@_handles(events.MetricsLogged)
def log_metric(call: Call, run_id: str, metric: Any) -> None:
    """Record one point of a metric."""
    call.capture.recorder.record_metric(run_id, metric, call.store)


@_handles(events.ParamsLogged, events.TagsSet, events.MetricsLogged)
def log_batch(call: Call, run_id: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
    """Record a batch, as one event for each kind."""
    if params:
        call.record(run_id, events.ParamsLogged, _params(params))
    if tags:
        call.record(run_id, events.TagsSet, _tags(call.store, tags))
    if metrics and len(metrics) == 1:
        call.capture.recorder.record_metric(run_id, metrics[0], call.store)
    elif metrics:
        call.capture.recorder.record_metrics(run_id, metrics, call.store)


@_handles()
def log_metric_async(call: Call, run_id: str, metric: Any) -> None:
    """Attach the caller's context to the point; the queue's own write makes the event."""
    call.capture.recorder.attach_context(run_id, (metric,))


@_handles()
def log_batch_async(call: Call, run_id: str, metrics: Any = (), *_: Any, **__: Any) -> None:
    """Attach the caller's context to every point of the batch."""
    if metrics:
        call.capture.recorder.attach_context(run_id, metrics)


# -- datasets and models -----------------------------------------------------------------


@_handles(events.InputsLogged)
def log_inputs(call: Call, run_id: str, datasets: Any = None, models: Any = None) -> None:
    """Record datasets and models that the run uses."""
    inputs = [serialize.dataset(item) for item in datasets or ()]
    call.record(run_id, events.InputsLogged, inputs, [item.model_id for item in models or ()])


@_handles(events.OutputsLogged)
def log_outputs(call: Call, run_id: str, models: Any) -> None:
    """Record models that the run produces, each with its step."""
    call.record(run_id, events.OutputsLogged, [(item.model_id, item.step) for item in models])


@_handles(events.ModelLogged)
def create_logged_model(call: Call, *_: Any, **__: Any) -> None:
    """Record a new model, and remember its run."""
    _remember_model(
        call.capture, call.result, call.result.source_run_id or call.capture.active_run()
    )
    _record_model(call, *serialize.logged_model_fields(call.result))


def _remember_model(capture: CaptureSession, model: Any, run_id: str | None) -> None:
    capture.remember_root(model.artifact_location, "model", model.model_id)
    if run_id:
        capture.model_runs[model.model_id] = run_id


def _record_model(call: Call, model_id: str, *fields: Any) -> None:
    run_id = call.capture.model_runs.get(model_id) or _run_or_store(call)
    call.record(run_id, events.ModelLogged, model_id, *fields)


def _change_model(call: Call, model_id: str, **changes: Any) -> None:
    """Record changed fields of a model, by name; the others stay."""
    names = FIELDS[events.ModelLogged.kind]
    _record_model(call, model_id, *map(changes.get, names[names.index("model_id") + 1 :]))


@_handles()
def get_logged_model(call: Call, *_: Any, **__: Any) -> None:
    """Remember the model's run and artifact root; a read makes no event."""
    _remember_model(call.capture, call.result, call.result.source_run_id)


@_handles(events.ModelLogged)
def finalize_logged_model(call: Call, model_id: str, status: Any) -> None:
    """Record the final status of a model."""
    run_id = getattr(call.result, "source_run_id", None)
    if run_id:
        call.capture.model_runs[model_id] = run_id
    _change_model(call, model_id, status=serialize.model_status(status))


@_handles(events.ModelLogged)
def set_logged_model_tags(call: Call, model_id: str, tags: Any) -> None:
    """Record tags of a model."""
    _change_model(call, model_id, tags={tag.key: tag.value for tag in tags})


@_handles(events.ModelLogged)
def delete_logged_model_tag(call: Call, model_id: str, key: str) -> None:
    """Record the deletion of a model's tag."""
    _change_model(call, model_id, deleted_tag=key)


@_handles(events.ModelLogged)
def log_logged_model_params(call: Call, model_id: str, params: Any) -> None:
    """Record params of a model."""
    _change_model(call, model_id, params={param.key: param.value for param in params})


@_handles(events.ModelLogged)
def delete_logged_model(call: Call, model_id: str) -> None:
    """Record the deletion of a model."""
    _change_model(call, model_id, status="DELETED")


HANDLERS[HARD_DELETES["model"]] = HANDLERS["delete_logged_model"]


# -- all others --------------------------------------------------------------------------

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
_OF_REGISTRY = frozenset({"model", "version", "alias", "key"})


def _store_called(
    method: str, signature: inspect.Signature, call: Call, /, *args: Any, **kwargs: Any
) -> None:
    capture, store = call.capture, call.store
    bound = signature.bind(store, *args, **kwargs)
    values = {k: v for k, v in list(bound.arguments.items())[1:] if k != "kwargs"}
    arguments = serialize.arguments(method, values)
    answer = serialize.result(method, call.result)
    fields = answer if isinstance(answer, dict) else {}
    trace = _trace_of_call(capture, arguments, fields)
    subjects = _subjects(method, arguments, answer)
    if trace:
        subjects.setdefault("trace", trace)
    if "experiment" in method:
        capture.forget_experiment(store, subjects.get("experiment", ""))
    run_id = _run_of_call(capture, arguments, fields, trace) or capture.active_run_in(store)
    event = (method, subjects, arguments, answer)
    # A registry store cannot take the document of a run; the tracking store with its URI can.
    home = capture.tracking.get(store_uri(store)) if run_id else None
    capture.recorder.record(run_id or _run_or_store(call), events.StoreCalled, *event, store=home)
    # MLflow exports the spans of a trace before the trace itself, which names its run.
    if run_id is None and method == "log_spans" and trace:
        capture.early_spans[trace] = event
    elif (early := capture.early_spans.pop(trace or "", None)) and run_id is not None:
        capture.recorder.record(run_id, events.StoreCalled, *early)


def _subjects(method: str, arguments: Mapping[str, Json], answer: Json) -> dict[str, str]:
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
    if in_registry and not method.startswith("link_"):
        return {kind: subjects[kind] for kind in subjects if kind in _OF_REGISTRY}
    return subjects


def _trace_of_call(
    capture: CaptureSession, arguments: Mapping[str, Any], fields: Mapping[str, Any]
) -> str | None:
    """Return the id of the trace of a call, and remember which run the trace belongs to."""
    info = arguments.get("trace_info")
    info = info if isinstance(info, dict) else {}
    sources = (arguments, fields, info)
    ids = (source.get(key) for source in sources for key in ("trace_id", "request_id"))
    trace = next((str(i) for i in ids if isinstance(i, str | int)), None)
    spans = arguments.get("spans")
    if trace is None and isinstance(spans, list) and spans and isinstance(spans[0], dict):
        attribute = (spans[0].get("attributes") or {}).get("mlflow.traceRequestId", "")
        trace = str(attribute).strip('"') or None
    run_id = (info.get("trace_metadata") or {}).get("mlflow.sourceRun")
    if trace and run_id:
        capture.trace_runs[trace] = str(run_id)
    return trace


def _run_of_call(
    capture: CaptureSession,
    arguments: Mapping[str, Any],
    fields: Mapping[str, Any],
    trace: str | None,
) -> str | None:
    """Return the run whose document a call belongs to, if any."""
    run_id = arguments.get("run_id") or fields.get("run_id") or capture.trace_runs.get(trace or "")
    model_id = arguments.get("model_id") or fields.get("model_id")
    run_id = run_id or capture.model_runs.get(str(model_id)) or fields.get("source_run_id")
    return str(run_id) if run_id else None


def _run_or_store(call: Call) -> str:
    """Return the active run or, without one, the id that stands for the store."""
    capture, store = call.capture, call.store
    return capture.active_run_in(store) or store_id(capture.store_reference(store)["uuid"])
