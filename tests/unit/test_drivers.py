"""Drivers of databases."""

from __future__ import annotations

import importlib.util

import pytest

from yprov_mlflow.prov.capture.switch import Switch
from yprov_mlflow.prov.convert.remote import is_remote
from yprov_mlflow.prov.drivers import missing_driver, with_driver
from yprov_mlflow.prov.errors import MissingExtraError


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the modules of drivers that are installed, which a test may change."""
    modules: set[str] = set()
    monkeypatch.setenv("_YPROV_MLFLOW_URIS", "")  # the switch sets it for child processes
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name in modules or None)
    return modules


@pytest.mark.parametrize(
    ("uri", "modules", "expected"),
    [
        ("postgresql://u:p@h/x", {"psycopg2", "psycopg"}, "postgresql+psycopg2://u:p@h/x"),
        ("postgres://h/x?a=b", {"psycopg"}, "postgresql+psycopg://h/x?a=b"),
        ("mysql://h/x", {"MySQLdb"}, "mysql+mysqldb://h/x"),
        ("mariadb://h/x", {"pymysql"}, "mariadb+pymysql://h/x"),
        ("postgresql+pg8000://h/x", {"psycopg2"}, "postgresql+pg8000://h/x"),
        ("sqlite:///x.db", set(), "sqlite:///x.db"),
        ("/a/postgresql", set(), "/a/postgresql"),
    ],
)
def test_uri_without_driver_gets_an_installed_one(
    installed: set[str], uri: str, modules: set[str], expected: str
) -> None:
    installed |= modules
    assert with_driver(uri) == expected
    switch = Switch()
    assert switch.unwrap(f"yprov+{uri}") == uri
    for process in (switch, Switch()):  # the second as in a child process
        assert process.opened.get(uri, uri) == expected


@pytest.mark.parametrize(
    ("dialect", "module", "cure"),
    [
        ("postgresql", "psycopg2", "pip install 'yprov-mlflow[sql]'"),
        ("postgresql", "psycopg", "pip install 'psycopg[binary]'; or write postgresql+psycopg2://"),
        ("mysql", "MySQLdb", "pip install 'mysqlclient'; or write mysql+pymysql://"),
        ("mssql", "pyodbc", "pip install 'pyodbc'."),
    ],
)
def test_missing_driver_names_a_cure_that_helps(dialect: str, module: str, cure: str) -> None:
    assert cure in str(missing_driver(dialect, module))


def test_no_driver_is_an_error_of_ours_and_left_to_mlflow_in_capture(installed: set[str]) -> None:
    with pytest.raises(MissingExtraError, match="psycopg2"):
        with_driver("postgresql://h/x")
    switch = Switch()
    assert switch.unwrap("yprov+postgresql://h/x") == "postgresql://h/x"
    assert not switch.opened


def test_databases_that_mlflow_lacks_are_no_object_stores() -> None:
    assert not is_remote("oracle://h/x") and not is_remote("oracle+oracledb://h/x")
    assert is_remote("s3://bucket/mlruns")
