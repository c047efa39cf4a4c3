import json
import os
import subprocess

import pytest


def doctor(place, *arguments, **env):
    done = place.command("doctor", "--json", *arguments, **env)
    return done, json.loads(done.stdout)


def test_all_is_well_in_a_repository(place):
    subprocess.run(["git", "init"], cwd=place.folder, check=True, capture_output=True)
    done, found = doctor(place, MLFLOW_TRACKING_URI=f"yprov+{place.uri}")
    assert (done.returncode, found["problems"], found["limits"]) == (0, [], [])
    assert found["versions"]["mlflow"] and found["versions"]["prov"]
    assert found["tracking"]["uri"] == f"yprov+{place.uri}"
    assert found["tracking"]["inner"] == place.uri
    assert found["tracking"]["origin"] == "environment MLFLOW_TRACKING_URI"
    assert found["tracking"]["captured"] is True
    directory = found["settings"]["directory"]
    assert directory["value"] == str(place.folder / "state")
    assert directory["origin"] == "environment YPROV_MLFLOW_DIR"
    assert found["settings"]["max_samples"]["origin"] == "default"
    assert not (place.folder / "state").exists()
    assert not (place.folder / "mlflow.db").exists()


def test_a_plain_uri_is_captured_only_with_the_switch(place):
    _, found = doctor(place)
    assert found["tracking"]["captured"] is False
    assert "import yprov_mlflow as mlflow" in found["tracking"]["why"]
    _, found = doctor(place, YPROV_MLFLOW="1")
    assert found["tracking"]["captured"] is True


def test_passwords_are_not_shown(place):
    done, found = doctor(place, "--tracking-uri", "yprov+postgresql://ada:secret@host/db")
    assert "secret" not in done.stdout + done.stderr
    assert found["tracking"]["inner"] == "postgresql://host/db"


def test_outside_a_repository_code_is_not_recorded(place):
    done, found = doctor(place, GIT_CEILING_DIRECTORIES=str(place.folder.parent))
    assert done.returncode == 0
    (limit,) = found["limits"]
    assert "commit and changes of the code are not recorded" in limit


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        ({"YPROV_MLFLOW_MAX_SAMPLES": "many"}, "YPROV_MLFLOW_MAX_SAMPLES cannot be 'many'"),
        ({"YPROV_MLFLOW_DIR": "/proc/nowhere"}, "folder /proc/nowhere cannot be written"),
        ({"MLFLOW_TRACKING_URI": "yprov+yprov:x"}, "names no store"),
    ],
)
def test_what_keeps_runs_from_being_captured(place, env, problem):
    done, found = doctor(place, **env)
    assert done.returncode == 1
    assert any(problem in one for one in found["problems"])
    for_people = place.command("doctor", **env)
    assert for_people.returncode == 1
    assert "Problem:" in for_people.stdout


def test_file_stores_that_mlflow_refuses(place):
    uri = f"file://{place.folder}/mlruns"
    _, found = doctor(place, "--tracking-uri", uri, MLFLOW_ALLOW_FILE_STORE="true")
    assert found["problems"] == []
    release = tuple(int(part) for part in found["versions"]["mlflow"].split(".")[:2])
    _, found = doctor(place, "--tracking-uri", uri)
    assert bool(found["problems"]) == (release >= (3, 13))


def test_journals_that_await_their_document(captured, tmp_path):
    place, _, killed = captured
    (tmp_path / "journal").mkdir()
    os.symlink(place.folder / "state" / "journal" / killed, tmp_path / "journal" / killed)
    _, found = doctor(place, YPROV_MLFLOW_DIR=str(tmp_path))
    assert found["journals"]["pending"] == [killed]
    assert any("yprov-mlflow recover" in limit for limit in found["limits"])


def test_for_people(place):
    done = place.command("doctor")
    assert done.returncode == 0
    assert "Runs can be captured here." in done.stdout
    assert place.uri in done.stdout
