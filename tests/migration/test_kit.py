"""The moving kit: its scripts convert an estate of old stores, and its pages are true."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KIT = ROOT / "migration"
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two projects: a tree of 0.8 that is not called mlruns, and a database with its artifacts."""
    folder = tmp_path_factory.mktemp("estate")
    for version in ("0.8.2", "2.12.2"):
        with tarfile.open(KIT / "golden" / f"{version}.tar.gz") as archive:
            archive.extractall(folder / version, filter="data")
    (folder / "0.8.2" / "tree" / "mlruns").rename(folder / "0.8.2" / "old runs")
    shutil.rmtree(folder / "2.12.2" / "tree")
    # The artifacts of an experiment whose run logged none; an archive of it has no such folder.
    (folder / "2.12.2" / "database" / "mlruns" / "2").mkdir()
    (folder / "notes.db").write_bytes(b"no database")
    (folder / "empty").mkdir()
    return folder


def call(*command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    surroundings = {**os.environ, "PATH": path, **variables}
    return subprocess.run(
        [str(part) for part in command], env=surroundings, capture_output=True, text=True
    )


def convert_all(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return call(sys.executable, KIT / "convert_mlruns.py", *arguments)


def documents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("prov.*")}


def test_listing_counts_and_writes_nothing(estate: Path) -> None:
    before = sorted(estate.rglob("*"))
    done = convert_all(estate)
    assert done.returncode == 0, done.stderr
    rows = [line.split(maxsplit=3) for line in done.stdout.splitlines()]
    assert rows == [
        ["runs", "deleted", "experiments", "store"],
        ["7", "2", "2", str(estate / "2.12.2" / "database" / "mlflow.db")],
        ["7", "1", "2", str(estate / "0.8.2" / "old runs")],
    ] or rows == [
        ["runs", "deleted", "experiments", "store"],
        ["7", "1", "2", str(estate / "0.8.2" / "old runs")],
        ["7", "2", "2", str(estate / "2.12.2" / "database" / "mlflow.db")],
    ]
    assert sorted(estate.rglob("*")) == before


def test_all_stores_are_converted_with_one_report(estate: Path, tmp_path: Path) -> None:
    out, report = tmp_path / "prov", tmp_path / "report.json"
    done = convert_all(estate, "-o", out, "--to", "prov-json", "--to", "turtle", "--report", report)
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text())
    assert (found["stores"], found["runs"], found["converted"], found["failed"]) == (2, 14, 14, 0)
    assert found["points"] == sum(one["points"] for one in found["reports"]) > 0
    assert len(documents(out)) == 2 * (14 + 2)
    assert (out / "2.12.2" / "database" / "mlflow.db" / "store" / "prov.ttl").is_file()

    again = convert_all(
        estate, "-o", out, "--to", "prov-json", "--to", "turtle", "--report", report
    )
    assert again.returncode == 0, again.stderr
    assert json.loads(report.read_text())["unchanged"] == 14


def test_output_within_the_estate_is_no_store(estate: Path, tmp_path: Path) -> None:
    shutil.copytree(estate, tmp_path / "estate")
    out = tmp_path / "estate" / "mlruns"
    assert convert_all(tmp_path / "estate", "-o", out).returncode == 0
    assert convert_all(tmp_path / "estate", "-o", out).stdout.count("7 of 7") == 2


def test_a_broken_store_does_not_stop_the_others(estate: Path, tmp_path: Path) -> None:
    shutil.copytree(estate, tmp_path / "estate")
    broken = next((tmp_path / "estate" / "0.8.2" / "old runs").glob("1/*/meta.yaml"))
    broken.write_text("{ no yaml")
    report = tmp_path / "report.json"
    done = convert_all(tmp_path / "estate", "-o", tmp_path / "prov", "--report", report)
    assert done.returncode == 3
    assert "meta.yaml" in done.stderr
    assert json.loads(report.read_text())["failed"] + 13 <= 14


@pytest.mark.parametrize(("arguments", "code"), [(["nowhere"], 2), (["empty"], 1), ([], 2)])
def test_nothing_to_do_is_said(estate: Path, arguments: list[str], code: int) -> None:
    done = convert_all(*(estate / name for name in arguments))
    assert done.returncode == code
    assert done.stderr.strip()


def test_a_report_that_cannot_be_written_is_said_before(estate: Path, tmp_path: Path) -> None:
    done = convert_all(estate, "-o", tmp_path / "prov", "--report", tmp_path / "no" / "report")
    assert done.returncode == 2
    assert done.stderr == f"{tmp_path / 'no'}: there is no folder to write in\n"
    assert not (tmp_path / "prov").exists()


def test_slurm_tasks_share_an_estate(estate: Path, tmp_path: Path) -> None:
    stores = convert_all(estate, "--list", "stores").stdout.splitlines()
    lines = convert_all(estate, "--list", "experiments").stdout.splitlines()
    assert len(stores) == 2 and len(lines) == 4
    for name, tasks in (("stores", stores), ("experiments", lines)):
        listed, out = tmp_path / name, tmp_path / f"prov of {name}"
        listed.write_text("".join(f"{line}\n" for line in tasks))
        for number in range(1, len(tasks) + 1):
            done = call("bash", KIT / "slurm_convert.sh", listed, out, "--to", "trig",
                        SLURM_ARRAY_TASK_ID=str(number), SLURM_CPUS_PER_TASK="1")  # fmt: skip
            assert done.returncode == 0, done.stderr
        runs = [json.loads(path.read_text())["converted"] for path in out.glob("*.json")]
        assert sum(runs) == 14
        assert len(list(out.glob("*/*/*/prov.trig"))) == 14


def test_slurm_script_says_how_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("one\n")
    assert "usage" in call("bash", KIT / "slurm_convert.sh").stderr
    done = call("bash", KIT / "slurm_convert.sh", tmp_path / "list", tmp_path / "out",
                SLURM_ARRAY_TASK_ID="2")  # fmt: skip
    assert done.returncode == 2
    assert "no line 2" in done.stderr


def test_dask_converts_what_one_process_does(estate: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="needs yprov-mlflow[dask]")
    store = estate / "0.8.2" / "old runs"
    done = call("bash", KIT / "dask_convert.sh", store, tmp_path / "many", DASK_WORKERS="2")
    assert done.returncode == 0, done.stderr
    alone = call("yprov-mlflow", "convert", store, "-o", tmp_path / "one", "--workers", "1")
    assert alone.returncode == 0, alone.stderr
    assert documents(tmp_path / "many") == documents(tmp_path / "one")
    assert not list(tmp_path.glob(".yprov-dask*"))


# -- pages ---------------------------------------------------------------------------------

PAGES = [KIT / "README.md", *sorted((KIT / "guides").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_name_only_options_that_exist(page: Path) -> None:
    helps = {
        name: call("yprov-mlflow", name, "--help").stdout
        for name in ("convert", "restore", "validate", "show")
    }
    text = re.sub(r"\\\n", " ", page.read_text("utf-8"))
    for command, options in re.findall(r"yprov-mlflow (\w+)([^\n`]*)", text):
        for option in re.findall(r"(?<= )(--?[a-z][a-z-]*)", options.partition("#")[0]):
            assert re.search(rf"(?<![\w-]){option}\b", helps[command]), (command, option)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_link_only_to_what_is_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target
