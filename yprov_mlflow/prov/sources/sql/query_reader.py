"""Queries within one transaction: streamed, and only for tables and columns that exist."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy

from yprov_mlflow.prov.errors import StoreError
from yprov_mlflow.prov.sources.sql.sqlite_file import RowIndex

_CHUNK = 8192  # rows in memory at once
_MOST_VALUES = 500  # values in one IN; SQLite before 3.32 takes 999 parameters
_RUN = "run_uuid"
# Text that rows are sorted by in the database, as they may be too many to sort here.
_SORTED_TEXT = frozenset({"key", "metric_name"})

_REQUIRED_TABLES = ("experiments", "runs")
# MariaDB reports columns of JSON as text.
_JSON_COLUMNS = {
    "evaluation_dataset_records": "inputs outputs expectations tags source",
    "jobs": "progress scoped_permissions status_details",
    "mcp_servers": "icons",
    "mcp_server_versions": "server_json tools connect_options",
}
_TABLES_BY_KEY = {
    "experiment_id": "experiments experiment_tags",
    "run_uuid": "runs params tags metrics latest_metrics",
    "input_uuid": "inputs input_tags",
    "dataset_uuid": "datasets",
    "model_id": "logged_models logged_model_params logged_model_tags logged_model_metrics",
    "name": "registered_models registered_model_tags registered_model_aliases model_versions"
    " model_version_tags",
    "request_id": "trace_info trace_tags trace_request_metadata",
    "trace_id": "spans assessments",
    "dataset_id": "evaluation_datasets evaluation_dataset_tags evaluation_dataset_records",
    "scorer_id": "scorers scorer_versions",
    "webhook_id": "webhooks webhook_events",
}
KEYS = {table: key for key, tables in _TABLES_BY_KEY.items() for table in tables.split()}
"""Tables that have readers of their own, each with a column of all its revisions."""

OWNERS = {key: tables.split()[0] for key, tables in _TABLES_BY_KEY.items()}
"""The table with the rows that a key refers to."""

Record = dict[str, Any]


class Unreadable(Exception):
    """The database cannot return some rows, for example of a damaged table."""


@dataclasses.dataclass(frozen=True)
class Schema:
    """The tables of a database and their columns, of any schema revision.

    Columns are untyped, so that values stay as the driver returns them.

    Args:
        tables: Tables by name. A table of another program with a name of MLflow's is called
            ``NAME_not_of_mlflow`` here.
        json: Names of the JSON columns of each table.
        indexed: Names of the columns that an index of each table starts with.
    """

    tables: Mapping[str, sqlalchemy.TableClause]
    json: Mapping[str, frozenset[str]]
    indexed: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, connection: sqlalchemy.Connection, location: str) -> Schema:
        """Return the schema of the database at ``location``.

        Raises:
            StoreError: It lacks MLflow's tables.
        """
        inspector = sqlalchemy.inspect(connection)
        tables, json, names = {}, {}, {}
        with warnings.catch_warnings():
            # SQLAlchemy warns about types that it does not know.
            warnings.simplefilter("ignore", sqlalchemy.exc.SAWarning)
            columns_by_table = inspector.get_multi_columns()
            indexes_by_table = inspector.get_multi_indexes()
        for (_, table), columns in columns_by_table.items():
            columns_here = [column["name"] for column in columns]
            foreign = KEYS.get(table) not in (None, *columns_here)
            name = names[table] = f"{table}_not_of_mlflow" if foreign else table
            tables[name] = sqlalchemy.table(table, *map(sqlalchemy.column, columns_here))
            typed = {c["name"] for c in columns if isinstance(c["type"], sqlalchemy.JSON)}
            json[name] = frozenset(typed.union(_JSON_COLUMNS.get(table, "").split()))
        if missing := [name for name in _REQUIRED_TABLES if name not in tables]:
            raise StoreError(
                f"this database has no tables of MLflow: no {' and no '.join(missing)}",
                location,
                "Give the database of --backend-store-uri or MLFLOW_TRACKING_URI, and its schema"
                " if it is not the default one",
            )
        indexed = {
            names[table]: frozenset(str(i["column_names"][0]) for i in indexes if i["column_names"])
            for (_, table), indexes in indexes_by_table.items()
        }
        return cls(tables, json, indexed)

    def has(self, table: str, *columns: str) -> bool:
        """Return whether the table exists with these columns."""
        clause = self.tables.get(table)
        return clause is not None and all(name in clause.c for name in columns)


class Reader:
    """Runs queries in one transaction, one after the other, as some drivers require.

    Args:
        connection: The connection, in a transaction.
        schema: The tables and columns that exist.
        failure: Returns the error to raise for a lost connection.
        row_index: Index of rows by run, for SQLite.
    """

    def __init__(
        self,
        connection: sqlalchemy.Connection,
        schema: Schema,
        failure: Callable[[Exception], StoreError],
        row_index: RowIndex | None = None,
    ) -> None:
        self.connection = connection
        self.schema = schema
        self.dialect = connection.dialect.name
        driver: Any = connection.dialect.loaded_dbapi
        self._driver_error: type[Exception] = driver.Error
        self._failure = failure
        self._row_index = row_index

    def chunks(
        self, statement: sqlalchemy.Select[Any], *, streamed: bool = True
    ) -> Iterator[Sequence[tuple[Any, ...]]]:
        """Yield the rows of a query in order, in lists of bounded length.

        Pass ``streamed=False`` for small results: streaming costs extra round trips to a server.

        Raises:
            Unreadable: The database cannot return the rows.
            StoreError: The connection is lost.
        """
        try:
            if streamed and self.dialect != "sqlite":
                options = {"yield_per": _CHUNK}
                with self.connection.execute(statement, execution_options=options) as result:
                    for partition in result.partitions():
                        yield [tuple(row) for row in partition]
                return
            with self.connection.execute(statement) as result:
                # The driver's cursor: SQLAlchemy's row objects double the time of a read.
                while rows := result.cursor.fetchmany(_CHUNK):
                    yield rows
        except (sqlalchemy.exc.DBAPIError, self._driver_error) as error:
            self._handle(error)

    def _handle(self, error: Exception) -> None:
        """Roll back, so that the connection stays usable, and raise what the error means."""
        original: Any = getattr(error, "orig", None) or error
        lost = getattr(error, "connection_invalidated", False)
        try:
            if not lost:
                dialect, raw = self.connection.dialect, self.connection.connection
                lost = dialect.is_disconnect(original, raw.driver_connection, None)
            self.connection.rollback()
        except sqlalchemy.exc.SQLAlchemyError:
            lost = True
        if lost or "locked" in str(original):
            raise self._failure(error) from error
        raise Unreadable(" ".join(str(original).split())) from error

    def columns(self, table: str, names: Sequence[str]) -> list[Any]:
        """Return columns to select, NULL for those that the table does not have."""
        columns = self.schema.tables[table].c
        return [
            columns[name] if name in columns else sqlalchemy.null().label(name) for name in names
        ]

    def rows(
        self, table: str, names: Sequence[str], where: Mapping[str, object] | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """Yield rows of a table, nothing if it does not exist.

        Args:
            table: Its name.
            names: Columns to return; None for those that the table does not have.
            where: Values that columns must have; a list means any of its values.
        """
        where = where or {}
        if not self.schema.has(table, *where):
            return
        for column, values in where.items():
            if isinstance(values, list):
                for start in range(0, len(values), _MOST_VALUES):
                    batch = tuple(values[start : start + _MOST_VALUES])
                    yield from self.rows(table, names, {**where, column: batch})
                return
        for chunk in self.chunks(self._select(table, names, where), streamed=not where):
            yield from chunk

    def _select(
        self, table: str, names: Sequence[str], where: Mapping[str, object]
    ) -> sqlalchemy.Select[Any]:
        clause = self.schema.tables[table]
        statement = sqlalchemy.select(*self.columns(table, names)).select_from(clause)
        for name, value in where.items():
            if name == _RUN and isinstance(value, str):
                condition = self.of_run(table, value)
            else:
                column = clause.c[name]
                condition = column.in_(value) if isinstance(value, tuple) else column == value
            statement = statement.where(condition)
        return statement

    def records(self, table: str, where: Mapping[str, object] | None = None) -> Iterator[Record]:
        """Yield whole rows of a table as mappings."""
        if not self.schema.has(table, *(where or {})):
            return
        names = [column.name for column in self.schema.tables[table].c]
        for row in self.rows(table, names, where):
            yield dict(zip(names, row, strict=True))

    def pairs(
        self, table: str, where: Mapping[str, object], key: str = "key", value: str = "value"
    ) -> list[tuple[Any, ...]]:
        """Return keys and values of a table of tags or params, by key."""
        return sorted(self.rows(table, (key, value), where), key=lambda pair: str(pair[0]))

    def ordered(self, column: Any) -> Any:
        """Return the expression to sort by; text is compared by its bytes in every database.

        The default collations of PostgreSQL and MySQL depend on the server's locale.
        """
        if column.name in _SORTED_TEXT:
            if self.dialect == "postgresql":
                return sqlalchemy.collate(column, "C")
            if self.dialect in ("mysql", "mariadb"):
                return sqlalchemy.cast(column, sqlalchemy.LargeBinary)
        return column

    def of_run(self, table: str, run_id: str) -> Any:
        """Return the condition for rows of a run."""
        condition = self._row_index.condition(table, run_id) if self._row_index else None
        return self.schema.tables[table].c[_RUN] == run_id if condition is None else condition
