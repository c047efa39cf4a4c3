"""The group of all subcommands, and the handling of errors."""

from __future__ import annotations

import logging
import sys
import traceback
from functools import partial
from typing import Any

import click

from yprov_mlflow import prov
from yprov_mlflow.prov.cli import console
from yprov_mlflow.prov.cli.card import card
from yprov_mlflow.prov.cli.console import FAILED, checked_output, printable
from yprov_mlflow.prov.cli.convert import convert
from yprov_mlflow.prov.cli.convert_mlruns import convert_mlruns
from yprov_mlflow.prov.cli.crate import crate
from yprov_mlflow.prov.cli.diff import diff, why
from yprov_mlflow.prov.cli.doctor import doctor
from yprov_mlflow.prov.cli.energy_of_runs import energy
from yprov_mlflow.prov.cli.index import index
from yprov_mlflow.prov.cli.journals import journals
from yprov_mlflow.prov.cli.lineage import lineage
from yprov_mlflow.prov.cli.list_runs import runs
from yprov_mlflow.prov.cli.push import push
from yprov_mlflow.prov.cli.query import query
from yprov_mlflow.prov.cli.recover import recover
from yprov_mlflow.prov.cli.report import report
from yprov_mlflow.prov.cli.rerun import rerun
from yprov_mlflow.prov.cli.restore import restore
from yprov_mlflow.prov.cli.run import run
from yprov_mlflow.prov.cli.seal import seal, verify
from yprov_mlflow.prov.cli.show import show
from yprov_mlflow.prov.cli.sync import sync
from yprov_mlflow.prov.cli.ui import ui
from yprov_mlflow.prov.cli.validate import validate
from yprov_mlflow.prov.cli.workflow import workflow
from yprov_mlflow.prov.errors import UsageError, YprovMlflowError

_WRONG_USAGE = 2  # click's own exit code for an unknown command or option


class _Commands(click.Group):
    """A group that reports an error of this package in one line, with exit code 1 or 2."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line; standard output that cannot be written ends it in one line."""
        with checked_output():
            return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand."""
        try:
            return super().invoke(ctx)
        except YprovMlflowError as error:
            lines = map(printable, str(error).splitlines())
            click.echo("Error: " + "\n".join(lines), err=True)
            # Its cause is often an error of MLflow or of a driver.
            if ctx.params.get("verbose"):
                traceback.print_exception(error)
            sys.exit(_WRONG_USAGE if isinstance(error, UsageError) else FAILED)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 partly done, 4 only artifacts are "
    "out of reach, 5 runs of dead processes were left open, 130 interrupted, 141 the reader of a "
    "pipe has gone. `run` exits as the script does. Names of formats are free: turtle, ttl, "
    "json-ld, jsonld, prov-n, provn, nt and so on.",
)
@click.version_option(prov.__version__, "-V", "--version", prog_name="yprov-mlflow")
@click.option("-q", "--quiet", is_flag=True, help="Print results and errors, without notes.")
@click.option("-v", "--verbose", is_flag=True, help="Log, and print the traceback of an error.")
@click.pass_context
def main(ctx: click.Context, quiet: bool, verbose: bool) -> None:
    """Capture MLflow runs as W3C PROV, convert old runs, and inspect the documents.

    A run is captured if its script says `import yprov_mlflow as mlflow`, if its tracking URI
    begins with `yprov+`, or if `yprov-mlflow run` starts it. When the run ends, its document
    is among its artifacts: provenance/prov.json.

    \b
      yprov-mlflow run train.py --lr 0.1      capture an unmodified script
      yprov-mlflow show 5f0c9b2e…             summarize the document of a run
      yprov-mlflow energy 5f0c9b2e…           report a run's energy and emissions
      yprov-mlflow report 5f0c9b2e… --open    look at a run, or compare those of an experiment
      yprov-mlflow recover                    write documents that a crash prevented
      yprov-mlflow convert mlruns -o prov     convert old runs to PROV; convert-mlruns many stores
      yprov-mlflow card 5f0c9b2e…             print the provenance card of a run
      yprov-mlflow crate 5f0c9b2e… -o DIR     pack a run as an RO-Crate
      yprov-mlflow rerun 5f0c9b2e…            run a run again and compare the two
      yprov-mlflow restore prov --to URI      restore runs from PROV into a store
      yprov-mlflow sync DIR --to URI          bring runs from their journals into a store
      yprov-mlflow push 5f0c9b2e… --to yprov://HOST  send the document to a yProv service
      yprov-mlflow validate prov              check documents against W3C's constraints
      yprov-mlflow index prov                 add documents to the index of the next four
      yprov-mlflow lineage models:/clf@champion  follow a model to its data and code
      yprov-mlflow list                       list runs: --where, --columns, --pareto loss,energy
      yprov-mlflow diff RUN RUN               compare two runs; `why` orders likely reasons
      yprov-mlflow ui --open                  look at all runs in the browser
      yprov-mlflow query @NAME                ask a shipped question, or in SPARQL
      yprov-mlflow workflow prov              join runs with the workflows around them
      yprov-mlflow seal 5f0c9b2e…             sign a run; `verify` finds every change of it
      yprov-mlflow journals                   list, prune and pack the journals on this machine
      yprov-mlflow doctor                     check what can be captured here
    """
    # Contexts of subcommands share the dictionary.
    ctx.meta[console.QUIET] = quiet
    if quiet:
        ctx.call_on_close(partial(logging.disable, logging.root.manager.disable))
        logging.disable(logging.WARNING)
    if verbose:
        logging.basicConfig(level=logging.INFO, stream=sys.stderr)


for _command in (
    card,
    convert,
    convert_mlruns,
    crate,
    diff,
    doctor,
    energy,
    index,
    journals,
    lineage,
    push,
    query,
    recover,
    report,
    rerun,
    restore,
    run,
    runs,
    seal,
    show,
    sync,
    ui,
    validate,
    verify,
    why,
    workflow,
):
    main.add_command(_command)
# The name that questions to the index had first, and that Python has: `mlflow.prov.runs`.
main.add_command(runs, "runs")
