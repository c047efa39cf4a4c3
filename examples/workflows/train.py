"""Train a tree of a depth in a run of MLflow: ``python train.py CLEAN DEPTH MODEL``."""

import pickle
import sys
from pathlib import Path

import pandas as pd
from sklearn.tree import DecisionTreeClassifier

import yprov_mlflow as mlflow


def train(clean: str, depth: int, model: str) -> str:
    data = pd.read_csv(clean)
    mlflow.set_experiment("workflow")
    with mlflow.start_run(run_name=f"depth {depth}") as run, mlflow.prov.context("training"):
        mlflow.log_input(mlflow.data.from_pandas(data, source=clean, name="clean"), "training")
        mlflow.log_param("depth", depth)
        x, y = data.drop(columns="label"), data["label"]
        tree = DecisionTreeClassifier(max_depth=depth, random_state=0).fit(x, y)
        mlflow.log_metric("accuracy", tree.score(x, y))
        Path(model).write_bytes(pickle.dumps({"accuracy": tree.score(x, y), "tree": tree}))
        mlflow.log_artifact(model)
    return run.info.run_id


if __name__ == "__main__":
    train(sys.argv[1], int(sys.argv[2]), sys.argv[3])
