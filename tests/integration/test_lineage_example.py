"""The scripts of ``examples/lineage`` run as their page says, and a rerun has the same metrics."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support import warm_python
from support.builders.pipeline_documents import OLD, SECOND
from support.builders.pipeline_documents import pipeline as pipeline_documents

from yprov_mlflow.prov.capture import session
from yprov_mlflow.prov.cli import main

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "lineage"
LINEAGE = EXAMPLE.parents[1] / "docs" / "lineage.md"
QUESTIONS = re.findall(r"^\| .*\? \| `yprov-mlflow (.*)` \|$", LINEAGE.read_text("utf-8"), re.M)
COMMANDS = re.findall(r"^python (.*)$", (EXAMPLE / "README.md").read_text("utf-8"), re.MULTILINE)
RERUN = "train.py 0.3"  # the page reruns this one
DRIVER = """
import runpy, shlex, sys
for command in sys.argv[1:]:
    sys.argv = shlex.split(command)
    runpy.run_path(sys.argv[0], run_name="__main__")
"""
_OWN_SETTINGS = ("MLFLOW_", "YPROV_", "PYTHON")


class Pipeline:
    """The example after its commands, in a copy of its folder."""

    def __init__(self, folder: Path, template: Path) -> None:
        self.folder = folder
        shutil.copytree(EXAMPLE, folder)
        shutil.copy(template, folder / "mlflow.db")
        with sqlite3.connect(folder / "mlflow.db") as connection:
            location = str(folder / "mlruns" / "0")
            connection.execute("UPDATE experiments SET artifact_location = ?", (location,))
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(_OWN_SETTINGS)},
            "MLFLOW_TRACKING_URI": "yprov+sqlite:///mlflow.db",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "YPROV_MLFLOW_DIR": str(folder / "state"),
            "GIT_CEILING_DIRECTORIES": str(folder.parent),
        }
        # One process for several commands saves time; the one of the rerun has its own.
        position = COMMANDS.index(RERUN)
        self.run_all(COMMANDS[:position])
        self.call(*shlex.split(RERUN))
        self.run_all(COMMANDS[position + 1 :])

    def run_all(self, commands: list[str]) -> None:
        driver = self.folder / "driver.py"
        driver.write_text(DRIVER)
        done = warm_python.run(driver, *commands, cwd=self.folder, env=self.env)
        assert done.returncode == 0, done.stderr

    def call(self, *words: str) -> None:
        done = subprocess.run(
            [sys.executable, *words], cwd=self.folder, env=self.env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    def runs(self) -> dict[str, str]:
        with sqlite3.connect(self.folder / "mlflow.db") as connection:
            return dict(connection.execute("SELECT name, run_uuid FROM runs"))


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Pipeline:
    return Pipeline(tmp_path_factory.mktemp("example") / "lineage", empty_database)


def test_all_runs_are_captured(pipeline: Pipeline) -> None:
    runs = pipeline.runs()
    assert list(runs) == ["prepare", "train 0.1", "train 0.3", "evaluate", "finetune"]
    root = pipeline.folder / "mlruns" / "0"
    assert all((root / run / "artifacts/provenance/prov.json").is_file() for run in runs.values())
    (script,) = root.glob(f"{runs['train 0.3']}/artifacts/provenance/code/*/files/train.py")
    assert script.read_bytes() == (EXAMPLE / "train.py").read_bytes()


def test_rerun_of_a_training_has_the_same_metrics(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    before = pipeline.runs()
    monkeypatch.chdir(pipeline.folder)
    monkeypatch.setenv("YPROV_MLFLOW_DIR", str(pipeline.folder / "state"))
    words = ["rerun", before["train 0.3"], "--tracking-uri", "sqlite:///mlflow.db"]
    options = ["--into", "again", "--environment", "current", "--log-to", "copy"]
    with pytest.raises(SystemExit) as exit:
        main([*words, *options, "--yes", "--json"])
    out, err = capfd.readouterr()
    assert exit.value.code == 0, err
    result = json.loads(out)
    store = next(item["text"] for item in result["plan"] if item["part"] == "store")
    assert store.startswith(f"a copy of {pipeline.folder / 'mlflow.db'}")
    verdicts = {
        (c["part"], c["name"]): c["verdict"]
        for c in result["outcome"]["comparisons"]
        if c["part"] != "artifact"
    }
    assert set(verdicts.values()) == {"equal"}
    assert {part for part, _ in verdicts} == {"status", "param", "metric", "dataset"}
    assert pipeline.runs() == before, "nothing is logged to the user's store"


@pytest.fixture(scope="module")
def answers(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the answers to the questions of the page, by the command without its options."""
    others = []
    for number, document in enumerate(pipeline_documents()):
        file = tmp_path_factory.mktemp("documents") / f"{number}.json"
        file.write_bytes(document.to_json_bytes())
        others += ["--from", str(file)]
    names = {"COMMIT": OLD[:8], "EXPERIMENT": "E", "TIME": datetime.now(UTC).isoformat()}
    answers = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(pipeline.folder)
        patch.setenv("YPROV_MLFLOW_DIR", str(pipeline.folder / "state"))
        patch.setattr(session, "existing", None)  # one with the state folder of another test
        for command in QUESTIONS:
            words = shlex.split(command)
            # The example is no repository, and has no epochs.
            sources = others if {"COMMIT", "EXPERIMENT"} & set(words) else []
            words = [names.get(word, word) for word in words]
            result = CliRunner().invoke(main, [*words, *sources, "--format", "json"])
            assert result.exit_code == 0, result.output
            answers[" ".join(words[:2])] = json.loads(result.stdout)
    return answers


def test_each_question_of_the_page_has_its_answer(
    pipeline: Pipeline, answers: dict[str, Any]
) -> None:
    runs = pipeline.runs()

    def column(command: str, key: str) -> list[Any]:
        return [row[key] for row in answers[command]]

    trainings = ["train 0.1", "train 0.3"]
    assert sorted(column("query @runs-with-dataset", "name")) == trainings
    assert set(column("query @writers-of-file", "run")) == {runs["prepare"]}
    assert column("query @runs-after-commit", "run") == [SECOND]
    assert column("query @energy-by-epoch", "joules") == []
    (environment,) = answers["query @run-environment"]
    assert environment["person"] and environment["host"] and "mlflow==" in environment["packages"]
    differences = answers["diff train 0.1"]["differences"]
    assert ["0.1", "0.3"] in [[d["left"], d["right"]] for d in differences if d["name"] == "rate"]
    affected = answers["lineage panel.csv"]["things"]
    assert sum(thing["kind"] == "version" for thing in affected) == 3
    assert [str(v) for v in column("query @alias-at", "version")] == ["3"]
    made = {row["version"]: row["name"] for row in answers["query @versions-and-runs"]}
    assert [name for _, name in sorted(made.items())] == [*trainings, "finetune"]
    assert column("query @bases-of-run", "made_by") == [runs["train 0.3"]]
    assert {"evaluate", "finetune"} == set(column("query @users-of-model", "name"))
