"""File stores (``mlruns``) of MLflow 0.x to 3.x, read directly and not through MLflow."""

from yprov_mlflow.prov.sources.file_store.file_store_source import FileStoreSource

__all__ = ["FileStoreSource"]
