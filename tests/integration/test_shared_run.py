"""A bounded form of ``tests/shared_run.py``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "shared_run.py"


@pytest.mark.long
def test_ranks_without_a_shared_id_log_to_one_run() -> None:
    command = [sys.executable, str(PROGRAM), "--ranks=4", "--calls=50", "--nested"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all is there, once and in order" in done.stdout
