"""``yprov-mlflow rerun``: run a recorded run again, and compare the two."""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yprov_mlflow.prov import settings
from yprov_mlflow.prov.cli.console import (
    FAILED,
    PARTLY,
    json_option,
    print_json,
    print_view,
    printable,
    store_errors,
    tracking_uri_option,
)
from yprov_mlflow.prov.errors import RerunError, UsageError

if TYPE_CHECKING:
    from yprov_mlflow.prov.model.document import Document
    from yprov_mlflow.prov.rerun.outcome import Outcome
    from yprov_mlflow.prov.rerun.plan import Content, Plan
    from yprov_mlflow.prov.rerun.recipe import Recipe

_INTERRUPTED = 130
_MARKS = {"ready": "ready  ", "differs": "differs", "missing": "MISSING"}


@click.command(
    context_settings={"ignore_unknown_options": True},
    epilog="Exit codes: 0 the same status, params, metrics and datasets; 1 something is missing, "
    "or the command failed; 2 wrong usage; 3 the rerun differs; 130 interrupted.",
)
@click.argument("run", metavar="RUN|FILE")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- ARGUMENTS]...")
@click.option(
    "--into",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder for all that "
    "the rerun writes; it must not exist yet, or be empty. [default: rerun-RUN]",
)
@click.option(
    "--environment",
    type=click.Choice(["new", "current"]),
    default="new",
    show_default=True,
    help="A new virtual environment with the recorded packages, or the present interpreter.",
)
@click.option(
    "--repository",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Clone that has the commit; by default where the run found it, else the remote.",
)
@tracking_uri_option
@click.option(
    "--log-to",
    metavar="URI",
    help="Store that the rerun is logged to; by default a new one in DIR, or `copy`, a copy of the "
    "run's SQLite store in DIR, if the run read from it.",
)
@click.option("--ignore-missing", is_flag=True, help="Run although something is missing.")
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@click.option("--yes", is_flag=True, help="Do not ask before the command is run.")
@json_option
def rerun(run: str, arguments: tuple[str, ...], tracking_uri: str | None, **options: Any) -> None:
    """Run a recorded run again and compare the two.

    The code is checked out at the recorded commit, with the changes and files that were kept; the
    packages are installed; data are checked by their hashes; the command runs; and the results are
    compared. First the plan is printed; it names all that is missing. For RUN see `show`;
    FILE is a document. ARGUMENTS after -- replace those of the command.

    A document of someone else runs the code of someone else: read the plan before you agree.

    \b
    Examples:
      yprov-mlflow rerun 5f0c9b2e6d3a4b0f8a7c1d2e3f405162 --dry-run
      yprov-mlflow rerun 5f0c9b2e6d3a4b0f8a7c1d2e3f405162 --into again
      yprov-mlflow rerun provenance/prov.json --environment current --yes --json
    """
    from yprov_mlflow.prov.capture import run_names
    from yprov_mlflow.prov.capture.run_views import load_document
    from yprov_mlflow.prov.rerun import recipe as recipes

    with store_errors(tracking_uri):
        run = run_names.resolve(run, tracking_uri)
    with tempfile.TemporaryDirectory(prefix="yprov-") as scratch:
        with store_errors(tracking_uri, run):
            document = load_document(run, tracking_uri)
        recipe = recipes.read(document)
        folder = _folder(options["into"], recipe)
        content = _content(run, recipe, tracking_uri, Path(scratch))
        plan = _plan(recipe, folder, arguments, content, options)
        if not options["as_json"]:
            _print_plan(plan)
        try:
            outcome, code = _follow(plan, recipe, document, options)
        except KeyboardInterrupt:
            click.echo(f"Interrupted; what there is remains in {printable(str(folder))}.", err=True)
            sys.exit(_INTERRUPTED)
        if options["as_json"]:
            print_json(_as_json(plan, outcome))
        elif outcome is not None:
            print_view(outcome.tables(), outcome.notes())
    sys.exit(code)


def _follow(
    plan: Plan, recipe: Recipe, document: Document, options: dict[str, Any]
) -> tuple[Outcome | None, int]:
    """Run a plan if nothing is missing and the user agrees; return outcome and exit code."""
    if options["dry_run"]:
        return None, 0
    if plan.missing() and not options["ignore_missing"]:
        click.echo("Nothing was run, because something is missing.", err=True)
        return None, FAILED
    _confirm(plan, yes=options["yes"])
    return _run(plan, recipe, document, as_json=options["as_json"])


