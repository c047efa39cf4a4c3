"""Read-only connections to the databases that MLflow supports."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import event, pool

from yprov_mlflow.prov.drivers import missing_driver, with_driver
from yprov_mlflow.prov.errors import StoreError
from yprov_mlflow.prov.redaction import WITHHELD, redact
from yprov_mlflow.prov.sources.sql.query_reader import Reader, Schema
from yprov_mlflow.prov.sources.sql.sqlite_file import FileState, RowIndex, SqliteFile

_CONNECT_TIMEOUT_S = 30


def url_of(location: str) -> sqlalchemy.URL:
    """Return the URL of a database, from a path or a URI as MLflow takes it.

    Raises:
        MissingExtraError: No driver for the database is installed.
        StoreError: The URI is not valid.
    """
    if "://" not in location:
        return sqlalchemy.URL.create("sqlite", database=location)
    location = with_driver(location)
    try:
        return sqlalchemy.make_url(location)
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise StoreError(
            "this is not a valid database URI",
            redact(location),
            "Give it as MLflow takes it: sqlite:///FILE, postgresql://USER:PASSWORD@HOST/NAME,"
            " with / @ : and # in a password written as %2F %40 %3A and %23",
        ) from error


class Database:
    """A database that is only read; each transaction sees one state of it.

    Nothing is opened before the first transaction.
    """

    def __init__(self, location: str) -> None:
        self.url = url_of(location)
        self.dialect = self.url.get_backend_name()
        self.location = redact(location)
        self.file: SqliteFile | None = None
        if self.dialect == "sqlite":
            if not self.url.database or self.url.database == ":memory:":
                reason = "an in-memory database cannot hold runs of another process"
                raise StoreError(reason, self.location, "Give the file: sqlite:///FILE")
            self.location = f"sqlite:///{os.path.abspath(self.url.database)}"
            self.file = SqliteFile(Path(self.url.database))
        self._engine: sqlalchemy.Engine | None = None
        self._connection: sqlalchemy.Connection | None = None
        self._schema: Schema | None = None
        self._file_state: FileState | None = None
        self._row_index = RowIndex()
        self._depth = 0

    @contextmanager
    def transaction(self) -> Iterator[Reader]:
        """Read one state of the database; nested transactions share the outermost one.

        Raises:
            StoreError: The database cannot be reached, or lacks MLflow's tables.
        """
        outermost = self._depth == 0
        file = self.file
        # A copy, and the cache of an immutable file, are outdated once the file has changed.
        if outermost and file and not file.reusable and file.state() != self._file_state:
            self.close()
        try:
            connection = self._connect()
            if self._schema is None:
                self._schema = Schema.of(connection, self.location)
            if outermost and file is not None:
                self._update_row_index(connection, self._schema)
        except (sqlalchemy.exc.SQLAlchemyError, StoreError) as error:
            self.close()
            raise self.failure(error) from error
        self._depth += 1
        try:
            yield Reader(connection, self._schema, self.failure, self._row_index)
        except StoreError:
            self.close()  # the connection is lost; the next transaction opens another
            raise
        finally:
            self._depth -= 1
            if self._depth == 0 and not connection.closed:
                try:
                    connection.rollback()
                except sqlalchemy.exc.SQLAlchemyError:
                    self.close()  # the connection was lost, and the transaction with it

    def _update_row_index(self, connection: sqlalchemy.Connection, schema: Schema) -> None:
        tables = [name for name in schema.tables if "run_uuid" not in schema.indexed[name]]
        raw: Any = connection.connection.driver_connection
        # Temporary tables made within the transaction would disappear with its rollback.
        connection.rollback()
        self._row_index.update(raw, tables)

    def unchanged(self) -> bool:
        """Return whether everything read since the transaction began was one state."""
        return self.file is None or not self.file.immutable or self.file.state() == self._file_state

    def _connect(self) -> sqlalchemy.Connection:
        if self._connection is not None and self._connection.invalidated:
            self.close()
        if self._connection is None:
            if self.file is not None:
                self._file_state = self.file.state()
            self._engine = self._engine or self._make_engine()
            self._connection = self._engine.connect()
        return self._connection

    def _make_engine(self) -> sqlalchemy.Engine:
        """Return an engine whose transactions are read-only and see one snapshot.

        SQL Server would need to be configured for snapshots; there the default applies.
        """
        # This class keeps its one connection itself.
        options: dict[str, Any] = {"poolclass": pool.NullPool}
        begin = ""
        if self.file is not None:
            options["creator"] = self.file.connect
            begin = "BEGIN"
        elif self.dialect == "postgresql":
            # The driver begins the transaction; the first query takes the snapshot.
            options["isolation_level"] = "REPEATABLE READ"
            options["execution_options"] = {"postgresql_readonly": True}
            if self.url.get_driver_name() in ("psycopg2", "psycopg"):
                options["connect_args"] = {"connect_timeout": _CONNECT_TIMEOUT_S}
        elif self.dialect in ("mysql", "mariadb"):
            options["isolation_level"] = "REPEATABLE READ"
            begin = "START TRANSACTION READ ONLY, WITH CONSISTENT SNAPSHOT"
        try:
            engine = sqlalchemy.create_engine(self.url, **options)
        except ModuleNotFoundError as error:
            raise missing_driver(self.dialect, str(error.name)) from error
        except (sqlalchemy.exc.ArgumentError, ImportError) as error:  # a library of a driver
            raise self.failure(error) from error
        if begin:

            @event.listens_for(engine, "begin")
            def _begin(connection: sqlalchemy.Connection) -> None:
                connection.exec_driver_sql(begin)

        return engine

    def failure(self, error: Exception) -> StoreError:
        """Return the error that explains one of SQLAlchemy to the user, without passwords."""
        original = getattr(error, "orig", None) or error
        if isinstance(original, StoreError):
            return original
        reason = " ".join(str(original).split())
        if self.url.password:
            reason = reason.replace(str(self.url.password), WITHHELD)
        if "password" in reason.lower() or "access denied" in reason.lower():
            cure = "Give a user and a password with read access: DIALECT://USER:PASSWORD@HOST/NAME"
        else:
            cure = "Check that the database is running and that its URI is right"
        return StoreError(f"the database cannot be read: {reason}", self.location, cure)

    def close(self) -> None:
        """Disconnect; the next transaction connects again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None
        if self.file is not None:
            self.file.close()
        self._schema = self._file_state = None
        self._row_index = RowIndex()
