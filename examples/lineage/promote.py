"""Make the version in the argument the champion among the versions of the model."""

import sys

import mlflow

mlflow.MlflowClient().set_registered_model_alias("panel", "champion", sys.argv[1])
