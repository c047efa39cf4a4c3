"""MLflow databases, of any schema revision, read directly and never written to."""

from yprov_mlflow.sources.database.source import DatabaseSource

__all__ = ["DatabaseSource"]
