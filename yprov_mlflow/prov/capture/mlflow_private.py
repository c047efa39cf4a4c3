"""All private names of MLflow that this package uses, one small function for each.

No other module of ours reads or writes a name of MLflow that begins with an underscore, or the
``__dict__`` of an object of MLflow. All names exist in MLflow 2.22 to 3.17 unless a docstring
says otherwise. MLflow imports this module at every start, so it imports mlflow in functions only.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yprov_mlflow.prov.capture.contexts import ContextPath

SERVER_STORE_VARIABLE = "_MLFLOW_SERVER_FILE_STORE"
"""Variable in which ``mlflow server`` passes the URI of the backend store to its workers."""

# -- functions and methods that patches replaces -------------------------------------------

# Functions of ``tracking_utils()`` and ``registry_utils()``: a client's URI, passed or set.
RESOLVE_TRACKING_URI = "_resolve_tracking_uri"
RESOLVE_REGISTRY_URI = "_resolve_registry_uri"

GET_STORE = "_get_store_with_resolved_uri"  # cached method of store registries: makes all stores

HARD_DELETES = {
    "run": "_hard_delete_run",
    "experiment": "_hard_delete_experiment",
    "model": "_hard_delete_logged_model",
}
"""Methods of tracking stores that ``mlflow gc`` calls; for models only from MLflow 3 on."""


def tracking_utils() -> Any:
    """Return ``mlflow.tracking._tracking_service.utils``, which may still be importing."""
    from mlflow.tracking._tracking_service import utils

    return utils


def registry_utils() -> Any:
    """Return ``mlflow.tracking._model_registry.utils``, which may still be importing."""
    from mlflow.tracking._model_registry import utils

    return utils


def registry_store_registry() -> Any:
    """Return the class of the registry that makes model registry stores."""
    from mlflow.tracking._model_registry.registry import ModelRegistryStoreRegistry

    return ModelRegistryStoreRegistry


def import_hooks() -> tuple[Any, tuple[dict[str, Any], dict[str, Any]]]:
    """Return the class that finds modules with import hooks, and the two tables of hooks."""
    from mlflow.utils import import_hooks as module

    return module.ImportHookFinder, (module._post_import_hooks, module._import_error_hooks)


def active_runs() -> list[Any]:
    """Return the active runs of this thread, the innermost last; MLflow changes this list."""
    from mlflow.tracking import fluent

    stack: list[Any] = fluent._active_run_stack.get()
    return stack


def after_import(name: str, hook: Callable[[Any], None]) -> None:
    """Call ``hook`` with a module once it is imported; now, if it is."""
    from mlflow.utils import import_hooks as module

    module.register_post_import_hook(hook, name)


def keep_contexts_of_batches(attach: Callable[[str | None, list[Any]], None]) -> None:
    """Have ``attach`` see the run and the metrics that autologging collects for a later write."""
    from mlflow.utils.autologging_utils import BatchMetricsLogger

    original = BatchMetricsLogger.record_metrics
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def record_metrics(self: Any, *args: Any, **kwargs: Any) -> Any:
        waiting = len(self.data)
        result = original(self, *args, **kwargs)
        attach(self.run_id, self.data[waiting:])  # empty if the batch was written at once
        return result

    BatchMetricsLogger.record_metrics = record_metrics


def limit_requests(limits: Callable[[], dict[str, Any]]) -> None:
    """Have ``limits`` add options to each request to a server, such as ``max_retries``."""
    from mlflow.utils import rest_utils

    original = rest_utils.http_request
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def http_request(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **{**kwargs, **limits()})

    rest_utils.http_request = http_request


# -- stores and repositories ---------------------------------------------------------------

_URI = "_yprov_uri"


def set_store_uri(store: Any, uri: Any) -> None:
    """Attach its URI to a store; the stores of MLflow keep it in different ways."""
    store.__dict__[_URI] = uri


def store_uri(store: Any) -> Any:
    """Return the URI that ``set_store_uri`` attached, or None."""
    return getattr(store, _URI, None)


def kept_uri(store: Any) -> dict[str, Any]:
    """Return the attribute of a store with its URI, for its pickle."""
    return {_URI: store.__dict__[_URI]} if _URI in store.__dict__ else {}


def open_store(uri: str) -> Any:
    """Return MLflow's tracking store for a URI, with an installed driver if it names none."""
    from yprov_mlflow.prov.drivers import with_driver

    return tracking_utils()._get_store(with_driver(uri))


