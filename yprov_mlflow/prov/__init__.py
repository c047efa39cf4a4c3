"""Provenance verbs and views, as ``mlflow.prov`` or ``from yprov_mlflow import prov``.

MLflow imports this package at every start, so nothing here is imported before its first use.
``prov`` is the only name of ``yprov_mlflow`` that is not MLflow's: all our code is below it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yprov_mlflow.prov.capture.run_views import document, energy, summary
    from yprov_mlflow.prov.capture.verbs import context, epoch, epochs, use_collectors

__all__ = ["context", "document", "energy", "epoch", "epochs", "summary", "use_collectors"]

_VIEWS = ("document", "energy", "summary")


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "capture.run_views" if name in _VIEWS else "capture.verbs"
    value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
