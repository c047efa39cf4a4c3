"""MLflow's own module, for type checkers."""

from mlflow.artifacts import *
