"""``yprov-mlflow run``: run an unmodified script and capture its runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="The exit code, or the signal, is that of the script.",
)
@click.option("-m", "is_module", is_flag=True, help="SCRIPT is the name of a module.")
@click.argument("script")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARGUMENTS]...")
def run(is_module: bool, script: str, arguments: tuple[str, ...]) -> None:
    """Run a Python script, or with -m a module, and capture its MLflow runs.

    The script and its tracking URI stay as they are. Options go before SCRIPT; everything
    after it is passed to the script.

    \b
    Examples:
      yprov-mlflow run train.py --epochs 10
      yprov-mlflow run -m lab.train --epochs 10
      MLFLOW_TRACKING_URI=http://localhost:5000 yprov-mlflow run train.py
    """
    if not is_module and not Path(script).exists():
        raise click.BadParameter(f"file {script!r} does not exist.", param_hint="SCRIPT")
    os.environ["YPROV_MLFLOW"] = "1"
    program = ["-m", script] if is_module else [script]
    sys.stdout.flush()
    # Replace this process: no child has to be watched, and signals, exit code and terminal
    # need no forwarding.
    os.execv(sys.executable, [sys.executable, *program, *arguments])
