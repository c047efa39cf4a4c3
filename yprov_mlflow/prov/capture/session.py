"""State of capture in this process: its recorder, and which run, model or trace owns what."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import mlflow

from yprov_mlflow.prov import ids, settings
from yprov_mlflow.prov.capture import file_adapters, mlflow_private
from yprov_mlflow.prov.capture.diagnosis import local_path
from yprov_mlflow.prov.capture.mlflow_private import store_uri
from yprov_mlflow.prov.capture.one_run import OneRun
from yprov_mlflow.prov.capture.recorder import Recorder
from yprov_mlflow.prov.capture.switch import Boundary, switch
from yprov_mlflow.prov.capture.system_metrics import Publisher
from yprov_mlflow.prov.collectors import ranks
from yprov_mlflow.prov.collectors.base import Quantity
from yprov_mlflow.prov.errors import UsageError
from yprov_mlflow.prov.redaction import redact
from yprov_mlflow.prov.sampling.opened_files import NO_RUN
from yprov_mlflow.prov.setting_values import DEFERRED, DIRECT, ONE_RUN
from yprov_mlflow.prov.uris import is_offline, offline_folder

_RUN = re.compile(r"(?:^|/)([0-9a-f]{32})/artifacts(?:/(.*))?$")
_MODEL = re.compile(r"/models/(m-[0-9a-f]{32})/artifacts(?:/(.*))?$")
_TRACE = re.compile(r"/traces/(tr-[0-9a-f]+)/artifacts(?:/(.*))?$")
_RUNS_SCHEME = re.compile(r"^runs:/+([^/]+)(?:/(.*))?$")
# In this order: the artifacts of a model or trace may be below a folder of a run.
_ARTIFACT_ROOTS = (("run", _RUNS_SCHEME), ("model", _MODEL), ("trace", _TRACE), ("run", _RUN))
_NAMED_STORES = {"databricks", "databricks-uc", "uc"}

SETTLE = ""
"""Passed to ``deliver_later`` in place of a run: to find the owners of early spans."""

SOURCE_RUN = "mlflow.sourceRun"  # metadata of a trace: the run that it belongs to
_SCHEMA_VERSION = "mlflow.trace_schema.version"  # metadata that every started trace has

Value = TypeVar("Value")


class ArtifactOwner(NamedTuple):
    """The run, model or trace (``kind``) that owns an artifact; ``path`` is below its root."""

    kind: str
    id: str
    path: str


class EarlySpans(NamedTuple):
    """Spans that were logged before their trace, as a ``StoreCalled``."""

    store: Any
    fields: tuple[Any, ...]
    time_s: float  # when they were logged, by a monotonic clock


class BoundedDict(OrderedDict[str, Value]):
    """A dictionary that drops its oldest entries, for processes that never end."""

    max_size = 10_000

    def __setitem__(self, key: str, value: Value) -> None:
        super().__setitem__(key, value)
        if len(self) > self.max_size:
            self.popitem(last=False)


@dataclasses.dataclass(slots=True)
class CallGuard:
    """The captured calls that a thread is inside of, so that one call makes one event."""

    store: Any = None  # whose method runs: stores call their own public methods
    repository: bool = False  # whether a repository's method runs: repositories wrap each other
    reading: Any = None  # parts of the read that runs: such calls contain each other
    # Objects read so far, of each call that loads a model.
    loading: list[list[Any]] = dataclasses.field(default_factory=list)
    off: bool = False  # whether nothing is captured
    own: bool = False  # whether this package has started the thread
    active_runs: list[Any] | None = None  # MLflow's list of the thread, once it was asked for
    last_active: tuple[Any, str | None] = (None, None)  # the last run of it, with its id


class ThreadGuard(threading.local):
    """The guard of the running thread: ``here``."""

    def __init__(self) -> None:
        # An object of its own: its attributes are read several times in each call, and each read
        # of a thread-local attribute costs a look-up.
        self.here = CallGuard(own=threading.current_thread().name.startswith("yprov-"))


class CaptureSession:
    """State shared by all wrapped stores and artifact repositories of one process."""

    def __init__(self, parent: CaptureSession | None = None, uri: str | None = None) -> None:
        """Start with settings of environment and project, or in a fork with the parent's state.

        Args:
            parent: The session of the parent process.
            uri: The first store that is captured, by default MLflow's current one.
        """
        # Has a document written again after late events; it loads the translator and the formats.
        self.deliver_later: Callable[[CaptureSession, str], None] = (
            parent.deliver_later if parent else lambda _, run_id: None
        )
        self.server = mlflow_private.SERVER_STORE_VARIABLE in os.environ
        config = parent.recorder.settings if parent else _settings(uri)
        side = "server" if self.server else "client"
        self.recorder: Recorder = Recorder(config, side=side, forked=parent is not None)
        self.publisher = Publisher(config.system_metrics, self.recorder.warn)
        self.recorder.collectors.on_sample = self._publish
        self.recorder.collectors.owner_of_files = self._owner_of_files
        self.recorder.collectors.own_files = self.local_folders
        self.recorder.collectors.watch_packages = file_adapters.install
        self.recorder.on_late_event = lambda run_id: self.deliver_later(self, run_id)
        self.recorder.journaled_uri = lambda store: redact(absolute(store_uri(store) or ""))
        self.recorder.directory_of = self._directory_of
        self.guard = ThreadGuard()
        # Reentrant, as a signal handler may end a run in the middle of a call.
        self.lock = threading.RLock()
        self.document_thread: Any = None
        # A forked child is not the rank that its parent is.
        job = ranks.job() if config.ranks == ONE_RUN and not (self.server or parent) else None
        self.one_run = OneRun(self, job) if job is not None else None
        self.outbox: Any = None
        # Kind and id of the owner of each artifact root, by its URI.
        self.artifact_roots: BoundedDict[tuple[str, str]] = (
            parent.artifact_roots if parent else BoundedDict()
        )
        # Runs of logged models and of traces, by their ids; empty for those that no run owns.
        self.model_runs: BoundedDict[str] = parent.model_runs if parent else BoundedDict()
        self.trace_runs: BoundedDict[str] = parent.trace_runs if parent else BoundedDict()
        # Paths of the kept code that this process has uploaded, by run.
        self.uploaded_code: BoundedDict[frozenset[str]] = BoundedDict()
        # Spans of traces whose run is not known yet, by trace id.
        self.early_spans: dict[str, list[EarlySpans]] = {}
        # Records those whose run is known by now.
        self.settle: Callable[[], None] = lambda: None
        self.is_forked = parent is not None
        # Calls that wait for deferred stores (``call_queue``); a fork writes its own only.
        self.queues: dict[Any, Any] = {}
        # Wrapped tracking stores, by URI.
        self.tracking: dict[str, Any] = parent.tracking if parent else {}
        self._experiments: BoundedDict[str] = parent._experiments if parent else BoundedDict()
        self._references: dict[str, dict[str, str]] = parent._references if parent else {}
        # Folders of the offline stores of this process, by what stands for each.
        self._offline: dict[str, Path] = parent._offline if parent else {}

    def _directory_of(self, run_id: str, store: Any) -> Path:
        """Return the folder with the journals of a run or store: an offline store has its own."""
        if is_offline(uri := store_uri(store)):
            return Path(offline_folder(uri))
        return self._offline.get(run_id, self.recorder.directory)

    def _publish(
        self, run_id: str, quantities: Sequence[Quantity], values: Sequence[float | None]
    ) -> None:
        """Log a sample as system metrics, if the run has them."""
        if (state := self.recorder.get(run_id)) is not None:
            self.publisher.take(run_id, state.store, quantities, values, time.time_ns())

    def _owner_of_files(self) -> str | None:
        """Return the active run of this thread, or ``NO_RUN`` while MLflow or capture works."""
        guard = self.guard.here
        if guard.off or guard.own or guard.repository or guard.store is not None:
            return NO_RUN
        if guard.active_runs is None:
            guard.active_runs = mlflow_private.active_runs()
        runs = guard.active_runs
        if not runs:
            return None
        if guard.last_active[0] is not runs[-1]:  # a comparison costs less than two properties
            guard.last_active = runs[-1], runs[-1].info.run_id
        return guard.last_active[1]

    def local_folders(self, run_id: str) -> list[str]:
        """Return the local artifact root of a run, and the local stores."""
        roots = [uri for uri, owner in self.artifact_roots.items() if owner == ("run", run_id)]
        paths = [f"{local_path(uri)}/" for uri in roots if local_path(uri)]
        stores = [local_path(absolute(uri)) for uri in self.tracking]
        return [*paths, *(str(path) for path in stores if path)]

    def ask(self, question: Callable[..., Any], *args: Any) -> Any:
        """Return an answer of MLflow, or None if it raises: no answer is worth a run."""
        with Boundary(self.recorder.note):
            return question(*args)
        return None

    # -- stores ------------------------------------------------------------------------

    def store_reference(self, store: Any) -> dict[str, str]:
        """Return ``uuid`` and ``uri`` (without password) of a wrapped store."""
        uri = store_uri(store) or type(store).__name__
        if uri in self._references:
            return self._references[uri]
        first = self.ask(self._first_experiment, store, uri)
        created = getattr(first, "creation_time", None)
        location = getattr(first, "artifact_location", None)
        reference = {
            "uuid": ids.store_uuid(created, location, absolute(uri)),
            "uri": redact(absolute(uri)),
        }
        if created is not None:
            self._references[uri] = reference
        if is_offline(uri):
            self._offline[ids.store_id(reference["uuid"])] = Path(offline_folder(uri))
        return reference

    def _first_experiment(self, store: Any, uri: str) -> Any:
        # A registry store lacks experiments; the tracking store with the same URI has them.
        if not hasattr(store, "get_experiment"):
            if uri not in self.tracking and self.server:
                mlflow_private.server_tracking_store()
            store = self.tracking[uri]
        return store.get_experiment("0")

    def delivery_of(self, uri: Any) -> str:
        """Return how calls reach the store at a URI: by its option, or else the setting.

        Raises:
            SettingsError: The option has an invalid value.
        """
        # A server's answer says that the store has it; other threads do not see stores in memory.
        if self.server or is_in_memory(uri):
            return DIRECT
        # The journals are the store itself; the database is a view of them.
        if is_offline(uri):
            return DEFERRED
        if option := switch.deliveries.get(uri):
            return settings.delivery(option, uri)
        return self.recorder.settings.delivery

    def store_behind(self, repository: Any) -> Any:
        """Return the wrapped tracking store of an artifact repository, or None.

        A repository made without a tracking URI uses MLflow's current one; in a server, which
        needs none, it belongs to the only store.
        """
        uri = getattr(repository, "tracking_uri", None) or mlflow.get_tracking_uri()
        only = next(iter(self.tracking.values())) if len(self.tracking) == 1 else None
        return self.tracking.get(uri, only)

    def experiment_name(self, store: Any, experiment_id: str) -> str | None:
        """Return the name of an experiment, or None if the store does not answer."""
        # A client reads each name once. Only a server sees when others rename an experiment.
        key = f"{store_uri(store) or ''} {experiment_id}"
        if key not in self._experiments or self.server:
            experiment = self.ask(store.get_experiment, experiment_id)
            if experiment is None:
                return None
            self._experiments[key] = experiment.name
        return self._experiments[key]

    def forget_experiment(self, store: Any, experiment_id: str) -> None:
        """Forget the name of an experiment, which may have changed."""
        self._experiments.pop(f"{store_uri(store) or ''} {experiment_id}", None)

    def creation_fields(self, store: Any, info: Any, tags: dict[str, str]) -> tuple[Any, ...]:
        """Return the fields of ``RunCreated`` after its header, from MLflow's ``RunInfo``."""
        return (
            str(info.experiment_id),
            self.experiment_name(store, info.experiment_id),
            info.run_name,
            info.user_id,
            info.start_time,
            info.artifact_uri,
            tags,
            self.store_reference(store),
        )

    # -- owners ------------------------------------------------------------------------

    def remember_root(self, artifact_uri: str | None, kind: str, owner_id: str) -> None:
        """Remember the run, model or trace (``kind``) that owns an artifact root."""
        if artifact_uri:
            self.artifact_roots[artifact_uri.rstrip("/")] = kind, owner_id

    def owner(
        self, artifact_uri: str, path: str, *, anywhere: bool = False
    ) -> ArtifactOwner | None:
        """Return the owner of ``path`` in the repository at ``artifact_uri``.

        None if it is not an artifact of a run, model or trace that is captured, or of one that
        may be anywhere.
        """
        root = artifact_uri.rstrip("/")
        if remembered := self.artifact_roots.get(root):
            return ArtifactOwner(*remembered, path)
        uri = "/".join(part for part in (root, path) if part)
        for kind, pattern in _ARTIFACT_ROOTS:
            match = pattern.search(uri)
            everything = anywhere or switch.everything or self.server
            if match and (everything or self._captured(kind, match[1])):
                return ArtifactOwner(kind, match[1], match[2] or "")
        return None

    def _captured(self, kind: str, owner_id: str) -> bool:
        if kind == "run":
            return self.recorder.get(owner_id) is not None
        return owner_id in (self.model_runs if kind == "model" else self.trace_runs)

    def run_of(self, owner: ArtifactOwner, store: Any) -> str | None:
        """Return the run whose document has the owner's artifacts; None if no run owns them."""
        if owner.kind == "run":
            return owner.id
        if owner.kind == "model":
            return self.run_of_model(owner.id, store)
        return self.run_of_trace(owner.id, store, ask=True)

    def run_of_model(self, model_id: str, store: Any) -> str | None:
        """Return the run that created a logged model; None if no run did."""
        if model_id not in self.model_runs and hasattr(store, "get_logged_model"):
            with self.uncaptured():
                model = self.ask(store.get_logged_model, model_id)
            if model is not None:
                self.model_runs[model_id] = model.source_run_id or ""
        return self.model_runs.get(model_id) or None

    def run_of_trace(self, trace_id: str, store: Any, *, ask: bool) -> str | None:
        """Return the run that a trace belongs to.

        Args:
            trace_id: The trace.
            store: Its wrapped tracking store.
            ask: Whether to ask the store, if this process has not made the trace.

        Returns:
            The run; empty if the trace belongs to no run of the store, None if that is not known.
        """
        if trace_id not in self.trace_runs:
            metadata = mlflow_private.metadata_of_open_trace(trace_id)
            if metadata is not None:
                self.trace_runs[trace_id] = metadata.get(SOURCE_RUN) or ""
            elif ask:
                self.remember_traces((trace_id,), store)
        run_id = self.trace_runs.get(trace_id)
        return "" if run_id and self._is_elsewhere(run_id, store) else run_id

    def remember_traces(self, trace_ids: Iterable[str], store: Any) -> None:
        """Ask the store for the runs of traces that are not known."""
        unknown = [trace_id for trace_id in trace_ids if trace_id not in self.trace_runs]
        with self.uncaptured():
            for info in mlflow_private.trace_infos(store, unknown, self.ask):
                metadata = mlflow_private.trace_metadata(info)
                # Without these, the store has only spans of the trace so far.
                if {SOURCE_RUN, _SCHEMA_VERSION} & metadata.keys():
                    self.trace_runs[str(mlflow_private.trace_of(info))] = (
                        metadata.get(SOURCE_RUN) or ""
                    )

    @contextlib.contextmanager
    def uncaptured(self) -> Iterator[None]:
        """Capture nothing that this thread does."""
        guard = self.guard.here
        off, guard.off = guard.off, True
        try:
            yield
        finally:
            guard.off = off

    def active_run(self) -> str | None:
        """Return the id of the caller's active fluent run, without starting one."""
        run = None if self.server else self.ask(mlflow.active_run)
        return run.info.run_id if run is not None else None

    def current_run(self) -> str:
        """Return the id of the active run, or else of the last one.

        Raises:
            UsageError: This process has not started a run.
        """
        run_id = self.active_run()
        if run_id is not None:
            return run_id
        run = mlflow.last_active_run()
        if run is None:
            raise UsageError("no run has been started yet: start one, or pass the id of a run")
        return str(run.info.run_id)

    def active_run_in(self, store: Any) -> str | None:
        """Return the caller's active run, unless it belongs to another captured store."""
        run_id = self.active_run()
        return None if run_id and self._is_elsewhere(run_id, store) else run_id

    def _is_elsewhere(self, run_id: str, store: Any) -> bool:
        """Return whether a run belongs to another captured store."""
        state = self.recorder.get(run_id)
        if state is None or state.store is None:
            return False
        return len({store_uri(state.store), store_uri(store)} & set(self.tracking)) > 1


