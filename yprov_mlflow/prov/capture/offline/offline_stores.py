"""MLflow's SQL stores on the view of an offline store: its tracking store and model registry."""

from __future__ import annotations

import functools
import inspect
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as SqlRegistryStore
from mlflow.store.tracking.dbmodels.models import SqlExperiment
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as SqlTrackingStore
from sqlalchemy import event, select

from yprov_mlflow.prov.capture import mlflow_private
from yprov_mlflow.prov.capture.offline.offline_folder import OfflineFolder
from yprov_mlflow.prov.capture.offline.view_database import ViewDatabase
from yprov_mlflow.prov.capture.offline.view_feed import ViewFeed
from yprov_mlflow.prov.capture.switch import LOGGER
from yprov_mlflow.prov.errors import StoreError, first_line
from yprov_mlflow.prov.ids import offline_experiment

_ABSENT = "RESOURCE_DOES_NOT_EXIST"
_PRAGMAS = ("synchronous = OFF", "journal_mode = MEMORY", "busy_timeout = 20000")
_LOSSES = (
    *("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY"),
    *("SQLITE_CORRUPT", "SQLITE_NOTADB"),
)
"""Starts of the names of SQLite's errors of a file that cannot be used any more."""

_WITHOUT_RESULT = frozenset(
    "log_metric log_param set_tag delete_tag log_batch log_inputs log_outputs".split()
)
"""Calls in a training that the journal alone can take."""

_SEARCHES = ("search_", "list_", "query_", "count_", "calculate_")
"""Starts of the names of methods that look at objects of any process."""

_IN_REGISTRY = ("get_", "search_", "list_", "create_", "copy_", "transition_", "rename_")
"""The same of a registry: the number of a new version depends on those of others, too."""

_EXPERIMENTS = "get_experiment"
_OF_RUN = ("get_", "search_", "list_")
"""Starts of the names of methods that read a run."""


class OfflineView:
    """The view of one offline store in this process, which its stores share."""

    def __init__(self, folder: OfflineFolder) -> None:
        self.folder = folder
        self.database: ViewDatabase | None = None
        self.is_lost = False  # it was given up, and another one is not open yet
        self.feed = ViewFeed(folder.path)
        self.lock = threading.RLock()
        self._thread = threading.local()

    def open(self) -> ViewDatabase:
        """Return the database, which is made by the first call in each process.

        Raises:
            StoreError: Neither the store's folder nor one for temporary files can be written.
        """
        with self.lock:
            if self.database is None:
                created_ms = self.folder.creation_time_ms()
                try:
                    template = self.folder.template(mlflow.__version__, _make_template)
                    artifacts = self.folder.artifacts
                    self.database = ViewDatabase(template, artifacts, created_ms)
                    self.is_lost = False
                except OSError as error:
                    what = f"an offline store needs a folder for temporary files: {error}"
                    cure = "Free disk space, or set TMPDIR to a folder of this machine"
                    raise StoreError(what, self.folder.uri, cure) from error
            return self.database

    @contextmanager
    def outermost(self) -> Iterator[bool]:
        """Return whether no other call of a store of this view runs in this thread.

        Only then the database can be fed: an inner call is within a transaction of the outer one.
        """
        is_outermost = not getattr(self._thread, "busy", False)
        self._thread.busy = True
        try:
            yield is_outermost
        finally:
            self._thread.busy = not is_outermost

    def lose(self, database: ViewDatabase | None) -> None:
        """Remove a database that no longer takes rows; the next read opens another one.

        The journals have all that it had, those of this process included.
        """
        with self.lock:
            if database is self.database and database is not None:
                database.close()
                self.database, self.is_lost = None, True
                self.feed = ViewFeed(self.folder.path, with_own=True)

    def forked(self) -> None:
        """Forget the parent's database in a forked child, which gets a view of its own."""
        self.database, self.is_lost = None, False
        self.feed = ViewFeed(self.folder.path)
        self.lock = threading.RLock()
        self._thread = threading.local()


_views: dict[str, OfflineView] = {}
_lock = threading.RLock()
_engines: weakref.WeakSet[Any] = weakref.WeakSet()
_inherited: list[Any] = []  # a connection that is closed in a child rolls back the parent's work


def view_of(uri: str) -> OfflineView:
    """Return the view of the offline store with a URI."""
    folder = OfflineFolder(uri)
    with _lock:
        return _views.setdefault(folder.uri, OfflineView(folder))


def close_views() -> None:
    """Remove the databases of all views, at the end of the process."""
    for view in _views.values():
        if view.database is not None:
            view.database.close()


def _reset_in_child() -> None:
    global _lock
    _lock = threading.RLock()
    _inherited.extend(_engines)
    _inherited.extend(view.database for view in _views.values())
    for view in _views.values():
        view.forked()


os.register_at_fork(after_in_child=_reset_in_child)


def _make_template(path: Path) -> None:
    loggers = [logging.getLogger(name) for name in ("alembic", "mlflow.store.db.utils")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)  # steps of a database that the user never sees
        SqlTrackingStore(f"sqlite:///{path}", str(path.parent)).engine.dispose()
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


# -- the stores ----------------------------------------------------------------------------


