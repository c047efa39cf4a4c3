import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from yprov_mlflow import prov
from yprov_mlflow.prov.cli import main

COMMANDS = sorted(main.commands)


def test_commands():
    words = (
        "card convert convert-mlruns crate diff doctor energy index journals lineage list push"
        " query recover report rerun restore run runs seal show sync ui"
        " validate verify why workflow"
    )
    assert words.split() == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples(name):
    shown = CliRunner().invoke(main, [name, "--help"])
    assert shown.exit_code == 0
    assert "Examples:\n" in shown.output
    assert f"  yprov-mlflow {name}" in shown.output


def test_exit_codes_are_documented():
    shown = CliRunner().invoke(main, ["--help"]).output
    assert "0 done, 1 failed, 2 wrong usage, 3 partly done" in " ".join(shown.split())


@pytest.mark.parametrize("arguments", [["nonsense"], ["show"], ["show", "--nonsense"]])
def test_wrong_usage(arguments):
    assert CliRunner().invoke(main, arguments).exit_code == 2


def test_version():
    shown = CliRunner().invoke(main, ["--version"])
    installed = importlib.metadata.version("yprov-mlflow")
    assert shown.output == f"yprov-mlflow, version {installed}\n"
    assert prov.__version__ == installed


def test_version_of_a_package_without_metadata(monkeypatch):
    monkeypatch.delattr(prov, "__version__")
    monkeypatch.setattr(sys, "path", [])
    assert prov.__version__ == "0+unknown"


def test_script_and_module_are_equal():
    script = Path(sys.executable).with_name("yprov-mlflow")
    outputs = [
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for command in (
            [script, "recover", "--help"],
            [sys.executable, "-m", "yprov_mlflow", "recover", "--help"],
        )
    ]
    assert outputs[0].splitlines()[1:] == outputs[1].splitlines()[1:]
    assert "journal" in outputs[0]


def test_help_does_not_import_mlflow():
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from yprov_mlflow.prov.cli import main\n"
        "assert CliRunner().invoke(main, ['show', '--help']).exit_code == 0\n"
        "assert 'mlflow' not in sys.modules, 'mlflow'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def _shell(line):
    command = line.format(cli=f"{sys.executable} -m yprov_mlflow")
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("words", ["--help", "doctor", "doctor --json"])
def test_full_disk_under_output_is_one_line(words):
    done = _shell(f"{{cli}} {words} > /dev/full")
    message = "Error: standard output cannot be written: No space left on device\n"
    assert done.returncode == 1
    assert done.stderr.endswith(message) and "Traceback" not in done.stderr


@pytest.mark.parametrize("words", ["--help", "doctor", "doctor --json"])
def test_closed_pipe_ends_the_command_silently(words):
    # Standard output is a pipe whose reader has gone before the command starts.
    done = _shell(f"{{{{ sleep 0.5; {{cli}} {words}; echo $? >&2; }}}} | true")
    # Before it, collectors of others may have logged.
    assert done.stderr.endswith("141\n") and "Error" not in done.stderr
