import json
import shutil
from pathlib import Path

import pytest

from yprov_mlflow.prov.events import SessionStarted
from yprov_mlflow.prov.journal import JournalDirectory, JournalWriter


@pytest.fixture
def after_a_crash(captured, tmp_path):
    """Copy the journals, so that each test has them as after the crash."""
    workspace, finished, killed = captured
    shutil.copytree(workspace.folder / "state", tmp_path / "state")
    return workspace, finished, killed, {"YPROV_MLFLOW_DIR": str(tmp_path / "state")}


def test_recover_writes_the_document_of_a_killed_run(after_a_crash):
    workspace, finished, killed, env = after_a_crash
    done = workspace.command("recover", **env)
    assert done.returncode == 0, done.stderr
    lines = dict((line.split()[1], line.split()[0]) for line in done.stdout.splitlines())
    (store,) = set(lines) - {finished, killed}
    assert lines == {finished: "current", killed: "written", store: "written"}
    assert store.startswith("store:")
    document = json.loads(workspace.document(killed).read_bytes())
    assert any(key.startswith("run:metric/") for key in document["entity"])
    again = workspace.command("recover", "--json", **env)
    assert {o["state"] for o in json.loads(again.stdout)} == {"current"}


def test_run_and_again_options(after_a_crash):
    workspace, finished, _, env = after_a_crash
    done = workspace.command("recover", "--run", finished, "--again", "--json", **env)
    (outcome,) = json.loads(done.stdout)
    assert (outcome["run_id"], outcome["state"], outcome["reason"]) == (finished, "written", "")
    assert outcome["events"] > 5


def test_exit_code_3_if_some_fail(after_a_crash):
    workspace, finished, _, env = after_a_crash
    done = workspace.command("recover", "--run", finished, "--run", "0" * 32, **env)
    assert done.returncode == 3
    assert f"failed   {'0' * 32}" in done.stdout
    assert "does not exist" in done.stdout


def test_exit_code_1_if_all_fail(after_a_crash):
    workspace, finished, killed, env = after_a_crash
    nowhere = ("--tracking-uri", f"sqlite:///{workspace.folder}/other.db")
    done = workspace.command("recover", "--again", *nowhere, **env)
    # The document of a store comes from the journals alone.
    assert done.returncode == 3
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["failed", "failed", "written"]
    runs = ("--run", finished, "--run", killed)
    only = workspace.command("recover", "--again", *runs, *nowhere, **env)
    assert only.returncode == 1
    assert only.stdout.count("failed") == 2
    assert "Traceback" not in done.stderr + only.stderr


def test_store_name_cannot_leave_the_folder(workspace):
    state = workspace.folder / "state"
    JournalWriter(JournalDirectory(state, "store:../../../escaped"), "session").append(
        SessionStarted, {}
    )
    done = workspace.command("recover", "--json")
    (outcome,) = json.loads(done.stdout)
    assert outcome["run_id"] == "store:../../../escaped"
    where = Path(outcome["where"]).resolve()
    assert where.is_file()
    assert where.parent.parent == (state / "stores").resolve()


def test_no_journals(workspace):
    done = workspace.command("recover")
    assert (done.returncode, done.stdout) == (0, "No journals: there is nothing to recover.\n")
    assert workspace.command("recover", "--json").stdout == "[]\n"
