"""The append-only log of events: one file per run and process, proof against ``kill -9``.

A line is a JSON array; it is written by one ``write(2)`` before the logging call returns, so what
the caller saw succeed is in the file when the process is gone. A power cut is another matter:
nothing is synced.
"""

from yprov_mlflow.prov.journal.directory import JournalDirectory
from yprov_mlflow.prov.journal.reader import JournalReader, merge
from yprov_mlflow.prov.journal.writer import JournalWriter

__all__ = ["JournalDirectory", "JournalReader", "JournalWriter", "merge"]
