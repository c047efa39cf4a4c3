"""All patches of MLflow: the functions and methods that this package replaces at run time.

1. The functions that return or set tracking and registry URIs accept ``yprov+X``, turn capture
   on for ``X`` and pass ``X`` on, so that no part of MLflow sees a scheme that it does not know.
2. The methods through which all tracking and registry stores are made, in clients and servers,
   wrap the stores that are captured.
3. The method through which all artifact repositories are made does the same for them.
4. The finder of MLflow's import hooks takes its lock only for modules that have hooks.
5. The trainers of Lightning and Transformers get our callback (``trainers``).

As long as nothing is captured, every call passes through unchanged. Only the standard library
is imported until then, because MLflow imports this module at every start.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import sys
from collections.abc import Callable
from typing import Any

from yprov_mlflow.prov.capture import mlflow_private
from yprov_mlflow.prov.capture.switch import LOGGER, Boundary, switch

_PATCHED = "_yprov_mlflow_patched"  # attribute of functions that replace one of MLflow
Function = Callable[..., Any]
_SESSION = "yprov_mlflow.prov.capture.session"


def install_tracking() -> None:
    """Patch the tracking URI and the tracking stores.

    MLflow loads the entry point while it imports the module of these functions. That is the only
    moment when they can be replaced before other modules import them by name.
    """
    # Exit functions run in reverse order: registered before MLflow's own, which still log, this
    # one runs after them.
    _register_exit()
    utils = mlflow_private.tracking_utils()
    _unwrap_results(utils, "get_tracking_uri")
    _unwrap_results(utils, mlflow_private.RESOLVE_TRACKING_URI)
    _replace(utils, "set_tracking_uri", lambda original: lambda uri: original(switch.unwrap(uri)))
    _wrap_stores(utils.TrackingStoreRegistry, "tracking")


def install_registry() -> None:
    """Patch the model registry's URI and stores."""
    _unwrap_results(mlflow_private.registry_utils(), mlflow_private.RESOLVE_REGISTRY_URI)
    _wrap_stores(mlflow_private.registry_store_registry(), "registry")


def install_artifacts() -> None:
    """Patch the method through which all artifact repositories are made."""
    from mlflow.store.artifact import artifact_repository_registry as module

    def make(original: Function) -> Function:
        def get_artifact_repository(self: Any, *args: Any, **kwargs: Any) -> Any:
            repository = original(self, *args, **kwargs)
            return switch.attempt(_wrap, repository, "artifacts") if switch.on else repository

        return get_artifact_repository

    _replace(module.ArtifactRepositoryRegistry, "get_artifact_repository", make)


def install_imports() -> None:
    """Patch MLflow's import hooks, so that imports in other threads cannot block autologging.

    ``mlflow.autolog`` holds the lock of the hooks while it imports modules. An import in another
    thread, such as those of our collectors, waits for that lock and holds Python's own import lock
    meanwhile, which autologging needs: neither would end.
    """
    finder, hooked = mlflow_private.import_hooks()

    def make(original: Function) -> Function:
        def find_spec(self: Any, fullname: str, *args: Any, **kwargs: Any) -> Any:
            if any(fullname in modules for modules in hooked):
                return original(self, fullname, *args, **kwargs)
            return None

        return find_spec

    _replace(finder, "find_spec", make)


def activate() -> None:
    """Capture every store in this process from now on, those that exist already included."""
    switch.capture()
    import mlflow  # noqa: F401 - it loads the entry points, which install most patches

    install_tracking()
    install_registry()
    install_artifacts()
    _install_trainers()
    for repository in mlflow_private.cached_artifact_repositories():
        switch.attempt(_wrap, repository, "artifacts")


@functools.cache
def _install_trainers() -> None:
    """Patch the trainers of other packages, once."""
    with Boundary(switch.give_up):
        # Imported with the first capture: MLflow imports this module at every start.
        from yprov_mlflow.prov.capture import trainers

        trainers.install()


def _replace(owner: Any, name: str, make: Callable[[Function], Function]) -> None:
    """Replace a function of MLflow by what ``make`` returns for it, once.

    The mark is on the function: a module that is reloaded has new ones.
    """
    original = getattr(owner, name)
    if not getattr(original, _PATCHED, False):
        replacement = functools.wraps(original)(make(original))
        setattr(replacement, _PATCHED, True)
        setattr(owner, name, replacement)


def _unwrap_results(module: Any, name: str) -> None:
    """Have a function return URIs without our prefix."""

    def make(original: Function) -> Function:
        return lambda *args, **kwargs: switch.unwrap(original(*args, **kwargs))

    _replace(module, name, make)


def _wrap_stores(cls: Any, kind: str) -> None:
    """Have a registry of stores wrap those that are captured."""

    def make(original: Any) -> Function:
        def get_store(self: Any, uri: Any, *args: Any, **kwargs: Any) -> Any:
            store = original(self, switch.opened.get(uri, uri), *args, **kwargs)
            # Several calls of this are made for each call of a user: the usual answer is one
            # look-up.
            if switch.on and type(store) not in switch.wrapped and switch.captures(uri):
                store = switch.attempt(_wrap, store, kind, uri)
            return store

        for name in {"cache_clear", "cache_info", "cache_parameters"} & set(dir(original)):
            setattr(get_store, name, getattr(original, name))
        return get_store

    _replace(cls, mlflow_private.GET_STORE, make)


def _wrap(instance: Any, kind: str, uri: Any = None) -> Any:
    install_imports()  # before any thread of ours starts
    _install_trainers()
    # All of capture is imported here (0.3 s), with the first captured store, not at the start.
    from yprov_mlflow.prov.capture import wrappers

    return wrappers.wrap(instance, kind, uri)


@functools.cache
def _register_exit() -> None:
    atexit.register(_at_exit)


def _at_exit() -> None:
    session = sys.modules.get(_SESSION)
    if session is None or session.existing is None:  # nothing was captured
        return
    interrupted = _is_interrupted()
    try:
        with Boundary(_warn_at_exit):
            # Imported only now: it loads the translator and the formats (0.3 s).
            from yprov_mlflow.prov.capture import delivery

            delivery.at_exit(session.existing)
    finally:
        if interrupted:
            _end_by_interrupt()


def _warn_at_exit(error: Exception) -> None:
    LOGGER.warning(
        "Provenance could not be completed at exit (%s: %s). `yprov-mlflow recover` writes the "
        "documents that are missing.",
        type(error).__name__,
        error,
    )


def _is_interrupted() -> bool:
    """Return whether the main program ended with an unhandled ``KeyboardInterrupt``."""
    trace = getattr(sys, "last_traceback", None)
    # Shells and test runners set these names, too, for programs inside of them.
    outermost = trace is not None and trace.tb_frame.f_back is None and not hasattr(sys, "ps1")
    return outermost and getattr(sys, "last_type", None) is KeyboardInterrupt


def _end_by_interrupt() -> None:
    """Have the interpreter end this process by SIGINT, as it does after a ``KeyboardInterrupt``.

    It remembers one that left the source text that it ran last. Imports run source text, too
    (that of dataclasses and named tuples), and ours at exit would leave exit code 1.
    """
    with contextlib.suppress(KeyboardInterrupt):
        exec("raise KeyboardInterrupt")
