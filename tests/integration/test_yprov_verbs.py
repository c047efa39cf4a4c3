"""The verbs of yProv4ML under ``mlflow.prov``: plain MLflow sees them, documents state them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from support.readers.documents import RunDocument

from integration.conftest import Sandbox

VERBS = """
import json, math
from pathlib import Path
import numpy as np
import yprov_mlflow as mlflow

class Parameter:  # a stand-in for a tensor of PyTorch
    def __init__(self, count, requires_grad=True):
        self.count, self.requires_grad = count, requires_grad
    def numel(self): return self.count
    def element_size(self): return 4

class Module:  # a stand-in for a module of PyTorch
    def __init__(self, parameters=(), **parts):
        self.own, self.parts = list(parameters), parts
    def children(self): return iter(self.parts.values())
    def buffers(self): return [Parameter(2)]
    def parameters(self):
        yield from self.own
        for part in self.parts.values():
            yield from part.parameters()
    def named_modules(self):
        yield "", self
        for name, part in self.parts.items():
            yield name, part

class Loader:  # a stand-in for a DataLoader; reading from it fails
    batch_size, num_workers, drop_last = 4, 0, False
    def __init__(self): self.dataset = Data()
    def __len__(self): return 3
    def __iter__(self): raise AssertionError("read")

class Data:
    reads = 0
    def __len__(self): return 10
    def __getitem__(self, index):
        Data.reads += 1
        return np.zeros((2, 3)), 1

def spread(values):
    return max(values) - min(values)

def broken(values):
    raise ZeroDivisionError("by the user")

@mlflow.prov.tracked(outputs=("model", "score"))
def fit(data, rate=0.5, password="hunter2"):
    return Module(), 0.75

mlflow.set_experiment("verbs")
folder = Path("code")
(folder / "inner").mkdir(parents=True)
(folder / "a.py").write_text("a = 1")
(folder / "inner" / "b.py").write_text("b = 2")
(folder / ".secret").write_text("hidden")
(folder / "data.bin").write_bytes(b"\\xff\\xfe\\x00")
with mlflow.start_run() as run:
    for step in range(3):
        mlflow.prov.log_metric("power", 10.0 + step, step, source="psutil")
    mlflow.prov.log_metric("power", 99.0, 3, source="RAPL + NVML")
    mlflow.log_metric("loss", math.nan, step=0)
    for step, loss in enumerate((3.0, 1.0, 2.0)):
        mlflow.log_metric("loss", loss, step=step + 1)
    mlflow.prov.fold_metrics({"loss": ["min", "last", spread, broken], "power": sum, "none": "max"})
    command = mlflow.prov.log_execution_command(["python", "train.py", "--api-key", "s3cret", "-v"])
    code = mlflow.prov.log_source_code(folder)
    totals = mlflow.prov.log_model_information(
        Module(a=Module([Parameter(6), Parameter(4, False)]), b=Module([Parameter(3)]))
    )
    statistics = mlflow.prov.log_dataset(Loader(), "train", context="training")
    assert Data.reads == 0
    sampled = mlflow.prov.log_dataset(Data(), "test", read_sample=True)
    assert Data.reads == 1
    result = fit(np.zeros((5, 2)))
    assert result[1] == 0.75
try:
    fit()
except TypeError as error:
    wrong = str(error)
