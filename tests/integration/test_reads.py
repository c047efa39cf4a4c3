"""Objects that a program reads through MLflow are linked to its run, and no others."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest

PROGRAM = r"""
import json, os, mlflow
from mlflow import MlflowClient
from mlflow.pyfunc import PythonModel

class Model(PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input

client = MlflowClient()
state = {}
with mlflow.start_run(run_name="source") as source:
    mlflow.log_text("hello", "t/a.txt")
    mlflow.log_dict({"a": 1}, "t/b.json")
    mlflow.log_table({"q": ["x"]}, "own.json")
    mlflow.log_table({"q": ["y"]}, "own.json")  # MLflow reads the first table
    info = mlflow.pyfunc.log_model(
        name="model", python_model=Model(), pip_requirements=[], registered_model_name="reg"
    )
    mlflow.models.get_model_info(info.model_uri)
client.set_registered_model_alias("reg", "champion", "1")
mlflow.genai.register_prompt("qa", "Say {{x}}")
client.set_prompt_alias("qa", "best", 1)
dataset = mlflow.genai.datasets.create_dataset(name="questions")
run_id = source.info.run_id
state.update(source=run_id, model=info.model_id, dataset=dataset.dataset_id)
with mlflow.start_run(run_name="reader") as reader:
    mlflow.artifacts.load_text(f"runs:/{run_id}/t/a.txt")
    mlflow.artifacts.load_dict(source.info.artifact_uri + "/t/b.json")
    mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="t")
    client.download_artifacts(run_id, "own.json")
    mlflow.pyfunc.load_model("models:/reg@champion")
    client.set_registered_model_alias(
        "reg", "champion", mlflow.register_model(info.model_uri, "reg").version
    )
    mlflow.pyfunc.load_model("models:/reg@champion")
    mlflow.pyfunc.load_model("models:/reg/latest")
    mlflow.pyfunc.load_model(info.model_uri)
    mlflow.genai.load_prompt("prompts:/qa@best")
    mlflow.genai.load_prompt("prompts:/qa@best")
    client.get_dataset(dataset.dataset_id)
    mlflow.genai.datasets.get_dataset(dataset_id=dataset.dataset_id)
    mlflow.log_text("mine", "mine.txt")
    mlflow.artifacts.load_text(f"runs:/{reader.info.run_id}/mine.txt")
mlflow.artifacts.load_text(f"runs:/{run_id}/t/a.txt")  # without a run
state["reader"] = reader.info.run_id
for name in ("source", "reader"):
    path = mlflow.artifacts.download_artifacts(f"runs:/{state[name]}/provenance/prov.json")
    state[name + " document"] = json.load(open(path))
print(json.dumps(state))
"""


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("reads")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        cwd=folder,
        env={
            **os.environ,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_TRACKING_URI": "yprov+sqlite:///m.db",
            "YPROV_MLFLOW_DIR": str(folder / "state"),
            "YPROV_MLFLOW_COLLECTORS": "none",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "rovenance" not in done.stderr, done.stderr
    content: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return content


def usages(document: dict[str, Any]) -> set[tuple[str, str, str, str | None]]:
    """Return activity, entity, role and alias of each read."""
    roles = {"mlf:loaded", "mlf:downloaded", "mlf:evaluated", "mlf:read"}
    return {
        (
            usage["prov:activity"],
            re.sub("/[0-9a-f]{64}$", "", usage["prov:entity"]),
            usage["prov:role"]["$"].removeprefix("mlf:"),
            usage.get("mlf:requestedAlias"),
        )
        for usage in document["used"].values()
        if "prov:role" in usage and usage["prov:role"]["$"] in roles
    }


def test_each_read_of_the_program_is_a_usage(state: dict[str, Any]) -> None:
    other = f"run-{state['source']}"
    assert usages(state["reader document"]) == {
        ("run:run", f"{other}:artifact/t%2Fa.txt", "loaded", None),
        ("run:run", f"{other}:artifact/t%2Fb.json", "loaded", None),
        ("run:run", f"{other}:folder/t", "downloaded", None),
        ("run:run", f"{other}:artifact/own.json", "downloaded", None),
        ("run:run", "store:model/reg/version/1", "loaded", "champion"),
        ("run:run", f"store:logged-model/{state['model']}", "loaded", None),
        ("run:run", "store:model/qa/version/1", "loaded", "best"),
        ("run:run", f"store:dataset/{state['dataset']}", "read", None),
        ("run:session/1", "run:artifact/mine.txt", "loaded", None),
        ("run:run", "store:model/reg/version/2", "loaded", "champion"),
        ("run:run", "store:model/reg/version/2", "loaded", "latest"),
    }


def test_reads_that_mlflow_makes_for_itself_are_no_usages(state: dict[str, Any]) -> None:
    assert not usages(state["source document"])


def test_the_content_of_a_download_is_that_of_the_other_run(state: dict[str, Any]) -> None:
    def contents(document: dict[str, Any], prefix: str) -> set[tuple[str, str]]:
        return {
            (re.sub("/[0-9a-f]{64}$", "", file.removeprefix(prefix)), record["prov:generalEntity"])
            for record in document["specializationOf"].values()
            if (file := record["prov:specificEntity"]).startswith(f"{prefix}:artifact/t%2F")
        }

    own = contents(state["source document"], "run")
    assert len(own) == 2
    assert contents(state["reader document"], f"run-{state['source']}") == own
