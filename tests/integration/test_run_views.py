"""``mlflow.prov.energy`` and ``mlflow.prov.summary`` for runs, files and documents."""

import os
import subprocess
import sys

import pytest

import yprov_mlflow.prov as prov
from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats import prov_json

SCRIPT = """\
import json, subprocess, sys
from pathlib import Path
import yprov_mlflow as mlflow
from yprov_mlflow.prov.errors import UsageError

try:
    mlflow.prov.summary()
except UsageError as error:
    assert "no run has been started" in str(error), error
else:
    raise AssertionError("there is no run")
mlflow.set_experiment("demo")
with mlflow.start_run(run_name="first") as run:
    mlflow.log_param("lr", 0.1)
    active = mlflow.prov.summary()
    assert active.run.id == run.info.run_id
    assert active.run.name == "first"
    assert active.params == {"lr": "0.1"}
last = mlflow.prov.summary()
assert last.run.status == "FINISHED", last.run
assert last == mlflow.prov.summary(run.info.run_id)
(path,) = Path().glob("**/artifacts/provenance/prov.json")
assert mlflow.prov.summary(path) == mlflow.prov.summary(str(path)) == last
from_prov = mlflow.prov.summary(mlflow.prov.document())
assert from_prov.params == last.params
assert from_prov.run == last.run
energy = mlflow.prov.energy()
assert energy.run.id == run.info.run_id
for command, view in (("show", last), ("energy", energy)):
    done = subprocess.run(
        [sys.executable, "-m", "yprov_mlflow", command, "--json", path], stdout=subprocess.PIPE
    )
    assert json.loads(done.stdout) == view.to_dict(), command
"""


def test_views_of_runs_equal_the_commands(tmp_path):
    env = {
        **os.environ,
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "YPROV_MLFLOW_DIR": str(tmp_path / "state"),
        "YPROV_MLFLOW_COLLECTORS": "host,cpu",
    }
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr


CONTENT = b'{"prefix":{"ex":"http://example.org/"},"entity":{"ex:e":{}}}'


def test_views_of_documents(tmp_path):
    document = prov_json.loads(CONTENT)
    assert prov.summary(document).records == {"entity": 1}
    assert prov.summary(prov_json.to_prov(document)).records == {"entity": 1}
    assert prov.energy(document).measured is False


def test_malformed_file(tmp_path):
    path = tmp_path / "prov.json"
    path.write_text("[]")
    with pytest.raises(DocumentError, match="contains no PROV"):
        prov.energy(path)
