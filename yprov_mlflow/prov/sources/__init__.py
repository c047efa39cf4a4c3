"""Sources of existing runs: file stores (``mlruns``), MLflow databases, tracking servers."""

from yprov_mlflow.prov.sources.location import open_source
from yprov_mlflow.prov.sources.source import Problem, RunRef, Source

__all__ = ["Problem", "RunRef", "Source", "open_source"]
