from __future__ import annotations

import os
from pathlib import Path

import pytest
from mlflow.entities import Metric
from mlflow.store.tracking.file_store import FileStore

from yprov_mlflow import prov
from yprov_mlflow.prov.capture import session, wrappers
from yprov_mlflow.prov.capture.switch import Switch, switch
from yprov_mlflow.prov.errors import SettingsError
from yprov_mlflow.prov.uris import split_delivery, strip_prefix


@pytest.mark.parametrize(
    ("uri", "store", "delivery"),
    [
        ("sqlite:///m.db", "sqlite:///m.db", None),
        ("sqlite:///m.db?yprov-delivery=deferred", "sqlite:///m.db", "deferred"),
        ("postgresql://h/d?a=1&yprov-delivery=failover", "postgresql://h/d?a=1", "failover"),
        ("http://h?yprov-delivery=deferred&b=2", "http://h?b=2", "deferred"),
        ("mlruns", "mlruns", None),
    ],
)
def test_option_of_a_uri(uri: str, store: str, delivery: str | None) -> None:
    assert split_delivery(uri) == (store, delivery)
    assert strip_prefix(f"yprov+{uri}") == store
    assert strip_prefix(uri) == uri


def test_child_processes_have_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_YPROV_MLFLOW_URIS", "")
    parent = Switch()
    assert parent.unwrap("yprov+http://h?yprov-delivery=deferred") == "http://h"
    parent.unwrap("yprov+http://h")
    parent.unwrap("yprov+mlruns")
    child = Switch()
    assert child.deliveries == {"http://h": "deferred", "mlruns": None}
    assert child.captures("http://h") and not child.captures("http://other")


def test_wrong_option_is_an_error(capture: session.CaptureSession) -> None:
    switch.deliveries["mlruns"] = "later"
    try:
        with pytest.raises(SettingsError, match="yprov-delivery"):
            capture.delivery_of("mlruns")
    finally:
        del switch.deliveries["mlruns"]
    assert capture.delivery_of("sqlite:///:memory:") == "direct"


def test_deferred_is_a_verb_for_a_block(
    capture: session.CaptureSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setattr(switch, "on", True)
    monkeypatch.delenv("YPROV_MLFLOW_DELIVERY", raising=False)
    uri = str(tmp_path / "mlruns")
    store = wrappers.wrap(FileStore(uri), "tracking", uri)
    run_id = store.create_run("0", "user", 1, [], "name").info.run_id
    with prov.deferred():
        assert os.environ["YPROV_MLFLOW_DELIVERY"] == "deferred"
        store.log_metric(run_id, Metric("m", 1.0, 1, 0))
        assert capture.queues[store].left() or FileStore(uri).get_metric_history(run_id, "m")
    assert len(FileStore(uri).get_metric_history(run_id, "m")) == 1
    assert "YPROV_MLFLOW_DELIVERY" not in os.environ
    store.log_metric(run_id, Metric("m", 2.0, 1, 1))
    assert len(FileStore(uri).get_metric_history(run_id, "m")) == 2
