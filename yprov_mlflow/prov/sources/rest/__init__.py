"""Tracking servers, read over REST with MLflow's own client."""

from yprov_mlflow.prov.sources.rest.rest_source import ServerSource

__all__ = ["ServerSource"]
