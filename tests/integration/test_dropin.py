"""``import yprov_mlflow as mlflow`` behaves like MLflow when imported, inspected or pickled."""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = {
    "import alone does not activate capture": """
import sys, yprov_mlflow
assert "mlflow" not in sys.modules
import mlflow
assert not mlflow.store.artifact.__name__.startswith("yprov")
from yprov_mlflow.prov.capture.switch import switch
assert not switch.on
""",
    "first attribute access activates capture": """
import yprov_mlflow as mlflow
assert "start_run" in dir(mlflow) and "start_run" in mlflow.__all__
from yprov_mlflow.prov.capture.switch import switch
assert not switch.everything
mlflow.start_run
from yprov_mlflow.prov.capture.switch import switch
assert switch.everything
""",
    "attributes are the objects of mlflow": """
import mlflow as plain, yprov_mlflow as mlflow
for name in set(plain.__all__):
    assert getattr(mlflow, name) is getattr(plain, name), name
assert set(mlflow.__all__) == {*plain.__all__, "prov"}
assert set(dir(mlflow)) == {*dir(plain), "prov"}
assert mlflow.__version__ == plain.__version__
""",
    "submodules are the modules of mlflow": """
import yprov_mlflow.sklearn as a, mlflow.sklearn as b
assert a is b
from yprov_mlflow.tracking import MlflowClient
from yprov_mlflow.models import infer_signature
from yprov_mlflow.models.signature import infer_signature as same
import yprov_mlflow.store.artifact.local_artifact_repo as deep
assert infer_signature is same
assert deep.__name__ == deep.__spec__.name == "mlflow.store.artifact.local_artifact_repo"
import sys, mlflow.tracking
assert sys.modules["yprov_mlflow.tracking"] is sys.modules["mlflow.tracking"]
import yprov_mlflow.cli
assert yprov_mlflow.cli.__name__ == "mlflow.cli"
""",
    "star import": """
from yprov_mlflow import *
start_run, log_metric, prov.context, MlflowClient
""",
    "setattr and mock.patch change mlflow itself": """
from unittest import mock
import mlflow as plain, yprov_mlflow as mlflow
before = plain.log_metric
with mock.patch("yprov_mlflow.log_metric") as patched:
    assert plain.log_metric is patched is mlflow.log_metric
assert plain.log_metric is before
mlflow.color = "red"
assert plain.color == "red"
del mlflow.color
assert not hasattr(plain, "color")
""",
    "pickles refer to mlflow only": """
import pickle, cloudpickle, copy
import mlflow as plain, yprov_mlflow as mlflow
assert pickle.loads(pickle.dumps(mlflow)) is plain
def predict(x):
    return mlflow.__name__, x
assert b"yprov" not in cloudpickle.dumps(predict)
assert b"yprov" not in pickle.dumps(mlflow.MlflowClient)
""",
    "reload": """
import importlib, yprov_mlflow as mlflow
mlflow.start_run
importlib.reload(mlflow)
assert mlflow.start_run
""",
    "unknown names raise the usual errors": """
import yprov_mlflow as mlflow
try:
    mlflow.nonsense
except AttributeError as error:
    assert "nonsense" in str(error)
else:
    raise AssertionError
try:
    import yprov_mlflow.nonsense
except ModuleNotFoundError as error:
    assert error.name == "yprov_mlflow.nonsense"
else:
    raise AssertionError
assert not hasattr(mlflow, "__path_of_nothing__")
""",
    "mlflow gets no attributes of yprov_mlflow": """
import mlflow as plain, yprov_mlflow as mlflow
before = set(dir(plain))
import yprov_mlflow.prov.events, yprov_mlflow.prov.capture.handlers
mlflow.prov
assert not {"events", "capture", "prov", "yprov_mlflow"} & (set(dir(plain)) - before)
""",
    "inspection": """
import inspect, doctest, yprov_mlflow as mlflow
assert inspect.ismodule(mlflow)
assert mlflow.__name__ == "yprov_mlflow"
assert inspect.signature(mlflow.log_metric)
assert str(inspect.signature(mlflow.get_tracking_uri)) == "() -> str"
assert mlflow.set_tracking_uri.__module__ == "mlflow.tracking._tracking_service.utils"
""",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_dropin(name: str, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "YPROV_MLFLOW_DIR": str(tmp_path / "state"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/m.db",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPTS[name]],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_own_modules_do_not_shadow_mlflow_names() -> None:
    import mlflow

    import yprov_mlflow
    from yprov_mlflow.prov.capture.dropin import OWN

    ours = {module.name for module in pkgutil.iter_modules(yprov_mlflow.__path__)}
    assert ours <= OWN
    mlflow_names = {module.name for module in pkgutil.iter_modules(mlflow.__path__)}
    assert not (OWN - {"__main__"}) & (mlflow_names | set(dir(mlflow)))


@pytest.mark.parametrize("name", ["start_run", "log_metric", "MlflowClient", "prov"])
def test_type_stub_declares_name(name: str) -> None:
    stub = Path(importlib.util.find_spec("yprov_mlflow").origin).with_suffix(".pyi")
    text = stub.read_text()
    assert "from mlflow import *" in text or name in text


def test_type_stubs_of_modules_are_mlflows_modules() -> None:
    folder = Path(importlib.util.find_spec("yprov_mlflow").origin).parent
    stubs = {path.stem: path.read_text("utf-8") for path in folder.glob("*.pyi")}
    attributes = re.findall(r"^from mlflow import (\w+) as", stubs.pop("__init__"), re.MULTILINE)
    assert {*attributes} - {"__version__"} <= stubs.keys()
    for name, text in stubs.items():
        assert text.split('"""')[2] == f"\n\nfrom mlflow.{name} import *\n"
    absent = {name for name in stubs if importlib.util.find_spec(f"mlflow.{name}") is None}
    assert absent <= {"genai"}, "it is new in MLflow 3"
