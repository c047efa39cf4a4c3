"""Executed cells of a notebook. IPython is no dependency: a fake has its attributes."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from yprov_mlflow.prov.collectors import notebook


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    cells = ["", "import mlflow", "%time run()", "", "api_key = 'abc'\n"]
    shell = SimpleNamespace(
        execution_count=2, history_manager=SimpleNamespace(input_hist_raw=cells)
    )
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    return cells


def test_cells_are_kept_in_order_without_secrets(cells: list[str], tmp_path: Path) -> None:
    assert notebook.cell_number() == 2
    facts = notebook.collect(tmp_path / "kept", first_cell=2)
    (file,) = facts["files"]
    assert (tmp_path / "kept" / file["sha256"]).read_text() == (
        "# In [1]:\nimport mlflow\n\n# In [2]:\n%time run()\n\n"
        "# In [4]:\napi_key = '(withheld)'\n\n"
    )
    assert (file["path"], file["withheld"]) == ("notebook.ipy", True)
    assert (facts["first_cell"], facts["last_cell"]) == (2, 4)


def test_a_script_has_no_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert notebook.cell_number() is None
    monkeypatch.delitem(sys.modules, "IPython")
    assert notebook.cell_number() is None
