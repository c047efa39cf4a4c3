"""The capture of this process: its recorder, and whose things are whose."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from yprov_mlflow.prov import ids, settings
from yprov_mlflow.prov.capture.patches import SERVER_URI, switch
from yprov_mlflow.prov.capture.recorder import Recorder
from yprov_mlflow.prov.capture.system_metrics import Publisher
from yprov_mlflow.prov.collectors.base import Quantity

URI = "_yprov_uri"
"""Attribute of an observed store: the URI that it was made for."""

_RUN = re.compile(r"(?:^|/)([0-9a-f]{32})/artifacts(?:/(.*))?$")
_MODEL = re.compile(r"/models/(m-[0-9a-f]{32})/artifacts(?:/(.*))?$")
_TRACE = re.compile(r"/traces/(tr-[0-9a-f]+)/artifacts(?:/(.*))?$")
_RUNS_SCHEME = re.compile(r"^runs:/+([^/]+)(?:/(.*))?$")
_MOST_REMEMBERED = 10_000


class Owner(NamedTuple):
    """Whose artifacts: ``kind`` is run, model or trace; ``path`` is below its artifact root."""

    kind: str
    id: str
    path: str


Value = TypeVar("Value")


class Memory(OrderedDict[str, Value]):
    """A mapping that forgets its oldest entries, for processes that never end."""

    def __init__(self, most: int = _MOST_REMEMBERED) -> None:
        """Say how many it may remember."""
        super().__init__()
        self._most = most

    def __setitem__(self, key: str, value: Value) -> None:
        """Remember one more; forget the oldest when there are too many."""
        super().__setitem__(key, value)
        if len(self) > self._most:
            self.popitem(last=False)


class Guard:
    """What a thread is inside of, so that one call makes one event.

    ``store`` is the store whose method runs (it calls its own public methods), ``repository``
    tells that of artifact repositories (which wrap each other); ``off`` silences all.
    """

    __slots__ = ("off", "repository", "store")

    def __init__(self) -> None:
        """Start inside of nothing."""
        self.store: Any = None
        self.repository = False
        self.off = False


class Guards(threading.local):
    """The guard of the running thread: ``here``."""

    def __init__(self) -> None:
        """Make that of a thread when it first asks."""
        self.here = Guard()


class CaptureSession:
    """What the observers of stores and repositories share in one process."""

    def __init__(self, parent: CaptureSession | None = None) -> None:
        """Start with settings from environment and project, or with those of a fork's parent."""
        self.server = SERVER_URI in os.environ
        known = parent.recorder.settings if parent else settings.load(capture=switch.everything)
        self.recorder: Recorder = Recorder(known, side="server" if self.server else "client")
        self.publisher = Publisher(known.system_metrics, self.recorder.warn)
        self.recorder.collecting.on_sample = self._publish
        self.guards = Guards()
        self.lock = threading.RLock()
        self.postman: object = None
        self.roots: Memory[str] = parent.roots if parent else Memory()
        self.model_runs: Memory[str] = parent.model_runs if parent else Memory()
        self.trace_runs: Memory[str] = parent.trace_runs if parent else Memory()
        self.experiment_names: Memory[str] = parent.experiment_names if parent else Memory()
        self.early_spans: Memory[tuple[Any, ...]] = Memory(most=16)
        self.tracking: dict[str, Any] = parent.tracking if parent else {}
        self.delivered_by_client: Memory[str] = Memory()
        self._stores: dict[str, dict[str, str]] = parent._stores if parent else {}

    def _publish(
        self, run_id: str, quantities: Sequence[Quantity], values: Sequence[float | None]
    ) -> None:
        """Have a sample logged as system metrics, if the run has them."""
        state = self.recorder.get(run_id)
        if state is not None:
            self.publisher.take(run_id, state.store, quantities, values, time.time_ns())

    # -- stores ------------------------------------------------------------------------

    def store_reference(self, store: Any) -> dict[str, str]:
        """Give ``uuid`` and ``uri`` (no password in it) of an observed tracking store."""
        uri = getattr(store, URI, None) or type(store).__name__
        known = self._stores.get(uri)
        if known is not None:
            return known
        created = location = None
        try:
            # A registry store has no experiments; the tracking store beside it has.
            tracking = store if hasattr(store, "get_experiment") else self._tracking_beside(uri)
            first = tracking.get_experiment("0")
            created, location = first.creation_time, first.artifact_location
        except Exception as error:  # noqa: BLE001 - a store without it is named by its URI
            self.recorder.note(error)
        found = {
            "uuid": ids.store_uuid(created, location, absolute(uri)),
            "uri": ids.redact(absolute(uri)),
        }
        if created is not None:
            self._stores[uri] = found
        return found

    def _tracking_beside(self, uri: str) -> Any:
        """Give the tracking store of a registry store; a server makes it when it is first asked."""
        if uri not in self.tracking and self.server:
            from mlflow.server.handlers import _get_tracking_store

            _get_tracking_store()
        return self.tracking[uri]

    def store_behind(self, repository: Any) -> Any:
        """Give the observed tracking store of an artifact repository, None if it has none.

        A repository that was not told its tracking URI has MLflow's current one; in a server,
        which needs none, that of the only store.
        """
        import mlflow

        uri = getattr(repository, "tracking_uri", None) or mlflow.get_tracking_uri()
        only = next(iter(self.tracking.values())) if len(self.tracking) == 1 else None
        return self.tracking.get(uri, only)

    def experiment_name(self, store: Any, experiment_id: str) -> str | None:
        """Give the name of an experiment; a client reads it once, a server sees renaming by all."""
        key = f"{getattr(store, URI, '')} {experiment_id}"
        if key not in self.experiment_names or self.server:
            try:
                self.experiment_names[key] = store.get_experiment(experiment_id).name
            except Exception as error:  # noqa: BLE001 - a name is not worth a run
                self.recorder.note(error)
                return None
        return self.experiment_names[key]

    def forget_experiment(self, store: Any, experiment_id: str) -> None:
        """Forget the name of an experiment, which may be another by now."""
        self.experiment_names.pop(f"{getattr(store, URI, '')} {experiment_id}", None)

    # -- owners ------------------------------------------------------------------------

    def remember_root(self, artifact_uri: str | None, kind: str, owner_id: str) -> None:
        """Remember whose artifact root a URI is."""
        if artifact_uri:
            self.roots[artifact_uri.rstrip("/")] = f"{kind} {owner_id}"

    def owner(self, artifact_uri: str, path: str) -> Owner | None:
        """Tell whose artifact ``path`` in the repository at ``artifact_uri`` is.

        None is the answer where nothing captured can own it.
        """
        known = self.roots.get(artifact_uri.rstrip("/"))
        if known is not None:
            kind, _, owner_id = known.partition(" ")
            return Owner(kind, owner_id, path)
        whole = "/".join(part for part in (artifact_uri.rstrip("/"), path) if part)
        for kind, pattern in (
            ("run", _RUNS_SCHEME),
            ("model", _MODEL),
            ("trace", _TRACE),
            ("run", _RUN),
        ):
            found = pattern.search(whole)
            if found and (switch.everything or self.server or self._captured(kind, found[1])):
                return Owner(kind, found[1], found[2] or "")
        return None

    def _captured(self, kind: str, owner_id: str) -> bool:
        if kind == "run":
            return self.recorder.get(owner_id) is not None
        return owner_id in (self.model_runs if kind == "model" else self.trace_runs)

    def run_of(self, owner: Owner) -> str | None:
        """Give the run whose document tells of the owner's artifacts."""
        if owner.kind == "run":
            return owner.id
        runs = self.model_runs if owner.kind == "model" else self.trace_runs
        return runs.get(owner.id) or self.active_run()

    def active_run(self) -> str | None:
        """Give the id of the caller's active fluent run, without starting one."""
        fluent = sys.modules.get("mlflow.tracking.fluent")
        if fluent is None or self.server:
            return None
        try:
            run = fluent.active_run()
        except Exception as error:  # noqa: BLE001 - asked from inside MLflow's own calls
            self.recorder.note(error)
            return None
        return run.info.run_id if run is not None else None

    def active_run_in(self, store: Any) -> str | None:
        """Give the caller's active run if it is in this store, or beside this registry."""
        run_id = self.active_run()
        state = self.recorder.get(run_id) if run_id else None
        if state is not None and state.store is not None:
            uris = {getattr(state.store, URI, None), getattr(store, URI, None)}
            if len(uris & set(self.tracking)) > 1:
                return None
        return run_id


