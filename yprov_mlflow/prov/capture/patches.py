"""Every place where MLflow is touched. Imports the standard library only until it captures.

1. ``get_tracking_uri``, ``set_tracking_uri``, ``_resolve_tracking_uri`` and
   ``_resolve_registry_uri`` take ``yprov+X``, note that ``X`` is to be captured, and let MLflow
   see ``X`` alone: no part of MLflow meets a scheme that it does not know.
2. ``_get_store_with_resolved_uri`` of the tracking and the model registry (client's and
   server's inherit it) makes the store that it returns an observed one.
3. ``ArtifactRepositoryRegistry.get_artifact_repository`` does the same for repositories.

All are passed through untouched until something is to be captured. The tracking functions
must be replaced while MLflow's module is still being imported, before others import them by
name: that is when it loads the entry point.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

PREFIX = "yprov+"
SWITCH = "YPROV_MLFLOW"
_URIS = "_YPROV_MLFLOW_URIS"
"""Variable that tells child processes the URIs of the stores that are captured."""

SERVER_URI = "_MLFLOW_SERVER_FILE_STORE"
"""Variable in which ``mlflow server`` tells its workers the URI of the backend store."""

_TRACKING = "mlflow.tracking._tracking_service"
_REGISTRY = "mlflow.tracking._model_registry"
_ARTIFACTS = "mlflow.store.artifact.artifact_repository_registry"
_OBSERVE = "yprov_mlflow.prov.capture.wrappers"
_MARK = "_yprov_mlflow_seam"
_LOGGER = logging.getLogger("yprov_mlflow")


class Switch:
    """What is captured in this process: everything, or stores by their URI.

    ``on`` tells whether anything is; ``classes`` are those of observed stores.
    """

    def __init__(self) -> None:
        """Start from the environment: our variable, and the URI that a server was given."""
        self.everything = _everything()
        self.uris = set(filter(None, os.environ.get(_URIS, "").split("\n")))
        self.on = self.everything or bool(self.uris)
        self.classes: set[type] = set()
        self.broken = False
        if (uri := os.environ.get(SERVER_URI, "")).startswith(PREFIX):
            self.capture(uri[len(PREFIX) :])

    def capture(self, uri: str | None = None) -> None:
        """Capture the store at ``uri``, or everything; child processes shall, too."""
        if uri is None:
            self.everything = True
            os.environ[SWITCH] = "1"
        elif uri not in self.uris:
            self.uris.add(uri)
            os.environ[_URIS] = "\n".join(sorted(self.uris))
        self.on = True

    def captures(self, uri: object) -> bool:
        """Tell whether the store at this (unwrapped) URI is captured."""
        return self.everything or uri in self.uris

    def give_up(self, error: Exception) -> None:
        """Say once that nothing can be captured here."""
        if not self.broken:
            self.broken = True
            _LOGGER.warning(
                "Provenance is not captured in this process (%s: %s)", type(error).__name__, error
            )


def _everything() -> bool:
    """Tell whether our variable is set to capture everything; say so if it is set to nonsense."""
    given = os.environ.get(SWITCH, "")
    if not given.strip():
        return False
    from yprov_mlflow.prov.errors import SettingsError
    from yprov_mlflow.prov.settings import CAPTURE

    try:
        return CAPTURE.value(SWITCH, given, f"environment {SWITCH}")
    except SettingsError as error:
        _LOGGER.warning("%s Until then it counts as off.", error)
        return False


switch = Switch()


def unwrap(uri: Any) -> Any:
    """Give the URI without our prefix, noting that its store is to be captured."""
    if isinstance(uri, str) and uri.startswith(PREFIX):
        uri = uri[len(PREFIX) :]
        switch.capture(uri)
    return uri


def install_tracking() -> None:
    """Hook the tracking URI and the tracking stores."""
    import atexit

    utils: Any = importlib.import_module(f"{_TRACKING}.utils")
    if _installed(utils):
        return
    # Registered before MLflow's own exit handlers, so run after them: they still log.
    atexit.register(_at_exit)
    get, set_, resolve = utils.get_tracking_uri, utils.set_tracking_uri, utils._resolve_tracking_uri

    @functools.wraps(get)
    def get_tracking_uri() -> Any:
        return unwrap(get())

    @functools.wraps(set_)
    def set_tracking_uri(uri: Any) -> None:
        set_(unwrap(uri))

    @functools.wraps(resolve)
    def _resolve_tracking_uri(tracking_uri: Any = None) -> Any:
        return unwrap(resolve(tracking_uri))

    utils.get_tracking_uri = get_tracking_uri
    utils.set_tracking_uri = set_tracking_uri
    utils._resolve_tracking_uri = _resolve_tracking_uri
    registry = importlib.import_module(f"{_TRACKING}.registry")
    _observe_stores(registry.TrackingStoreRegistry, "tracking")


def install_registry() -> None:
    """Hook the model registry's URI and stores."""
    utils: Any = importlib.import_module(f"{_REGISTRY}.utils")
    if _installed(utils):
        return
    resolve = utils._resolve_registry_uri

    @functools.wraps(resolve)
    def _resolve_registry_uri(*args: Any, **kwargs: Any) -> Any:
        return unwrap(resolve(*args, **kwargs))

    utils._resolve_registry_uri = _resolve_registry_uri
    registry = importlib.import_module(f"{_REGISTRY}.registry")
    _observe_stores(registry.ModelRegistryStoreRegistry, "registry")


