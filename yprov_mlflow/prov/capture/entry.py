"""Entry points that MLflow loads at ``import mlflow``, in every process, wanted or not.

So this module imports the standard library only, and nothing here raises. Each entry point
is an attribute made on demand: MLflow asks for it at the moment when the module that it
belongs to can be hooked (see ``seams``).
"""

from __future__ import annotations

import logging
from typing import NoReturn

from yprov_mlflow.prov.capture import patches

_INSTALLERS = {
    "tracking_store": patches.install_tracking,
    "model_registry_store": patches.install_registry,
    "artifact_repository": patches.install_artifacts,
}


def __getattr__(name: str) -> object:
    """Install the seam that the entry point stands for; give what MLflow registers."""
    try:
        install = _INSTALLERS[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    try:
        install()
    except Exception as error:
        logging.getLogger("yprov_mlflow").debug("capture cannot be installed", exc_info=error)
    return _refuse


def _refuse(*_: object, **arguments: object) -> NoReturn:
    """Stand for the bare scheme ``yprov``, which names no store."""
    from yprov_mlflow.prov.errors import SettingsError

    uri = arguments.get("store_uri") or "yprov:"
    raise SettingsError(
        f"{uri!r} names no tracking store. Put 'yprov+' before the URI of the store that MLflow "
        "shall use, such as yprov+sqlite:///mlflow.db or yprov+http://localhost:5000"
    )
