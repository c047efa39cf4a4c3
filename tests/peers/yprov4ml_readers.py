"""Read our profile with yProv4ML itself, and compare it with what MLflow has.

``capture FOLDER`` runs in an environment of this package: it captures runs, converts them with
``--profile yprov4ml`` and writes what ``MlflowClient`` returns. ``read FOLDER`` runs in an
environment of yProv4ML: it calls every getter, makes the card, and prints a table. The nox session
``yprov4ml`` does both.
"""

from __future__ import annotations

import collections
import contextlib
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

KINDS = ("csv", "netcdf", "zarr")

SCRIPT = """
import math
import os
import sys
import time

import numpy

import yprov_mlflow as mlflow

mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment("digits/first try")


def train():
    with mlflow.start_run(run_name="ordinary"):
        mlflow.log_params({"lr": 0.1, "layers": (64, 32), "name": "__import__('os').getcwd()"})
        mlflow.log_params({"learning rate": "1e-3", "accuracy": "goal"})
        mlflow.log_param("source_code_style", "ruff")
        mlflow.log_input(mlflow.data.from_numpy(numpy.eye(3), name="digits"), "training")
        with mlflow.prov.context("training"):
            for epoch in range(3):
                with mlflow.prov.epoch(epoch):
                    for batch in range(2):
                        mlflow.log_metric("loss", 1 / (3 + epoch + batch), step=2 * epoch + batch)
            with mlflow.prov.context("validation"):
                mlflow.log_metric("val/loss", 0.1 + 0.2, step=5)
                mlflow.log_metric("top_acc", 0.5)
                mlflow.log_metric("acc", 0.25)
        with mlflow.prov.context("testing: last"):
            mlflow.log_metric("accuracy", 0.9)
        with mlflow.prov.context("nothing logged"):
            time.sleep(0.01)
        mlflow.log_metric("outside", 3.0, step=2)
        mlflow.log_metric("outside", math.nan, step=3)
        mlflow.log_dict({"a": 1}, "plots/report.json")
        mlflow.log_text("text", "note.txt")
        model = mlflow.initialize_logged_model(name="network", params={"depth": 2})
        mlflow.finalize_logged_model(model.model_id, "READY")


def train_long():
    with mlflow.start_run(run_name="many points"):
        with mlflow.prov.context("training"):
            for step in range(250):
                mlflow.log_metric("loss", 1 / (1 + step), step=step)
        for step in range(5):
            mlflow.log_metrics({f"class/{n}/recall": n / 7 for n in range(20)}, step=step)


def train_ranks():
    # Two processes of one run, as torchrun starts them.
    run_id = mlflow.MlflowClient().create_run("1", run_name="two ranks").info.run_id
    for rank in (1, 0):
        environ = {**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        import subprocess

        command = [sys.executable, __file__, sys.argv[1], run_id]
        subprocess.run(command, env=environ, check=True)


if len(sys.argv) > 2:
    with mlflow.start_run(run_id=sys.argv[2]), mlflow.prov.context("training"):
        for step in range(3):
            mlflow.log_metric("loss", int(os.environ["RANK"]) + step, step=step)
else:
    train()
    train_long()
    train_ranks()
    with mlflow.start_run(run_name="empty"):
        pass
    with mlflow.start_run(run_name="parent"), mlflow.start_run(nested=True, run_name="child"):
        mlflow.log_metric("c", 1)
"""

PLAIN = """
import sys

import mlflow

mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment("plain")
with mlflow.start_run(run_name="converted"):
    mlflow.log_param("depth", 4)
    for step in range(5):
        mlflow.log_metric("train/loss", 1 / (1 + step), step=step)
    mlflow.log_text("text", "a/b/note.txt")
"""

