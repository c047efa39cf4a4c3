"""The command ``yprov-mlflow``; only this package imports click and rich, and prints."""

from yprov_mlflow.prov.cli.application import main

__all__ = ["main"]
