"""What this process would capture, for ``yprov-mlflow doctor``; opens no store."""

from __future__ import annotations

import importlib
import importlib.util
import os
from importlib.metadata import entry_points
from typing import NamedTuple

from yprov_mlflow.prov.capture.patches import PREFIX, switch
from yprov_mlflow.prov.ids import redact

_GROUPS = ("mlflow.tracking_store", "mlflow.model_registry_store", "mlflow.artifact_repository")
_SQL = ("sqlite", "postgresql", "mysql", "mssql")
_ALLOWED = "MLFLOW_ALLOW_FILE_STORE"


class Tracking(NamedTuple):
    """What a tracking URI comes to: ``inner`` is what MLflow opens; no passwords in either.

    ``origin`` is ``"argument"``, ``"environment MLFLOW_TRACKING_URI"`` or ``"MLflow's default"``.
    ``obstacles`` are reasons why MLflow cannot open it here.
    """

    uri: str
    inner: str
    origin: str
    captured: bool
    why: str
    obstacles: tuple[str, ...]


def tracking(uri: str | None = None) -> Tracking:
    """Say what ``uri``, or else what MLflow would use, comes to, and whether it is captured."""
    import mlflow

    given, origin = uri, "argument"
    if given is None:
        given, origin = os.environ.get("MLFLOW_TRACKING_URI"), "environment MLFLOW_TRACKING_URI"
    if not given:
        given, origin = str(mlflow.get_tracking_uri()), "MLflow's default"
    inner = given.removeprefix(PREFIX)
    if switch.everything:
        captured, why = True, "YPROV_MLFLOW is set, so every run is captured"
    elif given != inner:
        captured, why = True, f"the URI begins with {PREFIX}"
    else:
        captured = False
        why = (
            f"the URI does not begin with {PREFIX} and YPROV_MLFLOW is not set; "
            "only scripts with `import yprov_mlflow as mlflow` are captured"
        )
    return Tracking(redact(given), redact(inner), origin, captured, why, _obstacles(inner))


def missing_entry_points() -> list[str]:
    """List MLflow's plugin groups in which this package is not registered."""
    return [group for group in _GROUPS if not entry_points(group=group, name="yprov")]


def _obstacles(inner: str) -> tuple[str, ...]:
    scheme = inner.partition(":")[0].partition("+")[0] if ":" in inner else ""
    if scheme == "yprov":
        return (f"{inner!r} names no store: write the URI of one after {PREFIX}",)
    if scheme in _SQL and importlib.util.find_spec("sqlalchemy") is None:
        return ("SQL stores need the whole of MLflow, not mlflow-skinny: pip install mlflow",)
    if scheme in ("", "file") and inner != "databricks" and not _file_stores_allowed():
        return (f"this MLflow refuses file stores unless {_ALLOWED}=true is set",)
    return ()


def _file_stores_allowed() -> bool:
    from mlflow.version import VERSION

    release = tuple(int(part) for part in VERSION.split(".")[:2])
    return release < (3, 13) or os.environ.get(_ALLOWED, "").lower() in ("1", "true")
