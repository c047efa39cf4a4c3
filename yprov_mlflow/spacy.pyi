"""MLflow's own module, for type checkers."""

from mlflow.spacy import *
