"""Tracking servers, read over REST by MLflow's own client."""

from yprov_mlflow.sources.server.source import ServerSource

__all__ = ["ServerSource"]
