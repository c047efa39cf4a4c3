"""A session of capture in this process, for tests of wrapped stores."""

from __future__ import annotations

from pathlib import Path

import pytest

from yprov_mlflow.prov.capture import session
from yprov_mlflow.prov.capture.switch import switch


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> session.CaptureSession:
    """Return a new session without collectors, which captures in place of the process's own."""
    monkeypatch.setenv("YPROV_MLFLOW_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("YPROV_MLFLOW_COLLECTORS", "none")
    monkeypatch.setenv("YPROV_MLFLOW_SINKS", "none")
    monkeypatch.setattr(switch, "wrapped", set())
    capture = session.CaptureSession()
    monkeypatch.setattr(session, "existing", capture)
    return capture
