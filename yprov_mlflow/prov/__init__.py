"""Provenance verbs and views, as ``mlflow.prov`` or ``from yprov_mlflow import prov``.

MLflow imports this package at every start, so nothing here is imported before its first use.
``prov`` is the only name of ``yprov_mlflow`` that is not MLflow's: all our code is below it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yprov_mlflow.prov.capture.asking import diff, lineage, query, runs
    from yprov_mlflow.prov.capture.delivery_mode import deferred
    from yprov_mlflow.prov.capture.folds import fold_metrics
    from yprov_mlflow.prov.capture.model_verbs import (
        log_dataset,
        log_flops_per_batch,
        log_flops_per_epoch,
        log_model_information,
    )
    from yprov_mlflow.prov.capture.notebooks import watch
    from yprov_mlflow.prov.capture.run_views import card, document, energy, summary
    from yprov_mlflow.prov.capture.verbs import context, epoch, epochs, use_collectors
    from yprov_mlflow.prov.capture.yprov_verbs import (
        log_execution_command,
        log_metric,
        log_source_code,
        tracked,
    )

__all__ = [
    "card",
    "context",
    "deferred",
    "diff",
    "document",
    "energy",
    "epoch",
    "epochs",
    "fold_metrics",
    "lineage",
    "log_dataset",
    "log_execution_command",
    "log_flops_per_batch",
    "log_flops_per_epoch",
    "log_metric",
    "log_model_information",
    "log_source_code",
    "query",
    "runs",
    "summary",
    "tracked",
    "use_collectors",
    "watch",
]

_MODULES = {
    "asking": "diff lineage query runs",
    "notebooks": "watch",
    "run_views": "card document energy summary",
    "verbs": "context epoch epochs use_collectors",
    "yprov_verbs": "log_execution_command log_metric log_source_code tracked",
    "delivery_mode": "deferred",
    "folds": "fold_metrics",
    "model_verbs": "log_dataset log_flops_per_batch log_flops_per_epoch log_model_information",
}
"""The public names of each module of ``capture``."""

__version__: str  # of this package; yprov_mlflow.__version__ is MLflow's


def __getattr__(name: str) -> Any:
    """Import a public name on first use, and look the version up."""
    if name == "__version__":
        globals()[name] = _installed_version()
        return globals()[name]
    for module, names in _MODULES.items():
        if name in names.split():
            value = getattr(import_module(f"{__name__}.capture.{module}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def _installed_version() -> str:
    """Return the version in the metadata of the installed package, or ``0+unknown``."""
    metadata = import_module("importlib.metadata")  # its import takes longer than that of ours
    try:
        return str(metadata.version("yprov-mlflow"))
    except metadata.PackageNotFoundError:
        return "0+unknown"
