"""``mlruns`` trees, of MLflow 0.x to 3.x, read directly and not through MLflow's file store."""

from yprov_mlflow.prov.sources.file_store.file_store_source import TreeSource

__all__ = ["TreeSource"]
