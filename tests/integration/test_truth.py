"""The truth oracle in a bounded form; ``python -m truth`` in the folder ``tests`` runs more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from truth.programs import trained_on

STORES = [("sqlite", 4), ("file", 3), ("server", 1), ("offline", 2)]


@pytest.mark.parametrize(("store", "programs"), STORES)
def test_documents_say_what_is_true_and_nothing_else(store: str, programs: int) -> None:
    options = ["--programs", str(programs), "--seed", "7", "--store", store]
    command = [sys.executable, "-m", "truth", *options]
    tests = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=tests, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]


def test_rule_of_training() -> None:
    pair = [("dataset", "d"), ("model", "a"), ("model", "b")]
    assert trained_on(pair) == {("a", "d"), ("b", "d")}
    assert trained_on([("dataset", "d"), ("dataset", "e"), ("model", "a"), ("model", "b")]) == set()