@contextlib.contextmanager
def few_database_retries() -> Iterator[None]:
    """Have MLflow give up a database that does not answer after a second, not after a minute."""
    from mlflow.store.db import utils

    before = getattr(utils, "MAX_RETRY_COUNT", None)
    utils.MAX_RETRY_COUNT = 2
    try:
        yield
    finally:
        utils.MAX_RETRY_COUNT = before


def has_store_type(uri: str) -> bool:
    """Return whether MLflow has a kind of tracking store for a URI; none is opened."""
    from mlflow.exceptions import MlflowException

    try:
        return bool(tracking_utils()._tracking_store_registry.get_store_builder(uri))
    except MlflowException:
        return False


_CLIENTS = ("mlflow.tracking.", "mlflow.tracing.")


def is_called_by_client(depth: int = 1) -> bool:
    """Return whether MLflow's client, and not a store or repository, made a call.

    Args:
        depth: How many frames the called function is above the one that asks, plus 1.
    """
    return str(sys._getframe(depth + 1).f_globals.get("__name__")).startswith(_CLIENTS)


def is_printing_url(depth: int = 1) -> bool:
    """Return whether MLflow reads a run only to print its URL, as it does at the end of a run."""
    return sys._getframe(depth + 1).f_code.co_name == "_log_url"


def rebind_async_queue(store: Any) -> None:
    """Have a store's queue of asynchronous logging call the method that the store has now."""
    # ``AbstractStore.__init__`` passes the bound method of the original class to its queue.
    queue = store.__dict__.get("_async_logging_queue")
    method = getattr(queue, "_logging_func", None)
    if method is not None and getattr(method, "__self__", None) is store:
        queue._logging_func = getattr(store, method.__name__)


def cached_artifact_repositories() -> list[Any]:
    """Return the artifact repositories that clients made, one for each run id."""
    return list(getattr(tracking_utils(), "_artifact_repos_cache", {}).values())


