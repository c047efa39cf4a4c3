"""Each captured run gets a report beside its document, and no command is needed for it."""

import os
import subprocess
import sys
from pathlib import Path

TRAIN = """
import yprov_mlflow as mlflow

mlflow.set_tracking_uri("sqlite:///m.db")
with mlflow.start_run(run_name="a <b> c") as run, mlflow.prov.context("training"):
    mlflow.log_param("lr", 0.1)
    for step in range(150):  # more than become records
        mlflow.log_metric("loss", 1 / (1 + step), step=step)
print(run.info.run_id)
"""


def test_report_is_among_the_artifacts(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAIN)
    environ = {
        **os.environ,
        "YPROV_MLFLOW_DIR": str(tmp_path / "state"),
        "YPROV_MLFLOW_COLLECTORS": "code,host",
    }
    del environ["YPROV_MLFLOW_SINKS"]  # the default
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    command = [sys.executable, "train.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True
    )
    run_id = done.stdout.split()[-1]
    if "recover" in done.stderr:  # the machine is so busy that the exit did not wait for the page
        command = [sys.executable, "-m", "yprov_mlflow", "recover"]
        subprocess.run(command, cwd=tmp_path, env=environ, check=True)
    provenance = tmp_path / "mlruns" / "0" / run_id / "artifacts" / "provenance"
    page = (provenance / "report.html").read_text("utf-8")
    assert "a &lt;b&gt; c" in page and "FINISHED" in page
    assert 'aria-label="loss"' in page  # its points are in the Parquet file
    assert "report.html" not in (provenance / "prov.json").read_text("utf-8")
