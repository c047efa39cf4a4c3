"""Which call of a store becomes which event: one function for each, named as the call.

A handler runs after the call has succeeded. After ``call`` it has the parameters of MLflow's
method, so that Python itself binds the arguments. Any other method that writes becomes a
``StoreCalled`` with all its arguments, also in newer versions of MLflow.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from mlflow.entities import RunStatus
from mlflow.store.tracking.file_store import FileStore
from mlflow.utils import validation
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from yprov_mlflow.prov import events, serialize
from yprov_mlflow.prov.capture import document_thread, folds, reads
from yprov_mlflow.prov.capture.mlflow_private import HARD_DELETES
from yprov_mlflow.prov.capture.owned_calls import Call, store_called
from yprov_mlflow.prov.capture.session import CaptureSession
from yprov_mlflow.prov.events import FIELDS, TERMINAL, Event

Handler = Callable[..., None]


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
        return functools.partial(store_called, name, inspect.signature(method))
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
    state = call.capture.recorder.state(info.run_id)
    state.created, state.parent = True, call.result.data.tags.get(MLFLOW_PARENT_RUN_ID, "")
    document_thread.prepare(call.capture)


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
    state = capture.recorder.state(run_id, call.store)
    if status is not None:
        capture.recorder.goes_on(state)  # the update itself is not a late event
    if status in TERMINAL:
        # Last samples come before the event of the end, after which they would be late events.
        capture.recorder.finish(run_id)
        capture.publisher.finish(run_id, SYSTEM_METRICS_TIMEOUT_S)
        if run_id in folds.registered:
            folds.log_folds(capture, call.store, run_id)
    call.record(run_id, events.RunUpdated, status, end_time, run_name or None, None)
    if status in TERMINAL:
        capture.recorder.ended(state)
        document_thread.deliver(capture, run_id)


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
    inputs = [_dataset(item) for item in datasets or ()]
    call.record(run_id, events.InputsLogged, inputs, [item.model_id for item in models or ()])


def _dataset(item: Any) -> dict[str, Any]:
    dataset = serialize.dataset(item)
    sha256 = reads.source_sha256(dataset)
    return {**dataset, "source_sha256": sha256} if sha256 is not None else dataset


@_handles(events.OutputsLogged)
def log_outputs(call: Call, run_id: str, models: Any) -> None:
    """Record models that the run produces, each with its step."""
    call.record(run_id, events.OutputsLogged, [(item.model_id, item.step) for item in models])


@_handles(events.ModelLogged)
def create_logged_model(call: Call, *_: Any, **__: Any) -> None:
    """Record a new model, and remember its run."""
    _remember_model(call)
    _record_model(call, *serialize.logged_model_fields(call.result))


def _remember_model(call: Call) -> None:
    model = call.result
    call.capture.remember_root(model.artifact_location, "model", model.model_id)
    call.capture.model_runs[model.model_id] = model.source_run_id or ""


def _record_model(call: Call, model_id: str, *fields: Any) -> None:
    run_id = call.capture.run_of_model(model_id, call.store)
    call.record(run_id or call.store_id(), events.ModelLogged, model_id, *fields)


def _change_model(call: Call, model_id: str, **changes: Any) -> None:
    """Record changed fields of a model, by name; the others stay."""
    names = FIELDS[events.ModelLogged.kind]
    _record_model(call, model_id, *map(changes.get, names[names.index("model_id") + 1 :]))


@_handles()
def get_logged_model(call: Call, *_: Any, **__: Any) -> None:
    """Remember the model's run and artifact root; a read makes no event."""
    _remember_model(call)


@_handles(events.ModelLogged)
def finalize_logged_model(call: Call, model_id: str, status: Any) -> None:
    """Record the final status of a model."""
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
