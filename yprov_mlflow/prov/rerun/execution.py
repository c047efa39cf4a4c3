"""The command of a rerun: as it was, with the interpreter, folder and store of the rerun."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from yprov_mlflow.prov.capture.run_document import write_document
from yprov_mlflow.prov.collectors.code import VARIABLES
from yprov_mlflow.prov.errors import RerunError
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.ids import store_of
from yprov_mlflow.prov.journal import JournalDirectory
from yprov_mlflow.prov.layout import KEPT_CELLS
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.redaction import WITHHELD
from yprov_mlflow.prov.rerun.plan import Plan
from yprov_mlflow.prov.rerun.recipe import Invocation, Recipe
from yprov_mlflow.prov.rerun.source_tree import is_safe
from yprov_mlflow.prov.settings import Settings

STATE = "state"
"""Folder for the journals of the rerun, in the folder of the rerun."""

# The rerun must not continue the user's run, nor end up in the user's experiment or store.
_DROPPED = (
    *("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_REGISTRY_URI"),
    *("MLFLOW_TRACKING_URI", "MLFLOW_ACTIVE_MODEL_ID", "_YPROV_MLFLOW_URIS", "VIRTUAL_ENV"),
)


def plan_command(plan: Plan, recipe: Recipe, python: Path, arguments: Sequence[str]) -> None:
    """Add the command to a plan; ``arguments`` replace the recorded ones."""
    invocation = recipe.invocation
    if invocation is None:
        cure = "Log the run with the collector `code` (on by default)"
        plan.add("command", "missing", "the command is not recorded", cure)
        return
    program = _program(plan, recipe, invocation, python)
    if program is None:
        return
    words = list(arguments or invocation.arguments)
    if WITHHELD in " ".join([*words, *program]):
        cure = "Give all arguments of the command after --"
        plan.add("command", "missing", "secrets in the command are not recorded", cure)
    plan.command = [str(python), *program, *words]
    if recipe.processes > 1:
        text = f"{recipe.processes} processes worked on the run; the rerun starts the first"
        plan.add("command", "differs", text)
    plan.variables = _variables(plan, invocation)
    _choose_folder(plan, invocation)


def _program(plan: Plan, recipe: Recipe, invocation: Invocation, python: Path) -> list[str] | None:
    options = list(invocation.options)
    if recipe.is_notebook:
        if recipe.cells is None:
            text = "the run was logged by a notebook whose cells were not kept"
            plan.add("command", "missing", text, "End the run in the notebook when you log it")
            return None
        plan.add("command", "differs", "the cells of the notebook run as one script of IPython")
        return ["-m", "IPython", str(plan.code_folder / KEPT_CELLS)]
    match invocation.kind:
        case "script":
            if script := _script(plan, recipe, invocation.target):
                return [*options, script]
        case "module":
            return [*options, "-m", invocation.target]
        case "code":
            return [*options, "-c", invocation.target]
        case "program" if invocation.target == Path(invocation.target).name:
            return [*options, str(python.parent / invocation.target)]
    text = f"the command cannot be run again: {invocation.kind} {invocation.target}".rstrip()
    plan.add("command", "missing", text, "Run a script or a module, and log the run again")
    return None


def _script(plan: Plan, recipe: Recipe, target: str) -> str | None:
    if is_safe(target):
        return str(plan.code_folder / target)
    # A script outside the repository of its working directory.
    if recipe.script is not None and is_safe(recipe.script.path):
        return str(plan.code_folder / recipe.script.path)
    return None


def _choose_folder(plan: Plan, invocation: Invocation) -> None:
    folder = invocation.folder
    plan.work_folder = plan.code_folder
    if folder is not None and folder != "." and is_safe(folder):
        plan.work_folder = plan.code_folder / folder
    elif folder != ".":
        text = "the working directory was outside of the source tree; the rerun starts in its root"
        plan.add("command", "differs", text)


def _variables(plan: Plan, invocation: Invocation) -> dict[str, str]:
    """Return the recorded variables; a document must not set any that we do not record."""
    variables = {k: v for k, v in invocation.variables.items() if k in VARIABLES}
    if invocation.origin and "PYTHONPATH" in variables:
        folders = variables["PYTHONPATH"].split(os.pathsep)
        moved = [_moved(folder, invocation.origin, plan.code_folder) for folder in folders]
        variables["PYTHONPATH"] = os.pathsep.join(moved)
    return variables


def _moved(folder: str, origin: str, root: Path) -> str:
    path = Path(folder)
    return str(root / path.relative_to(origin)) if path.is_relative_to(origin) else folder


def environ(plan: Plan) -> dict[str, str]:
    """Return the environment variables of the command."""
    kept = {k: v for k, v in os.environ.items() if k not in (*VARIABLES, *_DROPPED)}
    python = Path(plan.command[0])
    return {
        **kept,
        **plan.variables,
        "PATH": f"{python.parent}{os.pathsep}{kept.get('PATH', '')}",
        "MLFLOW_TRACKING_URI": plan.tracking_uri,
        "YPROV_MLFLOW": "1",
        "YPROV_MLFLOW_DIR": str(plan.folder / STATE),
    }


def execute(plan: Plan, output: TextIO) -> int:
    """Run the command, with its output and errors to ``output``; return its exit code."""
    if not plan.work_folder.is_dir():
        what = "the working directory of the run is not in the source tree"
        raise RerunError(what, str(plan.work_folder), "Create it, or use another commit")
    try:
        done = subprocess.run(
            plan.command,
            cwd=plan.work_folder,
            env=environ(plan),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
        )
    except OSError as error:
        reason = error.strerror or error
        raise RerunError(f"the command cannot be started: {reason}", plan.command[0]) from error
    return done.returncode


def ending(code: int) -> str:
    """Return how a command ended, by its exit code."""
    if code >= 0:
        return f"The command ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    return f"The command was ended by the signal {name}"


def documents(plan: Plan, settings: Settings) -> Iterator[Document]:
    """Yield the documents of the runs that the command logged, from their journals."""
    for folder in JournalDirectory.all(plan.folder / STATE):
        if store_of(folder.run_id):
            continue
        out = plan.folder / "documents" / folder.path.name
        out.mkdir(parents=True, exist_ok=True)
        file = write_document(folder, out, settings).files[-1]
        yield prov_json.loads(file.read_bytes())