def absolute(uri: str) -> str:
    """Make the local path in a URI absolute, so that it means the same from elsewhere."""
    if uri.startswith("sqlite:///") and not uri.startswith("sqlite:////"):
        path = uri.removeprefix("sqlite:///")
        return uri if path.startswith(":memory:") else f"sqlite:///{os.path.abspath(path)}"
    if "://" not in uri and not uri.startswith("file:"):
        return f"file://{os.path.abspath(uri)}" if uri not in _NAMES else uri
    return uri


_NAMES = {"databricks", "databricks-uc", "uc"}

existing: CaptureSession | None = None
"""The capture of this process if something was captured."""

_lock = threading.RLock()


def get() -> CaptureSession:
    """Give the capture of this process, made at the first call."""
    global existing
    if existing is None:
        with _lock:
            if existing is None:
                existing = CaptureSession()
    return existing


def attempt() -> CaptureSession | None:
    """Give the capture of this process if anything is captured and it can be; warn if not."""
    if not switch.on or switch.broken:
        return None
    try:
        return get()
    except Exception as error:  # noqa: BLE001 - a bad setting must not cost the run
        switch.give_up(error)
        return None


def _reset_in_child() -> None:
    """A forked child is a session of its own: with its own files, lock and recorder."""
    global existing, _lock
    _lock = threading.RLock()
    if existing is not None:
        existing.recorder.forked()
        existing = CaptureSession(existing)


os.register_at_fork(after_in_child=_reset_in_child)
