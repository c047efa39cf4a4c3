"""Journals have no passwords: the settings of clients and servers have the whole URI."""

from __future__ import annotations

import pytest

from yprov_mlflow.prov.capture.recovered_stores import OpenStores, with_password
from yprov_mlflow.prov.errors import StoreError
from yprov_mlflow.prov.redaction import redact

WHOLE = "postgresql://alice:s3cret-Pass@db.example.org/mlflow"
RECORDED = redact(WHOLE)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_BACKEND_STORE_URI", "_MLFLOW_SERVER_FILE_STORE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "name", ["MLFLOW_TRACKING_URI", "MLFLOW_BACKEND_STORE_URI", "_MLFLOW_SERVER_FILE_STORE"]
)
def test_password_comes_from_the_setting_of_the_same_store(monkeypatch, name):
    monkeypatch.setenv(name, f"yprov+{WHOLE}")
    assert with_password(RECORDED, "sqlite:///other.db") == WHOLE


def test_password_comes_from_the_current_store():
    assert with_password(RECORDED, WHOLE) == WHOLE


def test_other_stores_do_not_count(monkeypatch):
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", WHOLE.replace("/mlflow", "/other"))
    assert with_password(RECORDED, "sqlite:///other.db") == RECORDED


def test_database_that_fails_without_a_password_names_the_settings():
    def open_store(uri):
        raise OSError("fe_sendauth: no password supplied")

    with pytest.raises(StoreError, match="no password supplied") as raised:
        OpenStores().get(RECORDED, open_store)
    assert "MLFLOW_BACKEND_STORE_URI" in str(raised.value)
    with pytest.raises(OSError, match="fe_sendauth"):
        OpenStores().get(WHOLE, open_store)


def test_store_without_password_is_used_as_recorded():
    assert with_password("http://localhost:5000", "sqlite:///a.db") == "http://localhost:5000"


def test_store_that_failed_is_not_asked_again():
    asked = []

    def open_store(uri):
        asked.append(uri)
        raise OSError("no answer")

    stores = OpenStores()
    with pytest.raises(OSError, match="no answer"):
        stores.get("http://a", open_store)
    for _ in range(3):
        with pytest.raises(StoreError, match="did not answer before: no answer"):
            stores.get("http://a", open_store)
    assert asked == ["http://a"]
