"""The conversion example and all Python programs in ``docs/conversion.md`` run as described."""

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


def test_example_prints_best_loss_of_runs_with_learning_rate(tmp_path: Path) -> None:
    output = run(EXAMPLE, tmp_path)
    assert "3 of 3 runs converted" in output
    rows = [re.split(r"\s{2,}", line)[:2] for line in output.splitlines()[-2:]]
    assert rows == [["fast and wide", "0.20"], ["fast", "0.40"]]
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def page_outputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Run the programs of the page in order, next to a small file store; return their output."""
    folder = tmp_path_factory.mktemp("page")
    runpy.run_path(str(EXAMPLE))["make_tree"](folder / "mlruns")
    outputs = []
    for number, program in enumerate(PROGRAMS):
        path = folder / f"program_{number}.py"
        path.write_text(program, "utf-8")
        outputs.append(run(path, folder))
    return outputs


def test_page_converts_store(page_outputs: list[str]) -> None:
    *results, last = page_outputs[0].splitlines()
    assert last == "3 of 3 runs, 0 losses"
    assert sum(" converted " in line for line in results) == 4


def test_page_reads_store(page_outputs: list[str]) -> None:
    rows = [line.split() for line in page_outputs[1].splitlines()]
    assert [row[1:3] for row in rows] == [["Default", "FINISHED"]] * 3
    assert all(int(row[3]) > 10 for row in rows)


def test_page_queries_with_sparql(page_outputs: list[str]) -> None:
    rows = page_outputs[2].splitlines()
    assert rows == ["careful lr 0.01", "fast lr 0.1", "fast and wide lr 0.1"]


def test_page_translates_documents_back_to_events(page_outputs: list[str]) -> None:
    rows = [line.split() for line in page_outputs[3].splitlines()]
    assert len(rows) == 3
    assert all(row[1:] == ["run", "run_update", "params", "metrics"] for row in rows)


def test_page_has_four_programs(page_outputs: list[str]) -> None:
    assert len(page_outputs) == 4