UNKNOWN = {
    "runtime_environment": "the card never fills it",
    "resource_manager": "the card never fills it",
    "network": "the card never fills it",
    "branch": "the card never fills it",
    "memory": "the card multiplies a percentage by the memory of the machine that reads",
    "gpu": "no GPU here, and the card takes no file of GPU memory",
    "arguments": "the script has none",
    "size": "params, datasets and commands are not files",
}
"""Fields of the card that stay blank, each with the reason."""


# -- capture: in the environment of this package ---------------------------------------------


def capture(folder: Path) -> None:
    folder.mkdir(parents=True)
    git = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    (folder / "train.py").write_text(SCRIPT)
    (folder / "plain.py").write_text(PLAIN)
    for command in (
        ["init", "-q"],
        ["remote", "add", "origin", "https://user:secret@example.org/team/digits.git"],
        ["add", "train.py"],
        ["commit", "-qm", "Train"],
    ):
        subprocess.run([*git, *command], check=True)
    uri = f"sqlite:///{folder}/mlflow.db"
    environ = {**os.environ, "YPROV_MLFLOW_DIR": str(folder / "state")}
    for script in ("train.py", "plain.py"):
        subprocess.run([sys.executable, script, uri], cwd=folder, env=environ, check=True)
    for kind in KINDS:
        command = [sys.executable, "-m", "yprov_mlflow", "convert", uri, "-o", kind]
        options = ["--profile", "yprov4ml", "--series", kind, "--workers", "1"]
        subprocess.run([*command, *options], cwd=folder, env=environ, check=True)
    (folder / "expected.json").write_text(json.dumps(_from_mlflow(uri)))


def _from_mlflow(uri: str) -> dict[str, object]:
    import mlflow

    client = mlflow.MlflowClient(uri)
    experiments = [e.experiment_id for e in client.search_experiments()]
    return {run.info.run_id: _run(client, run) for run in client.search_runs(experiments)}


def _run(client, run) -> dict[str, object]:
    histories = {
        key: [
            [point.step, point.value, point.timestamp]
            for point in client.get_metric_history(run.info.run_id, key)
        ]
        for key in run.data.metrics
    }
    models = client.search_logged_models([run.info.experiment_id])
    own = [model.name for model in models if model.source_run_id == run.info.run_id]
    return {
        "name": run.info.run_name,
        "user": run.info.user_id,
        "start": run.info.start_time,
        "params": run.data.params,
        "metrics": histories,
        "artifacts": sorted(_files(client, run.info.run_id, "")),
        "datasets": [item.dataset.name for item in run.inputs.dataset_inputs],
        "models": own,
    }


def _files(client, run_id: str, path: str):
    for item in client.list_artifacts(run_id, path):
        if item.path == "provenance":
            continue
        if item.is_dir:
            yield from _files(client, run_id, item.path)
        else:
            yield item.path


# -- read: in the environment of yProv4ML ----------------------------------------------------


class Table:
    """Counts of values read by each getter, and how many equal MLflow's."""

    def __init__(self) -> None:
        self.rows: dict[str, collections.Counter[str]] = {}
        self.failures: list[str] = []

    def compare(self, getter: str, what: str, actual: object, expected: object) -> None:
        row = self.rows.setdefault(getter, collections.Counter())
        row["values"] += 1
        row["equal"] += actual == expected
        if actual != expected:
            self.failures.append(f"{getter}, {what}: {actual!r} instead of {expected!r}")

    def show(self) -> int:
        print(f"{'getter':44} {'values':>7} {'equal to MLflow':>16}")
        for getter, row in self.rows.items():
            print(f"{getter:44} {row['values']:>7} {row['equal']:>16}")
        for failure in self.failures[:40]:
            print(failure)
        return bool(self.failures)


