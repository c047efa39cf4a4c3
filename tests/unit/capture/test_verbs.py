"""The public names of ``mlflow.prov``, and their errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from yprov_mlflow import prov
from yprov_mlflow.prov.capture import diagnosis, recovery
from yprov_mlflow.prov.errors import CollectorError, MissingExtraError, UsageError


def test_completion_lists_public_names_only() -> None:
    assert dir(prov) == sorted(prov.__all__)
    assert all(callable(getattr(prov, name)) for name in prov.__all__)


@pytest.mark.parametrize("name", ["", None, 3])
def test_context_needs_a_name(name: object) -> None:
    with pytest.raises(UsageError, match="takes the name of a phase"):
        prov.context(name)  # type: ignore[arg-type] # - a wrong call


def test_epoch_needs_an_integer() -> None:
    with pytest.raises(UsageError, match="takes an integer, not 'first'"):
        prov.epoch("first")  # type: ignore[arg-type] # - a wrong call


def test_unknown_collector_is_an_error() -> None:
    with pytest.raises(CollectorError, match="nonsense"):
        prov.use_collectors("nonsense")


def test_contexts_do_nothing_without_capture() -> None:
    with prov.context("training"), prov.epoch(1):
        pass


def test_sql_store_without_sqlalchemy_needs_the_whole_of_mlflow(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(diagnosis.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="pip install mlflow") as caught:
        recovery.fetch_document("r", tmp_path, "yprov+sqlite:///mlflow.db")
    assert "sqlite:///mlflow.db" in str(caught.value)


def test_plugin_modules_import_the_standard_library_only() -> None:
    script = """
import sys
from pathlib import Path
before = set(sys.modules)
import yprov_mlflow.prov.capture.entry
names = {name.split(".")[0] for name in set(sys.modules) - before}
print(sorted(names - set(sys.stdlib_module_names) - {"yprov_mlflow"}))
print(sorted(n for n in sys.modules if n.startswith("yprov_mlflow.")))
"""
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    foreign, ours = out.stdout.splitlines()
    assert foreign == "[]"
    capture = "yprov_mlflow.prov.capture"
    light = ("dropin", "entry", "mlflow_private", "patches", "switch")
    modules = [capture, *(f"{capture}.{name}" for name in light)]
    prov = ("drivers", "errors", "uris")
    assert ours == str(
        sorted([*modules, "yprov_mlflow.prov", *(f"yprov_mlflow.prov.{name}" for name in prov)])
    )
