"""Read and write the tables of this MLflow version, and fit values to their columns."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from mlflow.store.db.base_sql_model import Base
from sqlalchemy import Connection, Engine, Integer, Table, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from yprov_mlflow.prov.errors import first_line
from yprov_mlflow.prov.events import INT64_MAX, INT64_MIN, LARGEST_FLOAT
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.restore import restore_report
from yprov_mlflow.prov.restore.restore_report import (
    EXTENDED,
    REFUSED,
    REPLACED,
    RESTORED,
    UNCHANGED,
)
from yprov_mlflow.prov.restore.sql.extension import (
    ADDITIVE,
    NATURAL_KEYS,
    ConflictError,
    Earlier,
    Row,
    changes,
    comparable,
    is_outdated,
    later_times,
)

_BATCH = 5_000
_UCS2 = "ucs2"
_NARROW_ENCODINGS = {
    **{"latin1": "cp1252", "ascii": "ascii", "latin2": "iso8859-2"},
    **dict.fromkeys(("utf8", "utf8mb3", "ucs2"), _UCS2),
}
"""Encodings of MySQL databases that lack characters, by MySQL's names."""

_BEYOND_UCS2 = re.compile("[\U00010000-\U0010ffff]")


class Part(NamedTuple):
    """The rows of one table that belong to a record; ``where`` selects those in the target.

    ``rows`` can be iterated more than once.
    """

    table: str
    where: Mapping[str, Any]
    rows: Iterable[Row]


class Record(NamedTuple):
    """All rows of one run, experiment, model or trace; the first part is its own row.

    ``label`` names it in the report. ``earlier`` says whether a row of the target, by its table,
    had its values in the columns that differ before the record changed; None if the record must
    not be extended. ``complete`` is false if others may have logged to the record as well.
    """

    kind: str
    label: str
    parts: Sequence[Part]
    earlier: Earlier | None = None
    complete: bool = True


