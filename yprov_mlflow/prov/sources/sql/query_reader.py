"""Queries within one transaction: streamed, and only for tables and columns that exist."""

from __future__ import annotations

import dataclasses
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import sqlalchemy

from yprov_mlflow.prov.errors import StoreError
from yprov_mlflow.prov.sources.sql.sqlite_file import RowIndex
from yprov_mlflow.prov.sources.state_events import batches

_CHUNK = 8192  # rows in memory at once
_MOST_VALUES = 500  # values in one IN; SQLite before 3.32 takes 999 parameters
_RUN = "run_uuid"
_PAIR = ("key", "value")
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
# Tables that have readers of their own, each with a column of all its revisions.
KEYS = {table: key for key, tables in _TABLES_BY_KEY.items() for table in tables.split()}
# The table with the rows that a key refers to.
OWNERS = {key: tables.split()[0] for key, tables in _TABLES_BY_KEY.items()}

Row = tuple[Any, ...]
Record = dict[str, Any]
Where = Mapping[str, object] | None


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
                f"MLflow's tables are missing: {' and '.join(missing)}",
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


@dataclasses.dataclass
class Reader:
    """Runs queries in one transaction, one after the other, as some drivers require.

    Args:
        connection: The connection, in a transaction.
        schema: The tables and columns that exist.
        failure: Returns the error to raise for a lost connection.
        row_index: Index of rows by run, for SQLite.
    """

    connection: sqlalchemy.Connection
    schema: Schema
    failure: Callable[[Exception], StoreError]
    row_index: RowIndex

    @property
    def dialect(self) -> str:
        """Name of the database's dialect, such as ``sqlite``."""
        return self.connection.dialect.name

    def select(self, statement: sqlalchemy.Select[Any], *, streamed: bool = True) -> Iterator[Row]:
        """Yield the rows of a query, of which at most ``_CHUNK`` are in memory at once.

        Pass ``streamed=False`` for small results: streaming costs extra round trips to a server.

        Raises:
            Unreadable: The database cannot return the rows.
            StoreError: The connection is lost.
        """
        # Chunks: a generator that yields single rows would take longer than the query.
        return chain.from_iterable(self._chunks(statement, streamed))

    def _chunks(self, statement: Any, streamed: bool) -> Iterator[Sequence[Row]]:
        driver: Any = self.connection.dialect.loaded_dbapi
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
        except (sqlalchemy.exc.DBAPIError, driver.Error) as error:
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
            raise self.failure(error) from error
        raise Unreadable(" ".join(str(original).split())) from error

    def columns(self, table: str, names: Sequence[str]) -> list[Any]:
        """Return columns to select, NULL for those that the table does not have."""
        existing = self.schema.tables[table].c
        return [existing[n] if n in existing else sqlalchemy.null().label(n) for n in names]

    def rows(
        self, table: str, names: Sequence[str], where: Where = None, *, distinct: bool = False
    ) -> Iterator[Row]:
        """Yield rows of a table, nothing if it does not exist.

        Args:
            table: Its name.
            names: Columns to return; None for those that the table does not have.
            where: Values that columns must have; a list means any of its values.
            distinct: Whether to yield equal rows once only.
        """
        where = where or {}
        if not self.schema.has(table, *where):
            return
        for column, values in where.items():
            if isinstance(values, list):
                for batch in batches(values, _MOST_VALUES):
                    yield from self.rows(table, names, {**where, column: (*batch,)})
                return
        clause = self.schema.tables[table]
        statement = sqlalchemy.select(*self.columns(table, names)).select_from(clause)
        for name, value in where.items():
            if name == _RUN and isinstance(value, str):
                statement = statement.where(self.of_run(table, value))
            elif isinstance(value, tuple):
                statement = statement.where(clause.c[name].in_(value))
            else:
                statement = statement.where(clause.c[name] == value)
        if distinct:
            statement = statement.distinct()
        yield from self.select(statement, streamed=not where)

    def records(self, table: str, where: Where = None) -> Iterator[Record]:
        """Yield whole rows of a table as mappings."""
        names = self.schema.tables[table].c.keys() if table in self.schema.tables else []
        return (dict(zip(names, row, strict=True)) for row in self.rows(table, names, where))

    def pairs(self, table: str, where: Where, columns: Sequence[str] = _PAIR) -> dict[str, str]:
        """Return the keys and values of one owner in a table of tags or params."""
        return self.grouped(table, (), where, columns)[()]

    def grouped(
        self, table: str, owner: Sequence[str], where: Where = None, columns: Sequence[str] = _PAIR
    ) -> dict[tuple[str, ...], dict[str, str]]:
        """Return the keys and values of a table of tags or params by owner, sorted, as text.

        ``owner`` are the columns that identify the owner, which may lack tags; ``columns``
        are those with key and value.
        """
        groups: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
        rows = self.rows(table, (*owner, *columns), where)
        for *ids, key, value in sorted(rows, key=lambda row: str(row[-2])):
            # MLflow never writes NULL here.
            groups[tuple(map(str, ids))][str(key)] = "" if value is None else str(value)
        return groups

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
        condition = self.row_index.condition(table, run_id)
        return self.schema.tables[table].c[_RUN] == run_id if condition is None else condition