print(json.dumps({
    "run": run.info.run_id, "command": command, "code": code, "totals": totals,
    "statistics": statistics, "sampled": sampled, "wrong": wrong,
}))
"""


@pytest.fixture(scope="module")
def logged(shared_sandbox: Sandbox) -> dict[str, Any]:
    result = shared_sandbox.train(VERBS, shared_sandbox.sqlite)
    facts: dict[str, Any] = {**result.json, "err": result.err}
    return facts


@pytest.fixture(scope="module")
def run(shared_sandbox: Sandbox, logged: dict[str, Any]) -> Any:
    return MlflowClient(shared_sandbox.sqlite).get_run(logged["run"])


@pytest.fixture(scope="module")
def document(shared_sandbox: Sandbox, logged: dict[str, Any]) -> RunDocument:
    return shared_sandbox.document(logged["run"])


def sources(document: RunDocument) -> dict[str, set[str]]:
    """Return the labels of agents to which series of metrics are attributed."""
    agents = {name: record["prov:label"] for name, record in document.data["agent"].items()}
    result: dict[str, set[str]] = {}
    for relation in document.relations("wasAttributedTo"):
        entity = document.data["entity"][relation["prov:entity"]]
        result.setdefault(entity["prov:label"], set()).add(agents[relation["prov:agent"]])
    return result


def test_metric_is_attributed_to_its_sources(
    shared_sandbox: Sandbox, document: RunDocument, run: Any, tmp_path: Path
) -> None:
    assert sources(document)["power"] == {"psutil", "RAPL + NVML"}
    assert json.loads(run.data.tags["yprov.source.power"]) == ["psutil", "RAPL + NVML"]
    assert run.data.metrics["power"] == 99.0
    shared_sandbox.yprov("convert", shared_sandbox.sqlite, "--out", str(tmp_path))
    (converted,) = tmp_path.rglob(f"*{run.info.run_id}*/prov.json")
    assert sources(RunDocument.load(converted))["power"] == {"psutil", "RAPL + NVML"}


def test_folds_are_logged_at_the_end_of_the_run(
    document: RunDocument, run: Any, logged: dict[str, Any]
) -> None:
    expected = {"loss.min": 1.0, "loss.last": 2.0, "loss.spread": 2.0, "power.sum": 132.0}
    assert {key: run.data.metrics[key] for key in expected} == expected
    assert {key: document.values(key) for key in expected} == {k: [v] for k, v in expected.items()}
    assert "final value of loss could not be logged (broken: ZeroDivisionError" in logged["err"]
    assert "loss.broken" not in run.data.metrics and "none.max" not in run.data.metrics


def test_command_is_logged_without_secrets(run: Any, logged: dict[str, Any]) -> None:
    assert run.data.tags["yprov.execution_command"] == logged["command"]
    assert "s3cret" not in logged["command"]
    assert logged["command"].startswith("python train.py --api-key ")
    assert logged["command"].endswith(" -v")


def test_source_code_becomes_artifacts_with_digests(
    document: RunDocument, logged: dict[str, Any]
) -> None:
    assert sorted(logged["code"].values()) == ["source_code/a.py", "source_code/inner/b.py"]
    files = {
        record["mlf:path"]: record["mlf:sha256"]
        for record in document.of_type("mlf:Artifact").values()
    }
    assert {f"source_code/{name}" for name in ("a.py", "inner/b.py")} <= files.keys()
    assert all(files[name] for name in logged["code"].values())
    assert not any("secret" in name or "bin" in name for name in files)


def test_model_information_counts_parameters_and_layers(
    run: Any, document: RunDocument, logged: dict[str, Any]
) -> None:
    expected = {"parameters": 13, "trainable_parameters": 9, "layers": 2, "memory_bytes": 60}
    assert logged["totals"] == expected
    params = {f"model.{key}": str(value) for key, value in expected.items()}
    assert params.items() <= run.data.params.items()
    assert params.items() <= document.params.items()


def test_dataset_statistics_read_only_what_is_asked(run: Any, logged: dict[str, Any]) -> None:
    assert logged["statistics"] == {
        "samples": 10,
        "batches": 3,
        "batch_size": 4,
        "drop_last": False,
        "workers": 0,
        "type": "__main__.Data",
    }
    assert logged["sampled"]["sample"] == [
        {"type": "numpy.ndarray", "shape": [2, 3], "dtype": "float64"},
        {"type": "int", "value": 1},
    ]
    datasets = {d.dataset.name: json.loads(d.dataset.profile) for d in run.inputs.dataset_inputs}
    assert datasets == {"train": logged["statistics"], "test": logged["sampled"]}


def test_calls_of_tracked_functions_are_activities_with_names_only(
    document: RunDocument, logged: dict[str, Any]
) -> None:
    (span,) = document.of_type("mlf:Span").values()
    assert span["prov:startTime"] <= span["prov:endTime"]
    (inputs,) = document.of_type("mlf:SpanInput").values()
    assert json.loads(inputs["prov:value"]) == {
        "data": {"type": "numpy.ndarray", "shape": [5, 2], "dtype": "float64"},
        "rate": {"type": "float", "value": 0.5},
        "password": {"type": "str", "length": 7},
    }
    (outputs,) = document.of_type("mlf:SpanOutput").values()
    assert json.loads(outputs["prov:value"])["score"] == {"type": "float", "value": 0.75}
    assert "hunter2" not in json.dumps(document.data)
    assert "missing 1 required positional argument: 'data'" in logged["wrong"]


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
import yprov_mlflow as mlflow
try:
    mlflow.prov.log_flops_per_batch(object(), 1)
except ImportError as error:
    print(error)
"""


def test_counting_operations_names_the_extra(sandbox: Sandbox) -> None:
    out = sandbox.train(WITHOUT_TORCH, sandbox.sqlite).out
    assert "pip install 'yprov-mlflow[torch]'" in out


def test_verbs_work_without_capture(sandbox: Sandbox) -> None:
    script = """
        import mlflow
        from yprov_mlflow import prov
        from yprov_mlflow.prov.errors import UsageError
        with mlflow.start_run() as run:
            prov.log_metric("power", 1.0, source="psutil")
            try:
                prov.fold_metrics({"power": "max"})
            except UsageError as error:
                print(error)
        assert run.info.run_id
        assert "yprov.source.power" in mlflow.get_run(run.info.run_id).data.tags
    """
    out = sandbox.train(script, sandbox.sqlite).out
    assert "needs an active run that is captured" in out
