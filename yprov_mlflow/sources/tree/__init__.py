"""``mlruns`` trees, of MLflow 0.x to 3.x, read directly and not through MLflow's file store."""

from yprov_mlflow.sources.tree.tree import TreeSource

__all__ = ["TreeSource"]
