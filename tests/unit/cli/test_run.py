import signal

import pytest


def test_arguments_exit_code_and_streams_are_the_scripts(place):
    script = place.script(
        "import os, sys; print(sys.argv[1:]); print(os.environ['YPROV_MLFLOW'], file=sys.stderr)\n"
        "sys.exit(7)\n"
    )
    done = place.command("run", script, "--help", "-m", "--lr=0.1", "x y")
    assert done.returncode == 7
    assert done.stdout == "['--help', '-m', '--lr=0.1', 'x y']\n"
    assert done.stderr == "1\n"


def test_a_module(place):
    (place.folder / "lab").mkdir()
    (place.folder / "lab" / "train.py").write_text("import sys; print(__name__, sys.argv[1:])\n")
    done = place.command("run", "-m", "lab.train", "--epochs", "3")
    assert (done.returncode, done.stdout) == (0, "__main__ ['--epochs', '3']\n")


def test_signals_are_the_scripts(place):
    script = place.script("import os, signal; os.kill(os.getpid(), signal.SIGTERM)\n")
    assert place.command("run", script).returncode == -signal.SIGTERM


@pytest.mark.parametrize("arguments", [[], ["missing.py"]])
def test_wrong_usage(place, arguments):
    done = place.command("run", *arguments)
    assert done.returncode == 2
    assert "Usage:" in done.stderr


def test_the_run_of_a_plain_script_has_its_document(captured):
    place, whole, _ = captured
    assert place.document(whole).is_file()
