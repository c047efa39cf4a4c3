"""The workflow tasks that this process is part of, from what their engines leave behind.

Several may hold at once: a Snakemake job in a SLURM job in a task of Airflow. They are listed from
the inside out: an engine is as far outside as the ancestor process is that it started.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from yprov_mlflow.prov.collectors.base import Available, Collector, Unavailable
from yprov_mlflow.prov.collectors.system import node
from yprov_mlflow.prov.collectors.workflow_engines import FILES, VARIABLES, ByFile, ByVariables
from yprov_mlflow.prov.collectors.workflow_processes import (
    MOST_BYTES,
    Match,
    Process,
    ancestors,
    by_processes,
    fault,
)
from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.redaction import redact

_HEAD = 8192
_VARIABLE = re.compile(r"\{(\w+)(\??)\}")


class Workflow(Collector):
    """Facts about the workflow tasks around this process."""

    name = "workflow"

    def probe(self) -> Available | Unavailable:
        """Detect the tasks, see ``collect``."""
        return Available(collect(self.context.root, self.context.environ, self.context.cwd))


def collect(root: Path, environ: Mapping[str, str], cwd: Path) -> dict[str, Json]:
    """Return the facts about the workflow tasks of this process.

    Args:
        root: Folder that contains ``proc``.
        environ: Environment variables of the process.
        cwd: Working directory of the process.

    Returns:
        ``tasks``, the innermost first, each with ``engine``, ``via`` (``variables``, ``process``
        or ``file``) and, as far as known, ``engine_version``, ``workflow``, ``workflow_id``,
        ``execution`` (an id of the workflow's execution that is unique for the engine), ``task``,
        ``task_id`` (unique in the execution, or at all with ``unique_task``), ``attempt``,
        ``parent``, ``iri``, ``document``, ``command`` (a digest, see ``command_digest``);
        ``problems``, the variables with unusable values. Empty outside workflows. A task may
        be in it twice, by variables and by process.
    """
    processes = ancestors(root)
    problems: list[dict[str, str]] = []
    matches = [
        *_by_variables(root, environ, processes, problems),
        *_by_files(environ, cwd, problems),
        *by_processes(root, processes),
    ]
    # The translation joins what variables and processes say about one task. A stable sort.
    tasks = [match.task for match in sorted(matches, key=lambda match: match.depth)]
    facts: dict[str, Json] = {}
    if tasks:
        facts["tasks"] = tasks
    if problems:
        facts["problems"] = problems
    return facts


# -- variables ---------------------------------------------------------------------------


def _by_variables(
    root: Path,
    environ: Mapping[str, str],
    processes: Sequence[Process],
    problems: list[dict[str, str]],
) -> Iterator[Match]:
    present = [
        row
        for row in VARIABLES
        if all(environ.get(variable) for variable in row.required)
        and re.fullmatch(row.pattern or ".*", environ[row.required[0]], re.DOTALL)
    ]
    if not present:
        return
    environs = _environs(root, processes)
    seen: set[str] = set()
    for row in present:
        if row.engine in seen:  # a plain job of SLURM, if it is in an array
            continue
        seen.add(row.engine)
        task = _task_of(row, environ, problems)
        if task is not None:
            marks = [os.fsencode(f"{name}={environ[name]}") for name in row.required]
            depth = 1
            for variables in environs:
                if not variables.issuperset(marks):
                    break
                depth += 1
            yield Match(depth, task)


def _environs(root: Path, processes: Sequence[Process]) -> list[set[bytes]]:
    """Return the variables that each ancestor was started with; none for those of other users."""
    files = (root / "proc" / str(process.pid) / "environ" for process in processes[1:])
    return [set(node.read_bytes(file)[:MOST_BYTES].split(b"\0")) for file in files]


def _task_of(
    row: ByVariables, environ: Mapping[str, str], problems: list[dict[str, str]]
) -> dict[str, Json] | None:
    task: dict[str, Json] = {"engine": row.engine} if row.engine else {}
    for key, variables in row.variables.items():
        for variable in variables:
            if value := _usable(environ, variable, problems):
                task[key] = value
                break
    if not task.get("engine"):
        return None
    for key, template in (("execution", row.execution), ("task_id", row.task_id)):
        if value := _filled(template, environ, problems):
            task[key] = value
    return {**task, "via": "variables"}


def _filled(
    template: str, environ: Mapping[str, str], problems: list[dict[str, str]]
) -> str | None:
    missing = False

    def replace(match: re.Match[str]) -> str:
        nonlocal missing
        value = _usable(environ, match[1], problems)
        missing = missing or not (value or match[2])
        return value or ""

    text = _VARIABLE.sub(replace, template)
    return None if missing else text or None


def _usable(
    environ: Mapping[str, str], variable: str, problems: list[dict[str, str]]
) -> str | None:
    """Return the value of a variable if it can be a name or an id, and note why it cannot."""
    value = environ.get(variable, "").strip()
    if not value:
        return None
    if (reason := fault(value)) is None:
        return redact(value)
    problem = {"variable": variable, "reason": reason}
    if problem not in problems:
        problems.append(problem)
    return None


# -- files --------------------------------------------------------------------------------


def _by_files(
    environ: Mapping[str, str], cwd: Path, problems: list[dict[str, str]]
) -> Iterator[Match]:
    for row in FILES:
        if environ.get(row.required) and (task := _task_in(row, cwd, problems)):
            yield Match(1, task)


def _task_in(row: ByFile, cwd: Path, problems: list[dict[str, str]]) -> dict[str, Json] | None:
    try:
        with (cwd / row.file).open("rb") as file:
            head = file.read(_HEAD).decode("utf-8", "replace")
    except OSError:
        return None
    task: dict[str, Json] = {"engine": row.engine, "via": "file"}
    task["task_id"] = "/".join(cwd.parts[-row.folders :])
    task["unique_task"] = "yes"
    for pattern in row.task:
        if match := re.search(pattern, head):
            if (reason := fault(match[1])) is None:
                task["task"] = redact(match[1])
            else:
                problems.append({"variable": row.file, "reason": reason})
            break
    return task