def read(folder: Path) -> int:
    from yprov4ml.utils import getters

    expected = json.loads((folder / "expected.json").read_text())
    table = Table()
    blanks: collections.Counter[str] = collections.Counter()
    for kind in KINDS:
        project = folder / kind
        documents = [str(path) for path in getters.list_provjson_in_proj(project)]
        table.compare("list_provjson_in_proj", kind, len(documents), len(expected))
        names = {Path(path).parent for path in documents}
        table.compare(
            "list_runs_in_proj", kind, names <= set(getters.list_runs_in_proj(project)), 1
        )
        for path in documents:
            content = json.loads(Path(path).read_text())
            main = _main_activity(content)
            run = expected[content["activity"][main]["mlf:runId"]]
            _compare_run(table, getters, path, main, run)
            _compare_series(table, getters, path, main, run)
            _compare_graph(table, path)
            if kind == "csv":  # the card reads no other metric files
                _make_card(table, blanks, Path(path), run)
    for field, count in blanks.items():
        reason = UNKNOWN.get(field, "")
        print(f"blank in the card: {field} ({count} times): {reason or 'UNEXPECTED'}")
        table.compare("prov2card: fields that could be filled", field, bool(reason), True)
    return table.show()


def _main_activity(content: dict) -> str:
    activities = content["activity"].items()
    return next(name for name, record in activities if "yprov:experiment_name" in record)


def _compare_run(table: Table, getters, path: str, main: str, run: dict) -> None:
    about = run["name"]
    table.compare("list_activities", about, main in getters.list_activities(path), True)
    table.compare("get_parameter (run)", about, getters.get_parameter(path, main, "label"), about)
    table.compare("get_parameter (run)", about, getters.get_parameter(path, main, "run_id"),
                  str(run["start"]))  # fmt: skip
    agents = list(json.loads(Path(path).read_text())["agent"])
    table.compare("agent", about, agents, [quote(run["user"])])
    entities = {
        kind: {
            name: getters.list_parameters(path, name)
            for name in getters.list_entities(path, f"provml:{kind}")
        }
        for kind in ("HyperParameter", "Dataset", "Model", "Artifact", "Metric")
    }
    ours = {"execution_command", "source_code"} - set(run["params"])
    params = {
        record["prov:label"]: getters.get_parameter(path, name, "value")
        for name, record in entities["HyperParameter"].items()
        if record["prov:label"] not in ours
    }
    table.compare("list_entities HyperParameter", about, params, run["params"])
    for name, record in entities["HyperParameter"].items():
        value = run["params"].get(record["prov:label"])
        if value is not None:
            table.compare("list_parameters", name, record["prov:value"], value)
    merged = getters.list_parameters(path)
    table.compare("list_parameters (all)", about, merged["prov:label"] is not None, True)
    for kind, field in (("Dataset", "datasets"), ("Model", "models")):
        labels = sorted(record["prov:label"] for record in entities[kind].values())
        table.compare(f"list_entities {kind}", about, labels, sorted(run[field]))
    labels = sorted(
        record["prov:label"] for record in entities["Artifact"].values()
        if record["prov:role"] == "output"
    )  # fmt: skip
    table.compare("list_entities Artifact", about, labels, run["artifacts"])
    everything = getters.list_entities(path)
    typed = sum(map(len, entities.values()))
    table.compare("list_entities", about, len(everything), typed)


def _compare_series(table: Table, getters, path: str, main: str, run: dict) -> None:
    frame = getters.list_metrics(path)
    rows = frame.to_dict("index") if len(frame) else {}
    logged = {name: row for name, row in rows.items() if row["source"] == "None"}
    labels = {row["label"] for row in logged.values()}
    table.compare("list_metrics", run["name"], labels, set(run["metrics"]))
    paths = getters.list_metric_paths(path)
    table.compare("list_metric_paths", run["name"], set(paths), set(rows))
    series: dict[str, list] = collections.defaultdict(list)
    for name, row in logged.items():
        points = _points(getters._open_file(paths[name]))
        series[row["label"]] += points
        filtered = getters.list_metrics(path, context=row["context"], source="None")
        table.compare("list_metrics (context, source)", name, name in filtered.index, True)
        if "@GR" not in name:  # of several ranks, get_metric returns the first
            single = getters.get_metric(path, row["label"], row["context"])
            table.compare("get_metric (series)", name, _points(single) == points, True)
    for key, points in run["metrics"].items():
        equal = _equal(sorted(series[key], key=str), sorted(map(tuple, points), key=str))
        table.compare("get_metric (epoch, value, timestep)", key, equal, True)


