"""The append-only log of events, one file per run and process, which survives ``kill -9``.

Each event is one line, written by one ``write(2)`` before the logging call returns: an event that
the caller saw succeed stays in the file when the process dies. It survives a power failure only if
a setting has it synced to the disk.
"""

from yprov_mlflow.prov.journal.directory import JournalDirectory
from yprov_mlflow.prov.journal.packs import Opener
from yprov_mlflow.prov.journal.reader import JournalReader, Problem, merge
from yprov_mlflow.prov.journal.writer import JournalWriter

__all__ = ["JournalDirectory", "JournalReader", "JournalWriter", "Opener", "Problem", "merge"]
