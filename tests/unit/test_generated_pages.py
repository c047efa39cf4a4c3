import runpy
from pathlib import Path

import pytest

from yprov_mlflow.prov.events import KINDS

GENERATE = runpy.run_path(str(Path(__file__).resolve().parents[2] / "docs" / "generate.py"))
PAGES = GENERATE["pages"]()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_generated_pages_are_current(path):
    assert path.read_text("utf-8") == PAGES[path], "run python docs/generate.py"


def test_pages_describe_the_records_of_every_kind_of_event():
    assert set(GENERATE["RECORDS"]) == set(KINDS)