def _folder(into: Path | None, recipe: Recipe) -> Path:
    name = str(recipe.summary.run.id or "run")[:8]
    folder = into if into is not None else Path(f"rerun-{name if name.isalnum() else 'run'}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError("the folder is not empty", str(folder), "Choose another one with --into")
    return folder.absolute()


def _content(run: str, recipe: Recipe, tracking_uri: str | None, scratch: Path) -> Content:
    from yprov_mlflow.prov.capture.run_views import download_artifact, is_path
    from yprov_mlflow.prov.rerun import kept_content

    state, run_id = settings.load().directory, recipe.summary.run.id
    document = Path(run) if is_path(run) else None
    # The store in a document of someone else is not asked, unless the user names it.
    if run_id is None or (document is not None and tracking_uri is None):
        return kept_content.reader(recipe, state, document, None)
    uri = tracking_uri or recipe.store
    fetch = partial(_download, download_artifact, run_id, scratch, uri)
    return kept_content.reader(recipe, state, document, fetch)


def _download(download: Any, run_id: str, folder: Path, uri: str | None, path: str) -> Path:
    return Path(download(run_id, path, folder, uri))


def _plan(
    recipe: Recipe,
    folder: Path,
    arguments: tuple[str, ...],
    content: Content,
    options: dict[str, Any],
) -> Plan:
    from yprov_mlflow.prov.rerun import execution, inputs, interpreter, source_tree
    from yprov_mlflow.prov.rerun.plan import Plan

    plan = Plan(folder)
    repository = options["repository"]
    source_tree.plan_code(plan, recipe, content, repository and repository.absolute())
    inputs.plan_data(plan, recipe, ignore_missing=options["ignore_missing"])
    inputs.plan_store(plan, recipe, options["log_to"])
    python = interpreter.plan_environment(
        plan,
        recipe,
        is_new=options["environment"] == "new",
        ignore_missing=options["ignore_missing"],
    )
    execution.plan_command(plan, recipe, python, arguments)
    return plan


def _print_plan(plan: Plan) -> None:
    for part, state, text, cure in plan.items:
        line = f"{_MARKS[state]}  {part}: {text}." + (f" {cure}." if cure else "")
        click.secho(printable(line), fg={"missing": "red", "differs": "yellow"}.get(state))
    for name, value in plan.variables.items():
        click.echo(printable(f"variable {name}={value}"))
    click.echo(f"folder   {printable(str(plan.folder))}")
    click.echo(f"command  {printable(plan.command_line())}")


def _confirm(plan: Plan, *, yes: bool) -> None:
    if not plan.command:
        raise RerunError("there is no command to run", None, "Log the run with the collector code")
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("the command is run only if you agree", None, "Pass --yes in scripts")
    click.confirm("Do this, and run the command?", abort=True, err=True)


def _run(
    plan: Plan, recipe: Recipe, document: Document, *, as_json: bool
) -> tuple[Outcome | None, int]:
    """Run a plan; return what came of it and the exit code."""
    from yprov_mlflow.prov.rerun import execution, outcome
    from yprov_mlflow.prov.views.summary import from_document

    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
        for name, step in plan.steps:
            click.echo(printable(f"{name} …"), err=True)
            step()
    except OSError as error:
        raise RerunError.unwritable(str(plan.folder), error) from error
    sys.stdout.flush()
    code = execution.execute(plan, sys.stderr if as_json else sys.stdout)
    documents = list(execution.documents(plan, settings.load()))
    summaries = [from_document(rerun_document) for rerun_document in documents]
    match = outcome.counterpart(recipe.summary, summaries)
    if code != 0:
        click.echo(printable(f"{execution.ending(code)}."), err=True)
    if match is None:
        click.echo("The command logged no run.", err=True)
        return None, FAILED
    result = outcome.compare(recipe.summary, match)
    result = outcome.with_reasons(result, document, documents[summaries.index(match)])
    if code != 0 and recipe.summary.run.status == "FINISHED":
        return result, FAILED
    return result, 0 if result.is_same else PARTLY


def _as_json(plan: Plan, outcome: Outcome | None) -> dict[str, Any]:
    return {
        "plan": [item._asdict() for item in plan.items],
        "folder": str(plan.folder),
        "command": plan.command,
        "variables": plan.variables,
        "tracking_uri": plan.tracking_uri,
        "outcome": outcome.to_dict() if outcome is not None else None,
    }