def state_directory(default: Path, uri: str | None = None) -> Path:
    """Return the folder with the journals of a store's runs: an offline store is that folder.

    Args:
        default: The state folder.
        uri: The store; MLflow's current one by default.
    """
    uri = switch.unwrap(uri or mlflow.get_tracking_uri())
    with contextlib.suppress(ValueError):  # opening the store reports what is wrong with its URI
        return Path(offline_folder(uri)) if is_offline(uri) else default
    return default


def _settings(uri: str | None) -> settings.Settings:
    """Return the settings of this process; an offline store is the state folder of its runs.

    Documents still go to the user's index.
    """
    config = settings.load(capture=switch.everything)
    directory = state_directory(config.directory, uri)
    if directory == config.directory:
        return config
    index = config.index or config.index_folder
    origin = {**config.origin, "directory": "tracking URI"}
    return dataclasses.replace(config, directory=directory, index=index, origin=origin)


def absolute(uri: str) -> str:
    """Return a URI with an absolute local path, which is valid in every folder."""
    if is_offline(uri):
        return uri
    if uri.startswith("sqlite:///") and not uri.startswith("sqlite:////"):
        path = uri.removeprefix("sqlite:///")
        return uri if path.startswith(":memory:") else f"sqlite:///{os.path.abspath(path)}"
    if "://" not in uri and not uri.startswith("file:") and uri not in _NAMED_STORES:
        return f"file://{os.path.abspath(uri)}"
    return uri


def is_in_memory(uri: object) -> bool:
    """Return whether a store is an SQLite database in memory, which other threads do not see."""
    text = str(uri)
    return text.startswith("sqlite:") and (":memory:" in text or text == "sqlite://")


existing: CaptureSession | None = None  # the session of this process, once something is captured
_lock = threading.RLock()


def get(uri: str | None = None) -> CaptureSession:
    """Return the session of this process; the first call, for the store at ``uri``, makes it.

    Raises:
        SettingsError: A setting has an invalid value.
    """
    global existing
    if existing is None:
        with _lock:
            if existing is None:
                existing = CaptureSession(uri=uri)
    return existing


def attempt() -> CaptureSession | None:
    """Return the session of this process, or None if nothing is captured; warn if it cannot be."""
    if not switch.on or switch.broken:
        return None
    with Boundary(switch.give_up):  # a bad setting must not cost the run
        return get()
    return None


def _reset_in_child() -> None:
    """Start a session of its own in a forked child, with files and locks of its own."""
    global existing, _lock
    _lock = threading.RLock()
    if existing is not None:
        existing.guard.here.active_runs = None
        existing.recorder.forked()
        existing = CaptureSession(existing)


os.register_at_fork(after_in_child=_reset_in_child)
