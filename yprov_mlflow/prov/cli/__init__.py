"""The command ``yprov-mlflow``; nothing else imports click and rich, or prints."""

from yprov_mlflow.prov.cli.application import main

__all__ = ["main"]
