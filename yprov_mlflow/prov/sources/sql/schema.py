"""What tables a database has, and what columns: any schema revision, and whatever came with it."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

from yprov_mlflow.prov.errors import StoreError

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
"""MLflow's tables that have readers of their own, each with a column that it always had."""

_FOREIGN = "{}_not_of_mlflow"
"""What a table is called here that has a name of these and not its column: another program's."""


@dataclasses.dataclass(frozen=True)
class Schema:
    """The tables by name, without types: values are taken as the driver gives them.

    Args:
        tables: Each table with the columns that it has here. One of another program that has a
            name of MLflow's is here by another name.
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
        tables, json, called = {}, {}, {}
        with warnings.catch_warnings():
            # Types that SQLAlchemy does not know are no matter here.
            warnings.simplefilter("ignore", sqlalchemy.exc.SAWarning)
            found = inspector.get_multi_columns()
            indexes = inspector.get_multi_indexes()
        for (_, name), columns in found.items():
            names = [c["name"] for c in columns]
            known = name if KEYS.get(name) in (None, *names) else _FOREIGN.format(name)
            called[name] = known
            tables[known] = sqlalchemy.table(name, *map(sqlalchemy.column, names))
            typed = {c["name"] for c in columns if isinstance(c["type"], sqlalchemy.JSON)}
            json[known] = frozenset(typed.union(_JSON.get(name, "").split()))
        if missing := [name for name in _NEEDED if name not in tables]:
            raise StoreError(
                f"this database has no tables of MLflow: no {' and no '.join(missing)}",
                shown,
                "Give the database that MLflow was told with --backend-store-uri or"
                " MLFLOW_TRACKING_URI, and its schema if it is not the default one",
            )
        indexed = {
            called[name]: frozenset(str(i["column_names"][0]) for i in those if i["column_names"])
            for (_, name), those in indexes.items()
        }
        return cls(tables, json, indexed)

    def has(self, table: str, *columns: str) -> bool:
        """Tell whether there is such a table with these columns."""
        found = self.tables.get(table)
        return found is not None and all(name in found.c for name in columns)
