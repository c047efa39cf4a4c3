"""A SQLite file that is read and never written, in whatever state it was left."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from yprov_mlflow.prov.errors import StoreError

_MAGIC = b"SQLite format 3\0"
_WAL = 2
"""What byte 18 of the header says of a file that is written through a ``-wal`` file."""

_WAIT_S = 60.0
_LEFT = ("-wal", "-journal")
_CURE = "Give the database that MLflow writes to: a SQLite file with its tables"

State = tuple[object, ...]


class SqliteFile:
    """One file and what lies beside it.

    Opened read-only, so that SQLite honours what other programs write meanwhile and nothing is
    changed. Where that cannot be, as a program died in a transaction and the file needs repair,
    a copy is repaired; where it is on a medium that is read-only itself, it is read as it is.
    """

    def __init__(self, path: Path) -> None:
        """Look at the file.

        Raises:
            StoreError: It is not there, not to be read, empty, or no SQLite database.
        """
        self.path = path
        self.foreign_text = False
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._immutable = False
        self._wal = self._header()[18] == _WAL

    def _header(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                header = file.read(100)
        except FileNotFoundError as error:
            raise StoreError("there is no such database", str(self.path), _CURE) from error
        except OSError as error:
            reason = f"the database cannot be read: {error.strerror}"
            raise StoreError(reason, str(self.path), _CURE) from error
        if not header:
            raise StoreError("the database is empty", str(self.path), _CURE)
        if not header.startswith(_MAGIC):
            raise StoreError("this file is no SQLite database", str(self.path), _CURE)
        return header

    def state(self) -> State:
        """Give what changes when a program opens or writes the file."""
        found: list[object] = []
        for suffix in ("", *_LEFT):
            try:
                stat = os.stat(f"{self.path}{suffix}")
            except FileNotFoundError:
                found.append(None)
                continue
            found += [stat.st_size, stat.st_mtime_ns if suffix == "" else bool(stat.st_size)]
        return (*found,)

    @property
    def settled(self) -> bool:
        """Whether one opening does, whatever becomes of the file: SQLite itself looks after it."""
        return self._copy is None and not self._immutable

    @property
    def guarded(self) -> bool:
        """Whether SQLite itself sees to it that a transaction reads one state of the file."""
        return not self._immutable

    def connect(self) -> sqlite3.Connection:
        """Open the file as its state of now demands.

        Raises:
            StoreError: It is broken, or locked for longer than anybody would wait.
        """
        self._wal = self._header()[18] == _WAL
        if self._copy is None:
            try:
                return self._open(self.path, "mode=ro")
            except sqlite3.OperationalError as error:
                self._raise_if_locked(error)
                if not self._left():
                    connection = self._open(self.path, "immutable=1")
                    self._immutable = True
                    return connection
                self._repair_copy()
        assert self._copy is not None
        return self._open(Path(self._copy.name, self.path.name), "mode=rw")

    def _left(self) -> list[str]:
        """Give the endings of files beside it in which a program keeps what it wrote last."""
        found = []
        for suffix in _LEFT:
            beside = Path(f"{self.path}{suffix}")
            if beside.exists() and beside.stat().st_size:
                found.append(suffix)
        return found

    def _open(self, path: Path, mode: str) -> sqlite3.Connection:
        uri = f"file:{quote(str(path.absolute()))}?{mode}"
        connection = sqlite3.connect(
            uri, uri=True, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
        )
        connection.text_factory = self._text
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            connection.close()
            raise
        except sqlite3.DatabaseError as error:
            connection.close()
            raise StoreError(f"the database is broken: {error}", str(self.path), _CURE) from error
        return connection

    def _raise_if_locked(self, error: sqlite3.OperationalError) -> None:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            cure = "Try again when the program that writes to it has finished"
            raise StoreError("the database is locked", str(self.path), cure) from error

    def _repair_copy(self) -> None:
        """Let SQLite finish or undo, on a copy, what a program that died had begun."""
        self._copy = tempfile.TemporaryDirectory(prefix="yprov-")
        target = Path(self._copy.name, self.path.name)
        try:
            for suffix in ("", *self._left()):
                shutil.copyfile(f"{self.path}{suffix}", f"{target}{suffix}")
        except OSError as error:
            self.close()
            reason = f"the database must be copied to be read, which failed: {error.strerror}"
            cure = "Set TMPDIR to a folder with room for it, or open it once with sqlite3"
            raise StoreError(reason, str(self.path), cure) from error

    def close(self) -> None:
        """Remove the copy, if there is one, and what SQLite made beside the file."""
        self._immutable = False
        if self._copy is not None:
            self._copy.cleanup()
            self._copy = None
        elif self._wal:
            self._tidy()

    def _tidy(self) -> None:
        """Let SQLite remove the empty files that it makes for who reads a file in WAL mode.

        It does so when the last who has the file open could write; nothing is written.
        """
        beside = Path(f"{self.path}-wal")
        if not beside.exists() or beside.stat().st_size:
            return
        try:
            uri = f"file:{quote(str(self.path.absolute()))}?mode=rw"
            with closing(sqlite3.connect(uri, uri=True, timeout=0)) as connection:
                connection.execute("PRAGMA schema_version").fetchone()
        except sqlite3.Error:
            # Somebody else is at it, and will do it.
            return

    def _text(self, value: bytes) -> str:
        try:
            return value.decode()
        except UnicodeDecodeError:
            # Nothing is lost: each byte is a character.
            self.foreign_text = True
            return value.decode("latin-1")
