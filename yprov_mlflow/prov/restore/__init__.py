"""Restore MLflow stores from their documents."""

from yprov_mlflow.prov.restore.restoration import RestoreRequest, restore
from yprov_mlflow.prov.restore.restore_report import Note, RestoreReport

__all__ = ["Note", "RestoreReport", "RestoreRequest", "restore"]
