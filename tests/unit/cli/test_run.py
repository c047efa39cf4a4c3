import signal

import pytest


def test_script_gets_arguments_and_streams(workspace):
    script = workspace.script(
        "import os, sys; print(sys.argv[1:]); print(os.environ['YPROV_MLFLOW'], file=sys.stderr)\n"
        "sys.exit(7)\n"
    )
    done = workspace.command("run", script, "--help", "-m", "--lr=0.1", "x y")
    assert done.returncode == 7
    assert done.stdout == "['--help', '-m', '--lr=0.1', 'x y']\n"
    assert done.stderr == "1\n"


def test_module(workspace):
    (workspace.folder / "lab").mkdir()
    (workspace.folder / "lab" / "train.py").write_text(
        "import sys; print(__name__, sys.argv[1:])\n"
    )
    done = workspace.command("run", "-m", "lab.train", "--epochs", "3")
    assert (done.returncode, done.stdout) == (0, "__main__ ['--epochs', '3']\n")


def test_signal_of_the_script_is_passed_on(workspace):
    script = workspace.script("import os, signal; os.kill(os.getpid(), signal.SIGTERM)\n")
    assert workspace.command("run", script).returncode == -signal.SIGTERM


@pytest.mark.parametrize("arguments", [[], ["missing.py"]])
def test_wrong_usage(workspace, arguments):
    done = workspace.command("run", *arguments)
    assert done.returncode == 2
    assert "Usage:" in done.stderr


def test_plain_script_is_captured(captured):
    workspace, finished, _ = captured
    assert workspace.document(finished).is_file()
