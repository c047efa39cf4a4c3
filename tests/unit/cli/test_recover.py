import json
import shutil
from pathlib import Path

import pytest

from yprov_mlflow.prov.events import SessionStarted
from yprov_mlflow.prov.journal import JournalDirectory, JournalWriter


@pytest.fixture
def after_a_crash(captured, tmp_path):
    """A copy of the journals, so that each test finds them as the crash left them."""
    place, whole, killed = captured
    shutil.copytree(place.folder / "state", tmp_path / "state")
    return place, whole, killed, {"YPROV_MLFLOW_DIR": str(tmp_path / "state")}


def test_a_killed_run_gets_its_document(after_a_crash):
    place, whole, killed, env = after_a_crash
    done = place.command("recover", **env)
    assert done.returncode == 0, done.stderr
    lines = dict((line.split()[1], line.split()[0]) for line in done.stdout.splitlines())
    (store,) = set(lines) - {whole, killed}
    assert lines == {whole: "current", killed: "written", store: "written"}
    assert store.startswith("store:")
    document = json.loads(place.document(killed).read_bytes())
    assert any(key.startswith("run:metric/") for key in document["entity"])
    again = place.command("recover", "--json", **env)
    assert {o["state"] for o in json.loads(again.stdout)} == {"current"}


def test_only_this_run_and_again(after_a_crash):
    place, whole, _, env = after_a_crash
    done = place.command("recover", "--run", whole, "--again", "--json", **env)
    (outcome,) = json.loads(done.stdout)
    assert (outcome["run_id"], outcome["state"], outcome["reason"]) == (whole, "written", "")
    assert outcome["events"] > 5


def test_partly(after_a_crash):
    place, whole, _, env = after_a_crash
    done = place.command("recover", "--run", whole, "--run", "0" * 32, **env)
    assert done.returncode == 3
    assert f"failed   {'0' * 32}" in done.stdout
    assert "no journal" in done.stdout


def test_failed(after_a_crash):
    place, whole, killed, env = after_a_crash
    nowhere = ("--tracking-uri", f"sqlite:///{place.folder}/other.db")
    done = place.command("recover", "--again", *nowhere, **env)
    # What belongs to no run is made from the journals alone.
    assert done.returncode == 3
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["failed", "failed", "written"]
    runs = ("--run", whole, "--run", killed)
    only = place.command("recover", "--again", *runs, *nowhere, **env)
    assert only.returncode == 1
    assert only.stdout.count("failed") == 2
    assert "Traceback" not in done.stderr + only.stderr


def test_a_store_of_any_name_has_its_document_in_the_folder(place):
    state = place.folder / "state"
    JournalWriter(JournalDirectory(state, "store:../../../escaped"), "session").append(
        SessionStarted, {}
    )
    done = place.command("recover", "--json")
    (outcome,) = json.loads(done.stdout)
    assert outcome["run_id"] == "store:../../../escaped"
    where = Path(outcome["where"]).resolve()
    assert where.is_file()
    assert where.parent.parent == (state / "stores").resolve()


def test_nothing_to_do(place):
    done = place.command("recover")
    assert (done.returncode, done.stdout) == (0, "No journals: there is nothing to recover.\n")
    assert place.command("recover", "--json").stdout == "[]\n"
