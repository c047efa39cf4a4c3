"""A DAG of Airflow with the tasks of the Snakefile; ``WORKFLOW_DATA`` has raw.csv."""

import os
import subprocess
import sys
from pathlib import Path

from airflow.sdk import Asset, dag, task

SCRIPTS = Path(__file__).parent
DATA = Path(os.environ.get("WORKFLOW_DATA", "/tmp/workflow"))


def asset(name: str) -> Asset:
    return Asset(f"file://{DATA}/{name}")


def script(name: str, *arguments: object) -> None:
    subprocess.run([sys.executable, SCRIPTS / name, *map(str, arguments)], cwd=DATA, check=True)


@dag(schedule=None)
def fit():
    @task(inlets=[asset("raw.csv")], outlets=[asset("clean.csv")])
    def preprocess():
        script("preprocess.py", "raw.csv", "clean.csv")

    trained = []
    for depth in (1, 2, 3):
        model = f"model_{depth}.pkl"

        @task(
            task_id=f"train_{depth}",
            inlets=[asset("clean.csv")],
            outlets=[asset(model)],
        )
        def train(depth=depth, model=model):
            script("train.py", "clean.csv", depth, model)

        trained.append(train())

    @task(
        inlets=[asset(f"model_{depth}.pkl") for depth in (1, 2, 3)],
        outlets=[asset("best.pkl")],
    )
    def choose():
        script("choose.py", "best.pkl", *(f"model_{depth}.pkl" for depth in (1, 2, 3)))

    preprocess() >> trained >> choose()


fit()
