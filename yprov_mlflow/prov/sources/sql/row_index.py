"""Which rows are a run's, for SQLite files of MLflow before 1.28, whose tables do not tell."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

_TABLES = ("metrics", "latest_metrics", "params", "tags")
_FEW = 20_000
"""Rows that are looked through faster than they are sorted."""


class RowIndex:
    """Numbers of rows by run, in a temporary table, which is nothing of the user's file.

    Without it each run takes a look at all rows, and an estate the square of its size.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self._version: int | None = None
        self._made: set[str] = set()

    def bring_up(self, connection: sqlite3.Connection, tables: Iterable[str]) -> None:
        """Make what is not made yet, or was made before another program wrote to the file.

        Args:
            connection: An open connection, in no transaction.
            tables: Those that have no index by run.
        """
        version = connection.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:
            return
        for table in self._made:
            connection.execute(f"DROP TABLE IF EXISTS temp.rows_of_{table}")
        self._made.clear()
        self._version = version
        for table in set(tables) & set(_TABLES):
            try:
                most = connection.execute(f"SELECT max(rowid) FROM {table}").fetchone()[0]
                if most is not None and most > _FEW:
                    self._make(connection, table)
            except sqlite3.DatabaseError:
                # A broken table, or one whose rows have no numbers: it is looked through.
                continue

    def _make(self, connection: sqlite3.Connection, table: str) -> None:
        connection.execute(
            f"CREATE TEMP TABLE rows_of_{table}"
            " (run TEXT, row INTEGER, PRIMARY KEY (run, row)) WITHOUT ROWID"
        )
        self._made.add(table)
        connection.execute(
            f"INSERT INTO temp.rows_of_{table}"
            f" SELECT run_uuid, rowid FROM main.{table} WHERE run_uuid IS NOT NULL ORDER BY 1, 2"
        )

    def condition(self, table: str, run_id: str) -> Any | None:
        """Give what a row must be to be the run's; None where the table itself tells faster."""
        import sqlalchemy

        if table not in self._made:
            return None
        rows = sqlalchemy.table(f"rows_of_{table}", sqlalchemy.column("run"), schema="temp")
        numbers: Any = sqlalchemy.select(sqlalchemy.literal_column("row")).select_from(rows)
        return sqlalchemy.literal_column(f"{table}.rowid").in_(numbers.where(rows.c.run == run_id))
