"""The way back: documents become a store of MLflow's again."""

from yprov_mlflow.restore.report import Note, Report
from yprov_mlflow.restore.restoration import Wish, restore

__all__ = ["Note", "Report", "Wish", "restore"]
