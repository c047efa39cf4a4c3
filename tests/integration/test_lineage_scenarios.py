"""A bounded form of ``python -m lineage_scenarios``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_the_lineage_of_random_pipelines_is_the_truth() -> None:
    # A process, since what a process reads is captured by a hook that cannot be removed.
    # Without evaluations, of which each takes a second.
    reads = "--reads=artifact,folder,file,dataset,version,alias,model"
    command = [sys.executable, "-m", "lineage_scenarios", "--pipelines=5", "--seed=9125", reads]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=300)
    assert "precision 1.000000, recall 1.000000" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
