"""MLflow's own module, for type checkers."""

from mlflow.sentence_transformers import *
