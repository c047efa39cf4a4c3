"""Queries within one transaction: streamed, and only for columns that there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from yprov_mlflow.prov.errors import StoreError

if TYPE_CHECKING:
    import sqlalchemy

    from yprov_mlflow.prov.sources.sql.row_index import RowIndex
    from yprov_mlflow.prov.sources.sql.schema import Schema

CHUNK = 8192
"""Rows that are in memory at once."""

_RUN = "run_uuid"
_MANY = 500
"""Values in one ``IN``; SQLite before 3.32 takes 999."""

Record = dict[str, Any]


class Unreadable(Exception):
    """Rows that the database has and cannot give; others it can."""


class Reader:
    """Asks one transaction; statements one after the other, as some drivers take no others."""

    def __init__(
        self,
        connection: sqlalchemy.Connection,
        schema: Schema,
        failure: Callable[[Exception], StoreError],
        row_index: RowIndex | None = None,
    ) -> None:
        """Take what a transaction gives; ``failure`` makes the error for a lost connection."""
        self._row_index = row_index
        self.connection = connection
        self.schema = schema
        self.dialect = connection.dialect.name
        driver: Any = connection.dialect.loaded_dbapi
        self._driver_error: type[Exception] = driver.Error
        self._failure = failure

    def chunks(
        self, statement: sqlalchemy.Select[Any], *, streamed: bool = True
    ) -> Iterator[Sequence[tuple[Any, ...]]]:
        """Give the rows of a query in bounded lists, in its order.

        A stream costs a server some more messages, and a result that is none is fetched whole.

        Raises:
            Unreadable: The database cannot give them.
            StoreError: The database is not to be reached any more.
        """
        import sqlalchemy

        try:
            if streamed and self.dialect != "sqlite":
                options = {"yield_per": CHUNK}
                with self.connection.execute(statement, execution_options=options) as result:
                    for part in result.partitions():
                        yield [tuple(row) for row in part]
                return
            with self.connection.execute(statement) as result:
                # The driver's own rows: making SQLAlchemy's takes as long as reading them.
                while rows := result.cursor.fetchmany(CHUNK):
                    yield rows
        except (sqlalchemy.exc.DBAPIError, self._driver_error) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Make a transaction that failed usable again, and say what happened."""
        import sqlalchemy

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

    # -- whole tables ------------------------------------------------------------------

    def columns(self, table: str, names: Sequence[str]) -> list[Any]:
        """Give columns to select, NULL for those that the table has not here."""
        import sqlalchemy

        found = self.schema.tables[table].c
        return [found[name] if name in found else sqlalchemy.null().label(name) for name in names]

    def rows(
        self,
        table: str,
        names: Sequence[str],
        where: Mapping[str, object] | None = None,
        order: Sequence[str] = (),
    ) -> Iterator[tuple[Any, ...]]:
        """Give rows of a table, None for columns that it has not; none if there is no table.

        Args:
            table: Its name.
            names: Columns to give.
            where: Values that columns must have; any of several if it is a list.
            order: Columns to order by; those that the table has not are left out.
        """
        where = where or {}
        if not self.schema.has(table, *where):
            return
        lists = [name for name, value in where.items() if isinstance(value, list)]
        if lists:
            values = where[lists[0]]
            assert isinstance(values, list)
            for start in range(0, len(values), _MANY):
                some = {**where, lists[0]: tuple(values[start : start + _MANY])}
                yield from self.rows(table, names, some, order)
            return
        for chunk in self.chunks(self._select(table, names, where, order), streamed=not where):
            yield from chunk

    def _select(
        self,
        table: str,
        names: Sequence[str],
        where: Mapping[str, object],
        order: Sequence[str],
    ) -> sqlalchemy.Select[Any]:
        import sqlalchemy

        found = self.schema.tables[table].c
        statement = sqlalchemy.select(*self.columns(table, names)).select_from(
            self.schema.tables[table]
        )
        for name, value in where.items():
            if name == _RUN and isinstance(value, str):
                condition = self.of_run(table, value)
            else:
                column = found[name]
                condition = column.in_(value) if isinstance(value, tuple) else column == value
            statement = statement.where(condition)
        return statement.order_by(*(self.ordered(found[n]) for n in order if n in found))

    def ordered(self, column: Any) -> Any:
        """Give what to order text by so that every database has the same order: its bytes."""
        import sqlalchemy

        if column.name in TEXT:
            if self.dialect == "postgresql":
                return sqlalchemy.collate(column, "C")
            if self.dialect in ("mysql", "mariadb"):
                return sqlalchemy.cast(column, sqlalchemy.LargeBinary)
        return column

    def records(
        self,
        table: str,
        where: Mapping[str, object] | None = None,
        order: Sequence[str] = (),
    ) -> Iterator[Record]:
        """Give whole rows of a table, as mappings with the columns that it has here."""
        if not self.schema.has(table, *(where or {})):
            return
        names = [column.name for column in self.schema.tables[table].c]
        for row in self.rows(table, names, where, order):
            yield dict(zip(names, row, strict=True))

    def pairs(
        self, table: str, where: Mapping[str, object], key: str = "key", value: str = "value"
    ) -> list[tuple[Any, ...]]:
        """Give keys and values of a table of tags or params, in the order of the keys."""
        return sorted(self.rows(table, (key, value), where), key=lambda pair: str(pair[0]))

    def of_run(self, table: str, run_id: str) -> Any:
        """Give the condition under which a row belongs to a run."""
        indexed = self._row_index.condition(table, run_id) if self._row_index else None
        return self.schema.tables[table].c[_RUN] == run_id if indexed is None else indexed


TEXT = frozenset({"key", "metric_name"})
"""Columns of text that rows are ordered by in the database, as they may be too many for here."""
