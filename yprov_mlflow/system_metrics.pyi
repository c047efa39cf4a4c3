"""MLflow's own module, for type checkers."""

from mlflow.system_metrics import *
