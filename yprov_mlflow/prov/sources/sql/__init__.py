"""MLflow databases of any schema revision, read directly and never written to."""

from yprov_mlflow.prov.sources.sql.sql_source import DatabaseSource

__all__ = ["DatabaseSource"]
