"""Entry points that MLflow loads at every ``import mlflow``, used or not.

This module imports the standard library only, and its attributes never raise. Each entry point
is an attribute that is made on demand: MLflow asks for it at the moment when the module that it
belongs to can be patched (see ``patches``).
"""

from __future__ import annotations

from typing import NoReturn

from yprov_mlflow.prov.capture import patches
from yprov_mlflow.prov.capture.switch import LOGGER, Boundary
from yprov_mlflow.prov.uris import PREFIX, SCHEME

_INSTALLERS = {
    "tracking_store": patches.install_tracking,
    "model_registry_store": patches.install_registry,
    "artifact_repository": patches.install_artifacts,
}


def __getattr__(name: str) -> object:
    """Install the patch of an entry point, and return the builder that MLflow registers."""
    install = _INSTALLERS.get(name)
    if install is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # An error here would break every import of MLflow.
    with Boundary(lambda error: LOGGER.debug("capture cannot be installed", exc_info=error)):
        install()
    return _refuse


def _refuse(*_: object, **arguments: object) -> NoReturn:
    """Stand for the bare scheme ``yprov``, which is not a store."""
    from yprov_mlflow.prov.errors import SettingsError

    uri = arguments.get("store_uri") or f"{SCHEME}:"
    raise SettingsError(
        f"{uri!r} is not a tracking store. Put {PREFIX!r} before the URI of the store that MLflow "
        f"uses, such as {PREFIX}sqlite:///mlflow.db or {PREFIX}http://localhost:5000"
    )