def install_artifacts() -> None:
    """Hook the one function through which all artifact repositories come."""
    module = importlib.import_module(_ARTIFACTS)
    if _installed(module):
        return
    cls = module.ArtifactRepositoryRegistry
    get = cls.get_artifact_repository

    @functools.wraps(get)
    def get_artifact_repository(self: Any, *args: Any, **kwargs: Any) -> Any:
        repository = get(self, *args, **kwargs)
        return observed("repository", repository) if switch.on else repository

    cls.get_artifact_repository = get_artifact_repository


def activate() -> None:
    """Capture everything in this process from now on, stores that exist already included."""
    switch.capture()
    importlib.import_module("mlflow")
    install_tracking()
    install_registry()
    install_artifacts()
    utils = sys.modules[f"{_TRACKING}.utils"]
    for repository in getattr(utils, "_artifact_repos_cache", {}).values():
        observed("repository", repository)


def _observe_stores(cls: Any, kind: str) -> None:
    get: Callable[..., Any] = cls._get_store_with_resolved_uri

    @functools.wraps(get)
    def _get_store_with_resolved_uri(self: Any, uri: Any, *args: Any, **kwargs: Any) -> Any:
        store = get(self, uri, *args, **kwargs)
        # MLflow comes here several times a call: the usual answer is one look in a set.
        if switch.on and type(store) not in switch.classes and switch.captures(uri):
            store = observed("store", store, kind, uri)
        return store

    for name in ("cache_clear", "cache_info", "cache_parameters"):
        if hasattr(get, name):
            setattr(_get_store_with_resolved_uri, name, getattr(get, name))
    cls._get_store_with_resolved_uri = _get_store_with_resolved_uri


def observed(what: str, instance: Any, *args: Any) -> Any:
    """Make a store or repository observed; the plain one must do if that fails."""
    try:
        return getattr(importlib.import_module(_OBSERVE), what)(instance, *args)
    except Exception as error:  # noqa: BLE001 - provenance must never break the training
        switch.give_up(error)
        return instance


def _installed(module: Any) -> bool:
    """Tell whether this was done before, and note that now it is."""
    done = getattr(module, _MARK, False)
    setattr(module, _MARK, True)
    return bool(done)


def _at_exit() -> None:
    if "yprov_mlflow.prov.capture.session" not in sys.modules:
        return
    try:
        importlib.import_module("yprov_mlflow.prov.capture.delivery").at_exit()
    except Exception as error:  # noqa: BLE001 - the process has done its work
        switch.give_up(error)
