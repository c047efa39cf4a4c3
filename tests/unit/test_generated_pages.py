import runpy
from pathlib import Path

import pytest

GENERATE = Path(__file__).resolve().parents[2] / "docs" / "generate.py"
PAGES = runpy.run_path(str(GENERATE))["pages"]()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_generated_pages_are_current(path):
    assert path.read_text("utf-8") == PAGES[path], "run python docs/generate.py"
