"""Connections that only read: what a location names, opened as each kind of database demands."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yprov_mlflow.prov import ids
from yprov_mlflow.prov.errors import MissingExtraError, StoreError
from yprov_mlflow.prov.sources.sql.query_reader import Reader
from yprov_mlflow.prov.sources.sql.row_index import RowIndex
from yprov_mlflow.prov.sources.sql.schema import Schema
from yprov_mlflow.prov.sources.sql.sqlite_file import SqliteFile, State

if TYPE_CHECKING:
    import sqlalchemy

_DRIVERS = {
    "postgresql": ("psycopg2", "psycopg", "pg8000"),
    "mysql": ("pymysql", "MySQLdb", "mysql.connector"),
    "mariadb": ("pymysql", "MySQLdb", "mariadb"),
}
"""Drivers that a location need not name, by dialect; SQLAlchemy's names are the modules'."""

_NAMES = {"MySQLdb": "mysqldb", "mysql.connector": "mysqlconnector", "mariadb": "mariadbconnector"}
_WAIT_S = 30


def url_of(location: str) -> sqlalchemy.URL:
    """Give the URL of what the user named: a path, or a URI as MLflow takes it.

    Raises:
        MissingExtraError: SQLAlchemy or every driver of the database is not installed.
        StoreError: This is no URI of a database.
    """
    if importlib.util.find_spec("sqlalchemy") is None:
        raise MissingExtraError.of("SQLAlchemy", "sql", "Reading MLflow databases")
    import sqlalchemy

    if "://" not in location:
        return sqlalchemy.URL.create("sqlite", database=location)
    if location.startswith("postgres://"):
        location = location.replace("postgres", "postgresql", 1)
    try:
        url = sqlalchemy.make_url(location)
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise StoreError(
            "this is no URI of a database",
            ids.redact(location),
            "Give it as MLflow takes it: sqlite:///FILE, postgresql://USER:PASSWORD@HOST/NAME,"
            " with / @ : and # in a password written as %2F %40 %3A and %23",
        ) from error
    known = _DRIVERS.get(url.drivername, ())
    if not known:
        return url
    found = [name for name in known if _installed(name)]
    if not found:
        raise MissingExtraError.of(
            f"a driver such as {known[0]}", "sql", f"Reading {url.drivername}"
        )
    return url.set(drivername=f"{url.drivername}+{_NAMES.get(found[0], found[0])}")


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


class Database:
    """A database that is open for reading; every transaction sees one state of it."""

    def __init__(self, location: str) -> None:
        """Name the database; nothing is opened yet."""
        self.url = url_of(location)
        self.dialect = self.url.get_backend_name()
        self.shown = ids.redact(location)
        self.file: SqliteFile | None = None
        if self.dialect == "sqlite":
            if not self.url.database or self.url.database == ":memory:":
                reason = "a database in memory has no runs that another process wrote"
                raise StoreError(reason, self.shown, "Give the file: sqlite:///FILE")
            self.shown = f"sqlite:///{os.path.abspath(self.url.database)}"
            self.file = SqliteFile(Path(self.url.database))
        self._engine: sqlalchemy.Engine | None = None
        self._connection: sqlalchemy.Connection | None = None
        self._schema: Schema | None = None
        self._state: State | None = None
        self._row_index: RowIndex | None = None
        self._depth = 0

    @contextmanager
    def transaction(self) -> Iterator[Reader]:
        """Read one state of the database; one within another reads what that one does.

        Raises:
            StoreError: The database cannot be reached, or is none of MLflow's.
        """
        import sqlalchemy

        file = self.file
        unsettled = self._depth == 0 and file is not None and not file.settled
        if file is not None and unsettled and file.state() != self._state:
            # What it was opened as may be wrong by now.
            self.close()
        try:
            connection = self._connect()
            if self._schema is None:
                self._schema = Schema.of(connection, self.shown)
            if self._depth == 0 and self.file is not None:
                self._index_rows(connection, self._schema)
        except (sqlalchemy.exc.SQLAlchemyError, StoreError) as error:
            self.close()
            raise self.failure(error) from error
        self._depth += 1
        try:
            yield Reader(connection, self._schema, self.failure, self._row_index)
        except StoreError:
            # The connection is lost; the next transaction makes another.
            self.close()
            raise
        finally:
            self._depth -= 1
            if self._depth == 0 and not connection.closed:
                try:
                    connection.rollback()
                except sqlalchemy.exc.SQLAlchemyError:
                    # It is gone, and so is the transaction.
                    self.close()

    def _index_rows(self, connection: sqlalchemy.Connection, schema: Schema) -> None:
        tables = [name for name in schema.tables if "run_uuid" not in schema.indexed[name]]
        raw: Any = connection.connection.driver_connection
        # What is made in a transaction that only reads would be gone with it.
        connection.rollback()
        if self._row_index is None:
            self._row_index = RowIndex()
        self._row_index.bring_up(raw, tables)

    def undisturbed(self) -> bool:
        """Tell whether what was read since the transaction's start is one state of the file."""
        file = self.file
        return file is None or file.guarded or file.state() == self._state

    def _connect(self) -> sqlalchemy.Connection:
        if self._connection is None or self._connection.invalidated:
            self._drop()
            if self.file is not None:
                self._state = self.file.state()
            self._engine = self._engine or self._make_engine()
            self._connection = self._engine.connect()
        return self._connection

    def _make_engine(self) -> sqlalchemy.Engine:
        import sqlalchemy
        from sqlalchemy import event, pool

        options: dict[str, Any] = {"poolclass": pool.NullPool}
        if self.file is not None:
            options["creator"] = self.file.connect
            begin = "BEGIN"
        elif self.dialect == "postgresql":
            options["isolation_level"] = "REPEATABLE READ"
            options["execution_options"] = {"postgresql_readonly": True}
            if self.url.get_driver_name() in ("psycopg2", "psycopg"):
                options["connect_args"] = {"connect_timeout": _WAIT_S}
            begin = ""
        elif self.dialect in ("mysql", "mariadb"):
            options["isolation_level"] = "REPEATABLE READ"
            begin = "START TRANSACTION READ ONLY, WITH CONSISTENT SNAPSHOT"
        else:
            begin = ""
        try:
            engine = sqlalchemy.create_engine(self.url, **options)
        except ModuleNotFoundError as error:
            needs = f"Reading {self.dialect}"
            raise MissingExtraError.of(f"the driver {error.name}", "sql", needs) from error
        except sqlalchemy.exc.ArgumentError as error:
            raise self.failure(error) from error
        if begin:

            @event.listens_for(engine, "begin")
            def _begin(connection: sqlalchemy.Connection) -> None:
                connection.exec_driver_sql(begin)

        return engine

    def failure(self, error: Exception) -> StoreError:
        """Give the error that says what SQLAlchemy's means for the user."""
        original = getattr(error, "orig", None) or error
        if isinstance(original, StoreError):
            return original
        reason = " ".join(str(original).split())
        if self.url.password:
            reason = reason.replace(str(self.url.password), "(withheld)")
        refused = "password" in reason.lower() or "access denied" in reason.lower()
        cure = (
            "Give a user and a password that may read it: DIALECT://USER:PASSWORD@HOST/NAME"
            if refused
            else "See that the database is up and that the location names it"
        )
        return StoreError(f"the database cannot be read: {reason}", self.shown, cure)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Disconnect; the next transaction connects again."""
        self._drop()
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None
        if self.file is not None:
            self.file.close()
        self._schema = None
        self._row_index = None
        self._state = None
