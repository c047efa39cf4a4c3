"""What tables a database has, and what columns: any schema revision, and whatever came with it."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

from yprov_mlflow.errors import StoreError

if TYPE_CHECKING:
    import sqlalchemy

_NEEDED = ("experiments", "runs")
_JSON = {
    "evaluation_dataset_records": "inputs outputs expectations tags source",
    "jobs": "progress scoped_permissions status_details",
    "mcp_servers": "icons",
    "mcp_server_versions": "server_json tools connect_options",
}
"""Columns of JSON; MariaDB takes them for text."""


@dataclasses.dataclass(frozen=True)
class Schema:
    """The tables by name, without types: values are taken as the driver gives them.

    Args:
        tables: Each table with the columns that it has here.
        json: Names of the columns that hold JSON, by table.
        indexed: Names of the columns that an index starts with, by table.
    """

    tables: Mapping[str, sqlalchemy.TableClause]
    json: Mapping[str, frozenset[str]]
    indexed: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, connection: sqlalchemy.Connection, shown: str) -> Schema:
        """Ask the database itself.

        Raises:
            StoreError: It has no tables of MLflow.
        """
        import sqlalchemy

        inspector = sqlalchemy.inspect(connection)
        tables, json = {}, {}
        with warnings.catch_warnings():
            # Types that SQLAlchemy does not know are no matter here.
            warnings.simplefilter("ignore", sqlalchemy.exc.SAWarning)
            found = inspector.get_multi_columns()
            indexes = inspector.get_multi_indexes()
        for (_, name), columns in found.items():
            tables[name] = sqlalchemy.table(name, *(sqlalchemy.column(c["name"]) for c in columns))
            typed = {c["name"] for c in columns if isinstance(c["type"], sqlalchemy.JSON)}
            json[name] = frozenset(typed.union(_JSON.get(name, "").split()))
        if missing := [name for name in _NEEDED if name not in tables]:
            raise StoreError(
                f"this database has no tables of MLflow: no {' and no '.join(missing)}",
                shown,
                "Give the database that MLflow was told with --backend-store-uri or"
                " MLFLOW_TRACKING_URI, and its schema if it is not the default one",
            )
        indexed = {
            name: frozenset(str(i["column_names"][0]) for i in those if i["column_names"])
            for (_, name), those in indexes.items()
        }
        return cls(tables, json, indexed)

    def has(self, table: str, *columns: str) -> bool:
        """Tell whether there is such a table with these columns."""
        found = self.tables.get(table)
        return found is not None and all(name in found.c for name in columns)
