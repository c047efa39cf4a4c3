"""Compare runs of yProv4ML with the MLflow store that they become.

``log FOLDER`` runs in an environment of yProv4ML: it logs runs with its verbs, in every kind of
metric file, and keeps what was logged. ``compare FOLDER`` runs in an environment of this package:
it converts the folder, restores the documents to a database, and compares what ``MlflowClient``
returns with what was logged. The nox session ``yprov4ml`` does both.
"""

from __future__ import annotations

import collections
import json
import math
import os
import subprocess
import sys
from pathlib import Path

KINDS = ("csv", "nc")  # 3.2.8 cannot write zarr with the library that it requires
RANKS = 2


# -- log: in the environment of yProv4ML -----------------------------------------------------


def log(folder: Path) -> None:
    folder.mkdir(parents=True)
    for kind in KINDS:
        # It has one global run for each process.
        for rank in range(RANKS):
            command = [sys.executable, __file__, f"log-{kind}-{rank}", str(folder)]
            subprocess.run(command, check=True)


def log_rank(folder: Path, kind: str, rank: int) -> None:
    import torch
    import yprov4ml
    from torch.utils.data import DataLoader, TensorDataset

    os.chdir(folder)
    Path("data.txt").write_text("features")
    yprov4ml.start_run(
        experiment_name=f"mnist_{kind}",
        provenance_save_dir="prov",
        collect_all_processes=True,
        rank=rank,
        metrics_file_type=kind,
        use_run_id=0,
        save_after_n_logs=4,
    )
    params = {"lr": (0.01, None), "batch": (32, "TRAINING"), "layers": ({"a": [1, 2]}, None)}
    for name, (value, context) in params.items():
        yprov4ml.log_param(name, value, context=context, is_input=name == "lr")
    yprov4ml.log_context("INNER", is_subcontext_of="TRAINING")
    points = collections.defaultdict(list)

    def metric(key: str, value: float, step: int, context: str | None, source: str | None) -> None:
        time_ms = 1_000_000_000_000 + step if key == "old" else None
        yprov4ml.log_metric(key, value, context, step, source, time_ms)
        data = yprov4ml.constants.PROV4ML_DATA.metrics
        points[f"{context or ''}|{key}|{source or ''}"].append([step, value])
        assert data

    for step in range(10):
        metric("loss", 1 / (step + 3) + rank, step, "TRAINING", None)
        metric("loss", 2 / (step + 3) + rank, step, "VALIDATION", None)
        metric("power", 5.5 * step, step, "TRAINING", "meter A")
        metric("old", float(step), step, None, None)
    metric("deep", 0.5, 0, "INNER", None)
    metric("final", 0.25, 7, None, None)
    yprov4ml.log_artifact("data", "data.txt", is_input=True, context="TRAINING")
    yprov4ml.log_model("network", torch.nn.Linear(2, 1), context="TRAINING")
    yprov4ml.save_model_version("network", torch.nn.Linear(2, 1), context="TRAINING", step=0)
    dataset = DataLoader(TensorDataset(torch.zeros(10, 2)), batch_size=2)
    yprov4ml.log_dataset("train_set", dataset, context="TRAINING")
    yprov4ml.log_execution_command("python train.py", "train.py")
    yprov4ml.end_run()
    logged = {
        "params": {name: str(value) for name, (value, _) in params.items()},
        "points": points,
        "models": ["network", "network_1"],
        "datasets": {"data.txt": "features", "train_set": None},
        "artifacts": ["data.txt", "network/network.pt", "network/network_1.pt", "requirements.txt"],
    }
    (folder / f"logged-{kind}-{rank}.json").write_text(json.dumps(logged))


# -- compare: in the environment of this package ---------------------------------------------


