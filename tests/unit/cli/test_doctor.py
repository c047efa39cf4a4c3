import json
import os
import subprocess
import time

import pytest

COLLECTORS = """\
import os, sys, time
from yprov_mlflow.prov.collectors.base import Available, Collector, Device, Quantity, Unavailable

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
    """Return an environment with an installed package that has collectors."""
    folder = tmp_path / "site"
    (folder / "outside-1.dist-info").mkdir(parents=True)
    (folder / "outside.py").write_text(COLLECTORS)
    (folder / "outside-1.dist-info" / "METADATA").write_text("Name: outside\nVersion: 1\n")
    entries = "".join(f"x-{name.lower()} = outside:{name}\n" for name in CLASSES)
    text = f"[yprov_mlflow.prov.collectors]\n{entries}"
    (folder / "outside-1.dist-info" / "entry_points.txt").write_text(text)
    return {"PYTHONPATH": os.pathsep.join((str(folder), os.environ.get("PYTHONPATH", "")))}


def doctor(workspace, *arguments, **env):
    done = workspace.command("doctor", "--json", *arguments, **env)
    return done, json.loads(done.stdout)


def test_no_problems_in_a_git_repository(workspace):
    subprocess.run(["git", "init"], cwd=workspace.folder, check=True, capture_output=True)
    done, checks = doctor(workspace, MLFLOW_TRACKING_URI=f"yprov+{workspace.uri}")
    assert (done.returncode, checks["problems"], checks["limits"]) == (0, [], [])
    assert checks["versions"]["mlflow"] and checks["versions"]["prov"]
    assert checks["tracking"]["uri"] == f"yprov+{workspace.uri}"
    assert checks["tracking"]["inner"] == workspace.uri
    assert checks["tracking"]["origin"] == "environment MLFLOW_TRACKING_URI"
    assert checks["tracking"]["captured"] is True
    directory = checks["settings"]["directory"]
    assert directory["value"] == str(workspace.folder / "state")
    assert directory["origin"] == "environment YPROV_MLFLOW_DIR"
    assert checks["settings"]["max_samples"]["origin"] == "default"
    assert not (workspace.folder / "state").exists()
    assert not (workspace.folder / "mlflow.db").exists()


def test_plain_uri_needs_the_variable(workspace):
    _, checks = doctor(workspace)
    assert checks["tracking"]["captured"] is False
    assert "import yprov_mlflow as mlflow" in checks["tracking"]["why"]
    _, checks = doctor(workspace, YPROV_MLFLOW="1")
    assert checks["tracking"]["captured"] is True


def test_passwords_are_not_shown(workspace):
    done, checks = doctor(workspace, "--tracking-uri", "yprov+postgresql://ada:secret@host/db")
    assert "secret" not in done.stdout + done.stderr
    assert checks["tracking"]["inner"] == "postgresql://host/db"


def test_code_is_not_recorded_outside_a_repository(workspace):
    done, checks = doctor(workspace, GIT_CEILING_DIRECTORIES=str(workspace.folder.parent))
    assert done.returncode == 0
    (limit,) = checks["limits"]
    assert "commit and changes of the code are not recorded" in limit


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        ({"YPROV_MLFLOW_MAX_SAMPLES": "many"}, "YPROV_MLFLOW_MAX_SAMPLES cannot be 'many'"),
        ({"YPROV_MLFLOW_DIR": "/proc/nowhere"}, "folder /proc/nowhere cannot be written"),
        ({"MLFLOW_TRACKING_URI": "yprov:"}, "lacks a folder"),
        ({"MLFLOW_TRACKING_URI": "yprov+nowhere:x"}, "no tracking store for nowhere: URIs"),
    ],
)
def test_problems(workspace, env, problem):
    done, checks = doctor(workspace, **env)
    assert done.returncode == 1
    assert any(problem in text for text in checks["problems"])


def test_tables_show_problems(workspace):
    tables = workspace.command("doctor", YPROV_MLFLOW_MAX_SAMPLES="many")
    assert tables.returncode == 1
    assert "Problem:" in tables.stdout


def test_file_stores_refused_by_mlflow(workspace):
    uri = f"file://{workspace.folder}/mlruns"
    _, checks = doctor(workspace, "--tracking-uri", uri, MLFLOW_ALLOW_FILE_STORE="true")
    assert checks["problems"] == []
    release = tuple(int(part) for part in checks["versions"]["mlflow"].split(".")[:2])
    _, checks = doctor(workspace, "--tracking-uri", uri)
    assert bool(checks["problems"]) == (release >= (3, 13))


def test_pending_journals(captured, tmp_path):
    workspace, _, killed = captured
    (tmp_path / "journal").mkdir()
    os.symlink(workspace.folder / "state" / "journal" / killed, tmp_path / "journal" / killed)
    _, checks = doctor(workspace, YPROV_MLFLOW_DIR=str(tmp_path))
    assert checks["journals"]["pending"] == [killed]
    assert any("yprov-mlflow recover" in limit for limit in checks["limits"])


def test_tables(workspace):
    done = workspace.command("doctor")
    assert done.returncode == 0
    assert "Runs can be captured here." in done.stdout
    assert workspace.uri in done.stdout


def test_collectors_are_probed(workspace, outside):
    setting = {"YPROV_MLFLOW_COLLECTORS": "git,x-whole,x-partly"}
    start = time.monotonic()
    done, checks = doctor(workspace, **setting, **outside)
    assert time.monotonic() - start < 60  # the one that hangs would take an hour
    assert done.returncode == 0
    assert "banner" not in done.stdout
    by_name = {c["name"]: c for c in checks["collectors"]}
    assert {name for name, c in by_name.items() if c["chosen"]} == {
        "git",
        "x-whole",
        "x-partly",
    }
    whole, partly = by_name["x-whole"], by_name["x-partly"]
    assert (whole["works"], whole["reason"]) == (True, None)
    assert (whole["devices"], whole["quantities"]) == (["Meter 3000"], ["power"])
    assert partly["works"] is True
    assert partly["missing"] == [{"what": "energy", "reason": "no counter", "cure": "Buy one"}]
    reasons = {name: c["reason"] for name, c in by_name.items() if not c["works"]}
    assert reasons["x-absent"] == "there is no driver"
    assert by_name["x-absent"]["cure"] == "Install it."
    assert reasons["x-hanging"] == "no answer within 5 s"
    assert reasons["x-broken"] == "OSError: out of order"
    assert "42" in reasons["x-odd"]
    assert "x-nowhere" in reasons["x-nowhere"]
    assert by_name["environment"]["works"] is True


def test_table_of_collectors(workspace, outside):
    done = workspace.command("doctor", **outside)
    assert done.returncode == 0
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "x-whole no yes Meter 3000" in lines
    assert "x-partly no partly" in lines
    assert "energy not measured: no counter. Buy one." in lines
    assert "x-absent no no there is no driver. Install it." in lines
    assert any(line.startswith("environment yes yes") for line in lines)


def test_unknown_collector(workspace, outside):
    done, checks = doctor(
        workspace, YPROV_MLFLOW_COLLECTORS="nvidea", PYTHONPATH=outside["PYTHONPATH"]
    )
    assert done.returncode == 1
    assert any("unknown collector 'nvidea'" in problem for problem in checks["problems"])
    chosen = {c["name"] for c in checks["collectors"] if c["chosen"]}
    assert "git" in chosen and "codecarbon" not in chosen


def test_git_collector_outside_a_repository(workspace, outside):
    _, checks = doctor(workspace, **outside, GIT_CEILING_DIRECTORIES=str(workspace.folder.parent))
    (git,) = (c for c in checks["collectors"] if c["name"] == "git")
    assert (git["works"], "not a git repository" in git["reason"]) == (False, True)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("yprov+foo://x", "no tracking store for foo:"),
        ("yprov+localhost:5000", "no tracking store for localhost:"),
        ("yprov+sqlite://mlflow.db", "three slashes"),
        ("yprov+sqlite:////proc", "/proc is a folder"),
        ("yprov+mysql+nodriver://h/db", "nodriver"),
        ("yprov+http://localhost:abc", "Port could not be cast"),
        ("yprov+http:///path", "lacks the name of a host"),
    ],
)
def test_uri_that_cannot_work(workspace, uri, message):
    done, checks = doctor(workspace, "--tracking-uri", uri)
    assert done.returncode == 1
    assert any(message in problem for problem in checks["problems"])


@pytest.mark.parametrize(
    "variable", ["YPROV_MLFLOW_INTERVALL", "YPROV_MLFLOW_X", "YPROV_MFLOW_COLLECTORS"]
)
def test_unknown_variable_is_a_problem(workspace, variable):
    done, checks = doctor(workspace, **{variable: "1"})
    assert done.returncode == 1
    assert any(variable in problem for problem in checks["problems"])
