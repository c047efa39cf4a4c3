"""A SQLite file that is read and never written, in any state that its last writer left."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy

from yprov_mlflow.prov.errors import StoreError

_HEADER = b"SQLite format 3\0"
_WAL_VERSION = b"\2"  # byte 18 of the header, of a file in WAL mode
_QUIET_S, _WAIT_S = 2.0, 30.0
"""Seconds to wait for a lock, in silence and altogether."""
_LOG = logging.getLogger(__name__)
_UNFINISHED = ("-wal", "-journal")
_CURE = "Give the database that MLflow writes to: a SQLite file with its tables"

_INDEXED_TABLES = ("metrics", "latest_metrics", "params", "tags")
# Fewer rows are scanned faster than they are sorted.
_SMALL_TABLE = 20_000

FileState = tuple[object, ...]


def _is_lock(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class SqliteFile:
    """One database file and SQLite's own files next to it.

    It is opened in one of three ways, the first that works:

    1. Read-only. SQLite's locks protect readers from writers, and nothing is changed.
    2. As a repaired copy, if a writer died and left a transaction. SQLite repairs a file by
       writing to it, which must not happen to the original.
    3. Immutable, if the folder is read-only: in WAL mode SQLite would have to create a file
       there. SQLite then takes no locks, so that changes during a read must be detected here.

    Raises:
        StoreError: The file is missing, unreadable, empty, or not a SQLite database.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.has_invalid_text = self.immutable = False
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._wal = self._in_wal_mode()

    def _in_wal_mode(self) -> bool:
        try:
            with self.path.open("rb") as file:
                header = file.read(100)
        except FileNotFoundError as error:
            raise self._error("the database does not exist") from error
        except OSError as error:
            raise self._error(f"the database cannot be read: {error.strerror}") from error
        if not header:
            raise self._error("the database is empty")
        if not header.startswith(_HEADER):
            raise self._error("this file is not a SQLite database")
        return header[18:19] == _WAL_VERSION

    def _error(self, reason: str, cure: str = _CURE) -> StoreError:
        return StoreError(reason, str(self.path), cure)

    def state(self) -> FileState:
        """Return a value that changes when a program opens the file for writing, or writes."""
        state: list[object] = []
        for suffix in ("", *_UNFINISHED):
            try:
                stat = os.stat(f"{self.path}{suffix}")
            except FileNotFoundError:
                state.append(None)
                continue
            # Readers, including this one, touch an empty -wal file: its times mean nothing.
            state += [stat.st_size, stat.st_mtime_ns if suffix == "" else bool(stat.st_size)]
        return (*state,)

    @property
    def reusable(self) -> bool:
        """Whether a connection stays valid when other programs change the file."""
        return self._copy is None and not self.immutable

    def connect(self) -> sqlite3.Connection:
        """Return a connection, opened as the current state of the file requires.

        Raises:
            StoreError: The file is broken, or stays locked.
        """
        self._wal = self._in_wal_mode()
        if self._copy is None:
            try:
                return self._open(self.path, "mode=ro", min(_QUIET_S, _WAIT_S))
            except sqlite3.OperationalError as error:
                if _is_lock(error):
                    return self._open_when_unlocked()
            if not self._unfinished():
                connection = self._open(self.path, "immutable=1")
                self.immutable = True
                return connection
            self._copy = self._make_copy()
        return self._open(Path(self._copy.name, self.path.name), "mode=rw")

    def _open_when_unlocked(self) -> sqlite3.Connection:
        _LOG.warning("%s is locked by another program: waiting up to %g s", self.path, _WAIT_S)
        try:
            return self._open(self.path, "mode=ro")
        except sqlite3.OperationalError as error:
            if not _is_lock(error):
                raise
            cure = "Try again when the program that writes to it has finished"
            raise self._error("the database is locked", cure) from error

    def _unfinished(self) -> list[str]:
        """Return the suffixes of files with changes that are not in the database file yet."""
        paths = {suffix: Path(f"{self.path}{suffix}") for suffix in _UNFINISHED}
        return [suffix for suffix, path in paths.items() if path.exists() and path.stat().st_size]

    def _open(self, path: Path, mode: str, wait_s: float | None = None) -> sqlite3.Connection:
        uri = f"file:{quote(str(path.absolute()))}?{mode}"
        # isolation_level=None: transactions begin where Database begins them, and not only before
        # writes, as sqlite3 would do it.
        timeout = _WAIT_S if wait_s is None else wait_s
        connection = sqlite3.connect(
            uri, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False
        )
        connection.text_factory = self._decode
        try:
            # Connecting alone reads nothing; this fails where reading does.
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            connection.execute(f"PRAGMA busy_timeout = {int(_WAIT_S * 1000)}")
        except sqlite3.OperationalError:
            connection.close()
            raise
        except sqlite3.DatabaseError as error:
            connection.close()
            raise self._error(f"the database is broken: {error}") from error
        return connection

    def _make_copy(self) -> tempfile.TemporaryDirectory[str]:
        """Copy the file; opening the copy completes or undoes the interrupted transaction."""
        copy = tempfile.TemporaryDirectory(prefix="yprov-")
        try:
            for suffix in ("", *self._unfinished()):
                shutil.copyfile(
                    f"{self.path}{suffix}", f"{Path(copy.name, self.path.name)}{suffix}"
                )
        except OSError as error:
            copy.cleanup()
            reason = f"the database must be copied to be read, which failed: {error.strerror}"
            cure = "Set TMPDIR to a folder with enough space, or open it once with sqlite3"
            raise self._error(reason, cure) from error
        return copy

    def close(self) -> None:
        """Remove the copy, and the files that SQLite created next to the database."""
        self.immutable = False
        wal = Path(f"{self.path}-wal")
        if self._copy is not None:
            self._copy.cleanup()
            self._copy = None
        elif self._wal and wal.exists() and not wal.stat().st_size:
            # SQLite creates empty files for readers in WAL mode, and removes them when the last
            # connection that could write is closed. This one opens the file for writing and
            # writes nothing. If it fails, another program uses the file and will remove them.
            with suppress(sqlite3.Error):
                uri = f"file:{quote(str(self.path.absolute()))}?mode=rw"
                with closing(sqlite3.connect(uri, uri=True, timeout=0)) as connection:
                    connection.execute("PRAGMA schema_version").fetchone()

    def _decode(self, value: bytes) -> str:
        try:
            return value.decode()
        except UnicodeDecodeError:
            # Latin-1 maps each byte to one character, so that nothing is lost.
            self.has_invalid_text = True
            return value.decode("latin-1")


