"""The truth oracle in a bounded form; ``python tests/truth.py`` runs longer series."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from truth import trained_on

ORACLE = Path(__file__).parents[1] / "truth.py"


@pytest.mark.parametrize("store", ["sqlite", "file"])
def test_documents_say_what_is_true_and_nothing_else(store: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ORACLE), "--programs", "12", "--seed", "7", "--store", store]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]


def test_rule_of_training() -> None:
    one = [("dataset", "d"), ("model", "a"), ("model", "b")]
    assert trained_on(one) == {("a", "d"), ("b", "d")}
    assert trained_on([("dataset", "d"), ("dataset", "e"), ("model", "a"), ("model", "b")]) == set()
