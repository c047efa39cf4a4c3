"""The tutorial, with its program and its commands."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from yprov_mlflow.prov.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "tutorial.md").read_text("utf-8")
LINES = "".join(re.findall(r"^```console\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)).splitlines()
PROGRAM = "python examples/quickstart.py"
COPY = "cp quickstart/artifacts/*/artifacts/provenance/prov.json ."


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the program in a folder; return the folder and the output."""
    folder = tmp_path_factory.mktemp("tutorial")
    state = str(folder / "state")
    env = {**os.environ, "YPROV_MLFLOW_DIR": state, "YPROV_MLFLOW_COUNTRY": "ITA"}
    for variable in ("MLFLOW_TRACKING_URI", "YPROV_MLFLOW"):
        env.pop(variable, None)
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "quickstart.py"],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder, done.stdout


@pytest.fixture
def command(trained: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Return a function that runs a command line of the page in the folder of the program."""
    folder, _ = trained
    monkeypatch.chdir(folder)
    monkeypatch.setenv("YPROV_MLFLOW_DIR", str(folder / "state"))
    monkeypatch.setenv("COLUMNS", "120")

    def run(line: str) -> str:
        program, *words = shlex.split(line)
        assert program == "yprov-mlflow"
        shown = CliRunner().invoke(main, words)
        assert shown.exit_code == 0, shown.output
        return shown.output

    return run


def test_quickstart_prints_document_path_and_record_counts(trained: tuple[Path, str]) -> None:
    folder, output = trained
    (path,) = map(Path, re.findall(r"Provenance document: (.*)", output))
    assert path.is_file()
    assert path.is_relative_to(folder)
    assert re.search(r"has \d{2,} records", output)
    assert re.search(r"\d+ Generation", output)
    assert f"yprov-mlflow show {path}" in output


def test_commands_of_the_tutorial_show_the_run(command: Callable[[str], str]) -> None:
    assert LINES[:2] == [PROGRAM, COPY]
    subprocess.run(["bash", "-c", COPY], check=True)
    output = "\n".join(map(command, LINES[2:]))
    for text in ("training/loss", "testing/accuracy", "report.json", "digits", "MLPClassifier"):
        assert text in output
    for text in ("dataset digits", "run perceptron", "valid, ", "1 of 1"):
        assert text in output
    assert "<svg" in Path("picture.svg").read_text("utf-8")
    assert "<html" in Path("report.html").read_text("utf-8")
    assert list(Path("out").rglob("*.ttl"))


def test_energy_of_the_run_was_measured(command: Callable[[str], str]) -> None:
    (path,) = Path().glob(COPY.split()[1])
    bill = json.loads(command(f"yprov-mlflow energy {path} --json"))
    assert bill["total"]["energy_j"] > 0, "the run must be long enough for measurements"
    assert bill["total"]["components"]["cpu"]["method"] in ("estimated", "measured")
    assert bill["emissions"]["carbon_intensity"] > 0
    assert {entry["collector"] for entry in bill["collectors"]} >= {"cpu", "host"}
    assert ["training", "epoch 9"] in [context["context"] for context in bill["contexts"]]
