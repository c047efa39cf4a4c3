"""A captured run with authors and a license: its views, crates and cards."""

import json

import pytest

ABOUT = """\
[tool.yprov-mlflow.about]
title = "Digits from pixels"
description = "Trains a network that recognizes digits."
keywords = ["digits"]
license = "{license}"

[[tool.yprov-mlflow.about.authors]]
name = "Josiah Carberry"
orcid = "0000-0002-1825-0097"
affiliation = {{ name = "University of Trento", ror = "05trd4x28" }}
"""


@pytest.fixture
def described(workspace):
    """Return a workspace with a described run, and its document."""
    (workspace.folder / "yprov-mlflow.toml").write_text(ABOUT.format(license="Apache-2.0"))
    script = "import mlflow\nwith mlflow.start_run() as run:\n  mlflow.log_param('lr', 0.1)\n"
    script += "print(run.info.run_id)\n"
    done = workspace.command("run", workspace.script(script))
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return workspace, workspace.document(done.stdout.strip())


def test_captured_runs_are_described(described):
    workspace, document = described
    shown = json.loads(workspace.command("show", str(document), "--json").stdout)
    assert shown["about"]["title"] == "Digits from pixels"
    assert shown["about"]["authors"][0]["orcid"] == "0000-0002-1825-0097"
    assert "Digits from pixels" in workspace.command("show", str(document)).stdout
    assert workspace.command("validate", str(document)).returncode == 0


def test_unknown_license_is_named_and_stops_nothing(workspace):
    (workspace.folder / "yprov-mlflow.toml").write_text(ABOUT.format(license="Free as in beer"))
    script = "import mlflow\nwith mlflow.start_run() as run: pass\nprint(run.info.run_id)\n"
    done = workspace.command("run", workspace.script(script))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("'Free as in beer' is unknown and kept as text") == 1
    assert "Apache-2.0" in done.stderr  # the cure
    document = json.loads(workspace.document(done.stdout.strip()).read_bytes())
    assert document["entity"]["run:record"]["dcterms:license"] == "Free as in beer"
    assert "Free as in beer" in workspace.command("doctor").stdout


def test_conversion_states_what_a_file_says(captured, tmp_path):
    workspace, _, _ = captured
    file = tmp_path / "who.toml"
    file.write_text(ABOUT.format(license="MIT"))
    arguments = ("convert", workspace.uri, "-o", str(tmp_path / "prov"), "--about", str(file))
    done = workspace.command(*arguments)
    assert done.returncode == 0, done.stderr
    documents = [*(tmp_path / "prov").glob("**/prov.json")]
    for path in documents:
        if "run" in (document := json.loads(path.read_bytes()))["prefix"]:
            license_ = document["entity"]["run:record"]["dcterms:license"]
            assert license_["$"] == "https://spdx.org/licenses/MIT"
    # Another license is a change: the runs are converted again.
    file.write_text(ABOUT.format(license="0BSD"))
    assert workspace.command(*arguments).stdout.startswith("2 of 2 runs converted")