class _OfflineStore:
    """What both stores share; MLflow's class does all else."""

    view: OfflineView
    _database: ViewDatabase | None = None

    def _connect(self) -> None:
        """Open the view's database with MLflow's own class, again in a forked child."""
        with self.view.lock, self.view.outermost():
            database = self.view.open()
            if database is self._database:  # another thread has opened it meanwhile
                return
            self._initialize(database)
            engine = self.__dict__["engine"]
            if engine not in _engines:
                event.listen(engine, "connect", _set_pragmas)
                engine.dispose()
                _engines.add(engine)
            mlflow_private.rebind_async_queue(self)
            self._database = database

    def _initialize(self, database: ViewDatabase) -> None:
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs to open the store itself."""
        return {**mlflow_private.kept_uri(self), "view": self.view.folder.uri}

    def __setstate__(self, state: dict[str, Any]) -> None:
        uri = state.pop("view")
        self.__dict__.update(state, view=view_of(uri))


class OfflineTrackingStore(_OfflineStore, SqlTrackingStore):
    """The tracking store of an offline store."""

    def __init__(self, uri: str, artifact_root: str | None = None) -> None:
        self.view = view_of(uri)
        self._artifact_root = artifact_root
        self._connect()

    def _initialize(self, database: ViewDatabase) -> None:
        root = getattr(self, "_artifact_root", None)  # not in pickles
        SqlTrackingStore.__init__(self, database.uri, root or str(self.view.folder.artifacts))


class OfflineRegistryStore(_OfflineStore, SqlRegistryStore):
    """The model registry of an offline store, in the same database."""

    def __init__(self, uri: str) -> None:
        self.view = view_of(uri)
        self._connect()

    def _initialize(self, database: ViewDatabase) -> None:
        SqlRegistryStore.__init__(self, database.uri)


def _set_pragmas(connection: Any, _: object) -> None:
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


@event.listens_for(SqlExperiment, "before_insert")
def _choose_id(_: object, connection: Any, experiment: Any) -> None:
    """Set the id of a new experiment in a view: the one that its name has in all processes."""
    if connection.engine not in _engines or experiment.experiment_id is not None:
        return
    column = SqlExperiment.__table__.c.experiment_id
    attempt, number = 0, offline_experiment(experiment.name)
    while connection.execute(select(column).where(column == number)).first() is not None:
        attempt += 1
        number = offline_experiment(experiment.name, attempt)
    experiment.experiment_id = number


# -- methods -------------------------------------------------------------------------------


def _fed(name: str, function: Callable[..., Any], starts: tuple[str, ...]) -> Callable[..., Any]:
    """Return a method that looks for other processes' objects where MLflow's own needs them."""
    parameters = list(inspect.signature(function).parameters)
    has_run = "run_id" in parameters
    look = _look(name, has_run, starts)
    is_experiment = name.startswith(_EXPERIMENTS)
    position = parameters.index("run_id") - 1 if has_run else -1

    def run_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        run_id = kwargs.get("run_id", args[position] if 0 <= position < len(args) else None)
        return run_id if isinstance(run_id, str) else None

    def ask(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Call MLflow's method, again if it lacks what another process has written."""
        if self._database is None or self._database is not self.view.database:
            self._connect()
        if look is not None:
            _feed(self, look, run_of(args, kwargs))
        try:
            result = function(self, *args, **kwargs)
        except MlflowException as error:
            if error.error_code != _ABSENT or not _feed_all(self, run_of(args, kwargs)):
                raise
            return function(self, *args, **kwargs)
        if result is None and is_experiment and _feed(self, ViewFeed.of_all):
            return function(self, *args, **kwargs)
        return result

    @functools.wraps(function)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Bring the view up to date, and call the method on it."""
        view = self.view
        with view.outermost() as is_outermost:
            if not is_outermost:
                return function(self, *args, **kwargs)
            if view.is_lost and name in _WITHOUT_RESULT:
                return None
            try:
                return ask(self, *args, **kwargs)
            except MlflowException as error:
                if not _is_loss(error):
                    raise
                _warn_lost(view, error)
                view.lose(self._database)
            return None if name in _WITHOUT_RESULT else ask(self, *args, **kwargs)

    return call


def _is_loss(error: MlflowException) -> bool:
    """Return whether the database failed, and not the call."""
    reason = error.__cause__ or error.__context__
    name = getattr(getattr(reason, "orig", None), "sqlite_errorname", "")
    return str(name).startswith(_LOSSES)


def _warn_lost(view: OfflineView, error: MlflowException) -> None:
    LOGGER.warning(
        "The folder for temporary files cannot be written (%s). Runs are still journaled in %s; "
        "reading them back takes longer. Set TMPDIR to a folder of this machine with more space.",
        first_line(error.__cause__ or error),
        view.folder.path,
    )


def _look(name: str, has_run: bool, starts: tuple[str, ...]) -> Callable[..., bool] | None:
    """Return how a method of this name looks for other processes' objects before it reads."""
    if name.startswith(_EXPERIMENTS):
        return ViewFeed.of_stores
    if has_run:
        return ViewFeed.of_run if name.startswith(_OF_RUN) else None
    return ViewFeed.of_all if name.startswith(starts) else None


def _feed(store: Any, look: Callable[..., bool], run_id: str | None = None) -> bool:
    """Feed the view what other processes have written; return whether there was something."""
    of_run = look is ViewFeed.of_run
    if of_run and run_id is None:
        return False
    with suppress(OSError):  # the folder may be away, and the process goes on
        return look(store.view.feed, store.engine, *([run_id] if of_run else []))
    return False


def _feed_all(store: Any, run_id: str | None) -> bool:
    return _feed(store, ViewFeed.of_run, run_id) or _feed(store, ViewFeed.of_all)


def _replace_methods(cls: type, starts: tuple[str, ...]) -> None:
    for name in dir(cls):
        method = inspect.getattr_static(cls, name)
        if name.startswith("_") or not inspect.isfunction(method):
            continue
        if not inspect.iscoroutinefunction(method):
            setattr(cls, name, _fed(name, method, starts))


_replace_methods(OfflineTrackingStore, _SEARCHES)
_replace_methods(OfflineRegistryStore, _IN_REGISTRY)
