"""Entry points that MLflow loads at every ``import mlflow``, used or not.

This module imports the standard library only, and its attributes never raise. Each entry point
is an attribute that is made on demand: MLflow asks for it at the moment when the module that it
belongs to can be patched (see ``patches``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from yprov_mlflow.prov.capture import patches
from yprov_mlflow.prov.capture.switch import LOGGER, Boundary, switch


def _tracking_store(store_uri: str, artifact_uri: str | None = None) -> Any:
    """Return the tracking store of an offline store, ``yprov:DIR``."""
    return _stores(store_uri).OfflineTrackingStore(switch.unwrap(store_uri), artifact_uri)


def _registry_store(store_uri: str, **_: object) -> Any:
    """Return the model registry of an offline store."""
    return _stores(store_uri).OfflineRegistryStore(switch.unwrap(store_uri))


def _artifact_repository(artifact_uri: str, *args: object, **options: object) -> Any:
    """Return MLflow's repository of local files for a folder, ``yprov:DIR/…``."""
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    from yprov_mlflow.prov.capture.offline.offline_folder import OfflineFolder

    return LocalArtifactRepository(OfflineFolder(artifact_uri).path.as_uri(), *args, **options)


def _stores(uri: str) -> Any:
    # Imported with the first offline store: MLflow loads this module at every start.
    from yprov_mlflow.prov.capture.diagnosis import require_full_mlflow

    require_full_mlflow(uri)
    from yprov_mlflow.prov.capture.offline import offline_stores

    return offline_stores


_ENTRY_POINTS: dict[str, tuple[Callable[[], None], Callable[..., Any]]] = {
    "tracking_store": (patches.install_tracking, _tracking_store),
    "model_registry_store": (patches.install_registry, _registry_store),
    "artifact_repository": (patches.install_artifacts, _artifact_repository),
}


def __getattr__(name: str) -> object:
    """Install the patch of an entry point, and return the builder that MLflow registers."""
    if name not in _ENTRY_POINTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    install, build = _ENTRY_POINTS[name]
    # An error here would break every import of MLflow.
    with Boundary(lambda error: LOGGER.debug("capture cannot be installed", exc_info=error)):
        install()
    return build
