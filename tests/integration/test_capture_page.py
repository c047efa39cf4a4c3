"""The program of ``docs/capture.md``."""

from __future__ import annotations

import re
from pathlib import Path

from integration.conftest import Sandbox
from yprov_mlflow import prov

PAGE = (Path(__file__).parents[2] / "docs" / "capture.md").read_text("utf-8")


def test_program_of_the_page_is_captured_with_its_epochs(sandbox: Sandbox) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    sandbox.train(program, sandbox.sqlite, YPROV_MLFLOW_COLLECTORS="none")
    (document,) = sandbox.folder.glob("mlruns/0/*/artifacts/provenance/prov.json")
    contexts = prov.summary(document).to_dict()["contexts"]
    assert [(entry["name"], entry["epochs"]) for entry in contexts] == [("training", 3)]
