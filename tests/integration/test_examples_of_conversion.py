"""Conversion from Python: the example, and all programs of its page."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "convert_and_query.py"
PROGRAMS = re.findall(
    r"^```python\n(.*?)^```$", (ROOT / "docs" / "conversion.md").read_text("utf-8"), re.M | re.S
)


def run(program: Path, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, program], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_the_example_tells_which_runs_used_the_rate_and_how_well(tmp_path: Path) -> None:
    said = run(EXAMPLE, tmp_path)
    assert "3 of 3 runs converted" in said
    rows = [re.split(r"\s{2,}", line)[:2] for line in said.splitlines()[-2:]]
    assert rows == [["fast and wide", "0.20"], ["fast", "0.40"]]
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the programs of the page print, run in its order beside a tree of a few runs."""
    folder = tmp_path_factory.mktemp("page")
    runpy.run_path(str(EXAMPLE))["make_tree"](folder / "mlruns")
    found = []
    for number, program in enumerate(PROGRAMS):
        path = folder / f"program_{number}.py"
        path.write_text(program, "utf-8")
        found.append(run(path, folder))
    return found


def test_the_page_converts(said: list[str]) -> None:
    *results, last = said[0].splitlines()
    assert last == "3 of 3 runs, 0 losses"
    assert sum(" converted " in line for line in results) == 4


def test_the_page_reads_a_store(said: list[str]) -> None:
    rows = [line.split() for line in said[1].splitlines()]
    assert [row[1:3] for row in rows] == [["Default", "FINISHED"]] * 3
    assert all(int(row[3]) > 10 for row in rows)


def test_the_page_asks_in_sparql(said: list[str]) -> None:
    assert said[2].splitlines() == ["careful lr 0.01", "fast lr 0.1", "fast and wide lr 0.1"]


def test_the_page_gets_events_back_and_finds_nothing_wrong(said: list[str]) -> None:
    rows = [line.split() for line in said[3].splitlines()]
    assert len(rows) == 3
    assert all(row[1:] == ["run", "run_update", "params", "metrics"] for row in rows)


def test_the_page_has_no_other_programs(said: list[str]) -> None:
    assert len(said) == 4
