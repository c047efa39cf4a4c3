"""Pipelines of three training tasks, run by the engines themselves, followed by one query.

Needs an environment with the engine, its plugin and scikit-learn: ``nox -s workflows``.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.readers import workflow_page

EXAMPLES = Path(__file__).parents[2] / "examples" / "workflows"


def needs(module: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(module) is None
    return pytest.mark.skipif(missing, reason=f"{module} is not installed: nox -s workflows")


class Pipeline:
    """A folder with raw data and a store; ``env`` points there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.env = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "YPROV_MLFLOW_DIR": str(folder / "state"),
        }
        rows = [f"{n},{n % 7},{int(n % 7 > 3)}" for n in range(60)]
        (folder / "raw.csv").write_text("\n".join(["a,b,label", "1,,0", *rows]) + "\n")
        # Two processes that create one database at the same time disturb each other.
        self.command("-c", "import mlflow; mlflow.set_experiment('workflow')")

    def command(self, *arguments: str, **env: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    def chains(self) -> list[tuple[str, ...]]:
        """Return the rows of the query of docs/workflows.md over the joined graph."""
        graph = self.folder / "graph.ttl"
        self.command("-m", "yprov_mlflow", "workflow", "provenance", self.uri, "-o", str(graph))
        self.command("-m", "yprov_mlflow", "validate", "provenance", str(graph))
        return workflow_page.chains(graph)


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return Pipeline(tmp_path)


def check(chains: list[tuple[str, ...]], tasks: list[str], folder: str) -> None:
    chosen = [chain for chain in chains if chain[5].startswith("choose")]
    assert [chain[2] for chain in chosen] == tasks
    assert len({chain[3] for chain in chosen}) == 3  # runs
    for number, chain in enumerate(chosen, start=1):
        assert chain[0] == f"{folder}raw.csv" and chain[1].startswith("preprocess")
        assert chain[4] == f"model_{number}.pkl"


@needs("snakemake_logger_plugin_yprov")
def test_snakemake(pipeline: Pipeline) -> None:
    snakefile = str(EXAMPLES / "Snakefile")
    arguments = ["--cores", "2", "--logger", "yprov", "--snakefile", snakefile]
    pipeline.command("-m", "snakemake", *arguments)
    check(pipeline.chains(), [f"train:depth={depth}" for depth in (1, 2, 3)], "")


@needs("yprov_mlflow_airflow_plugin")
def test_airflow(pipeline: Pipeline) -> None:
    home = pipeline.folder / "airflow"
    env = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(EXAMPLES),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "WORKFLOW_DATA": str(pipeline.folder),
        "YPROV_WORKFLOW_FOLDER": str(pipeline.folder / "provenance"),
    }
    pipeline.command("-m", "airflow", "db", "migrate", **env)
    pipeline.command("-m", "airflow", "dags", "test", "fit", **env)
    check(pipeline.chains(), [f"train_{depth}" for depth in (1, 2, 3)], f"{pipeline.folder}/")
