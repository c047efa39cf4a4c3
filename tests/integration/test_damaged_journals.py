"""Documents from randomly damaged journals say nothing false; see ``tests/damage_journals.py``.

``YPROV_MLFLOW_DAMAGES=1000 pytest tests/integration/test_damaged_journals.py`` tries more.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import textwrap
from pathlib import Path

from integration.conftest import Sandbox

COUNT = os.environ.get("YPROV_MLFLOW_DAMAGES", "24")
SEED = os.environ.get("YPROV_MLFLOW_SEED", str(random.SystemRandom().randrange(2**32)))
PROGRAM = Path(__file__).parents[1] / "damage_journals.py"


def test_damage_is_reported_and_never_believed() -> None:
    command = [sys.executable, str(PROGRAM), "--count", COUNT, "--seed", SEED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


TRAIN = """
import json, os, shutil, sys, time
import yprov_mlflow as mlflow
with mlflow.start_run() as run:
    with mlflow.prov.context("training"):
        mlflow.log_metric("loss", 1.0, step=0)
    {damage}
    with mlflow.prov.context("validation"):
        mlflow.log_metric("loss", 2.0, step=1)
    mlflow.log_text("hello", "hello.txt")
print(json.dumps(run.info.run_id))
"""


def train(sandbox: Sandbox, damage: str) -> tuple[str, str]:
    """Run a training that damages its own journals; return the run id and the warnings."""
    done = sandbox.train(textwrap.dedent(TRAIN).format(damage=damage), sandbox.sqlite)
    return done.json, done.err


def check(sandbox: Sandbox, run_id: str) -> None:
    """Check that the document has all that the process knew."""
    document = sandbox.document(run_id)
    assert {r["prov:label"] for r in document.of_type("mlf:Context").values()} == {
        "training",
        "validation",
    }
    assert document.artifacts["hello.txt"] is not None
    assert "mlf:partial" not in document.run


def test_removed_folder_is_written_again(sandbox: Sandbox) -> None:
    run_id, warnings = train(sandbox, "shutil.rmtree(os.environ['YPROV_MLFLOW_DIR'])")
    assert warnings.count("was removed or moved") == 1
    check(sandbox, run_id)
    assert f"current  {run_id}" in sandbox.yprov("recover", uri=sandbox.sqlite).out


def test_document_has_what_no_folder_takes(sandbox: Sandbox) -> None:
    damage = "d = os.environ['YPROV_MLFLOW_DIR']; shutil.rmtree(d); open(d, 'w').close(); "
    run_id, warnings = train(sandbox, damage + "time.sleep(1.1)")
    assert warnings.count("cannot write the provenance journal") == 1
    check(sandbox, run_id)


def test_failed_delivery_names_each_run_and_the_remedy(sandbox: Sandbox) -> None:
    script = """
        import json, os, shutil, yprov_mlflow as mlflow
        def run():
            with mlflow.start_run() as run:
                mlflow.log_metric("loss", 1.0)
                folder = run.info.artifact_uri.removeprefix("file://")
                shutil.rmtree(folder, ignore_errors=True)
                os.makedirs(os.path.dirname(folder), exist_ok=True)
                open(folder, "w").close()
            return run.info.run_id
        print(json.dumps([run(), run()]))
    """
    done = sandbox.train(script, sandbox.sqlite)
    for run_id in done.json:
        assert f"yprov-mlflow recover --run {run_id}" in done.err
