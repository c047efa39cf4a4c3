"""``yprov-mlflow validate`` as a user runs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from yprov_mlflow.prov.cli import main

ROOT = Path(__file__).resolve().parents[2]
VALID = "document\nprefix ex <http://example.org/>\nentity(ex:e)\nendDocument\n"
INVALID = VALID.replace("entity(ex:e)", "entity(ex:e)\nactivity(ex:e)")
WARNING = VALID.replace("entity(ex:e)", "wasGeneratedBy(ex:g; ex:e, -, 1970-01-01T00:00:00Z)")


def validate(
    *arguments: object, stdin: str | None = None, env: Mapping[str, str] | None = None
) -> Result:
    runner = CliRunner(env={"COLUMNS": "100", **(env or {})})
    return runner.invoke(main, ["validate", *map(str, arguments)], input=stdin)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {"a.provn": VALID, "b/c.provn": INVALID, "d.provn": WARNING}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_valid(folder: Path) -> None:
    done = validate(folder / "a.provn")
    assert done.exit_code == 0
    assert done.output == f"{folder / 'a.provn'}: valid, 1 record\n"


def test_document_with_warnings_is_valid(folder: Path) -> None:
    done = validate(folder / "d.provn")
    assert done.exit_code == 0
    assert re.search(r"^warning +Times +wasGeneratedBy", done.output)
    assert done.output.endswith(f"{folder / 'd.provn'}: valid, 1 warning, 1 record\n")


def test_errors_are_listed_before_warnings(tmp_path: Path) -> None:
    path = tmp_path / "both.provn"
    path.write_text(INVALID.replace("entity(ex:e)", "used(ex:u; ex:a, -, -) entity(ex:e)"))
    output = json.loads(validate(path, "--format", "json").output)["files"][0]["findings"]
    assert [finding["severity"] for finding in output] == ["warning", "error"]
    shown = re.findall(r"^(error|warning) ", validate(path).output, re.MULTILINE)
    assert shown == ["error", "warning"]


def test_a_folder(folder: Path) -> None:
    done = validate(folder)
    assert done.exit_code == 1
    assert re.search(r"^error +Constraint 55: entity-activity-disjoint", done.output, re.MULTILINE)
    assert f"{folder / 'b' / 'c.provn'}: 1 error, 2 records\n" in done.output
    assert done.output.endswith("2 of 3 documents are valid.\n")


def test_json(folder: Path) -> None:
    done = validate(folder, folder / "a.provn", "--format", "json")
    assert done.exit_code == 1
    output = json.loads(done.output)
    assert (output["documents"], output["valid"]) == (4, 3)
    assert [Path(report["file"]).name for report in output["files"]] == [
        "a.provn",
        "c.provn",
        "d.provn",
        "a.provn",
    ]
    assert output["files"][1] == {
        "valid": False,
        "file": str(folder / "b" / "c.provn"),
        "format": "prov-n",
        "records": 2,
        "bundles": 0,
        "errors": 1,
        "warnings": 0,
        "findings": [
            {
                "severity": "error",
                "rule": "Constraint 55: entity-activity-disjoint (with Constraint 50)",
                "record": "entity(ex:e)",
                "message": "ex:e is an entity here, and an activity in activity(ex:e)",
                "bundle": None,
            }
        ],
    }


def test_standard_input() -> None:
    assert validate("-", stdin=VALID).exit_code == 0
    done = validate("-", stdin=INVALID)
    assert done.exit_code == 1
    assert done.output.endswith("standard input: 1 error, 2 records\n")


def test_wrong_usage(tmp_path: Path) -> None:
    for arguments in ((), (tmp_path / "none",), (tmp_path,), (tmp_path, "--format", "xml")):
        done = validate(*arguments)
        assert done.exit_code == 2, done.output
    assert validate(tmp_path, "--format", "json").exit_code == 2


def test_only_the_first_findings_are_shown(tmp_path: Path) -> None:
    clashes = "\n".join(f"entity(ex:e{n}) activity(ex:e{n})" for n in range(60))
    path = tmp_path / "many.provn"
    path.write_text(VALID.replace("entity(ex:e)", clashes))
    done = validate(path)
    assert done.output.count("an entity here") == 50
    assert "… and 10 more" in done.output
    assert "60 errors, 120 records" in done.output
    assert len(json.loads(validate(path, "--format", "json").output)["files"][0]["findings"]) == 60


def test_control_characters_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "prov.json"
    odd = {"ex:\x1b[2Jx": {}, "ex:[bold]y[/bold]": {}}
    prefix = {"ex": "http://example.org/"}
    path.write_text(json.dumps({"prefix": prefix, "entity": odd, "activity": odd}))
    done = validate(path)
    assert "\x1b" not in done.output
    assert "[bold]y[/bold]" in done.output


@pytest.mark.long
def test_quickstart_documents_are_valid(tmp_path: Path) -> None:
    env = {
        **os.environ,
        "YPROV_MLFLOW_DIR": str(tmp_path / "state"),
        "MLFLOW_DISABLE_TELEMETRY": "1",
    }
    for variable in ("MLFLOW_TRACKING_URI", "YPROV_MLFLOW"):
        env.pop(variable, None)
    run = [sys.executable, ROOT / "examples" / "quickstart.py"]
    subprocess.run(run, cwd=tmp_path, env=env, check=True, capture_output=True, timeout=180)
    command = [sys.executable, "-m", "yprov_mlflow", "validate", tmp_path, "--format", "json"]
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60
    )
    output = json.loads(done.stdout)
    assert output["documents"] >= 1
    assert [finding for report in output["files"] for finding in report["findings"]] == []
    assert done.returncode == 0
