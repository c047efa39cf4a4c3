import json
import os
import subprocess
import time

import pytest

COLLECTORS = """\
import os, sys, time
from yprov_mlflow.collectors.base import Available, Collector, Device, Quantity, Unavailable

class Whole(Collector):
    def probe(self):
        print("a banner")
        os.write(1, b"a banner of a library in C")
        power = Quantity("power", "W", "ElectricPower", "device", "measured", "meter0")
        return Available(quantities=[power, power], devices=[Device("meter0", "Meter 3000")])

class Partly(Collector):
    def probe(self):
        return Available(missing=[Unavailable("no counter", "Buy one", "energy")])

class Absent(Collector):
    def probe(self):
        return Unavailable("there is no driver", "Install it.")

class Hanging(Collector):
    def probe(self):
        time.sleep(3600)

class Broken(Collector):
    def probe(self):
        raise OSError("out of order")

class Odd(Collector):
    def probe(self):
        return 42
"""
CLASSES = ("Whole", "Partly", "Absent", "Hanging", "Broken", "Odd", "Nowhere")


@pytest.fixture
def outside(tmp_path):
    """The environment in which a package with collectors of its own is installed."""
    folder = tmp_path / "site"
    (folder / "outside-1.dist-info").mkdir(parents=True)
    (folder / "outside.py").write_text(COLLECTORS)
    (folder / "outside-1.dist-info" / "METADATA").write_text("Name: outside\nVersion: 1\n")
    entries = "".join(f"x-{name.lower()} = outside:{name}\n" for name in CLASSES)
    text = f"[yprov_mlflow.prov.collectors]\n{entries}"
    (folder / "outside-1.dist-info" / "entry_points.txt").write_text(text)
    return {"PYTHONPATH": os.pathsep.join((str(folder), os.environ.get("PYTHONPATH", "")))}


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


def test_collectors_that_work_and_that_do_not(place, outside):
    setting = {"YPROV_MLFLOW_COLLECTORS": "git,x-whole,x-partly"}
    started = time.monotonic()
    done, found = doctor(place, **setting, **outside)
    assert time.monotonic() - started < 60  # the one that hangs would take an hour
    assert done.returncode == 0
    assert "banner" not in done.stdout
    by_name = {one["name"]: one for one in found["collectors"]}
    assert {name for name, one in by_name.items() if one["chosen"]} == {
        "git",
        "x-whole",
        "x-partly",
    }
    whole, partly = by_name["x-whole"], by_name["x-partly"]
    assert (whole["works"], whole["reason"]) == (True, None)
    assert (whole["devices"], whole["quantities"]) == (["Meter 3000"], ["power"])
    assert partly["works"] is True
    assert partly["missing"] == [{"what": "energy", "reason": "no counter", "cure": "Buy one"}]
    reasons = {name: one["reason"] for name, one in by_name.items() if not one["works"]}
    assert reasons["x-absent"] == "there is no driver"
    assert by_name["x-absent"]["cure"] == "Install it."
    assert reasons["x-hanging"] == "it gave no answer within 5 s"
    assert reasons["x-broken"] == "OSError: out of order"
    assert "42" in reasons["x-odd"]
    assert "x-nowhere" in reasons["x-nowhere"]
    assert by_name["environment"]["works"] is True


def test_collectors_for_people(place, outside):
    done = place.command("doctor", **outside)
    assert done.returncode == 0
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "x-whole no yes Meter 3000" in lines
    assert "x-partly no partly" in lines
    assert "not energy: no counter. Buy one." in lines
    assert "x-absent no no there is no driver. Install it." in lines
    assert any(line.startswith("environment yes yes") for line in lines)


def test_a_collector_that_is_not_there_is_said(place, outside):
    done, found = doctor(place, YPROV_MLFLOW_COLLECTORS="nvidea", PYTHONPATH=outside["PYTHONPATH"])
    assert done.returncode == 0
    assert any("there is no collector 'nvidea'" in limit for limit in found["limits"])
    chosen = {one["name"] for one in found["collectors"] if one["chosen"]}
    assert "git" in chosen and "codecarbon" not in chosen


def test_without_a_repository_git_does_not_work(place, outside):
    _, found = doctor(place, **outside, GIT_CEILING_DIRECTORIES=str(place.folder.parent))
    (git,) = (one for one in found["collectors"] if one["name"] == "git")
    assert (git["works"], "not a git repository" in git["reason"]) == (False, True)
