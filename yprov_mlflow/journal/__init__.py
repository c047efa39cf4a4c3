"""The append-only log of events: one file per run and process, proof against ``kill -9``.

A line is a JSON array; it is written by one ``write(2)`` before the logging call returns, so what
the caller saw succeed is in the file when the process is gone. A power cut is another matter:
nothing is synced.
"""

from yprov_mlflow.journal.folder import Folder
from yprov_mlflow.journal.reader import Journal, merge
from yprov_mlflow.journal.writer import Writer

__all__ = ["Folder", "Journal", "Writer", "merge"]
