"""The command ``yprov-mlflow``; nothing else imports click and rich, or prints."""

from yprov_mlflow.commands.application import main

__all__ = ["main"]
