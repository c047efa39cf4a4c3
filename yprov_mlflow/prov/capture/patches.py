"""All patches of MLflow: the functions and methods that this package replaces at run time.

1. The functions that return or set tracking and registry URIs accept ``yprov+X``, turn capture
   on for ``X`` and pass ``X`` on, so that no part of MLflow sees a scheme that it does not know.
2. The methods through which all tracking and registry stores are made, in clients and servers,
   wrap the stores that are captured.
3. The method through which all artifact repositories are made does the same for them.
4. The finder of MLflow's import hooks takes its lock only for modules that have hooks.
5. The functions that load models and get prompts, traces and datasets tell that they were
   called; so does the one that logs models (``reads``).
6. The trainers of Lightning and Transformers get our callback (``trainers``).

As long as nothing is captured, every call passes through unchanged. Only the standard library
is imported until then, because MLflow imports this module at every start.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import sys
from collections.abc import Callable
from importlib.machinery import PathFinder
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


def install_reads() -> None:
    """Patch the functions by which programs read, once something is captured.

    Modules that are not imported yet are patched when they are; those that are being imported,
    with the next store or repository.
    """
    if _ModulesToPatch not in map(type, sys.meta_path):
        sys.meta_path.insert(0, _ModulesToPatch())
    for name, patch in _PATCHES.items():
        if (module := sys.modules.get(name)) is not None:
            patch(module)


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
    install_reads()
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


# -- reads ---------------------------------------------------------------------------------

# Module, class (empty for a function of the module), and name.
_GETTERS = (
    ("mlflow.tracking.client", "MlflowClient", "load_prompt"),
    ("mlflow.tracking.client", "MlflowClient", "get_dataset"),
    ("mlflow.tracking.client", "MlflowClient", "get_trace"),
    ("mlflow.tracing.client", "TracingClient", "get_trace"),
    ("mlflow.genai.datasets", "", "get_dataset"),
    ("mlflow.genai", "", "get_dataset"),
)
_FLAVORS = (
    "catboost diffusers dspy fastai h2o johnsnowlabs keras langchain lightgbm llama_index mleap"
    " onnx openai paddle pmdarima promptflow prophet pyfunc pytorch sentence_transformers sklearn"
    " spacy spark statsmodels tensorflow transformers xgboost"
).split()


def _patch_getters(module: Any) -> None:
    for module_name, owner, name in _GETTERS:
        if module_name == module.__name__:
            # Older versions lack some.
            target = getattr(module, owner, None) if owner else module
            if name in dir(target):
                _patch_getter(target, name)


def _patch_getter(target: Any, name: str) -> None:
    def make(original: Function) -> Function:
        def get(*args: Any, **kwargs: Any) -> Any:
            if not switch.on:
                return original(*args, **kwargs)
            return _reads().get(original, name, args, kwargs)

        return get

    _replace(target, name, make)


def _patch_load_model(module: Any) -> None:
    def make(original: Function) -> Function:
        def load_model(*args: Any, **kwargs: Any) -> Any:
            if not switch.on:
                return original(*args, **kwargs)
            return _reads().load_model(original, args, kwargs)

        return load_model

    if "load_model" in vars(module):
        _replace(module, "load_model", make)


def _patch_log_model(module: Any) -> None:
    model: Any = getattr(module, "Model", None)
    method = vars(model).get("log") if model is not None else None
    if method is None or getattr(method.__func__, _PATCHED, False):
        return

    @functools.wraps(method.__func__)
    def log(cls: Any, *args: Any, **kwargs: Any) -> Any:
        info = method.__func__(cls, *args, **kwargs)
        if switch.on:
            with Boundary(lambda error: LOGGER.debug("capture", exc_info=error)):
                _reads().logged((*args, *kwargs.values()), getattr(info, "model_id", None))
        return info

    setattr(log, _PATCHED, True)
    model.log = classmethod(log)


_PATCHES: dict[str, Callable[[Any], None]] = {
    **{module: _patch_getters for module, _, _ in _GETTERS},
    **{f"mlflow.{flavor}": _patch_load_model for flavor in _FLAVORS},
    "mlflow.models.model": _patch_log_model,
}


class _ModulesToPatch:
    """A finder of modules that patches some of MLflow after they were executed.

    MLflow's own hooks after imports use a protocol of which Python warns.
    """

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        """Return the spec of a module to patch, None for any other; see ``importlib.abc``."""
        patch = _PATCHES.get(name)
        if patch is None:
            return None
        spec = PathFinder.find_spec(name, path, target)
        loader: Any = spec.loader if spec is not None else None
        if loader is None:
            return None
        execute = loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            with Boundary(lambda error: LOGGER.debug("capture", exc_info=error)):
                patch(module)

        loader.exec_module = exec_module
        return spec


def _reads() -> Any:
    # Imported with the first captured read: MLflow imports this module at every start.
    from yprov_mlflow.prov.capture import reads

    return reads


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
    install_reads()
    _install_trainers()
    # All of capture is imported here (0.3 s), with the first captured store, not at the start.
    from yprov_mlflow.prov.capture import wrappers

    return wrappers.wrap(instance, kind, uri)


@functools.cache
def _register_exit() -> None:
    atexit.register(_remove_views)
    atexit.register(_at_exit)


def _remove_views() -> None:
    """Remove the databases of offline stores; the last documents were made from them."""
    stores = sys.modules.get("yprov_mlflow.prov.capture.offline.offline_stores")
    if stores is not None:
        stores.close_views()


def _at_exit() -> None:
    session = sys.modules.get(_SESSION)
    if session is None or session.existing is None:  # nothing was captured
        return
    ended_by = _unhandled()
    try:
        with Boundary(_warn_at_exit):
            # Imported with the first captured store, as all of capture is.
            from yprov_mlflow.prov.capture import document_thread

            document_thread.at_exit(session.existing, ended_by.__name__ if ended_by else None)
    finally:
        if ended_by is KeyboardInterrupt:
            _end_by_interrupt()


def _warn_at_exit(error: Exception) -> None:
    LOGGER.warning(
        "Provenance could not be completed at exit (%s: %s). `yprov-mlflow recover` writes the "
        "documents that are missing.",
        type(error).__name__,
        error,
    )


def _unhandled() -> type[BaseException] | None:
    """Return the exception that ended the main program, if one did."""
    trace = getattr(sys, "last_traceback", None)
    # Shells and test runners set these names, too, for programs inside of them.
    outermost = trace is not None and trace.tb_frame.f_back is None and not hasattr(sys, "ps1")
    kind = getattr(sys, "last_type", None)
    return kind if outermost and isinstance(kind, type) else None


def _end_by_interrupt() -> None:
    """Have the interpreter end this process by SIGINT, as it does after a ``KeyboardInterrupt``.

    It remembers one that left the source text that it ran last. Imports run source text, too
    (that of dataclasses and named tuples), and ours at exit would leave exit code 1.
    """
    with contextlib.suppress(KeyboardInterrupt):
        exec("raise KeyboardInterrupt")
