"""All patches of MLflow: the functions and methods that this package replaces at run time.

1. The functions that return or set tracking and registry URIs accept ``yprov+X``, turn capture
   on for ``X`` and pass ``X`` on, so that no part of MLflow sees a scheme that it does not know.
2. The methods through which all tracking and registry stores are made, in clients and servers,
   wrap the stores that are captured.
3. The method through which all artifact repositories are made does the same for them.

As long as nothing is captured, every call passes through unchanged. Only the standard library
is imported until then, because MLflow imports this module at every start.
"""

from __future__ import annotations

import atexit
import functools
import sys
from typing import Any

from yprov_mlflow.prov.capture import mlflow_private
from yprov_mlflow.prov.capture.switch import Boundary, switch

_PATCHED = "_yprov_mlflow_patched"  # attribute of a module of MLflow that is patched already
_SESSION = "yprov_mlflow.prov.capture.session"


def install_tracking() -> None:
    """Patch the tracking URI and the tracking stores.

    MLflow loads the entry point while it imports the module of these functions. That is the only
    moment when they can be replaced before other modules import them by name.
    """
    utils = mlflow_private.tracking_utils()
    if _is_patched(utils):
        return
    # Exit functions run in reverse order: registered before MLflow's own, which still log, this
    # one runs after them.
    atexit.register(_at_exit)
    _unwrap_results(utils, "get_tracking_uri")
    _unwrap_results(utils, mlflow_private.RESOLVE_TRACKING_URI)
    original = utils.set_tracking_uri

    @functools.wraps(original)
    def set_tracking_uri(uri: Any) -> None:
        original(switch.unwrap(uri))

    utils.set_tracking_uri = set_tracking_uri
    _wrap_stores(utils.TrackingStoreRegistry, "tracking")


def install_registry() -> None:
    """Patch the model registry's URI and stores."""
    utils = mlflow_private.registry_utils()
    if not _is_patched(utils):
        _unwrap_results(utils, mlflow_private.RESOLVE_REGISTRY_URI)
        _wrap_stores(mlflow_private.registry_store_registry(), "registry")


def install_artifacts() -> None:
    """Patch the method through which all artifact repositories are made."""
    from mlflow.store.artifact import artifact_repository_registry as module

    if _is_patched(module):
        return
    cls: Any = module.ArtifactRepositoryRegistry
    original = cls.get_artifact_repository

    @functools.wraps(original)
    def get_artifact_repository(self: Any, *args: Any, **kwargs: Any) -> Any:
        repository = original(self, *args, **kwargs)
        return switch.attempt(_wrap, repository, "artifacts") if switch.on else repository

    cls.get_artifact_repository = get_artifact_repository


def activate() -> None:
    """Capture every store in this process from now on, those that exist already included."""
    switch.capture()
    import mlflow  # noqa: F401 - it loads the entry points, which install most patches

    install_tracking()
    install_registry()
    install_artifacts()
    for repository in mlflow_private.cached_artifact_repositories():
        switch.attempt(_wrap, repository, "artifacts")


def _unwrap_results(module: Any, name: str) -> None:
    """Have a function return URIs without our prefix."""
    original = getattr(module, name)

    @functools.wraps(original)
    def unwrapped(*args: Any, **kwargs: Any) -> Any:
        return switch.unwrap(original(*args, **kwargs))

    setattr(module, name, unwrapped)


def _wrap_stores(cls: Any, kind: str) -> None:
    """Have a registry of stores wrap those that are captured."""
    original = getattr(cls, mlflow_private.GET_STORE)

    @functools.wraps(original)
    def get_store(self: Any, uri: Any, *args: Any, **kwargs: Any) -> Any:
        store = original(self, uri, *args, **kwargs)
        # Several calls of this are made for each call of a user: the usual answer is one look-up.
        if switch.on and type(store) not in switch.wrapped and switch.captures(uri):
            store = switch.attempt(_wrap, store, kind, uri)
        return store

    for name in {"cache_clear", "cache_info", "cache_parameters"} & set(dir(original)):
        setattr(get_store, name, getattr(original, name))
    setattr(cls, mlflow_private.GET_STORE, get_store)


def _wrap(instance: Any, kind: str, uri: Any = None) -> Any:
    # All of capture is imported here (0.3 s), with the first captured store, not at the start.
    from yprov_mlflow.prov.capture import wrappers

    return wrappers.wrap(instance, kind, uri)


def _is_patched(module: Any) -> bool:
    """Return whether a module is patched, and mark it as patched."""
    patched = getattr(module, _PATCHED, False)
    setattr(module, _PATCHED, True)
    return bool(patched)


def _at_exit() -> None:
    session = sys.modules.get(_SESSION)
    if session is None or session.existing is None:  # nothing was captured
        return
    with Boundary(switch.give_up):
        # Imported only now: it loads the translator and the formats (0.3 s).
        from yprov_mlflow.prov.capture import delivery

        delivery.at_exit(session.existing)
