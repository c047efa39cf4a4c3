"""The examples of plugins work after installation as a separate package."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "outside_plugins"


def run(folder, *command, **variables):
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": path,
            "YPROV_MLFLOW_COLLECTORS": "default,pressure",
            "MLFLOW_DISABLE_TELEMETRY": "1",
            "COLUMNS": "200",
            **variables,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Install the example package without network access, and return the folder."""
    folder = tmp_path_factory.mktemp("outside") / "site"
    folder.mkdir()
    offline = ("--no-deps", "--no-build-isolation", "--no-index")
    done = run(folder, "-m", "pip", "install", "-q", *offline, "--target", str(folder), EXAMPLE)
    assert done.returncode == 0, done.stderr
    return folder


def test_third_party_collector_is_listed_chosen_and_loaded(installed):
    program = """
        from yprov_mlflow.prov import settings
        from yprov_mlflow.prov.collectors import catalog

        assert "pressure" in catalog.names()
        assert catalog.load("pressure").__name__ == "Pressure"
        chosen = catalog.choose(settings.load().collectors)
        assert chosen[-1] == "pressure" and "git" in chosen, chosen
        assert "pressure" not in catalog.choose(["default"])
        assert "pressure" in catalog.choose(["all"])
        assert "pressure" not in catalog.choose(["all", "-pressure"])
    """
    done = run(installed, "-c", textwrap.dedent(program))
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_example_tests_pass(installed):
    options = ("-q", "-p", "no:cacheprovider", "--rootdir", str(installed))
    done = run(installed, "-m", "pytest", *options, str(EXAMPLE / "tests"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout


def command(folder, *words, **variables):
    return run(folder, "-m", "yprov_mlflow", *words, **variables)


def test_source_and_format_of_another_package_convert(installed, tmp_path):
    (tmp_path / "training.csv").write_text("epoch,loss\n0,0.5\n1,0.25\n")
    out = tmp_path / "prov"
    formats = ("--to", "yaml", "--to", "prov-json")
    done = command(installed, "convert", str(tmp_path / "training.csv"), "-o", str(out), *formats)
    assert done.returncode == 0, done.stderr
    (file,) = out.rglob("0/*/prov.yaml")
    done = command(installed, "convert", str(file), "-o", str(tmp_path / "back"))
    assert done.returncode == 0, done.stderr
    (back,) = (tmp_path / "back").rglob("prov.json")
    assert json.loads(back.read_bytes()) == json.loads(file.with_suffix(".json").read_bytes())
    assert command(installed, "validate", str(file)).returncode == 0


def test_doctor_lists_plugins_of_other_packages(installed):
    done = command(installed, "doctor", "--json", YPROV_MLFLOW_SINKS="folder,no-such-sink")
    checks = json.loads(done.stdout)
    assert checks["plugins"] == [
        {"kind": "format", "name": "yaml", "reason": None},
        {"kind": "sink", "name": "folder", "reason": None},
        {"kind": "sink", "name": "note", "reason": None},
        {"kind": "sink", "name": "report", "reason": None},  # our own are found like others
        {"kind": "sink", "name": "yprov4ml", "reason": None},
        {"kind": "source", "name": "csv", "reason": None},
    ]
    (problem,) = [text for text in checks["problems"] if "sink" in text]
    assert "unknown sink 'no-such-sink'" in problem
    assert "installed are: folder, note, report, yprov4ml" in problem


TRAIN = """
    import yprov_mlflow as mlflow

    with mlflow.start_run() as run:
        mlflow.log_metric("loss", 0.5)
    print(run.info.run_id)
"""


def test_sink_gets_documents_and_recover_sends_those_that_failed(installed, tmp_path):
    """A sink that fails costs the run nothing, and is named once with the remedy."""
    folder = tmp_path / "shared"
    variables = {
        "YPROV_MLFLOW_SINKS": "folder",
        "YPROV_EXAMPLE_FOLDER": str(folder),
        "YPROV_MLFLOW_DIR": str(tmp_path / "state"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}",
    }
    failed = run(installed, "-c", textwrap.dedent(TRAIN), **variables)
    assert failed.returncode == 0, failed.stderr
    assert failed.stderr.count("The sink 'folder' failed (FileNotFoundError") == 1
    assert "`yprov-mlflow recover` sends the documents" in failed.stderr
    done = command(installed, "recover", **variables)
    assert done.returncode == 1
    assert "the sink 'folder' failed" in done.stdout

    folder.mkdir()
    done = command(installed, "recover", **variables)
    assert done.returncode == 0, done.stdout
    assert "sent" in done.stdout
    second = run(installed, "-c", textwrap.dedent(TRAIN), **variables)
    assert "WARNING" not in second.stderr
    runs = {failed.stdout.split()[-1], second.stdout.split()[-1]}
    assert {path.stem for path in folder.iterdir()} == runs
    done = command(installed, "recover", **variables)
    assert done.stdout.count("is up to date") >= 2
    assert "sent" not in done.stdout
