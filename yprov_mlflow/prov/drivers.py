"""Which driver opens a database, where its URI names none: the first that is installed.

SQLAlchemy has one default for each kind of database, which differs from version to version.
"""

from __future__ import annotations

import importlib.util

from yprov_mlflow.prov.errors import MissingExtraError

# SQLAlchemy's names of drivers by dialect, in order of preference.
_DRIVERS = {
    "postgresql": ("psycopg2", "psycopg", "pg8000"),
    "mysql": ("pymysql", "mysqldb", "mysqlconnector"),
    "mariadb": ("pymysql", "mysqldb", "mariadbconnector"),
}
# Names of their modules, where they differ.
_MODULES = {
    "mysqldb": "MySQLdb",
    "mysqlconnector": "mysql.connector",
    "mariadbconnector": "mariadb",
}
# Names of their distributions, where they differ.
_DISTRIBUTIONS = {
    "MySQLdb": "mysqlclient",
    "mysql": "mysql-connector-python",
    "psycopg": "psycopg[binary]",
}
_IN_EXTRA = frozenset({"psycopg2", "pymysql"})


def with_driver(uri: str) -> str:
    """Return a database's URI with an installed driver; unchanged if it names one.

    Raises:
        MissingExtraError: No driver for the database is installed.
    """
    scheme, separator, address = uri.partition("://")
    # SQLAlchemy 1.4 dropped this old name of the scheme.
    dialect = "postgresql" if scheme == "postgres" else scheme
    drivers = _DRIVERS.get(dialect, ()) if separator else ()
    if not drivers:
        return uri
    driver = next((name for name in drivers if _is_installed(_MODULES.get(name, name))), None)
    if driver is None:
        raise missing_driver(dialect, drivers[0])
    return f"{dialect}+{driver}://{address}"


def missing_driver(dialect: str, module: str) -> MissingExtraError:
    """Return the error that names what to install for the missing module of a driver."""
    purpose = f"A {dialect} database"
    if module in _IN_EXTRA:
        return MissingExtraError.of(f"a driver such as {module}", "sql", purpose)
    what = f"{purpose} needs the driver {module}, which is not installed"
    cure = f"Install it with: pip install '{_DISTRIBUTIONS.get(module, module)}'"
    if drivers := [name for name in _DRIVERS.get(dialect, ()) if name in _IN_EXTRA]:
        cure += f"; or write {dialect}+{drivers[0]}:// for the driver of the extra sql"
    return MissingExtraError(what, None, cure)


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the parent package of mysql.connector
        return False
