"""What this process would capture, for ``yprov-mlflow doctor``. No store is opened."""

from __future__ import annotations

import importlib.util
import os
from importlib.metadata import entry_points
from typing import NamedTuple

from yprov_mlflow.prov.capture.switch import VARIABLE, switch
from yprov_mlflow.prov.redaction import redact
from yprov_mlflow.prov.uris import PREFIX, SCHEME, has_prefix, strip_prefix

_GROUPS = ("mlflow.tracking_store", "mlflow.model_registry_store", "mlflow.artifact_repository")
_SQL = ("sqlite", "postgresql", "mysql", "mssql")
_TRACKING_URI = "MLFLOW_TRACKING_URI"
_ALLOW_FILES = "MLFLOW_ALLOW_FILE_STORE"
_FIRST_WITHOUT_FILES = (3, 13)  # first MLflow that refuses file stores by default


class Tracking(NamedTuple):
    """A tracking URI and what becomes of it, without passwords."""

    uri: str
    inner: str  # the URI that MLflow opens
    origin: str  # "argument", "environment MLFLOW_TRACKING_URI" or "MLflow's default"
    captured: bool
    why: str  # why it is captured or not
    obstacles: tuple[str, ...]  # reasons why MLflow cannot open it here


def tracking(uri: str | None = None) -> Tracking:
    """Return what becomes of ``uri``, by default of the URI that MLflow would use."""
    import mlflow  # reported by doctor if it cannot be imported

    origin = "argument"
    if uri is None:
        uri, origin = os.environ.get(_TRACKING_URI), f"environment {_TRACKING_URI}"
    if not uri:
        uri, origin = str(mlflow.get_tracking_uri()), "MLflow's default"
    inner = strip_prefix(uri)
    if switch.everything:
        why = f"{VARIABLE} is set, so every run is captured"
    elif has_prefix(uri):
        why = f"the URI begins with {PREFIX}"
    else:
        why = (
            f"the URI does not begin with {PREFIX} and {VARIABLE} is not set; "
            "only scripts with `import yprov_mlflow as mlflow` are captured"
        )
    captured = switch.everything or has_prefix(uri)
    return Tracking(
        redact(uri), redact(inner), origin, captured, why, _obstacles(inner, mlflow.version.VERSION)
    )


def missing_entry_points() -> list[str]:
    """Return MLflow's plugin groups in which this package is not registered."""
    return [group for group in _GROUPS if not entry_points(group=group, name=SCHEME)]


def needs_full_mlflow(uri: str) -> bool:
    """Return whether a store is SQL and only mlflow-skinny, without SQLAlchemy, is installed.

    MLflow's own error would be about model registries.
    """
    return _scheme(uri) in _SQL and importlib.util.find_spec("sqlalchemy") is None


def _scheme(uri: str) -> str:
    return uri.partition(":")[0].partition("+")[0] if ":" in uri else ""


def _obstacles(inner: str, version: str) -> tuple[str, ...]:
    scheme = _scheme(inner)
    if scheme == SCHEME:
        return (f"{inner!r} is not a store: write the URI of a store after {PREFIX}",)
    if needs_full_mlflow(inner):
        return ("SQL stores need the whole of MLflow, not mlflow-skinny: pip install mlflow",)
    if scheme in ("", "file") and inner != "databricks" and not _file_stores_allowed(version):
        return (f"this MLflow refuses file stores unless {_ALLOW_FILES}=true is set",)
    return ()


def _file_stores_allowed(version: str) -> bool:
    release = tuple(int(part) for part in version.split(".")[:2])
    allowed = os.environ.get(_ALLOW_FILES, "").lower() in ("1", "true")
    return release < _FIRST_WITHOUT_FILES or allowed
