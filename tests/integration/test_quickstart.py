"""The quickstart example."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_quickstart_prints_document_path_and_record_counts(tmp_path):
    env = {
        **os.environ,
        "YPROV_MLFLOW_DIR": str(tmp_path / "state"),
        "MLFLOW_DISABLE_TELEMETRY": "1",
        "YPROV_MLFLOW_COUNTRY": "ITA",
    }
    for variable in ("MLFLOW_TRACKING_URI", "YPROV_MLFLOW"):
        env.pop(variable, None)
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "quickstart.py"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    path = Path(re.search(r"Provenance document: (.*)", done.stdout)[1])
    assert path.is_file()
    assert path.is_relative_to(tmp_path)
    assert re.search(r"has \d{2,} records", done.stdout)
    assert re.search(r"\d+ Generation", done.stdout)
    assert f"yprov-mlflow show {path}" in done.stdout
    assert "WARNING" not in done.stderr

    def command(*words: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "yprov_mlflow", *words],
            cwd=tmp_path,
            env={**env, "COLUMNS": "120"},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout

    shown = command("show", str(path))
    for text in ("training/loss", "testing/accuracy", "report.json", "digits", "MLPClassifier"):
        assert text in shown
    bill = json.loads(command("energy", str(path), "--json"))
    assert bill["total"]["energy_j"] > 0, "the run must be long enough for measurements"
    assert bill["total"]["components"]["cpu"]["method"] in ("estimated", "measured")
    assert bill["emissions"]["carbon_intensity"] > 0
    assert {entry["collector"] for entry in bill["collectors"]} >= {"cpu", "host"}
    assert ["training", "epoch 9"] in [context["context"] for context in bill["contexts"]]