def _points(data) -> list[tuple[int, float, int]]:
    # A DataFrame of a CSV file, or a Dataset of xarray.
    names = (
        ("epoch", "value", "timestep") if "timestep" in data else ("epochs", "values", "timestamps")
    )
    if data is None:
        return []
    columns = [data[name].values.tolist() for name in names]
    columns[2] = [int(value) for value in columns[2]]
    return [(e, "nan" if math.isnan(v) else v, t) for e, v, t in zip(*columns, strict=True)]


def _equal(actual: list, expected: list) -> bool:
    expected = [(e, "nan" if math.isnan(v) else v, t) for e, v, t in expected]
    if len(actual) != len(expected):
        return False
    pairs = zip(sorted(actual, key=_order), sorted(expected, key=_order), strict=True)
    return all(a[0] == b[0] and a[2] == b[2] and _same(a[1], b[1]) for a, b in pairs)


def _same(actual: float | str, expected: float | str) -> bool:
    # pandas parses CSV with a rounding error in the last digit.
    return actual == expected or (
        "nan" not in (actual, expected) and math.isclose(actual, expected, rel_tol=4e-16)
    )


def _order(point: tuple) -> tuple:
    return point[0], point[2], str(point[1])


def _compare_graph(table: Table, path: str) -> None:
    """Apply the rule of the yProv service's upload, and count the components of the graph."""
    from prov.model import ProvDocument, ProvRelation

    document = ProvDocument.deserialize(path)
    relations = list(document.get_records(ProvRelation))
    ends = [
        [str(value) for value in relation.args[:2] if value is not None] for relation in relations
    ]
    kept = [pair for pair in ends if len(pair) == 2]
    table.compare("upload: relations kept", path, len(kept), len(relations))
    content = json.loads(Path(path).read_text())
    nodes = {
        name for section in ("activity", "agent", "entity") for name in content.get(section, {})
    }
    root = {node: node for node in nodes}

    def find(node: str) -> str:
        while root[node] != node:
            node = root[node]
        return node

    for first, second in kept:
        root[find(first)] = find(second)
    table.compare("upload: components", path, len({find(node) for node in nodes}), 1)
    plain = all(
        isinstance(r, dict) for s in content.values() for r in s.values() if s != content["prefix"]
    )
    table.compare(
        "explorer: one object per id, no bundles", path, plain and "bundle" not in content, True
    )
    table.compare("explorer: nodes below 2,500", path, len(nodes) < 2500, True)


def _make_card(table: Table, blanks: collections.Counter, path: Path, run: dict) -> None:
    from yprov4ml import prov2card

    out = path.parents[2] / "cards"
    with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
        prov2card.convert(str(path.parent), str(out))
    card = (out / f"card_{path.parent.name}.md").read_text()
    table.compare("prov2card: written", run["name"], "Error" in card, False)
    captured = "execution_command" in path.read_text()
    for name in (*run["params"], *run["models"], *run["datasets"]):
        table.compare("prov2card: inputs and outputs", name, f"`{name}`" in card or
                      name == "source_code_style", True)  # fmt: skip
    if not captured:  # MLflow's store has no process, host, packages or contexts
        return
    section = card
    if not (run["models"] or run["artifacts"]):
        section = section.partition("### Output Artifacts")[0]
    for line in section.splitlines():
        if match := re.match(r"- \*\*(.+?)\*\*: .*~", line):
            blanks[match[1]] += 1


if __name__ == "__main__":
    verb, target = sys.argv[1:]
    sys.exit(read(Path(target)) if verb == "read" else capture(Path(target).absolute()))