def compare(folder: Path) -> int:
    import mlflow

    ours = [sys.executable, "-m", "yprov_mlflow"]
    convert = [*ours, "convert", "prov", "-o", "documents", "--workers", "1"]
    subprocess.run(convert, cwd=folder, check=True)
    subprocess.run([*ours, "validate", "documents"], cwd=folder, check=True)
    uri = f"sqlite:///{folder}/restored.db"
    restore = [*ours, "restore", "documents", "--to", uri, "--artifacts", "prov"]
    subprocess.run(restore, cwd=folder, check=True)
    client = mlflow.MlflowClient(uri)
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    failures: list[str] = []

    def equal(field: str, what: str, actual: object, expected: object) -> None:
        counts[field]["values"] += 1
        counts[field]["equal"] += actual == expected
        if actual != expected:
            failures.append(f"{field}, {what}: {actual!r} instead of {expected!r}")

    for kind in KINDS:
        experiment = client.get_experiment_by_name(f"mnist_{kind}")
        (run,) = client.search_runs([experiment.experiment_id])
        logged = [
            json.loads((folder / f"logged-{kind}-{r}.json").read_text()) for r in range(RANKS)
        ]
        _compare_run(equal, client, kind, run, logged)
        _compare_series(equal, client, kind, run, logged, folder)
    print(f"{'field':20} {'values':>7} {'equal to yProv4ML':>18}")
    for field, row in counts.items():
        print(f"{field:20} {row['values']:>7} {row['equal']:>18}")
    for failure in failures[:40]:
        print(failure)
    return bool(failures)


def _compare_run(equal, client, kind, run, logged) -> None:
    params = {**logged[0]["params"]}
    params["execution_command"] = run.data.params.get("execution_command")
    equal("params", kind, run.data.params, params)
    equal("run", kind, (run.info.run_name, run.info.status), (f"mnist_{kind}_0", "FINISHED"))
    import getpass

    equal("user", kind, run.data.tags["mlflow.user"], getpass.getuser())
    files = sorted(_files(client, run.info.run_id, ""))
    expected = [f"artifacts_GR{r}/{path}" for r in range(RANKS) for path in logged[r]["artifacts"]]
    equal("artifacts", kind, [f for f in files if not f.startswith("provenance")], sorted(expected))
    models = client.search_logged_models([run.info.experiment_id])
    names = [name for rank in logged for name in rank["models"]]
    equal("models", kind, sorted(model.name for model in models), sorted(names))
    for model in models:
        if model.name == "network":
            equal("model information", kind, model.params.get("total_params"), "3")
    datasets = {item.dataset.name: item.dataset for item in run.inputs.dataset_inputs}
    equal("datasets", kind, set(datasets), set(logged[0]["datasets"]))
    profile = json.loads(datasets["train_set"].profile)
    equal(
        "dataset statistics", kind, (profile["batch_size"], profile["total_batches"]), ("2", "10")
    )


def _compare_series(equal, client, kind, run, logged, folder) -> None:
    keys = set()
    for rank in range(RANKS):
        metrics = folder / "prov" / f"mnist_{kind}_0" / f"metrics_GR{rank}"
        for name, points in logged[rank]["points"].items():
            context, metric, source = name.split("|")
            key = f"{context}/{metric}" if metric == "loss" else metric
            key = f"rank_{rank}/{key}" if rank else key
            keys.add(key)
            history = client.get_metric_history(run.info.run_id, key)
            rows = sorted((point.step, point.value) for point in history)
            # NetCDF files of yProv4ML have 32 bits for a value.
            tolerance = 1e-15 if kind == "csv" else 1e-7
            same = len(rows) == len(points) and all(
                a[0] == b[0] and math.isclose(a[1], b[1], rel_tol=tolerance)
                for a, b in zip(rows, sorted(map(tuple, points)), strict=True)
            )
            equal("metric (epoch, value)", key, same, True)
            if kind == "csv":
                where = context or f"mnist_{kind}_GR{rank}_0"
                file = metrics / f"{metric}_{where}_{source or None}_GR{rank}.csv"
                times = sorted(int(line.split(",")[2]) for line in file.read_text().split()[1:])
                equal("metric (timestep)", key, sorted(p.timestamp for p in history), times)
            sources = run.data.tags.get(f"yprov.source.{key}")
            equal("metric source", key, sources, json.dumps([source]) if source else None)
    equal("metrics", kind, set(run.data.metrics), keys)


def _files(client, run_id: str, path: str):
    for item in client.list_artifacts(run_id, path):
        if item.is_dir:
            yield from _files(client, run_id, item.path)
        else:
            yield item.path


if __name__ == "__main__":
    verb, target = sys.argv[1:]
    directory = Path(target).absolute()
    if verb.startswith("log-"):
        log_rank(directory, verb.split("-")[1], int(verb.split("-")[2]))
    else:
        sys.exit(log(directory) if verb == "log" else compare(directory))
