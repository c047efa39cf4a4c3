"""Which stores are captured, from the environment and from prefixed URIs."""

from __future__ import annotations

import os

import pytest

from yprov_mlflow.prov.capture.switch import VARIABLE, Switch

URIS = "_YPROV_MLFLOW_URIS"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (VARIABLE, URIS, "_MLFLOW_SERVER_FILE_STORE"):
        monkeypatch.setenv(variable, "")  # set, so that what a test changes is restored
        monkeypatch.delenv(variable)


def test_capture_is_off_by_default() -> None:
    switch = Switch()
    assert not switch.on
    assert switch.unwrap("sqlite:///a.db") == "sqlite:///a.db"
    assert switch.unwrap(None) is None
    assert not switch.on


def test_prefixed_uri_captures_its_store_alone() -> None:
    switch = Switch()
    assert switch.unwrap("yprov+sqlite:///a.db") == "sqlite:///a.db"
    assert switch.on and switch.captures("sqlite:///a.db")
    assert not switch.captures("sqlite:///b.db")


def test_child_processes_capture_the_same_stores() -> None:
    parent = Switch()
    parent.capture("sqlite:///a.db")
    parent.capture("sqlite:///b.db")
    child = Switch()
    assert child.on and child.uris == parent.uris and not child.everything
    parent.capture()
    assert Switch().everything and os.environ[VARIABLE] == "1"


def test_backend_store_of_a_server_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_MLFLOW_SERVER_FILE_STORE", "yprov+sqlite:///a.db")
    assert Switch().captures("sqlite:///a.db")


def test_failure_leaves_the_store_as_it_is_and_warns_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(store: object) -> None:
        raise ValueError("no")

    switch, store = Switch(), object()
    assert switch.attempt(fail, store) is store
    assert switch.attempt(fail, store) is store
    assert switch.broken
    assert [record.message for record in caplog.records] == [
        "Provenance is not captured in this process (ValueError: no)"
    ]
