"""The database of a view: a file in a temporary folder of this machine, for one process.

Its loss costs nothing: it is never synced to disk, and removed when the process ends. The folder
of a process that was killed is removed by the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "yprov-view-"
_LOCK = "lock"
_SHARED_MEMORY = "/dev/shm"


class ViewDatabase:
    """A copy of a template in a folder of its own.

    Args:
        template: An empty database with MLflow's tables.
        artifacts: Artifact root of the store.
        creation_time_ms: Creation time of the store, which identifies it.
        base: Folder for temporary files; by default Python's, and shared memory if that is full.

    Raises:
        OSError: No folder can be written.
    """

    def __init__(
        self, template: Path, artifacts: Path, creation_time_ms: int, base: str | None = None
    ) -> None:
        self._lock = -1
        bases = [base] if base else [tempfile.gettempdir(), _SHARED_MEMORY]
        for last, folder in ((folder == bases[-1], folder) for folder in bases):
            try:
                self._create(folder, template)
                break
            except OSError:
                self.close()
                if last:
                    raise
        self._set_first_experiment(artifacts, creation_time_ms)

    def _create(self, base: str, template: Path) -> None:
        _remove_leftovers(base)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.geteuid()}-", dir=base))
        # Held by the open file until the process ends or is killed.
        self._lock = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(OSError):  # a file system without locks keeps leftovers
            fcntl.flock(self._lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        self.path = self.folder / "view.db"
        shutil.copyfile(template, self.path)

    def _set_first_experiment(self, artifacts: Path, creation_time_ms: int) -> None:
        """Make experiment 0 the same in all processes of the store."""
        with contextlib.closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(
                "UPDATE experiments SET artifact_location = ?, creation_time = ?,"
                " last_update_time = ? WHERE experiment_id = 0",
                (str(artifacts / "0"), creation_time_ms, creation_time_ms),
            )

    @property
    def uri(self) -> str:
        """The URI by which MLflow opens it."""
        return f"sqlite:///{self.path}"

    def close(self) -> None:
        """Remove the folder."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
            shutil.rmtree(self.folder, ignore_errors=True)


def _remove_leftovers(base: str) -> None:
    """Remove the folders of processes of this user that were killed."""
    for folder in _folders(base):
        with contextlib.suppress(OSError):
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _folders(base: str) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from Path(base).glob(f"{_PREFIX}{os.geteuid()}-*")
