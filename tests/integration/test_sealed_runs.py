"""Changes of sealed runs are noticed and named; see ``tests/damage_seals.py``.

``YPROV_MLFLOW_DAMAGES=1000 pytest tests/integration/test_sealed_runs.py`` tries more.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

COUNT = os.environ.get("YPROV_MLFLOW_DAMAGES", "22")
SEED = os.environ.get("YPROV_MLFLOW_SEED", str(random.SystemRandom().randrange(2**32)))
PROGRAM = Path(__file__).parents[1] / "damage_seals.py"


def test_every_change_of_sealed_runs_is_noticed() -> None:
    command = [sys.executable, str(PROGRAM), "--count", COUNT, "--seed", SEED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
