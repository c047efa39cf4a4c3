"""Failures of a delivery or a recovery concern one run, and show no secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from yprov_mlflow.prov.capture import delivery, housekeeping, recovery, session
from yprov_mlflow.prov.events import TagsSet
from yprov_mlflow.prov.journal import JournalDirectory, JournalWriter

ERROR = OSError("cannot reach postgresql://user:hunter2@host/db")


def test_warning_of_a_failed_delivery_has_no_password(caplog: pytest.LogCaptureFixture) -> None:
    delivery.warn_failed("r", ERROR)
    assert "recover --run r" in caplog.text
    assert "hunter2" not in caplog.records[-1].getMessage()


def test_journal_that_cannot_be_removed_is_reported_for_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YPROV_MLFLOW_DIR", str(tmp_path))
    monkeypatch.setattr(session, "existing", None)
    for run_id in "ab":
        writer = JournalWriter(JournalDirectory(tmp_path, run_id), "s")
        writer.append(TagsSet, {"a": "b"})
        writer.close()

    def fail(*_: Any) -> None:
        raise ERROR

    monkeypatch.setattr(housekeeping, "_is_finished", lambda *_: True)
    monkeypatch.setattr(JournalDirectory, "is_current", lambda _: True)
    monkeypatch.setattr(housekeeping.shutil, "rmtree", fail)
    outcomes = list(recovery.recover(prune_days=0))
    assert [(outcome.run_id, outcome.state) for outcome in outcomes] == [
        ("a", "failed"),
        ("b", "failed"),
    ]
    assert all("cannot reach postgresql://host/db" in outcome.reason for outcome in outcomes)