class RowIndex:
    """Temporary index of rows by run, for files of MLflow before 1.28, whose tables lack one.

    Without it, each run scans all rows: quadratic time for a store of many runs. It lives in
    SQLite's temporary database, so that the user's file is not changed.
    """

    def __init__(self) -> None:
        self._version: int | None = None
        self._indexed: set[str] = set()

    def update(self, connection: sqlite3.Connection, tables: Iterable[str]) -> None:
        """Create the index, again if another program wrote to the file since.

        Args:
            connection: An open connection outside of any transaction.
            tables: Tables without an index by run.
        """
        # It changes when another connection commits, in this process or in another one.
        version = connection.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:
            return
        for table in _INDEXED_TABLES:
            connection.execute(f"DROP TABLE IF EXISTS temp.rows_of_{table}")
        self._indexed.clear()
        self._version = version
        for table in set(tables) & set(_INDEXED_TABLES):
            # A broken table, or one without rowid, is scanned.
            with suppress(sqlite3.DatabaseError):
                last = connection.execute(f"SELECT max(rowid) FROM {table}").fetchone()[0]
                if last is None or last <= _SMALL_TABLE:
                    continue
                connection.execute(
                    f"CREATE TEMP TABLE rows_of_{table}"
                    " (run TEXT, row INTEGER, PRIMARY KEY (run, row)) WITHOUT ROWID"
                )
                connection.execute(
                    f"INSERT INTO temp.rows_of_{table} SELECT run_uuid, rowid FROM main.{table}"
                    " WHERE run_uuid IS NOT NULL ORDER BY 1, 2"
                )
                self._indexed.add(table)

    def condition(self, table: str, run_id: str) -> Any | None:
        """Return the condition for a run's rows; None if the table is not indexed here."""
        if table not in self._indexed:
            return None
        rows = sqlalchemy.table(f"rows_of_{table}", sqlalchemy.column("run"), schema="temp")
        numbers: Any = sqlalchemy.select(sqlalchemy.literal_column("row")).select_from(rows)
        return sqlalchemy.literal_column(f"{table}.rowid").in_(numbers.where(rows.c.run == run_id))
