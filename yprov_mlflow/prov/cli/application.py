"""The group of all subcommands, and what becomes of errors."""

from __future__ import annotations

import sys
from typing import Any

import click

from yprov_mlflow.prov.cli.convert import convert
from yprov_mlflow.prov.cli.doctor import doctor
from yprov_mlflow.prov.cli.energy_command import energy
from yprov_mlflow.prov.cli.recover import recover
from yprov_mlflow.prov.cli.restore import restore
from yprov_mlflow.prov.cli.run import run
from yprov_mlflow.prov.cli.show import show
from yprov_mlflow.prov.cli.validate import validate
from yprov_mlflow.prov.errors import UsageError, YprovMlflowError

FAILED = 1
WRONG_USAGE = 2
"""What click itself ends with when a word or an option is not one that it knows."""


class _Commands(click.Group):
    """A group that ends with one line and exit code 1 or 2 for errors that say their cure."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand."""
        try:
            return super().invoke(ctx)
        except YprovMlflowError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(WRONG_USAGE if isinstance(error, UsageError) else FAILED)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 partly done, 130 interrupted. "
    "`run` ends as the script does.",
)
@click.version_option(None, "-V", "--version", package_name="yprov-mlflow")
def main() -> None:
    """W3C PROV for MLflow runs: capture them, repair them, look at them.

    A run is captured when its script says `import yprov_mlflow as mlflow`, when its tracking
    URI begins with `yprov+`, or when `yprov-mlflow run` starts it. At its end the run has a
    document among its artifacts, provenance/prov.json.

    \b
      yprov-mlflow run train.py --lr 0.1      capture a script as it is
      yprov-mlflow show 5f0c9b2e…             read what a run's document says
      yprov-mlflow energy 5f0c9b2e…           what the run cost: energy, emissions
      yprov-mlflow recover                    write what a crash left unwritten
      yprov-mlflow convert mlruns -o prov     turn years of old runs into PROV
      yprov-mlflow restore prov --to URI      turn PROV into a store of runs again
      yprov-mlflow validate prov              hold documents against W3C's constraints
      yprov-mlflow doctor                     see what can be captured here
    """


for _command in (convert, doctor, energy, recover, restore, run, show, validate):
    main.add_command(_command)
