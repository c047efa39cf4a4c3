"""Invalid arguments are refused with a remedy, before anything is written."""

import importlib.util
from pathlib import Path

import pytest
from click.testing import CliRunner

from yprov_mlflow.prov.cli import main


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "mlruns" / "1").mkdir(parents=True)
    (tmp_path / "mlruns" / "1" / "meta.yaml").write_text(
        "artifact_location: file:///elsewhere/1\nexperiment_id: '1'\n"
        "lifecycle_stage: active\nname: first\n"
    )
    return tmp_path / "mlruns"


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Run a command in an empty folder; return its exit code, its output and the files there."""
    monkeypatch.setenv("YPROV_MLFLOW_DIR", str(tmp_path / "state"))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def run(*words):
        done = CliRunner(env={"COLUMNS": "200"}).invoke(main, [str(word) for word in words])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.output, list(here.rglob("*"))

    return run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", ""], "'-o' / '--out': it is empty"),
        (["-o", "prov", "--artifacts", "nowhere"], "'nowhere' does not exist"),
        (["-o", "prov", "--report", "no/report.json"], "'no' is not a writable folder"),
        (["-o", "prov", "--report", "."], "is a directory"),
        (["-o", "prov", "--since", "yesterday"], "is not a date such as 2026-01-31"),
        (["-o", "prov", "--workers", "0"], "'--workers'"),
        (["-o", "prov", "--to", "rdf"], "'prov-xml'"),
        (["-o", "nonsense://bucket/x"], "such as s3://BUCKET"),
        ([], "'--out'"),
    ],
)
def test_invalid_convert_arguments(tree, call, words, message):
    code, output, left = call("convert", tree, *words)
    assert (code, left) == (2, [])
    assert message in output


def test_unreachable_dask_cluster(tree, call):
    code, output, left = call("convert", tree, "-o", "prov", "--dask", "nonsense")
    assert (code, left) == (1, [])
    assert "Start one with `dask scheduler`" in output


@pytest.mark.skipif(importlib.util.find_spec("s3fs") is not None, reason="s3fs is installed")
def test_missing_library_of_an_object_store(tree, call):
    code, output, _ = call("convert", tree, "-o", "s3://bucket/prov")
    assert code == 1
    assert "Error: a library is not installed (s3://bucket/prov). Install s3fs" in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "--to", "sqlite:///new.db"], "'nowhere' does not exist"),
        ([".", "--to", ""], "'--to': it is empty"),
        (
            [".", "--to", "sqlite:///new.db", "--report", "no/report.json"],
            "'no' is not a writable folder",
        ),
        (["."], "'--to'"),
    ],
)
def test_invalid_restore_arguments(call, words, message):
    code, output, left = call("restore", *words)
    assert (code, left) == (2, [])
    assert message in output


def test_only_the_first_problems_are_printed(tree, call):
    for number in range(25):
        (tree / "1" / f"stray {number:02}").mkdir()
    code, output, _ = call("convert", tree, "-o", "prov", "--dry-run")
    assert code == 3
    assert "stray 19: is not a run" in output
    assert "stray 20" not in output
    assert output.endswith("and 5 more; --report FILE lists all\n")


def test_report_on_a_full_disk(tree, call):
    code, output, _ = call("convert", tree, "-o", "prov", "--workers", "1", "--report", "/dev/full")
    assert code == 1
    assert "cannot be written: No space left on device (/dev/full)" in output
    assert Path("prov", "store", "prov.json").is_file()