class _FixedIds:
    """Stands for the module ``uuid`` in MLflow's file store: the next id of a thread is fixed."""

    def __init__(self, module: Any, text: str) -> None:
        self._module, self._text, self._thread = module, text, threading.get_ident()

    def uuid4(self) -> Any:
        """Return an object with the fixed id; in other threads, a random UUID."""
        if threading.get_ident() != self._thread:
            return self._module.uuid4()
        return _FixedId(self._text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class _FixedId(str):
    """An id as MLflow reads it from a UUID."""

    @property
    def hex(self) -> str:
        return str(self)


@contextlib.contextmanager
def fixed_file_store_id(text: str) -> Iterator[None]:
    """Let the file store give the next run or logged model of this thread this id.

    A model's id is ``m-`` and this text. MLflow's own method writes the files.
    """
    from mlflow.store.tracking import file_store

    module = file_store.uuid
    file_store.uuid = _FixedIds(module, text)
    try:
        yield
    finally:
        file_store.uuid = module


def create_file_experiment(store: Any, name: str, experiment_id: str, tags: Sequence[Any]) -> str:
    """Create an experiment of a file store with this id, which must be free."""
    return str(store._create_experiment_with_id(name, experiment_id, None, tags))


def file_run_folder(store: Any, run_id: str) -> Path | None:
    """Return the folder of a run in a file store, whether it can be read or not; None if none."""
    from mlflow.exceptions import MlflowException

    try:
        folder = store._find_run_root(run_id)[1]
    except MlflowException:  # no run of a file store can have this id
        return None
    return Path(folder) if folder is not None else None


def log_file_model_point(store: Any, run_id: str, metric: Any) -> None:
    """Add a point to its logged model in a file store, and not to the run, which has it."""
    experiment_id = store.get_run(run_id).info.experiment_id
    store._log_model_metric(experiment_id, metric.model_id, run_id, metric)


def file_store_of(client: Any) -> Any:
    """Return the file store behind a client of MLflow; None if it has another store."""
    store = client._tracking_client.store
    return store if hasattr(store, "_create_experiment_with_id") else None


# -- inside mlflow server --------------------------------------------------------------------


def _server_handlers() -> Any:
    from mlflow.server import handlers

    return handlers


def server_tracking_store() -> Any:
    """Return the server's tracking store; the first call makes it."""
    return _server_handlers()._get_tracking_store()


def server_artifact_repository(root: str) -> tuple[Any, str]:
    """Return the server's artifact repository and the folder of a run in it, with a slash.

    Args:
        root: Artifact URI of the run, ``mlflow-artifacts:/…``, which only clients can open.
    """
    handlers = _server_handlers()
    prefix = handlers._get_proxied_run_artifact_destination_path(root) + "/"
    return handlers._get_artifact_repo_mlflow_artifacts(), prefix


def has_own_registry() -> bool:
    """Return whether the server's model registry is another store than its tracking store."""
    tracking = os.environ.get(SERVER_STORE_VARIABLE)
    return os.environ.get("_MLFLOW_SERVER_REGISTRY_STORE", tracking) not in (None, "", tracking)


def server_application() -> Any:
    """Return the Flask application of the server, and the prefix of its routes."""
    from mlflow.server import app

    return app, _server_handlers()._add_static_prefix("")


# -- runs, metrics and traces ----------------------------------------------------------------

# Recorder.record_metric reads these attributes itself: a call for each would cost its hot path.
MODEL_ID = "_model_id"  # the logged model that the point is about; from MLflow 3 on
DATASET_NAME = "_dataset_name"  # what the point was computed on; from MLflow 3 on


def latest_metrics(run: Any) -> Sequence[Any]:
    """Return the latest ``Metric`` of each key; the public ``metrics`` has values only."""
    return getattr(run.data, "_metric_objs", ())


# Context paths of points that wait in a queue, by their ``id``: the metrics are the user's.
QUEUED: dict[int, tuple[weakref.ref[Any], ContextPath]] = {}


def set_metric_context(metrics: Sequence[Any], path: ContextPath) -> None:
    """Remember the context path of metrics that another thread will log."""
    for metric in metrics:
        key = id(metric)
        forget = functools.partial(_forget_metric, key)
        QUEUED[key] = weakref.ref(metric, forget), path


# Context paths of points that autologging writes in a batch later, by run, key, timestamp and step:
# the client writes copies of them.
BATCHED: dict[tuple[str, str, int, int], ContextPath] = {}
_MAX_BATCHED = 10_000  # those of a batch that is never written must not pile up


def set_batch_context(run_id: str, metrics: Sequence[Any], path: ContextPath) -> None:
    """Remember the context path of metrics of which the client will log copies."""
    for metric in metrics:
        BATCHED[run_id, metric.key, metric.timestamp, metric.step or 0] = path
    while len(BATCHED) > _MAX_BATCHED:
        BATCHED.pop(next(iter(BATCHED)), None)


def _forget_metric(key: int, _: object) -> None:
    QUEUED.pop(key, None)


def metric_contexts(run_id: str, metrics: Sequence[Any], default: ContextPath) -> list[ContextPath]:
    """Return the context path that is remembered of each metric of a run, or the default."""
    if not QUEUED and not BATCHED:
        return [default] * len(metrics)
    return [
        queued[1]
        if (queued := QUEUED.get(id(m)))
        else BATCHED.pop((run_id, m.key, m.timestamp, m.step or 0), default)
        for m in metrics
    ]


def metric_models(metrics: Sequence[Any]) -> list[str | None]:
    """Return the logged model of each metric; the public property needs MLflow 3."""
    return [metric.__dict__.get(MODEL_ID) for metric in metrics]


def metric_datasets(metrics: Sequence[Any]) -> list[tuple[str, str] | None]:
    """Return name and digest of each metric's dataset; the public properties need MLflow 3."""
    names = [metric.__dict__.get(DATASET_NAME) for metric in metrics]
    if not any(names):
        return [None] * len(names)
    return [n and (n, m.dataset_digest) for n, m in zip(names, metrics, strict=True)]


# -- checks of calls, which raise MLflow's own errors ---------------------------------------


def _validation() -> Any:
    from mlflow.utils import validation

    return validation


def validate_metric(metric: Any) -> None:
    """Raise MLflow's error if a point is not valid."""
    _validation()._validate_metric(metric.key, metric.value, metric.timestamp, metric.step)


def validate_param(param: Any) -> None:
    """Raise MLflow's error if a param is not valid."""
    _validation()._validate_param(param.key, param.value)


def validate_tag(tag: Any) -> None:
    """Raise MLflow's error if a tag is not valid."""
    _validation()._validate_tag(tag.key, tag.value)


def validate_batch_limits(metrics: Any, params: Any, tags: Any) -> None:
    """Raise MLflow's error if a batch is too large, or has a param twice."""
    _validation()._validate_batch_log_limits(metrics, params, tags)
    _validation()._validate_param_keys_unique(params)


def validate_datasets(datasets: Any) -> None:
    """Raise MLflow's error if datasets cannot be inputs."""
    _validation()._validate_dataset_inputs(datasets)


def metadata_of_open_trace(trace_id: str) -> dict[str, str] | None:
    """Return the metadata of a trace that this process is recording.

    Return None for traces that another process began.
    """
    module = sys.modules.get("mlflow.tracing.trace_manager")
    if module is None:
        return None
    with module.InMemoryTraceManager.get_instance().get_trace(trace_id) as trace:
        if trace is None or getattr(trace, "is_remote_trace", False):
            return None
        return trace_metadata(trace.info)


def stored_spans(store: Any, trace_id: str, server: bool) -> list[dict[str, Any]]:
    """Return the spans of a trace in a store or, inside a server, among its artifacts."""
    info = store.get_trace_info(trace_id)
    if info.tags.get("mlflow.trace.spansLocation") == "TRACKING_STORE":
        # Without this, MLflow waits for spans that may be on their way.
        partial = "allow_partial" in inspect.signature(store.get_trace).parameters
        trace = store.get_trace(trace_id, **({"allow_partial": True} if partial else {}))
        spans = [span.to_dict() for span in trace.data.spans]
    elif server:
        spans = _server_handlers()._get_trace_artifact_repo(info).download_trace_data()["spans"]
    else:
        return []
    return list(json.loads(json.dumps(spans, default=str)))


def trace_infos(store: Any, trace_ids: Sequence[str], ask: Callable[..., Any]) -> list[Any]:
    """Return the ``TraceInfo`` of those traces that a store has; few stores answer for several.

    Args:
        store: A tracking store.
        trace_ids: The traces.
        ask: Calls a function of the store, and returns None if it raises.
    """
    several = getattr(store, "batch_get_trace_infos", None) if len(trace_ids) > 1 else None
    infos = ask(several, list(trace_ids)) if several is not None else None
    if infos is None:
        single = getattr(store, "get_trace_info", None)
        infos = [ask(single, trace_id) for trace_id in trace_ids] if single is not None else []
    return [info for info in infos if info is not None]


def pages(search: Callable[..., Any], **options: Any) -> Iterator[Any]:
    """Yield the results of a search; some searches return pages, others pairs with a token."""
    token, more = None, True
    while more:
        page = search(**options, page_token=token)
        items, token = page if isinstance(page, tuple) else (page, getattr(page, "token", None))
        yield from items
        more = bool(token)


def trace_of(entity: Any) -> str | None:
    """Return the trace of a span or of a ``TraceInfo``, which MLflow 2 names otherwise."""
    trace = getattr(entity, "trace_id", None) or getattr(entity, "request_id", None)
    return str(trace) if trace else None


def trace_metadata(info: Any) -> dict[str, str]:
    """Return the metadata of a ``TraceInfo``, which MLflow 2 names otherwise; empty for None."""
    names = ("trace_metadata", "request_metadata")
    return dict(next((m for name in names if (m := getattr(info, name, None))), ()))


def upload_trace_data(client: Any, info: Any, data: Any) -> None:
    """Upload the spans of a trace as a file, for stores that keep no spans; from MLflow 3 on."""
    client._upload_trace_data(info, data)
