"""``yprov-mlflow crate``: an RO-Crate of a run, an experiment or documents."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path

import click

from yprov_mlflow.prov.cli import console
from yprov_mlflow.prov.cli.crate_runs import (
    about_facts,
    about_option,
    crate_runs,
    documents_of,
)


@click.command(
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 4 the crate lacks files, which it names."
)
@click.argument("source", metavar="RUN|EXPERIMENT|DOCUMENT")
@click.option(
    "-o",
    "--out",
    required=True,
    metavar="DIR|ZIP",
    callback=console.not_empty,
    help="A folder that does not exist yet or is empty, or a file that ends with .zip.",
)
@click.option("--no-files", is_flag=True, help="Name the artifacts without copying them.")
@click.option(
    "--artifacts",
    metavar="ROOT",
    type=click.Path(exists=True, file_okay=False),
    help="Folder that has the artifacts, such as an mlruns, if they were moved.",
)
@click.option(
    "--workflow",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File that defines the workflow whose tasks started the runs, such as a Snakefile: the "
    "crate is a Workflow and Provenance Run Crate, too.",
)
@about_option
@console.tracking_uri_option
@console.json_option
def crate(
    source: str,
    out: str,
    *,
    no_files: bool,
    artifacts: str | None,
    workflow: Path | None,
    about: str | None,
    tracking_uri: str | None,
    as_json: bool,
) -> None:
    """Write an RO-Crate of a run, an experiment or documents.

    The crate has the document in PROV-JSON, the metric file, the artifacts whose size and SHA-256
    are those that were logged, and a description as a Process Run Crate: an action for each run
    with its software, parameters, datasets, files, models and metrics, agent, start and end.
    Authors, license and publisher are those of the document, or else of the project file
    ([tool.yprov-mlflow.about]). Statements that the profiles recommend and that are not known
    are listed with the setting that fills them.

    SOURCE is a run (see `show`), the name or id of an experiment, a document in any format, or a
    folder of documents, among them those of workflows. Runs that were not captured are converted
    from the store.

    \b
    Examples:
      yprov-mlflow crate 5f0c9b2e6d3a4b0f8a7c1d2e3f405162 -o run.zip
      yprov-mlflow crate iris --tracking-uri sqlite:///mlflow.db -o iris-crate
      yprov-mlflow crate prov/1/5f0c9b2e/prov.json --artifacts mlruns -o crate
    """
    from yprov_mlflow.prov.share.run_crate import write

    facts = about_facts(about)
    with documents_of(source, tracking_uri, facts) as documents:
        runs = crate_runs(documents.runs, source, tracking_uri, artifacts, with_files=not no_files)
        report = write(
            runs,
            Path(out),
            datetime.datetime.now(datetime.UTC).date(),
            with_files=not no_files,
            workflow=workflow,
            others=documents.others,
        )
    if as_json:
        console.print_json({"out": out, **vars(report)})
    else:
        click.echo(f"{report.runs} runs and {report.files} files are in {console.printable(out)}")
    if report.missing:
        console.note(f"{len(report.missing)} files are not in the crate:")
        console.print_first(report.missing)
    if report.blanks:
        console.note("Recommended, and not known:")
        console.print_first(report.blanks)
    if report.missing:
        sys.exit(console.NO_ARTIFACTS)
