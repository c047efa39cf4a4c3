"""The migration kit: its scripts convert a folder of old stores, and its pages are correct."""

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
def stores_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two projects: a file store of 0.8 not named mlruns, and a database with its artifacts."""
    folder = tmp_path_factory.mktemp("stores")
    for version in ("0.8.2", "2.12.2"):
        with tarfile.open(KIT / "golden" / f"{version}.tar.gz") as archive:
            archive.extractall(folder / version, filter="data")
    (folder / "0.8.2" / "tree" / "mlruns").rename(folder / "0.8.2" / "old runs")
    shutil.rmtree(folder / "2.12.2" / "tree")
    # The artifact folder of an experiment without artifacts, which the archive omits.
    (folder / "2.12.2" / "database" / "mlruns" / "2").mkdir()
    (folder / "notes.db").write_bytes(b"no database")
    (folder / "empty").mkdir()
    return folder


def call(*command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, **variables}
    return subprocess.run(
        [str(part) for part in command], env=environment, capture_output=True, text=True
    )


def convert_all(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return call(BIN / "yprov-mlflow", "convert-mlruns", *arguments)


def documents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("prov.*")}


def test_list_counts_runs_and_writes_nothing(stores_folder: Path) -> None:
    before = sorted(stores_folder.rglob("*"))
    done = convert_all(stores_folder)
    assert done.returncode == 0, done.stderr
    rows = [line.split(maxsplit=3) for line in done.stdout.splitlines()]
    assert rows == [
        ["runs", "deleted", "experiments", "store"],
        ["7", "2", "2", str(stores_folder / "2.12.2" / "database" / "mlflow.db")],
        ["7", "1", "2", str(stores_folder / "0.8.2" / "old runs")],
    ] or rows == [
        ["runs", "deleted", "experiments", "store"],
        ["7", "1", "2", str(stores_folder / "0.8.2" / "old runs")],
        ["7", "2", "2", str(stores_folder / "2.12.2" / "database" / "mlflow.db")],
    ]
    assert sorted(stores_folder.rglob("*")) == before


def test_all_stores_are_converted_with_one_report(stores_folder: Path, tmp_path: Path) -> None:
    out, report = tmp_path / "prov", tmp_path / "report.json"
    done = convert_all(
        stores_folder, "-o", out, "--to", "prov-json", "--to", "turtle", "--report", report
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(report.read_text())
    counts = [summary[name] for name in ("stores", "runs", "converted", "failed")]
    assert counts == [2, 14, 14, 0]
    assert summary["points"] == sum(store["points"] for store in summary["reports"]) > 0
    assert len(documents(out)) == 2 * (14 + 2)
    assert (out / "2.12.2" / "database" / "mlflow.db" / "store" / "prov.ttl").is_file()

    again = convert_all(
        stores_folder, "-o", out, "--to", "prov-json", "--to", "turtle", "--report", report
    )
    assert again.returncode == 0, again.stderr
    assert json.loads(report.read_text())["unchanged"] == 14


def test_output_below_the_folder_is_not_searched(stores_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(stores_folder, tmp_path / "stores")
    out = tmp_path / "stores" / "mlruns"
    assert convert_all(tmp_path / "stores", "-o", out).returncode == 0
    assert convert_all(tmp_path / "stores", "-o", out).stdout.count("7 of 7") == 2


def test_broken_store_does_not_stop_others(stores_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(stores_folder, tmp_path / "stores")
    broken = next((tmp_path / "stores" / "0.8.2" / "old runs").glob("1/*/meta.yaml"))
    broken.write_text("{ no yaml")
    report = tmp_path / "report.json"
    done = convert_all(tmp_path / "stores", "-o", tmp_path / "prov", "--report", report)
    assert done.returncode == 3
    assert "meta.yaml" in done.stderr
    assert json.loads(report.read_text())["failed"] + 13 <= 14


@pytest.mark.parametrize(("arguments", "code"), [(["nowhere"], 2), (["empty"], 1), ([], 2)])
def test_wrong_usage_and_no_stores_are_errors(
    stores_folder: Path, arguments: list[str], code: int
) -> None:
    done = convert_all(*(stores_folder / name for name in arguments))
    assert done.returncode == code
    assert done.stderr.strip()


def test_unwritable_report_is_refused_before_converting(
    stores_folder: Path, tmp_path: Path
) -> None:
    done = convert_all(
        stores_folder, "-o", tmp_path / "prov", "--report", tmp_path / "no" / "report"
    )
    assert done.returncode == 2
    assert f"{str(tmp_path / 'no')!r} is not a writable folder." in done.stderr
    assert not (tmp_path / "prov").exists()


def test_slurm_tasks_divide_stores(stores_folder: Path, tmp_path: Path) -> None:
    stores = convert_all(stores_folder, "--list", "stores").stdout.splitlines()
    lines = convert_all(stores_folder, "--list", "experiments").stdout.splitlines()
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


def test_slurm_script_checks_its_arguments(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("one\n")
    assert "usage" in call("bash", KIT / "slurm_convert.sh").stderr
    done = call("bash", KIT / "slurm_convert.sh", tmp_path / "list", tmp_path / "out",
                SLURM_ARRAY_TASK_ID="2")  # fmt: skip
    assert done.returncode == 2
    assert "no line 2" in done.stderr


def test_dask_converts_to_the_same_documents(stores_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="needs yprov-mlflow[dask]")
    store = stores_folder / "0.8.2" / "old runs"
    done = call("bash", KIT / "dask_convert.sh", store, tmp_path / "many", DASK_WORKERS="2")
    assert done.returncode == 0, done.stderr
    alone = call("yprov-mlflow", "convert", store, "-o", tmp_path / "one", "--workers", "1")
    assert alone.returncode == 0, alone.stderr
    assert documents(tmp_path / "many") == documents(tmp_path / "one")
    assert not list(tmp_path.glob(".yprov-dask*"))


# -- pages ---------------------------------------------------------------------------------

PAGES = [KIT / "README.md", *sorted((KIT / "guides").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_mention_only_existing_options(page: Path) -> None:
    helps = {
        name: call("yprov-mlflow", name, "--help").stdout
        for name in ("convert", "restore", "validate", "show")
    }
    text = re.sub(r"\\\n", " ", page.read_text("utf-8"))
    for command, options in re.findall(r"yprov-mlflow (\w+)([^\n`]*)", text):
        for option in re.findall(r"(?<= )(--?[a-z][a-z-]*)", options.partition("#")[0]):
            assert re.search(rf"(?<![\w-]){option}\b", helps[command]), (command, option)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_link_only_to_existing_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target
