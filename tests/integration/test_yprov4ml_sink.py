"""The sink ``yprov4ml`` writes the profile of each captured run beside its document."""

import json
import os
import subprocess
import sys
from pathlib import Path

TRAIN = """
import yprov_mlflow as mlflow

mlflow.set_tracking_uri("sqlite:///m.db")
with mlflow.start_run() as run, mlflow.prov.context("training"):
    for step in range(150):  # more than become records
        mlflow.log_metric("loss", 1 / (1 + step), step=step)
mlflow.MlflowClient().set_tag(run.info.run_id, "late", "tag")
print(run.info.run_id)
"""


def test_profile_is_among_the_artifacts(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAIN)
    environ = {
        **os.environ,
        "YPROV_MLFLOW_DIR": str(tmp_path / "state"),
        "YPROV_MLFLOW_SINKS": "yprov4ml",
        "YPROV_MLFLOW_COLLECTORS": "host",
    }
    command = [sys.executable, "train.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True
    )
    run_id = done.stdout.split()[-1]
    provenance = tmp_path / "mlruns" / "0" / run_id / "artifacts" / "provenance"
    (path,) = provenance.glob("yprov4ml/*/prov_*.json")
    content = json.loads(path.read_text())
    (metric,) = [entity for entity in content["entity"].values() if entity["prov:label"] == "loss"]
    # The path is valid where the artifacts are.
    lines = Path(metric["dcterms:identifier"]).read_text().splitlines()
    assert len(lines) == 151 and lines[1].startswith("0,1.0,")
    # The document was written again for the late tag, and does not take the profile for artifacts.
    assert "late" in (provenance / "prov.json").read_text()
    assert "yprov4ml" not in (provenance / "prov.json").read_text()