class Tables:
    """Reads and writes rows of MLflow's tables, one transaction for each record.

    Args:
        engine: Connections to the database.
        report: Outcomes of records, and values that are changed.
        overwrite: Replace a different record instead of refusing.
        extends: Bring records of which the target has an earlier state up to date.
    """

    def __init__(
        self,
        engine: Engine,
        report: restore_report.RestoreReport,
        *,
        overwrite: bool,
        extends: bool = False,
    ) -> None:
        self.engine = engine
        self.report = report
        self.overwrite = overwrite
        self.extends = extends
        self.all: Mapping[str, Table] = Base.metadata.tables
        self.in_order = [table.name for table in Base.metadata.sorted_tables]
        self.dialect = engine.dialect.name
        self._encoding = _narrow_encoding(engine)
        self._holds_infinity = self.dialect in ("sqlite", "postgresql")

    def has(self, name: str, *columns: str) -> bool:
        """Return whether this MLflow version has a table with these columns."""
        table = self.all.get(name)
        return table is not None and all(column in table.c for column in columns)

    # -- reading -----------------------------------------------------------------------

    def rows(
        self, connection: Connection, name: str, where: Mapping[str, Any], *columns: str
    ) -> Iterator[Row]:
        """Yield the rows with these values as dictionaries."""
        table = self.all[name]
        selected = [table.c[column] for column in columns] or list(table.c)
        query = select(*selected).where(self._condition(name, where))
        yield from map(dict, connection.execute(query).mappings())

    def first(self, connection: Connection, name: str, where: Mapping[str, Any]) -> Row | None:
        """Return the first row with these values, or None."""
        return next(self.rows(connection, name, where), None)

    def find(self, name: str, where: Mapping[str, Any]) -> Row | None:
        """Return the first row with these values, or None, by a connection of its own."""
        with self.engine.connect() as connection:
            return self.first(connection, name, where)

    def _condition(self, name: str, where: Mapping[str, Any]) -> Any:
        table = self.all[name]
        return and_(True, *(table.c[column] == value for column, value in where.items()))

    # -- writing -----------------------------------------------------------------------

    def insert(self, connection: Connection, name: str, rows: Iterable[Row]) -> None:
        """Insert rows in batches."""
        for batch in _batches(rows):
            connection.execute(insert(self.all[name]), batch)

    def insert_accepted(
        self, connection: Connection, name: str, rows: Iterable[Row], label: str
    ) -> None:
        """Insert rows in batches; report the rows that the database rejects."""
        statement = insert(self.all[name])
        for batch in _batches(rows):
            try:
                # A savepoint keeps the transaction usable after an error.
                with connection.begin_nested():
                    connection.execute(statement, batch)
                continue
            except SQLAlchemyError:
                pass  # one of the rows: insert them one by one
            for row in batch:
                try:
                    with connection.begin_nested():
                        connection.execute(statement, [row])
                except SQLAlchemyError as error:
                    key = row.get("key", row.get("metric_name", ""))
                    reason = f"the database rejects a row of {name}: {message_of(error)}"
                    self.report.add_loss(f"{label}, {key}" if key else label, reason)

    def delete(self, connection: Connection, name: str, where: Mapping[str, Any]) -> None:
        """Delete the rows with these values."""
        connection.execute(delete(self.all[name]).where(self._condition(name, where)))

    def put(self, record: Record) -> str:
        """Write a record in one transaction, unless the target has an equal one.

        Return the outcome, which is counted in the report.
        """
        reason = "the target has a different version; use --overwrite to replace it"
        try:
            outcome = self._put_whole(record)
        except ConflictError as error:
            outcome, reason = REFUSED, f"{reason} ({error})"
        except SQLAlchemyError as error:
            outcome, reason = REFUSED, f"the database rejects it: {message_of(error)}"
        self.report.count(record.kind, outcome)
        if outcome == REFUSED:
            self.report.add_loss(record.label, reason)
        return outcome

    def _put_whole(self, record: Record) -> str:
        # One transaction: an interrupted restoration leaves no half of a record.
        with suppress(IntegrityError), self.engine.begin() as connection:
            return self._put(connection, record)
        # Another client may have written the record meanwhile.
        with self.engine.begin() as connection:
            return self._put(connection, record)

    def _put(self, connection: Connection, record: Record) -> str:
        head = record.parts[0]
        outcome = RESTORED
        if self.first(connection, head.table, head.where) is not None:
            if all(self._is_equal(connection, part) for part in record.parts):
                return UNCHANGED
            if self.extends and record.earlier is not None:
                try:
                    with connection.begin_nested():  # of a conflict, nothing stays
                        return self._extend(connection, record, record.earlier)
                except ConflictError:
                    if not self.overwrite:
                        raise
            if not self.overwrite:
                return REFUSED
            outcome = REPLACED
            for part in reversed(record.parts):  # foreign keys: dependent rows first
                self.delete(connection, part.table, part.where)
        self.insert(connection, head.table, head.rows)
        for part in record.parts[1:]:
            self.insert_accepted(connection, part.table, part.rows, record.label)
        return outcome

    # -- extending ---------------------------------------------------------------------

    def _extend(self, connection: Connection, record: Record, earlier: Earlier) -> str:
        """Bring a record up to date of which the target has an earlier state.

        Raises:
            ConflictError: The target has something else under the id of the record.
        """
        changed = False
        for part in record.parts:
            if part.table == ADDITIVE:
                changed |= self._add_rows(connection, part, record.complete)
            else:
                changed |= self._change_rows(connection, part, earlier, record.complete)
        for row in record.parts[0].rows if changed else ():
            head = record.parts[0]
            old = self.first(connection, head.table, head.where) or {}
            if times := later_times(old, row):
                condition = self._condition(head.table, head.where)
                connection.execute(update(self.all[head.table]).where(condition).values(**times))
        return EXTENDED if changed else UNCHANGED

    def _change_rows(
        self, connection: Connection, part: Part, earlier: Earlier, complete: bool
    ) -> bool:
        name, table = part.table, self.all[part.table]
        rows: dict[tuple[Any, ...], Row] = {}
        keys = list(NATURAL_KEYS.get(name, (column.name for column in table.primary_key)))
        for row in part.rows:
            keys = [key for key in keys if key in row]  # later versions of MLflow add defaults
            rows[tuple(row[key] for key in keys)] = row
        changed = False
        for old in list(self.rows(connection, name, part.where)):
            key = {column: old[column] for column in keys}
            new = rows.pop(tuple(key.values()), None)
            if new is None:
                if name == "params" and complete:
                    raise ConflictError(f"the param {old['key']!r}, which the journals lack")
                if is_outdated(name, old, earlier):
                    self.delete(connection, name, key)
                    changed = True
            elif columns := changes(name, old, new, earlier):
                condition = self._condition(name, key)
                connection.execute(update(table).where(condition).values(**columns))
                changed = True
        self.insert(connection, name, rows.values())
        return changed or bool(rows)

    def _add_rows(self, connection: Connection, part: Part, complete: bool) -> bool:
        """Insert the metric points that the target lacks; return whether there are any."""
        columns = [column.name for column in self.all[part.table].columns]
        columns = [name for name in columns if name in next(iter(part.rows), {})] or columns

        def hashed(row: Row) -> int:
            # Eight bytes for each of millions of points, and not a row.
            return hash(tuple(comparable(row[column]) for column in columns))

        present = {hashed(row) for row in self.rows(connection, part.table, part.where, *columns)}
        own = {hashed(row) for row in part.rows}
        if complete and (foreign := len(present - own)):
            raise ConflictError(f"{foreign} metric points that the journals lack")
        self.insert(connection, part.table, (r for r in part.rows if hashed(r) not in present))
        return bool(own - present)

    def _is_equal(self, connection: Connection, part: Part) -> bool:
        """Return whether the target has the same rows, in any order.

        Sums of hashes compare millions of points without holding them in memory.
        """
        columns: tuple[str, ...] | None = None
        count = total = 0
        for row in part.rows:
            columns = columns or tuple(row)
            count += 1
            total += hash(tuple(comparable(row[column]) for column in columns))
        for row in self.rows(connection, part.table, part.where, *(columns or ())):
            count -= 1
            total -= hash(tuple(comparable(row[column]) for column in columns or ()))
        return count == 0 and total == 0

    # -- values ------------------------------------------------------------------------

    def fit(self, name: str, label: str, row: Row) -> Row:
        """Return a row as the columns of the table can hold it; report values that are changed."""
        columns = self.all[name].c
        return {
            column: self._fitted(columns[column], f"{label}, {column}", value)
            for column, value in row.items()
            if column in columns
        }

    def part(self, name: str, label: str, where: Row, rows: Iterable[Row]) -> Part:
        """Return the part of a record with these rows, fitted to the columns."""
        return Part(name, where, [self.fit(name, label, row) for row in rows])

    def pairs(
        self, name: str, label: str, owner: Row, values: Mapping[str, Any], prefix: str = ""
    ) -> list[Row]:
        """Return params or tags as rows with the columns ``key``, ``value`` and those of ``owner``.

        ``prefix`` precedes the names of the columns, as in ``param_key``.
        """
        return [
            self.fit(name, f"{label}, {k}", {f"{prefix}key": k, f"{prefix}value": v, **owner})
            for k, v in sorted(values.items())
        ]

    def _fitted(self, column: Any, label: str, value: Any) -> Any:
        if isinstance(column.type, Integer) and isinstance(value, str | float):
            whole = literals.number(value)
            if isinstance(value, float) and math.isfinite(value):
                whole = int(value)
            if whole is None:
                self.report.add_loss(label, f"is not an integer: {value!r}")
            elif whole != value and isinstance(value, float):
                self.report.add_loss(label, f"has a fraction, which is cut off: {value!r}")
            value = whole
        if isinstance(value, str):
            return self._text(column, label, value)
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        if is_integer and not INT64_MIN <= value <= INT64_MAX:
            self.report.add_loss(label, f"no column can hold a number as large as {value}")
            return None
        return value

    def _text(self, column: Any, label: str, value: str) -> str:
        text = value
        if not value.isascii():  # lone surrogates, which no database encoding has
            text = value.encode("utf-8", "replace").decode()
        if self.dialect == "postgresql":  # its text cannot contain NUL
            text = text.replace("\x00", "\ufffd")
        reason = "has characters that the database cannot hold"
        if self._encoding is not None and not value.isascii():
            if self._encoding == _UCS2:  # MySQL's older Unicode, without emoji
                text = _BEYOND_UCS2.sub("?", text)
            else:
                text = text.encode(self._encoding, "replace").decode(self._encoding)
            reason += "; use one with CHARACTER SET utf8mb4"
        if text != value:
            self.report.add_loss(label, reason)
        limit = getattr(column.type, "length", None)
        # SQLite ignores the length of columns, and MLflow reads longer values.
        if limit is not None and len(text) > limit and self.dialect != "sqlite":
            self.report.add_loss(label, f"was cut to {limit} of its {len(text)} characters")
            text = text[:limit]
        return text

    def number(self, value: float) -> tuple[float, bool]:
        """Return a metric's value as its column holds it, and whether it is NaN."""
        if math.isnan(value):
            return 0.0, True
        if math.isinf(value) and (self.extends or not self._holds_infinity):
            return math.copysign(LARGEST_FLOAT, value), False
        return value, False


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    iterator = iter(rows)
    return iter(lambda: list(itertools.islice(iterator, _BATCH)), [])


def _narrow_encoding(engine: Engine) -> str | None:
    """Return Python's name of a database's encoding if that cannot hold all text, else None."""
    if engine.dialect.name != "mysql":
        return None
    with engine.connect() as connection:
        name = connection.exec_driver_sql("SELECT @@character_set_database").scalar()
    return _NARROW_ENCODINGS.get(str(name))


def message_of(error: BaseException) -> str:
    """Return the database's message, without the statement and its values."""
    return first_line(getattr(error, "orig", None) or error)
