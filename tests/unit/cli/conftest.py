import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from support import warm_python

COMMAND = Path(warm_python.__file__).with_name("command.py")
SCRIPT = """\
import os, signal, sys
import mlflow
mlflow.set_experiment("demo")
with mlflow.start_run(run_name="finished") as run:
    mlflow.log_param("lr", 0.1)
    mlflow.log_param("odd key: a/b", "[bold]" + "x" * 100)
    mlflow.set_tag("stage", "first")
    mlflow.set_tag("stage", "second")
    mlflow.log_metric("loss", 2.0, step=0)
    mlflow.log_metric("loss", 0.5, step=1)
    mlflow.log_metric("bad", float("nan"))
    mlflow.log_text("one", "notes/a.txt")
    mlflow.log_text("two", "notes/a.txt")
print(run.info.run_id)
"""

KILLED = """\
import os, signal
import mlflow
run = mlflow.start_run(run_name="killed")
mlflow.log_metric("loss", 1.0)
print(run.info.run_id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


class Workspace(NamedTuple):
    """A folder with its own store and journals; ``env`` points there."""

    folder: Path
    env: dict[str, str]
    uri: str

    def command(self, *arguments, **env):
        """Run a command in a process that has imported MLflow, or in a new one if it must be."""
        env = {**self.env, **env}
        is_early = "YPROV_MLFLOW" in env or any(name.startswith("PYTHON") for name in env)
        if arguments[0] == "run" or is_early:
            words = [sys.executable, "-m", "yprov_mlflow", *arguments]
            options = {"capture_output": True, "text": True, "timeout": 120}
            return subprocess.run(words, cwd=self.folder, env=env, **options)
        return warm_python.run(COMMAND, *arguments, cwd=self.folder, env=env)

    def script(self, text, name="train.py"):
        (self.folder / name).write_text(text)
        return name

    def document(self, run_id):
        (path,) = self.folder.glob(f"**/{run_id}/artifacts/provenance/prov.json")
        return path


def make_workspace(folder):
    uri = f"sqlite:///{folder}/mlflow.db"
    names = ("PATH", "HOME", "VIRTUAL_ENV", "TMPDIR", "LANG")
    env = {name: os.environ[name] for name in names if name in os.environ}
    env |= {
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "YPROV_MLFLOW_DIR": str(folder / "state"),
        "YPROV_MLFLOW_SINKS": "none",
        "COLUMNS": "100",
    }
    return Workspace(folder, env, uri)


@pytest.fixture
def workspace(tmp_path):
    return make_workspace(tmp_path)


@pytest.fixture(scope="session")
def captured(tmp_path_factory):
    """Return a workspace with a finished and a killed run, and their ids."""
    workspace = make_workspace(tmp_path_factory.mktemp("captured"))
    finished = workspace.command("run", workspace.script(SCRIPT))
    assert finished.returncode == 0, finished.stderr
    killed = workspace.command("run", workspace.script(KILLED, "killed.py"))
    assert killed.returncode == -9, killed.stderr
    return workspace, finished.stdout.strip(), killed.stdout.strip()


@pytest.fixture(scope="session")
def document(captured):
    workspace, finished, _ = captured
    path = workspace.document(finished)
    return path, json.loads(path.read_bytes())
