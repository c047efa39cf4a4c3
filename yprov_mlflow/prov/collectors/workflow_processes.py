"""The workflow engines among the ancestors of this process, by their command lines."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from yprov_mlflow.prov.collectors.system import node
from yprov_mlflow.prov.collectors.workflow_engines import PROCESSES, ByProcess
from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.ids import job_id
from yprov_mlflow.prov.redaction import redact, redact_arguments

_MOST_ANCESTORS = 64
_MOST_CHARACTERS = 1000  # of a name or id; longer values are mistakes
MOST_BYTES = 1 << 20
"""Most bytes that are used of a file of ``/proc``."""

_PYTHON = re.compile(r"python[\d.]*|java|pypy[\d.]*")
_SHELLS = frozenset({"bash", "sh", "dash", "zsh"})
# What Snakemake puts before the command of a rule.
_SHELL_START = re.compile(r"\A\s*(?:set -[a-z]+(?: pipefail)?;\s*)+")


class Match(NamedTuple):
    """A task, and how many processes lie between this one and the engine of the task."""

    depth: int
    task: dict[str, Json]


class Process(NamedTuple):
    """An ancestor process, or this one: its id, start time in ticks, and command line."""

    pid: int
    start: int
    argv: list[str]


def fault(value: str) -> str | None:
    """Return why a value cannot be a name or an id; None if it can."""
    if len(value) > _MOST_CHARACTERS:
        return f"longer than {_MOST_CHARACTERS} characters"
    if not value.isprintable():  # also false for what is not UTF-8
        return "contains control characters, or is not text"
    return None


def ancestors(root: Path) -> list[Process]:
    """Return this process and its ancestors, as far as they can be read."""
    proc = root / "proc"
    try:
        pid = int(os.readlink(proc / "self"))
    except (OSError, ValueError):
        return []
    processes: list[Process] = []
    while pid > 0 and len(processes) < _MOST_ANCESTORS:
        stat = node.read_bytes(proc / str(pid) / "stat").rpartition(b") ")[2].split()
        if len(stat) < 20:
            break
        line = node.read_bytes(proc / str(pid) / "cmdline")[:MOST_BYTES]
        argv = [os.fsdecode(word) for word in line.removesuffix(b"\0").split(b"\0")]
        processes.append(Process(pid, int(stat[19]), argv))
        pid = int(stat[1])
    return processes


def process_id(root: Path, process: Process) -> str:
    """Return an id of a process that is unique over machines and time."""
    return f"{node.boot_id(root)}/{process.pid}-{process.start}"


def command_digest(command: str | Sequence[str]) -> str:
    """Return a digest of a task's command, by which its process and its engine's log meet.

    Args:
        command: The text for a shell, or the arguments of a process.
    """
    if isinstance(command, str):
        try:
            words = shlex.split(_SHELL_START.sub("", command))
        except ValueError:  # quotes that only a shell understands
            words = command.split()
    else:
        words = list(command)
    # A wrapper such as that of pyenv replaces the name of a program by its path.
    words = [words[0].rpartition("/")[2], *words[1:]] if words else []
    text = "\0".join(map(str, redact_arguments(words)))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def by_processes(root: Path, processes: Sequence[Process]) -> Iterator[Match]:
    """Yield a match for each engine that is among the ancestors of this process."""
    for row in PROCESSES:
        matches = [
            (depth, process)
            for depth, process in enumerate(processes)
            if _is_program(row, process.argv)
        ]
        if matches:
            yield Match(matches[0][0], _task_below(row, root, processes, matches))


def _task_below(
    row: ByProcess,
    root: Path,
    processes: Sequence[Process],
    matches: Sequence[tuple[int, Process]],
) -> dict[str, Json]:
    """Return the task that the processes of an engine, the innermost first, started."""
    task: dict[str, Json] = {"engine": row.engine, "via": "process"}
    job: str | None = None
    workflow: str | None = None
    for depth, process in matches:
        argv = process.argv
        workflow = workflow or _workflow_of(row, argv)
        of_job = _option(argv, (row.task,)) if row.task else None
        if of_job is not None:  # a process for one job of the execution
            job = job or of_job
            continue
        if process is matches[0][1] and row.shell and job is None and depth > 0:
            child = processes[depth - 1].argv
            if not any(row.scripts in word for word in child):  # such a job names itself
                task["command"] = command_digest(_command(child))
        task["execution"] = process_id(root, process)
        break
    if workflow and fault(workflow) is None:
        task["workflow"] = redact(workflow)
    if job and fault(job) is None:
        rule, _, wildcards = job.partition(":")
        pairs = dict(pair.partition("=")[::2] for pair in wildcards.split(",") if pair)
        task["task"], task["task_id"] = redact(rule), redact(job_id(rule, pairs))
    return task


def _is_program(row: ByProcess, argv: Sequence[str]) -> bool:
    words = argv[:1]
    if argv and _PYTHON.fullmatch(argv[0].rpartition("/")[2]):
        words = argv[1:]
        # Options of the interpreter come before the program.
        while words and words[0].startswith("-") and words[0] != "-m":
            words = words[2:] if words[0] in ("-X", "-W", "-cp", "-classpath") else words[1:]
        words = words[1:] if words and words[0] == "-m" else words
    program = words[0].rpartition("/")[2] if words else ""
    return program in row.programs and all(word in argv for word in row.words)


def _workflow_of(row: ByProcess, argv: Sequence[str]) -> str | None:
    named = _option(argv, row.workflow)
    files = (word for word in argv[1:] if row.suffixes and word.endswith(row.suffixes))
    path = named or next(files, None)
    return path and path.rpartition("/")[2]


def _option(argv: Sequence[str], names: Sequence[str]) -> str | None:
    for position, word in enumerate(argv[:-1]):
        if word in names:
            return argv[position + 1]
    return None


def _command(argv: Sequence[str]) -> str | Sequence[str]:
    """Return the text that a shell executes, or the arguments of any other process."""
    # Bash replaces itself by the last command, if nothing is left to do after it.
    if len(argv) >= 3 and argv[0].rpartition("/")[2] in _SHELLS and argv[1] == "-c":
        return argv[2]
    return argv
