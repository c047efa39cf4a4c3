"""The tables of MLflow in a database, as this MLflow has them, and what fits into them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from yprov_mlflow.prov.restore.restore_report import (
    REFUSED,
    REPLACED,
    RESTORED,
    UNCHANGED,
    RestoreReport,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Table

Row = dict[str, Any]

_BATCH = 5_000
_LEAST, _MOST = -(2**63), 2**63 - 1
_LARGEST = 1.7976931348623157e308
"""What MLflow keeps for infinity where the database holds none."""


class Part(NamedTuple):
    """Rows of one table that belong to a thing: those that ``where`` finds; iterable often."""

    table: str
    where: Mapping[str, Any]
    rows: Iterable[Row]


class Thing(NamedTuple):
    """All rows of one run, experiment, model or trace; the first part has its own row."""

    kind: str
    place: str
    parts: Sequence[Part]


class Tables:
    """Reads and writes rows of MLflow's tables; one transaction for each thing."""

    def __init__(self, engine: Engine, report: RestoreReport) -> None:
        from mlflow.store.db.base_sql_model import Base

        self.engine = engine
        self.report = report
        self.all: Mapping[str, Table] = Base.metadata.tables
        self.dialect = engine.dialect.name
        self.holds_infinity = self.dialect in ("sqlite", "postgresql")

    def has(self, table: str, *columns: str) -> bool:
        """Tell whether this MLflow has a table, with these columns."""
        found = self.all.get(table)
        return found is not None and all(name in found.c for name in columns)

    # -- reading -----------------------------------------------------------------------

    def rows(
        self, connection: Connection, table: str, where: Mapping[str, Any], *columns: str
    ) -> Iterator[Row]:
        """Give rows as dictionaries."""
        from sqlalchemy import and_, select

        found = self.all[table]
        picked = [found.c[name] for name in columns] or list(found.c)
        clauses = [found.c[name] == value for name, value in where.items()]
        for row in connection.execute(select(*picked).where(and_(True, *clauses))).mappings():
            yield dict(row)

    def first(self, connection: Connection, table: str, where: Mapping[str, Any]) -> Row | None:
        """Give the first row that is found."""
        return next(self.rows(connection, table, where), None)

    # -- writing -----------------------------------------------------------------------

    def insert(self, connection: Connection, table: str, rows: Iterable[Row]) -> None:
        """Insert rows in batches."""
        from sqlalchemy import insert

        statement = insert(self.all[table])
        for batch in _batches(rows):
            connection.execute(statement, batch)

    def insert_each(
        self, connection: Connection, table: str, rows: Iterable[Row], place: str
    ) -> None:
        """Insert rows in batches; of a batch that the database refuses, those that it takes."""
        from sqlalchemy import insert
        from sqlalchemy.exc import SQLAlchemyError

        statement = insert(self.all[table])
        for batch in _batches(rows):
            try:
                with connection.begin_nested():
                    connection.execute(statement, batch)
                continue
            except SQLAlchemyError:
                pass
            for row in batch:
                try:
                    with connection.begin_nested():
                        connection.execute(statement, [row])
                except SQLAlchemyError as error:
                    named = row.get("key", row.get("metric_name", ""))
                    reason = f"the database refuses a row of {table}: {told(error)}"
                    self.report.lose(f"{place}, {named}" if named else place, reason)

    def delete(self, connection: Connection, table: str, where: Mapping[str, Any]) -> None:
        """Delete the rows that are found."""
        from sqlalchemy import and_, delete

        found = self.all[table]
        clauses = [found.c[name] == value for name, value in where.items()]
        connection.execute(delete(found).where(and_(*clauses)))

    def put(self, thing: Thing, *, overwrite: bool, free: bool = False) -> str:
        """Write a thing as one transaction; what is there already and equal is left alone.

        What is there and differs is refused unless ``overwrite``, or ``free``: the rows are
        ours to change. Gives the outcome, and counts it.
        """
        from sqlalchemy.exc import SQLAlchemyError

        reason = "the target has it already, and otherwise; --overwrite replaces it"
        try:
            with self.engine.begin() as connection:
                outcome = self._put(connection, thing, overwrite or free)
        except SQLAlchemyError as error:
            outcome, reason = REFUSED, f"the database refuses it: {told(error)}"
        self.report.count(thing.kind, outcome)
        if outcome == REFUSED:
            self.report.lose(thing.place, reason)
        return outcome

    def _put(self, connection: Connection, thing: Thing, overwrite: bool) -> str:
        head = thing.parts[0]
        outcome = RESTORED
        if self.first(connection, head.table, head.where) is not None:
            if all(self._equal(connection, part) for part in thing.parts):
                return UNCHANGED
            if not overwrite:
                return REFUSED
            outcome = REPLACED
            for part in reversed(thing.parts):
                self.delete(connection, part.table, part.where)
        self.insert(connection, head.table, head.rows)
        for part in thing.parts[1:]:
            self.insert_each(connection, part.table, part.rows, thing.place)
        return outcome

    def _equal(self, connection: Connection, part: Part) -> bool:
        """Tell whether the target has just these rows, in any order."""
        names: tuple[str, ...] | None = None
        count = total = 0
        for row in part.rows:
            names = names or tuple(row)
            count += 1
            total += hash(tuple(_plain(row[name]) for name in names))
        for row in self.rows(connection, part.table, part.where, *(names or ())):
            count -= 1
            total -= hash(tuple(_plain(row[name]) for name in names or ()))
        return count == 0 and total == 0

    # -- values ------------------------------------------------------------------------

    def fit(self, table: str, place: str, row: Row) -> Row:
        """Give a row with what the table's columns can hold; reports what they cannot."""
        columns = self.all[table].c
        return {
            name: self._fitted(columns[name], f"{place}, {name}", value)
            for name, value in row.items()
            if name in columns
        }

    def _fitted(self, column: Any, place: str, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(column, place, value)
        if isinstance(value, int) and not isinstance(value, bool) and not _LEAST <= value <= _MOST:
            self.report.lose(place, f"no column holds a number as large as {value}")
            return None
        return value

    def _text(self, column: Any, place: str, value: str) -> str:
        fitted = value
        if not value.isascii():
            fitted = value.encode("utf-8", "replace").decode()
        if self.dialect == "postgresql":
            fitted = fitted.replace("\x00", "\ufffd")
        if fitted != value:
            self.report.lose(place, "has characters that the database does not hold")
        most = getattr(column.type, "length", None)
        # SQLite takes any length whatever the column says, and MLflow reads all of it.
        if most is not None and len(fitted) > most and self.dialect != "sqlite":
            self.report.lose(place, f"is cut to {most} of its {len(fitted)} characters")
            fitted = fitted[:most]
        return fitted

    def number(self, value: float) -> tuple[float, bool]:
        """Give a metric's value as its column has it, and whether it is not a number."""
        if math.isnan(value):
            return 0.0, True
        if math.isinf(value) and not self.holds_infinity:
            return math.copysign(_LARGEST, value), False
        return value, False


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    waiting: list[Row] = []
    for row in rows:
        waiting.append(row)
        if len(waiting) == _BATCH:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def told(error: BaseException) -> str:
    """Give what a database said, without the statement and all that was in it."""
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0]


def _plain(value: Any) -> Any:
    """Give a value that compares as the database's does: truth values are numbers to some."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, list | dict):
        return repr(value)
    return value
