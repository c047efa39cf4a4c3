"""The example of a third-party collector works after installation as a separate package."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "outside_collector"


def run(folder, *command):
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "YPROV_MLFLOW_COLLECTORS": "default,pressure"},
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


def test_example_tests_pass(installed):
    options = ("-q", "-p", "no:cacheprovider", "--rootdir", str(installed))
    done = run(installed, "-m", "pytest", *options, str(EXAMPLE / "tests"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
